package activities

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"golang.org/x/sync/errgroup"

	"edgefleet/internal/fleet"
)

// AttemptNote is what an attempt that has AWS make a key leaves in its heartbeat for the next one.
type AttemptNote struct {
	CallingSince  time.Time `json:"callingSince,omitzero"`   // it was calling AWS, and had no answer yet
	CertificateID string    `json:"certificateId,omitempty"` // AWS's answer, whose key may not be stored yet
}

// issueWithKeysOfAWS is the documented way. AWS gives the private key once; if it is lost before
// it is stored, the certificate is of no use to anyone. So each attempt notes in its heartbeat
// what it did: the next one completes or deletes its certificate, or, where the answer itself was
// lost, writes down when that was, for `starter sweep`.
func (a *Activities) issueWithKeysOfAWS(ctx context.Context, in CertificateInput, pulse *pulse) (Certificate, error) {
	earlier := pulse.note
	switch {
	case earlier.CertificateID != "":
		c, err := a.completeOrDelete(ctx, in, earlier.CertificateID)
		if !errors.Is(err, errMissing) {
			return c, err
		}
	case !earlier.CallingSince.IsZero():
		if err := a.recordLost(ctx, in, earlier.CallingSince, earlier.CallingSince.Add(2*callTimeout)); err != nil {
			return Certificate{}, err
		}
	}
	ctx, giveBack, err := a.lanes.Take(ctx, "iot:CreateKeysAndCertificate") // before the note: it tells when the call was made
	if err != nil {
		return Certificate{}, AWSError(fmt.Sprintf("creating key and certificate of device %q", in.Device), err)
	}
	defer giveBack()
	since := time.Now()
	pulse.write(AttemptNote{CallingSince: since})
	if err := pulse.ctx.Err(); err != nil {
		pulse.write(AttemptNote{})
		return Certificate{}, err // cancelled, or the note did not reach Temporal: nothing is lost by not calling
	}
	made, err := a.iot.CreateKeysAndCertificate(ctx, &iot.CreateKeysAndCertificateInput{SetAsActive: false})
	if err != nil {
		sent := wasSent(err)
		err = AWSError(fmt.Sprintf("creating key and certificate of device %q", in.Device), err)
		if sent && IsType(err, Unavailable) { // it may have been done all the same
			if a.recordLost(ctx, in, since, time.Now()) != nil {
				return Certificate{}, err // the note stays, for the next attempt to write it down
			}
		}
		pulse.write(AttemptNote{})
		return Certificate{}, err
	}
	c := Certificate{ID: aws.ToString(made.CertificateId), ARN: aws.ToString(made.CertificateArn), Action: Created}
	pulse.write(AttemptNote{CertificateID: c.ID})
	err = a.store(ctx, in, func(ctx context.Context) error {
		return a.putKey(ctx, in, []byte(aws.ToString(made.KeyPair.PrivateKey)))
	}, aws.ToString(made.CertificatePem))
	if err == nil {
		return c, nil
	}
	held, lookErr := a.holds(ctx, in.Bundle, c.ID)
	switch {
	case held: // only answers were lost
		return c, nil
	case lookErr == nil || isFinal(err):
		// The key goes with this attempt. What cannot be deleted now, the next attempt deletes.
		if isFinal(persistently(ctx, func() error { return a.deleteUnused(ctx, c.ID) })) {
			_ = a.recordLost(ctx, in, since, time.Now()) // where that is refused too, the note says it
		}
	}
	return Certificate{}, err
}

// putKey stores a key that AWS made. A key that is there already belongs to an attempt or a run that
// ended before its bundle was complete: with its certificate, that bundle is completed and our own
// certificate is one too many (Unavailable; the next attempt adopts). Without, it is of no use.
func (a *Activities) putKey(ctx context.Context, in CertificateInput, key []byte) error {
	err := a.put(ctx, in.Bundle, privateKeyFile, key, in.Run, true)
	if !errors.Is(err, errExists) {
		return err
	}
	stored, err := a.get(ctx, in.Bundle, privateKeyFile)
	switch {
	case errors.Is(err, errMissing):
		return a.put(ctx, in.Bundle, privateKeyFile, key, in.Run, true)
	case err != nil:
		return err
	case bytes.Equal(stored.body, key):
		return nil
	}
	if _, err := a.get(ctx, in.Bundle, CertificateFile); !errors.Is(err, errMissing) {
		// Complete, perhaps ACTIVE: this attempt was believed dead, and another has done its work.
		return cmp.Or(err, failed(Unavailable, fmt.Sprintf("storing the key of device %q", in.Device),
			"another attempt has completed the bundle; what it holds is used"))
	}
	request, err := newCSR(stored.body, in.Device)
	if err == nil {
		_, text, err := a.findByRequest(ctx, request, stored.modified)
		if err == nil {
			return cmp.Or(a.putCertificate(ctx, in, text), failed(Unavailable, fmt.Sprintf("storing the key of device %q", in.Device),
				"another attempt's key and certificate are there; they are used"))
		}
		if !errors.Is(err, errMissing) {
			return err
		}
	}
	return a.put(ctx, in.Bundle, privateKeyFile, key, in.Run, false)
}

// holds tells whether the bundle is complete, with that certificate.
func (a *Activities) holds(ctx context.Context, b Bundle, id string) (held bool, err error) {
	err = persistently(ctx, func() error {
		stored, err := a.get(ctx, b, CertificateFile)
		held = err == nil && CertificateID(stored.body) == id
		if errors.Is(err, errMissing) {
			return nil
		}
		return err
	})
	return held, err
}

// completeOrDelete takes up the certificate that an earlier attempt made: with its key in the
// bundle it is completed, otherwise deleted, and errMissing returned.
func (a *Activities) completeOrDelete(ctx context.Context, in CertificateInput, id string) (Certificate, error) {
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

// issueWithOurKey makes the key here and stores it before AWS hears of it. So whatever is lost
// after that, a certificate that an earlier attempt obtained is found by its public key.
func (a *Activities) issueWithOurKey(ctx context.Context, in CertificateInput) (Certificate, error) {
	key, err := newPrivateKey(in.KeyType)
	if err != nil {
		return Certificate{}, failed(InvalidInput, fmt.Sprintf("making the key of device %q", in.Device), "%v", err)
	}
	err = a.put(ctx, in.Bundle, privateKeyFile, key, in.Run, true)
	stored := object{}
	switch {
	case errors.Is(err, errExists):
		if stored, err = a.get(ctx, in.Bundle, privateKeyFile); err != nil {
			return Certificate{}, err
		}
		key = stored.body
	case err != nil:
		return Certificate{}, err
	}
	request, err := newCSR(key, in.Device)
	if err != nil {
		return Certificate{}, failed(StateConflict, "using the key "+in.Bundle.uri(privateKeyFile), "%v", err)
	}
	return a.issueFromRequest(ctx, in, request, stored.modified)
}

// issueWithKeyOfDevice uses the request that the device made. Its private key is the device's alone.
func (a *Activities) issueWithKeyOfDevice(ctx context.Context, in CertificateInput) (Certificate, error) {
	if err := fleet.CheckCSR(in.CSR, in.Device); err != nil {
		return Certificate{}, failed(InvalidInput, fmt.Sprintf("reading the certificate request of device %q", in.Device), "%v", err)
	}
	since := time.Time{}
	if in.Again || activity.GetInfo(ctx).Attempt > 1 {
		since = in.Since
	}
	return a.issueFromRequest(ctx, in, in.CSR, since)
}

// issueFromRequest obtains the certificate of a request. A non-zero since says that an earlier
// attempt may have obtained it at that time or later.
func (a *Activities) issueFromRequest(ctx context.Context, in CertificateInput, request string, since time.Time) (Certificate, error) {
	if !since.IsZero() {
		c, text, err := a.findByRequest(ctx, request, since)
		if err == nil {
			return c, a.store(ctx, in, nil, text)
		}
		if !errors.Is(err, errMissing) {
			return Certificate{}, err
		}
	}
	made, err := a.iot.CreateCertificateFromCsr(ctx, &iot.CreateCertificateFromCsrInput{CertificateSigningRequest: &request, SetAsActive: false})
	if err != nil {
		return Certificate{}, AWSError(fmt.Sprintf("creating the certificate of device %q from its request", in.Device), err)
	}
	c := Certificate{ID: aws.ToString(made.CertificateId), ARN: aws.ToString(made.CertificateArn), Action: Created}
	return c, a.store(ctx, in, nil, aws.ToString(made.CertificatePem))
}

// store completes the bundle: what putKey writes and the root CA, then the certificate. A key that
// AWS made exists nowhere else yet, so here one attempt tries more than once.
func (a *Activities) store(ctx context.Context, in CertificateInput, putKey func(context.Context) error, certificate string) error {
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
	return persistently(ctx, func() error { return a.putCertificate(ctx, in, certificate) })
}

// putCertificate completes the bundle. One that another attempt has completed meanwhile is left as
// it is.
func (a *Activities) putCertificate(ctx context.Context, in CertificateInput, certificate string) error {
	err := a.put(ctx, in.Bundle, CertificateFile, []byte(certificate), in.Run, true)
	if !errors.Is(err, errExists) {
		return err
	}
	stored, err := a.get(ctx, in.Bundle, CertificateFile)
	if err == nil && string(stored.body) == certificate {
		return nil
	}
	if err != nil && !errors.Is(err, errMissing) {
		return err
	}
	return failed(Unavailable, "writing "+in.Bundle.uri(CertificateFile), "another attempt was faster; its certificate is used")
}

// persistently tries four times within a few seconds, unless the error is one that stays.
func persistently(ctx context.Context, try func() error) error {
	for pause := 200 * time.Millisecond; ; pause *= 2 {
		err := try()
		if err == nil || pause > time.Second || isFinal(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

// wasSent tells whether a call that got no answer may have reached AWS.
func wasSent(err error) bool {
	var dial *net.OpError
	var dns *net.DNSError
	return !errors.As(err, &dns) && !(errors.As(err, &dial) && dial.Op == "dial")
}

// isFinal tells an error that retrying cannot mend.
func isFinal(err error) bool {
	var said *temporal.ApplicationError
	return errors.As(err, &said) && said.NonRetryable()
}
