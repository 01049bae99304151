package activities

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"edgefleet/internal/fleet"
)

// IssueTime is more than an attempt to issue a certificate lasts: one that is older and has not
// been stored by then never will be.
const IssueTime = time.Minute

// clockSkew is more than the clocks of AWS's services and of workers differ.
const clockSkew = 5 * time.Minute

// findByRequest looks for an INACTIVE certificate of the request's key among those made since
// then. Its "none", errMissing, decides that another is made or that none is left behind: so it is
// said only after a second look.
func (a *Activities) findByRequest(ctx context.Context, request string, since time.Time) (Certificate, string, error) {
	c, text, err := a.lookForRequest(ctx, request, since)
	if !errors.Is(err, errMissing) {
		return c, text, err
	}
	select {
	case <-ctx.Done():
		return Certificate{}, "", ctx.Err()
	case <-time.After(a.listLag):
	}
	return a.lookForRequest(ctx, request, since)
}

// lookForRequest reads the list of certificates newest first, so that it need not read the
// account's whole list.
func (a *Activities) lookForRequest(ctx context.Context, request string, since time.Time) (Certificate, string, error) {
	var found *types.CertificateDescription
	err := a.eachCertificateSince(ctx, since.Add(-clockSkew), func(listed types.Certificate) (bool, error) {
		if listed.Status != types.CertificateStatusInactive {
			return true, nil
		}
		described, err := a.describeCertificate(ctx, aws.ToString(listed.CertificateId))
		if errors.Is(err, errMissing) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		parsed, err := parseCertificate([]byte(aws.ToString(described.CertificatePem)))
		if err == nil && isRequestOf(request, parsed) {
			found = described
		}
		return found == nil, nil
	})
	if err != nil {
		return Certificate{}, "", err
	}
	if found == nil {
		return Certificate{}, "", errMissing
	}
	return Certificate{ID: aws.ToString(found.CertificateId), ARN: aws.ToString(found.CertificateArn), Action: Created},
		aws.ToString(found.CertificatePem), nil
}

// eachCertificateSince visits certificates, newest first, until one is older or visit says false.
func (a *Activities) eachCertificateSince(ctx context.Context, since time.Time, visit func(types.Certificate) (bool, error)) error {
	pages := iot.NewListCertificatesPaginator(a.iot, &iot.ListCertificatesInput{PageSize: aws.Int32(250)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return AWSError("listing certificates, to find the one of a lost answer", err)
		}
		for _, listed := range page.Certificates {
			if aws.ToTime(listed.CreationDate).Before(since) {
				return nil
			}
			goOn, err := visit(listed)
			if err != nil || !goOn {
				return err
			}
		}
	}
	return nil
}

// isRequestOf tells whether the certificate is for the request's key.
func isRequestOf(request string, c *x509.Certificate) bool {
	parsed, err := fleet.ParseCSR(request)
	if err != nil {
		return false
	}
	return samePublicKey(parsed.PublicKey, c)
}

// LostCertificate says that a call of CreateKeysAndCertificate got no answer: if it was done, there
// is a certificate from that time, INACTIVE and attached to nothing, whose key nobody has.
type LostCertificate struct {
	Device string    `json:"device"`
	Run    string    `json:"run"`
	Since  time.Time `json:"since"` // when the call was made, by the worker's clock
	Until  time.Time `json:"until"` // when it was given up
}

// recordLost writes down that a call got no answer, where `starter sweep` looks for it.
func (a *Activities) recordLost(ctx context.Context, in CertificateInput, since, until time.Time) error {
	body, err := json.Marshal(LostCertificate{in.Device, in.Run, since.UTC(), until.UTC()})
	if err != nil {
		return err
	}
	// Named by the call: the same call may be written down twice, another one must not take its place.
	name := fmt.Sprintf("%s-%s-%d.json", in.Device, in.Run, since.UnixMilli())
	return persistently(ctx, func() error {
		return a.put(ctx, lostBundle(in.RootCA.Bundle), name, body, in.Run, false)
	})
}
