// Package activities holds one retryable Temporal activity per step of the procedure, in a file
// per AWS resource. Each may run twice, be killed anywhere or lose its answer: the result is as
// if it had run once. AWS's errors leave it as Temporal application errors (errors.go).
package activities

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"

	"edgefleet/internal/quota"
)

// callTimeout bounds one HTTP call. An answer that is not there by then is lost: the activity
// fails and Temporal retries it. It is well below every activity's StartToClose timeout.
const callTimeout = 5 * time.Second

// Activities are the steps; its fields are what they depend on.
type Activities struct {
	iot       *iot.Client
	sagemaker *sagemaker.Client
	s3        *s3.Client
	rootCAURL string
	rootCAs   rootCACache
	listLag   time.Duration // until AWS's lists show a certificate, and then some
	lanes     *quota.Lanes
}

// New makes the activities work in the account and region of cfg, at the pace of lanes. rootCAURL
// is where the root CA of the credential provider is fetched; empty means Amazon's.
func New(cfg aws.Config, rootCAURL string, lanes *quota.Lanes) *Activities {
	if rootCAURL == "" {
		rootCAURL = amazonRootCAURL
	}
	cfg = lanes.Limit(cfg)
	return &Activities{
		iot:       iot.NewFromConfig(cfg),
		sagemaker: sagemaker.NewFromConfig(cfg),
		s3:        NewS3(cfg),
		rootCAURL: rootCAURL,
		listLag:   3 * time.Second, // seconds, as AWS documents it
		lanes:     lanes,
	}
}

// NewS3 is a client for S3 as configured.
func NewS3(cfg aws.Config) *s3.Client {
	return s3.NewFromConfig(cfg, func(o *s3.Options) {
		// Another endpoint than Amazon's seldom has a host name per bucket.
		o.UsePathStyle = o.BaseEndpoint != nil
	})
}

// LoadAWSConfig reads the SDK's ordinary configuration (environment, profiles, instance roles).
// The SDK's own retries are off: Temporal retries, where everyone can see it.
func LoadAWSConfig(ctx context.Context) (aws.Config, error) {
	cfg, err := config.LoadDefaultConfig(ctx,
		config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }),
		config.WithHTTPClient(awshttp.NewBuildableClient().
			WithTimeout(callTimeout).
			WithDialerOptions(func(d *net.Dialer) { d.Timeout = callTimeout }).
			WithTransportOptions(func(t *http.Transport) {
				t.MaxIdleConns, t.MaxIdleConnsPerHost = 512, 256 // one host per service serves all slots
			})))
	if err != nil {
		return aws.Config{}, fmt.Errorf("reading the AWS configuration: %w", err)
	}
	if cfg.Region == "" {
		return aws.Config{}, fmt.Errorf("no AWS region is configured: set AWS_REGION (or a profile with a region, AWS_PROFILE)")
	}
	return cfg, nil
}
