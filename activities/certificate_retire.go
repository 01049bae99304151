package activities

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"edgefleet/internal/fleet"
)

// DiscardInput is what DiscardCertificate needs.
type DiscardInput struct {
	CertificateInput
	Note AttemptNote `json:"note,omitzero"` // of an attempt to issue that ended without a word
	Undo
}

// DiscardCertificate undoes IssueCertificate, wherever that had got to: the run's certificate goes,
// with all that is attached to it, and then what the run wrote into the bundle. What another run
// wrote is kept.
func (a *Activities) DiscardCertificate(ctx context.Context, in DiscardInput) (Removal, error) {
	id, err := a.certificateOfRun(ctx, in.CertificateInput)
	switch {
	case errors.Is(err, errForeign):
		return Kept, nil
	case err != nil && !errors.Is(err, errMissing):
		return "", err
	case id != "":
		if err := a.retire(ctx, id, in.Undo); err != nil {
			return "", err
		}
	}
	switch note := in.Note; {
	case note.CertificateID != "" && note.CertificateID != id:
		if err := a.retire(ctx, note.CertificateID, in.Undo); err != nil {
			return "", err
		}
	case !note.CallingSince.IsZero():
		if err := a.recordLost(ctx, in.CertificateInput, note.CallingSince, note.CallingSince.Add(2*callTimeout)); err != nil {
			return "", err
		}
	}
	removal, err := a.erase(ctx, in.Bundle, "", in.Run)
	if isFinal(err) {
		err = leaving(err, Unfinished{FilesOnly: true})
	}
	return removal, err
}

// errForeign says that a bundle is not the run's.
var errForeign = errors.New("foreign")

// certificateOfRun is the id of the certificate that the run made: the one in its bundle, or the
// one that was made for its key and whose answer was lost. errMissing when there is none.
func (a *Activities) certificateOfRun(ctx context.Context, in CertificateInput) (string, error) {
	stored, err := a.get(ctx, in.Bundle, CertificateFile)
	if err == nil {
		if stored.run != in.Run {
			return "", errForeign
		}
		parsed, err := parseCertificate(stored.body)
		if err != nil {
			return "", failed(StateConflict, "reading "+in.Bundle.uri(CertificateFile), "%v", err)
		}
		return certificateID(parsed), nil
	}
	if !errors.Is(err, errMissing) && !IsType(err, NotFound) { // a bucket that is not there holds nothing
		return "", err
	}
	request, since := in.CSR, in.Since
	switch in.Keys {
	case fleet.KeysAWS, fleet.KeysCSR:
		key, err := a.get(ctx, in.Bundle, privateKeyFile)
		if IsType(err, NotFound) {
			return "", errMissing
		}
		if err != nil {
			return "", err
		}
		if request, err = newCSR(key.body, in.Device); err != nil {
			return "", failed(StateConflict, "reading "+in.Bundle.uri(privateKeyFile), "%v", err)
		}
		since = key.modified
	}
	c, _, err := a.findByRequest(ctx, request, since)
	return c.ID, err
}

// RetireInput is what RetireCertificate needs.
type RetireInput struct {
	CertificateID string `json:"certificateId"`
	Undo
}

// RetireCertificate makes a certificate INACTIVE, takes from it all that is attached, and deletes
// it. A missing one is Gone.
func (a *Activities) RetireCertificate(ctx context.Context, in RetireInput) (Removal, error) {
	if _, err := a.describeCertificate(ctx, in.CertificateID); errors.Is(err, errMissing) {
		return Gone, nil
	} else if err != nil {
		return "", err
	}
	return Removed, a.retire(ctx, in.CertificateID, in.Undo)
}

// retire keeps AWS's order: not ACTIVE, detach, delete. Detaches take effect within seconds; until
// then the delete is refused, and the activity is retried.
func (a *Activities) retire(ctx context.Context, id string, undo Undo) error {
	found, err := a.describeCertificate(ctx, id)
	if errors.Is(err, errMissing) {
		return nil
	}
	if err != nil {
		return err
	}
	c := Certificate{ID: id, ARN: *found.CertificateArn}
	if found.Status == types.CertificateStatusActive { // the only one that hinders; a REVOKED one cannot be made INACTIVE
		if err := a.DeactivateCertificate(ctx, c); err != nil {
			return err
		}
	}
	policies, err := a.policiesOf(ctx, c.ARN)
	if err != nil {
		return err
	}
	for _, policy := range policies {
		if err := a.DetachPolicy(ctx, PolicyAttachment{policy, c}); err != nil {
			return err
		}
	}
	things, err := a.thingsOf(ctx, c.ARN)
	if err != nil {
		return err
	}
	for _, thing := range things {
		if err := a.DetachThing(ctx, ThingAttachment{thing, c}); err != nil {
			return err
		}
	}
	detached := len(policies)+len(things) > 0
	try := func() error {
		doing := "deleting certificate " + id
		_, err := a.iot.DeleteCertificate(ctx, &iot.DeleteCertificateInput{CertificateId: &id})
		switch {
		case hasCode(err, "ResourceNotFoundException"):
			return nil
		case hasCode(err, "DeleteConflictException", "CertificateStateException"):
			return undo.settling(ctx, doing, err, detached)
		}
		return AWSError(doing, err)
	}
	if !detached {
		return try() // refused, there is something that AWS's lists did not show yet: the next attempt looks again
	}
	return settled(ctx, try)
}
