package activities

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/require"

	"edgefleet/internal/fleet"
)

// discarded runs DiscardCertificate until it is done.
func (a *account) discarded(in DiscardInput) Removal {
	a.Helper()
	r := removal{do: func(a *account, _ string) (any, error) { return again[Removal](a, a.DiscardCertificate, in) }}
	got, err := r.whole(a, thisRun)
	require.NoError(a, err)
	return got.(Removal)
}

// Wherever IssueCertificate had got to, and whatever came after it: nothing of it stays, and nothing
// else goes.
func TestDiscardWhereverIssuingHadGotTo(t *testing.T) {
	lose := func(operation string) func(*account) {
		return func(a *account) {
			a.arm(fault{Operation: operation, Kind: "drop-after"})
			_, err := run[Certificate](a, a.IssueCertificate, a.issueInput(thisRun))
			requireType(a.T, err, Unavailable)
		}
	}
	done := func(upTo string) func(*account) {
		return func(a *account) {
			for _, s := range steps[8:] {
				if s.name == upTo {
					return
				}
				// With the device's key the proof asks AWS's lists, which lag.
				require.True(a, a.await(func() bool { _, err := a.do(s, thisRun); return err == nil }), s.name)
			}
		}
	}
	aws, csr, device := allKeys[0], allKeys[1], allKeys[3]
	for _, c := range []struct {
		name string
		keys waysToKeys
		had  func(*account)
		want Removal
	}{
		{"nothing", aws, func(*account) {}, Gone},
		{"nothing", csr, func(*account) {}, Gone},
		{"nothing", device, func(*account) {}, Gone},
		{"its key was stored", csr, func(a *account) {
			a.arm(fault{Operation: "iot:CreateCertificateFromCsr", Kind: "drop-before"})
			_, err := run[Certificate](a, a.IssueCertificate, a.issueInput(thisRun))
			requireType(t, err, Unavailable)
		}, Removed},
		{"the answer to its key was lost", csr, lose("s3:PutObject"), Removed},
		{"the answer to its certificate was lost", csr, lose("iot:CreateCertificateFromCsr"), Removed},
		{"the answer to its certificate was lost", device, lose("iot:CreateCertificateFromCsr"), Gone},
		{"it was complete", aws, done("AttachThing"), Removed},
		{"it was complete", csr, done("AttachThing"), Removed},
		{"it was complete", device, done("AttachThing"), Removed},
		{"the device was complete", aws, done(""), Removed},
		{"the device was complete", csr, done(""), Removed},
		{"the device was complete", device, done(""), Removed},
	} {
		t.Run(c.keys.name+"/"+c.name, func(t *testing.T) {
			a := issuing(t, c.keys.keys)
			c.keys.use(a)
			foreign := must(a, a.iot.CreateKeysAndCertificate, &iot.CreateKeysAndCertificateInput{})
			_, err := a.do(stepNamed("CreateThing"), thisRun)
			require.NoError(t, err)
			before, files := a.inventory(), a.files()
			c.had(a)
			got := a.discarded(DiscardInput{CertificateInput: a.issueInput(thisRun)})
			require.Equal(t, c.want, got)
			require.Equal(t, before, a.inventory())
			require.Equal(t, files, a.files())
			require.Contains(t, a.certificates(), *foreign.CertificateId)
			require.Equal(t, Gone, a.discarded(DiscardInput{CertificateInput: a.issueInput(thisRun)}))
		})
	}
}

// What an attempt noted before it was killed goes as well, with its key or without.
func TestDiscardByNote(t *testing.T) {
	for _, key := range []bool{true, false} {
		a := issuing(t, fleet.KeysAWS)
		made := must(a, a.iot.CreateKeysAndCertificate, &iot.CreateKeysAndCertificateInput{})
		if key {
			require.NoError(t, a.put(t.Context(), a.bundle(), privateKeyFile, []byte(*made.KeyPair.PrivateKey), thisRun, false))
		}
		in := DiscardInput{CertificateInput: a.issueInput(thisRun), Note: AttemptNote{CertificateID: *made.CertificateId}}
		require.Equal(t, map[bool]Removal{true: Removed, false: Gone}[key], a.discarded(in))
		require.Empty(t, a.certificates())
		require.Len(t, a.files(), 1, "the fleet's root CA")
		require.Equal(t, Gone, a.discarded(in))
	}
	a := issuing(t, fleet.KeysAWS)
	begun := time.Now()
	in := DiscardInput{CertificateInput: a.issueInput(thisRun), Note: AttemptNote{CallingSince: begun}}
	require.Equal(t, Gone, a.discarded(in))
	require.Equal(t, Gone, a.discarded(in))
	a.requireLost(begun, 1)
}

// A key that another run left is used, and left there again: the certificate that was made for it
// goes, and what this run wrote beside it.
func TestDiscardLeavesAnotherRunsKey(t *testing.T) {
	for _, versioned := range []bool{false, true} {
		a := issuing(t, fleet.KeysCSR)
		if versioned {
			a.version()
		}
		a.arm(fault{Operation: "iot:CreateCertificateFromCsr", Kind: "drop-before"})
		_, err := run[Certificate](a, a.IssueCertificate, a.issueInput(otherRun))
		requireType(t, err, Unavailable)
		before, versions := a.files(), a.versions()
		require.Equal(t, Kept, a.discarded(DiscardInput{CertificateInput: a.issueInput(thisRun)}))
		require.Equal(t, before, a.files())

		c, err := run[Certificate](a, a.IssueCertificate, a.issueInput(thisRun))
		require.NoError(t, err)
		a.requireOne(c)
		require.Equal(t, Removed, a.discarded(DiscardInput{CertificateInput: a.issueInput(thisRun)}))
		require.Equal(t, before, a.files())
		require.Equal(t, versions, a.versions())
		require.Empty(t, a.certificates())
	}
}

// A certificate file that holds none says nothing of what to delete: that is for a person.
func TestDiscardUnreadableCertificate(t *testing.T) {
	a := issuing(t, fleet.KeysAWS)
	require.NoError(t, a.put(t.Context(), a.bundle(), CertificateFile, []byte("x"), thisRun, false))
	_, err := run[Removal](a, a.DiscardCertificate, DiscardInput{CertificateInput: a.issueInput(thisRun)})
	require.Contains(t, requireType(t, err, StateConflict).Message(), a.bundle().uri(CertificateFile))
}

// version makes the account's bucket keep all versions.
func (a *account) version() {
	a.Helper()
	must(a, a.s3.PutBucketVersioning, &s3.PutBucketVersioningInput{Bucket: &a.spec.Bundles.Bucket,
		VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}})
}

// versions are all versions of all objects, and the markers of deleted ones.
func (a *account) versions() (all []string) {
	a.Helper()
	out := must(a, a.s3.ListObjectVersions, &s3.ListObjectVersionsInput{Bucket: &a.spec.Bundles.Bucket})
	for _, v := range out.Versions {
		all = append(all, *v.Key+" "+*v.VersionId)
	}
	for _, m := range out.DeleteMarkers {
		all = append(all, *m.Key+" deleted")
	}
	return all
}

// On a versioned bucket an older version of a key is a key as well: all go, the deleted ones too.
func TestRemoveAllVersions(t *testing.T) {
	t.Parallel()
	for _, keys := range allKeys[:2] {
		a := newAccount(t, fleet.IoTCore)
		keys.use(a)
		a.version()
		a.upTo("IssueCertificate", thisRun)
		before := a.versions()
		a.upTo("", thisRun)
		key := a.object(privateKeyFile)
		for range 2 {
			a.remove(privateKeyFile)
			require.NoError(t, a.put(t.Context(), a.bundle(), privateKeyFile, []byte(key), thisRun, false))
		}
		a.remove(privateKeyFile)
		all := a.versions()
		require.GreaterOrEqual(t, len(all), len(before)+9)

		require.Equal(t, Removed, a.discarded(DiscardInput{CertificateInput: a.issueInput(thisRun)}))
		require.Equal(t, before, a.versions())
		require.Empty(t, a.certificates())
	}
}
