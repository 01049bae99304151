// Package quota knows how often each AWS API may be called, and keeps to it.
package quota

import (
	"context"
	"maps"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/smithy-go/middleware"
	"golang.org/x/time/rate"
)

// Assumed is the rate of an IoT or SageMaker edge operation without a published quota, in calls per
// second.
const Assumed = 10

// Published returns AWS IoT's default quotas by SERVICE:Operation, in calls per second per account
// and region (AWS General Reference, "AWS IoT Core endpoints and quotas"). They are adjustable per
// account.
func Published() map[string]float64 { return maps.Clone(published) }

var published = map[string]float64{
	"iot:CreateThing": 100, "iot:DeleteThing": 100, "iot:UpdateThing": 100, "iot:DescribeThing": 350,
	"iot:CreateThingType": 15, "iot:DeprecateThingType": 15, "iot:DeleteThingType": 15, "iot:DescribeThingType": 100,
	"iot:CreateThingGroup": 25, "iot:AddThingToThingGroup": 100,
	"iot:CreateKeysAndCertificate": 10, "iot:CreateCertificateFromCsr": 15,
	"iot:DescribeCertificate": 10, "iot:ListCertificates": 10, "iot:UpdateCertificate": 10, "iot:DeleteCertificate": 10,
	"iot:AttachPolicy": 15, "iot:DetachPolicy": 15, "iot:ListAttachedPolicies": 15,
	"iot:CreatePolicy": 10, "iot:GetPolicy": 10, "iot:DeletePolicy": 10, "iot:CreatePolicyVersion": 10, "iot:ListTargetsForPolicy": 10,
	"iot:AttachThingPrincipal": 100, "iot:DetachThingPrincipal": 100, "iot:ListThingPrincipals": 20, "iot:ListPrincipalThings": 10,
	"iot:DescribeRoleAlias": 10, "iot:UpdateRoleAlias": 10, "iot:ListThings": 10,
	"credentials:AssumeRoleWithCertificate": 100,
}

// Limiter makes calls wait until their API's rate allows them.
type Limiter struct {
	share float64

	mu   sync.Mutex
	apis map[string]*rate.Limiter
}

// NewLimiter keeps to a share of each quota, from 0 to 1, and leaves the rest to others.
func NewLimiter(share float64) *Limiter {
	return &Limiter{share: share, apis: map[string]*rate.Limiter{}}
}

// Limit makes every call of the configuration's clients wait for its turn.
func (l *Limiter) Limit(cfg aws.Config) aws.Config {
	limited := cfg.Copy()
	limited.APIOptions = append(limited.APIOptions, func(stack *middleware.Stack) error {
		return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("QuotaLimit",
			func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
				api := strings.ToLower(awsmiddleware.GetServiceID(ctx)) + ":" + awsmiddleware.GetOperationName(ctx)
				if err := l.wait(ctx, api); err != nil {
					return middleware.InitializeOutput{}, middleware.Metadata{}, err
				}
				return next.HandleInitialize(ctx, in)
			}), middleware.After)
	})
	return limited
}

func (l *Limiter) wait(ctx context.Context, api string) error {
	if strings.HasPrefix(api, "s3:") {
		return nil // thousands a second per prefix
	}
	l.mu.Lock()
	limiter, known := l.apis[api]
	if !known {
		perSecond, has := published[api]
		if !has {
			perSecond = Assumed
		}
		limiter = rate.NewLimiter(rate.Limit(perSecond*l.share), 1)
		l.apis[api] = limiter
	}
	l.mu.Unlock()
	return limiter.Wait(ctx)
}
