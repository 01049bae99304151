package activities

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"golang.org/x/sync/errgroup"

	"edgefleet/internal/fleet"
)

// Certificate is a device's X.509 certificate in AWS IoT.
type Certificate struct {
	ID     string `json:"id"` // the SHA-256 of its DER, in hex
	ARN    string `json:"arn"`
	Action Action `json:"action"`
	Active bool   `json:"active"` // as it was found; a created one is INACTIVE
}

// IssueCertificateInput is what IssueCertificate needs.
type IssueCertificateInput struct {
	Device string     `json:"device"` // the subject of a certificate request that we make
	Bundle Bundle     `json:"bundle"`
	Keys   fleet.Keys `json:"keys"`
	RootCA RootCA     `json:"rootCa"`
	Run    string     `json:"run"`
}

// IssueCertificate makes the device's key and certificate, INACTIVE, and stores both in its
// bundle; a complete bundle is adopted. The private key leaves this attempt's memory for the
// bundle only. The certificate is stored last: a bundle that has it is complete.
func (a *Activities) IssueCertificate(ctx context.Context, in IssueCertificateInput) (Certificate, error) {
	stored, err := a.storedCertificate(ctx, in)
	if !errors.Is(err, errMissing) {
		return stored, err
	}
	switch in.Keys {
	case fleet.KeysAWS:
		return a.issueWithKeysOfAWS(ctx, in)
	case fleet.KeysCSR:
		return a.issueFromCSR(ctx, in)
	}
	return Certificate{}, failed(InvalidInput, fmt.Sprintf("issuing the certificate of device %q", in.Device), "keys: %s is not supported", in.Keys)
}

// storedCertificate returns the certificate of a complete bundle, errMissing when there is none.
func (a *Activities) storedCertificate(ctx context.Context, in IssueCertificateInput) (Certificate, error) {
	stored, err := a.get(ctx, in.Bundle, certificateFile)
	if err != nil {
		return Certificate{}, err
	}
	doing := "adopting the certificate in " + in.Bundle.Location.String()
	parsed, err := parseCertificate(stored.body)
	if err != nil {
		return Certificate{}, failed(StateConflict, doing, "%s: %v", certificateFile, err)
	}
	key, err := a.get(ctx, in.Bundle, privateKeyFile)
	if errors.Is(err, errMissing) {
		return Certificate{}, failed(StateConflict, doing, "%s is there and %s is not, so it cannot be used", certificateFile, privateKeyFile)
	}
	if err != nil {
		return Certificate{}, err
	}
	if !isKeyOf(key.body, parsed) {
		return Certificate{}, failed(StateConflict, doing, "%s does not belong to %s", privateKeyFile, certificateFile)
	}
	found, err := a.describeCertificate(ctx, certificateID(parsed))
	if err != nil {
		return Certificate{}, err // errMissing too: deleted by hand, so the device gets another
	}
	switch found.Status {
	case types.CertificateStatusActive, types.CertificateStatusInactive:
	default:
		return Certificate{}, failed(StateConflict, doing, "certificate %s is %s", aws.ToString(found.CertificateId), found.Status)
	}
	c := Certificate{
		ID:     aws.ToString(found.CertificateId),
		ARN:    aws.ToString(found.CertificateArn),
		Action: Adopted,
		Active: found.Status == types.CertificateStatusActive,
	}
	if stored.run == in.Run {
		c.Action = Created
	}
	return c, nil
}

// describeCertificate returns errMissing for a certificate that AWS does not know.
func (a *Activities) describeCertificate(ctx context.Context, id string) (*types.CertificateDescription, error) {
	out, err := a.iot.DescribeCertificate(ctx, &iot.DescribeCertificateInput{CertificateId: &id})
	if hasCode(err, "ResourceNotFoundException") {
		return nil, errMissing
	}
	doing := "describing certificate " + id
	if err != nil {
		return nil, AWSError(doing, err)
	}
	if out.CertificateDescription == nil {
		return nil, failed(Unavailable, doing, "AWS's answer was empty")
	}
	return out.CertificateDescription, nil
}

// issueWithKeysOfAWS is the documented way. AWS gives the private key once; if it is lost before
// it is stored, the certificate is of no use to anyone. So each attempt notes in its heartbeat
// which certificate it made, and the next one completes it or deletes it.
func (a *Activities) issueWithKeysOfAWS(ctx context.Context, in IssueCertificateInput) (Certificate, error) {
	var earlier string
	if activity.HasHeartbeatDetails(ctx) && activity.GetHeartbeatDetails(ctx, &earlier) == nil {
		c, err := a.completeOrDelete(ctx, in, earlier)
		if !errors.Is(err, errMissing) {
			return c, err
		}
	}
	made, err := a.iot.CreateKeysAndCertificate(ctx, &iot.CreateKeysAndCertificateInput{SetAsActive: false})
	if err != nil {
		return Certificate{}, AWSError(fmt.Sprintf("creating key and certificate of device %q", in.Device), err)
	}
	c := Certificate{ID: aws.ToString(made.CertificateId), ARN: aws.ToString(made.CertificateArn), Action: Created}
	activity.RecordHeartbeat(ctx, c.ID)
	err = a.store(ctx, in, func(ctx context.Context) error {
		return a.put(ctx, in.Bundle, privateKeyFile, []byte(aws.ToString(made.KeyPair.PrivateKey)), in.Run, false)
	}, aws.ToString(made.CertificatePem))
	if err != nil {
		// The key goes with this attempt. What cannot be deleted now, the next attempt deletes.
		_ = a.deleteUnused(context.WithoutCancel(ctx), c.ID)
		return Certificate{}, err
	}
	return c, nil
}

// completeOrDelete takes up the certificate that an earlier attempt made: with its key in the
// bundle it is completed, otherwise deleted, and errMissing returned.
func (a *Activities) completeOrDelete(ctx context.Context, in IssueCertificateInput, id string) (Certificate, error) {
	found, err := a.describeCertificate(ctx, id)
	if err != nil {
		return Certificate{}, err
	}
	key, err := a.get(ctx, in.Bundle, privateKeyFile)
	if err != nil && !errors.Is(err, errMissing) {
		return Certificate{}, err
	}
	text := aws.ToString(found.CertificatePem)
	if parsed, parseErr := parseCertificate([]byte(text)); err == nil && parseErr == nil && isKeyOf(key.body, parsed) {
		c := Certificate{ID: id, ARN: aws.ToString(found.CertificateArn), Action: Created}
		return c, a.store(ctx, in, nil, text)
	}
	if err := a.deleteUnused(ctx, id); err != nil {
		return Certificate{}, err
	}
	return Certificate{}, errMissing
}

// deleteUnused deletes a certificate that is INACTIVE and attached to nothing; one that is not is
// refused by AWS. A missing one is no error.
func (a *Activities) deleteUnused(ctx context.Context, id string) error {
	_, err := a.iot.DeleteCertificate(ctx, &iot.DeleteCertificateInput{CertificateId: &id})
	if hasCode(err, "ResourceNotFoundException") {
		return nil
	}
	return AWSError("deleting certificate "+id+", whose key was lost", err)
}

// issueFromCSR makes the key here and stores it before AWS hears of it. So whatever is lost after
// that, a certificate that an earlier attempt obtained is found by its public key.
func (a *Activities) issueFromCSR(ctx context.Context, in IssueCertificateInput) (Certificate, error) {
	key, err := newPrivateKey()
	if err != nil {
		return Certificate{}, err
	}
	err = a.put(ctx, in.Bundle, privateKeyFile, key, in.Run, true)
	if errors.Is(err, errExists) {
		stored, err := a.get(ctx, in.Bundle, privateKeyFile)
		if err != nil {
			return Certificate{}, err
		}
		key = stored.body
		c, text, err := a.findByPublicKey(ctx, key, stored.modified)
		if err == nil {
			return c, a.store(ctx, in, nil, text)
		}
		if !errors.Is(err, errMissing) {
			return Certificate{}, err
		}
	} else if err != nil {
		return Certificate{}, err
	}
	doing := fmt.Sprintf("creating the certificate of device %q from its request", in.Device)
	csr, err := newCSR(key, in.Device)
	if err != nil {
		return Certificate{}, failed(StateConflict, doing, "%s/%s: %v", in.Bundle.Location, privateKeyFile, err)
	}
	made, err := a.iot.CreateCertificateFromCsr(ctx, &iot.CreateCertificateFromCsrInput{CertificateSigningRequest: aws.String(csr), SetAsActive: false})
	if err != nil {
		return Certificate{}, AWSError(doing, err)
	}
	c := Certificate{ID: aws.ToString(made.CertificateId), ARN: aws.ToString(made.CertificateArn), Action: Created}
	return c, a.store(ctx, in, nil, aws.ToString(made.CertificatePem))
}

// clockSkew is more than AWS's services' clocks differ.
const clockSkew = 5 * time.Minute

// findByPublicKey looks for a certificate of the key among those made since it was stored, newest
// first, so that it does not read the account's whole list. errMissing when there is none.
func (a *Activities) findByPublicKey(ctx context.Context, key []byte, since time.Time) (Certificate, string, error) {
	pages := iot.NewListCertificatesPaginator(a.iot, &iot.ListCertificatesInput{PageSize: aws.Int32(250)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return Certificate{}, "", AWSError("listing certificates, to find the one of a lost answer", err)
		}
		for _, listed := range page.Certificates {
			if aws.ToTime(listed.CreationDate).Before(since.Add(-clockSkew)) {
				return Certificate{}, "", errMissing
			}
			if listed.Status != types.CertificateStatusInactive {
				continue
			}
			activity.RecordHeartbeat(ctx)
			found, err := a.describeCertificate(ctx, aws.ToString(listed.CertificateId))
			if errors.Is(err, errMissing) {
				continue
			}
			if err != nil {
				return Certificate{}, "", err
			}
			text := aws.ToString(found.CertificatePem)
			if parsed, err := parseCertificate([]byte(text)); err == nil && isKeyOf(key, parsed) {
				return Certificate{ID: aws.ToString(found.CertificateId), ARN: aws.ToString(found.CertificateArn), Action: Created}, text, nil
			}
		}
	}
	return Certificate{}, "", errMissing
}

// store completes the bundle: what putKey writes and the root CA, then the certificate. A key that
// AWS made exists nowhere else yet, so here one attempt tries more than once.
func (a *Activities) store(ctx context.Context, in IssueCertificateInput, putKey func(context.Context) error, certificate string) error {
	rootCA, err := a.rootCA(ctx, in.RootCA)
	if err != nil {
		return err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	if putKey != nil {
		group.Go(func() error { return persistently(groupCtx, func() error { return putKey(groupCtx) }) })
	}
	group.Go(func() error {
		return persistently(groupCtx, func() error { return a.put(groupCtx, in.Bundle, rootCAFile, rootCA, in.Run, false) })
	})
	if err := group.Wait(); err != nil {
		return err
	}
	return persistently(ctx, func() error {
		return a.put(ctx, in.Bundle, certificateFile, []byte(certificate), in.Run, false)
	})
}

// persistently tries four times within a few seconds, unless the error is one that stays.
func persistently(ctx context.Context, try func() error) error {
	for pause := 200 * time.Millisecond; ; pause *= 2 {
		err := try()
		var final *temporal.ApplicationError
		if err == nil || pause > time.Second || errors.As(err, &final) && final.NonRetryable() {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

// ActivateCertificate makes the device's certificate ACTIVE: last, once all that it needs is there.
func (a *Activities) ActivateCertificate(ctx context.Context, c Certificate) (Resource, error) {
	r := Resource{Type: "iot:CertificateStatus", Name: "ACTIVE", ARN: c.ARN, Action: Created}
	if c.Active {
		r.Action = c.Action
		return r, nil
	}
	_, err := a.iot.UpdateCertificate(ctx, &iot.UpdateCertificateInput{CertificateId: &c.ID, NewStatus: types.CertificateStatusActive})
	if err != nil {
		return Resource{}, AWSError("activating certificate "+c.ID, err)
	}
	return r, nil
}
