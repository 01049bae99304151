package activities

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"go.temporal.io/sdk/activity"

	"edgefleet/internal/fleet"
)

// Certificate is a device's X.509 certificate in AWS IoT. Of an adopted one it says what the run
// found, before it changed anything: so undo knows what to leave.
type Certificate struct {
	ID        string `json:"id"` // the SHA-256 of its DER, in hex
	ARN       string `json:"arn"`
	Action    Action `json:"action"`
	Active    bool   `json:"active,omitempty"`    // it was ACTIVE already
	HasPolicy bool   `json:"hasPolicy,omitempty"` // the fleet's policy was attached already
	HasThing  bool   `json:"hasThing,omitempty"`  // the device's thing was attached already
}

// CertificateInput is what IssueCertificate and DiscardCertificate need.
type CertificateInput struct {
	Device  string        `json:"device"` // the subject of a certificate request
	Thing   string        `json:"thing"`
	Policy  string        `json:"policy"`
	Bundle  Bundle        `json:"bundle"`
	Keys    fleet.Keys    `json:"keys"`
	KeyType fleet.KeyType `json:"keyType,omitempty"` // of a key that we make
	CSR     string        `json:"csr,omitempty"`     // the device's own, in PEM
	RootCA  RootCA        `json:"rootCa"`
	Note    AttemptNote   `json:"note,omitzero"`   // of an earlier attempt, whose heartbeat is gone
	Since   time.Time     `json:"since"`           // no certificate of this run is older
	Again   bool          `json:"again,omitempty"` // an earlier call of this activity may have obtained it
	Run     string        `json:"run"`
}

// IssueCertificate makes the device's certificate, INACTIVE, and stores it in the device's bundle
// with its key, if that is ours; a complete bundle is adopted. A private key leaves this attempt's
// memory for the bundle only. The certificate is stored last: a bundle that has it is complete.
func (a *Activities) IssueCertificate(ctx context.Context, in CertificateInput) (Certificate, error) {
	pulse, err := startPulse(ctx, in.Note)
	if err != nil {
		return Certificate{}, err
	}
	defer pulse.stop()
	// A cancellation waits for this attempt: broken off, it could lose a certificate. Its time is
	// its own, though: when that is over, the next attempt is at work.
	detached, cancel := context.WithDeadline(context.WithoutCancel(ctx), activity.GetInfo(ctx).Deadline)
	defer cancel()
	c, err := a.issue(detached, in, pulse)
	if err != nil && pulse.note != (AttemptNote{}) {
		err = leaving(err, Unfinished{Note: pulse.note})
	}
	return c, err
}

func (a *Activities) issue(ctx context.Context, in CertificateInput, pulse *pulse) (Certificate, error) {
	stored, err := a.storedCertificate(ctx, in)
	if !errors.Is(err, errMissing) {
		return stored, err
	}
	switch in.Keys {
	case fleet.KeysAWS:
		return a.issueWithKeysOfAWS(ctx, in, pulse)
	case fleet.KeysCSR:
		return a.issueWithOurKey(ctx, in)
	case fleet.KeysDevice:
		return a.issueWithKeyOfDevice(ctx, in)
	}
	return Certificate{}, failed(InvalidInput, fmt.Sprintf("issuing the certificate of device %q", in.Device), "keys: %q is none of aws, csr, device", in.Keys)
}

// storedCertificate returns the certificate of a complete bundle, errMissing when there is none.
func (a *Activities) storedCertificate(ctx context.Context, in CertificateInput) (Certificate, error) {
	stored, err := a.get(ctx, in.Bundle, CertificateFile)
	if err != nil {
		return Certificate{}, err
	}
	doing := "adopting the certificate in " + in.Bundle.Location.String()
	parsed, err := parseCertificate(stored.body)
	if err != nil {
		return Certificate{}, failed(StateConflict, doing, "%s: %v", CertificateFile, err)
	}
	if in.Keys == fleet.KeysDevice {
		if !isRequestOf(in.CSR, parsed) {
			return Certificate{}, failed(Conflict, doing, "%s is for another key than the device's request", CertificateFile)
		}
	} else if err := a.checkStoredKey(ctx, in, doing, stored); err != nil {
		return Certificate{}, err
	}
	found, err := a.describeCertificate(ctx, certificateID(parsed))
	if errors.Is(err, errMissing) {
		return Certificate{}, failed(StateConflict, doing, "AWS IoT does not know certificate %s: it was deleted by hand. `starter decommission` clears what is left of the device", certificateID(parsed))
	}
	if err != nil {
		return Certificate{}, err
	}
	if found.Status != types.CertificateStatusActive && found.Status != types.CertificateStatusInactive {
		return Certificate{}, failed(StateConflict, doing, "certificate %s is %s", aws.ToString(found.CertificateId), found.Status)
	}
	c := Certificate{ID: aws.ToString(found.CertificateId), ARN: aws.ToString(found.CertificateArn), Action: Created}
	if stored.run == in.Run {
		return c, nil // an earlier attempt's: all that is on it is this run's
	}
	c.Action, c.Active = Adopted, found.Status == types.CertificateStatusActive
	policies, err := a.policiesOf(ctx, c.ARN)
	if err != nil {
		return Certificate{}, err
	}
	things, err := a.thingsOf(ctx, c.ARN)
	if err != nil {
		return Certificate{}, err
	}
	c.HasPolicy, c.HasThing = slices.Contains(policies, in.Policy), slices.Contains(things, in.Thing)
	return c, nil
}

func (a *Activities) checkStoredKey(ctx context.Context, in CertificateInput, doing string, stored object) error {
	key, err := a.get(ctx, in.Bundle, privateKeyFile)
	if errors.Is(err, errMissing) {
		return failed(StateConflict, doing, "%s is there and %s is not, so it cannot be used", CertificateFile, privateKeyFile)
	}
	if err != nil {
		return err
	}
	if parsed, err := parseCertificate(stored.body); err != nil || !isKeyOf(key.body, parsed) {
		return failed(StateConflict, doing, "%s does not belong to %s", privateKeyFile, CertificateFile)
	}
	return nil
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

// ActivateCertificate makes the device's certificate ACTIVE: last, once all that it needs is there.
func (a *Activities) ActivateCertificate(ctx context.Context, c Certificate) (Resource, error) {
	status := Resource{Type: "iot:CertificateStatus", Name: string(types.CertificateStatusActive), ARN: c.ARN, Action: Created}
	if c.Active {
		status.Action = Adopted
		return status, nil
	}
	return status, a.setStatus(ctx, c.ID, types.CertificateStatusActive)
}

// DeactivateCertificate makes the certificate INACTIVE. A missing one is no error.
func (a *Activities) DeactivateCertificate(ctx context.Context, c Certificate) error {
	if err := a.setStatus(ctx, c.ID, types.CertificateStatusInactive); !IsType(err, NotFound) {
		return err
	}
	return nil
}

func (a *Activities) setStatus(ctx context.Context, id string, status types.CertificateStatus) error {
	_, err := a.iot.UpdateCertificate(ctx, &iot.UpdateCertificateInput{CertificateId: &id, NewStatus: status})
	return AWSError(fmt.Sprintf("making certificate %s %s", id, status), err)
}
