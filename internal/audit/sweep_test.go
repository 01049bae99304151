package audit

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"

	"edgefleet/activities"
	"edgefleet/internal/fleet"
)

// lose writes down that an answer was lost between then and now, and returns the record's key.
func (a *account) lose(since, until time.Time) string {
	a.Helper()
	key := activities.FleetBundle(a.spec).Location.Key(activities.LostFolder, "cam-run-"+since.Format("150405.000000")+".json")
	a.putJSON(key, activities.LostCertificate{Device: "cam", Run: "run", Since: since, Until: until})
	return key
}

// later makes the auditor's clock that much ahead.
func (a *account) later(d time.Duration) {
	a.now = func() time.Time { return time.Now().Add(d) }
}

func (a *account) sweep(remove bool) []Swept {
	a.Helper()
	swept, err := a.Sweep(a.Context(), remove, func(time.Duration) { a.Error("it waits") })
	require.NoError(a, err)
	return swept
}

func (a *account) keys() (keys []string) {
	a.Helper()
	for _, o := range must(a, a.s3.ListObjectsV2, &s3.ListObjectsV2Input{Bucket: &a.spec.Bundles.Bucket}).Contents {
		keys = append(keys, *o.Key)
	}
	return keys
}

func (a *account) statuses() map[string]types.CertificateStatus {
	a.Helper()
	all := map[string]types.CertificateStatus{}
	for _, c := range must(a, a.iot.ListCertificates, &iot.ListCertificatesInput{PageSize: aws.Int32(250)}).Certificates {
		all[*c.CertificateId] = c.Status
	}
	return all
}

// ofRequest is the id of a certificate whose key somebody has.
func (a *account) ofRequest() string {
	a.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a, err)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "cam"}}, key)
	require.NoError(a, err)
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	return *must(a, a.iot.CreateCertificateFromCsr, &iot.CreateCertificateFromCsrInput{CertificateSigningRequest: &text}).CertificateId
}

// Of all the certificates from the time of a lost answer, only the lost one goes: not one that is in
// use in any way, or whose key somebody has.
func TestSweep(t *testing.T) {
	t.Parallel()
	a := newAccount(t, fleet.IoTCore)
	begun := time.Now()
	a.provision("cam-0001")
	lost := *a.certificate(false).CertificateId
	a.certificate(true) // ACTIVE
	a.thing("foreign", nil)
	a.attachThing(a.certificate(false), "foreign")
	a.attachPolicy(a.certificate(false))
	other := a.spec
	other.Name = "other"
	a.fleetOf(other).prepare()
	a.fleetOf(other).attachPolicy(a.certificate(false))
	a.put(a.inBundle("cam-0002", "device.pem.crt"), *a.certificate(false).CertificatePem) // a run is not done
	inactive := a.provision("cam-0003")
	a.setStatus(inactive, types.CertificateStatusInactive)
	a.ofRequest()
	revoked := a.certificate(false)
	a.setStatus(revoked, types.CertificateStatusRevoked)
	record := a.lose(begun, time.Now())
	a.later(2 * time.Minute)
	require.Eventually(t, func() bool { // AWS's lists lag: what is attached shows in a moment
		swept, err := a.Sweep(t.Context(), false, nil)
		return err == nil && len(swept) == 1
	}, soon, 20*time.Millisecond)

	before, keys := a.statuses(), a.keys()
	for range 2 {
		swept := a.sweep(false)
		require.Len(t, swept, 1)
		require.WithinDuration(t, begun, swept[0].MadeAt, time.Minute)
		swept[0].MadeAt = time.Time{}
		require.Equal(t, []Swept{{CertificateID: lost, Device: "cam", Run: "run"}}, swept)
		require.Equal(t, before, a.statuses(), "a dry run changes nothing")
		require.Equal(t, keys, a.keys())
	}
	swept := a.sweep(true)
	require.Len(t, swept, 1)
	require.True(t, swept[0].Removed)
	require.Equal(t, lost, swept[0].CertificateID)
	delete(before, lost)
	require.Equal(t, before, a.statuses())
	require.Contains(t, keys, record)
	require.NotContains(t, a.keys(), record, "it is settled")
	require.Len(t, a.keys(), len(keys)-1)
	require.Empty(t, a.sweep(true))
	require.Equal(t, before, a.statuses())
}

// An audit tells a lost certificate, until it is swept.
func TestLostCertificateIsFound(t *testing.T) {
	t.Parallel()
	a := newAccount(t, fleet.SageMakerEdge)
	begun := time.Now()
	lost := a.certificate(false)
	a.lose(begun, time.Now())
	a.lose(begun, time.Now()) // by two calls: told once
	a.requireFound("orphaned-certificate " + *lost.CertificateId + " of cam")
	a.later(2 * time.Minute)
	require.Len(t, a.sweep(true), 1)
	a.requireFound()
}

// A certificate from another time is somebody else's, however unused it looks.
func TestSweepLeavesOtherTimes(t *testing.T) {
	t.Parallel()
	a := newAccount(t, fleet.IoTCore)
	a.certificate(false)
	now := time.Now()
	before := a.statuses()
	settled := a.lose(now.Add(-time.Hour), now.Add(-time.Hour+10*time.Second))
	fresh := a.lose(now.Add(-activities.IssueTime/2), now.Add(-activities.IssueTime/2+time.Second))
	require.Empty(t, a.sweep(true))
	require.Equal(t, before, a.statuses())
	require.NotContains(t, a.keys(), settled)
	require.Contains(t, a.keys(), fresh, "what AWS lists may lag")
	a.requireFound()
	require.Empty(t, newAccount(t, fleet.IoTCore).sweep(true), "no records")
}

// A certificate may be one whose key a run is just storing: the sweep waits until it cannot be.
func TestSweepWaitsForRuns(t *testing.T) {
	t.Parallel()
	for _, stored := range []bool{true, false} {
		a := newAccount(t, fleet.IoTCore)
		begun := time.Now()
		c := a.certificate(false)
		record := a.lose(begun, time.Now())
		before := a.statuses()
		var told, waited time.Duration
		a.pause = func(_ context.Context, d time.Duration) error {
			waited = d
			require.Equal(t, before, a.statuses(), "nothing goes before")
			if stored {
				a.put(a.inBundle("cam", "device.pem.crt"), *c.CertificatePem)
			}
			a.later(d)
			return nil
		}
		swept, err := a.Sweep(t.Context(), true, func(d time.Duration) { told = d })
		require.NoError(t, err)
		require.Equal(t, told, waited)
		require.WithinRange(t, time.Now().Add(waited), begun.Add(activities.IssueTime-time.Second), time.Now().Add(activities.IssueTime+2*clockTolerance))
		if stored {
			require.Empty(t, swept)
			require.Equal(t, before, a.statuses())
		} else {
			require.Len(t, swept, 1)
			require.True(t, swept[0].Removed)
			require.Empty(t, a.statuses())
		}
		require.NotContains(t, a.keys(), record)
	}
	a := newAccount(t, fleet.IoTCore)
	begun := time.Now()
	a.certificate(false)
	a.lose(begun, time.Now())
	require.Len(t, a.sweep(false), 1, "a dry run does not wait")
	ctx, cancel := context.WithCancel(t.Context())
	a.pause = func(ctx context.Context, d time.Duration) error { cancel(); return pause(ctx, d) }
	_, err := a.Sweep(ctx, true, func(time.Duration) {})
	require.ErrorIs(t, err, context.Canceled)
	require.Len(t, a.statuses(), 1)
}
