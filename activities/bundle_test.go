package activities

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/internal/fleet"
)

func TestPlacesOfBundles(t *testing.T) {
	spec := fleet.Spec{Name: "cameras", Bundles: fleet.S3URI{Bucket: "b"}, KMSKeyID: "k"}
	require.Equal(t, Bundle{fleet.S3URI{Bucket: "b", Prefix: "cameras"}, "k"}, FleetBundle(spec))
	require.Equal(t, "s3://b/cameras/cam-01/device.json", DeviceBundle(spec, "cam-01").uri(RecordFile))
	spec.Bundles.Prefix = "files"
	require.Equal(t, "s3://b/files/cameras/cam-01/device.json", DeviceBundle(spec, "cam-01").uri(RecordFile))
}

// Each object names the run that wrote it, and is encrypted with the fleet's key if it has one.
func TestPutSendsRunAndKey(t *testing.T) {
	for kms, want := range map[string][2]string{"": {"", ""}, "alias/edge": {"aws:kms", "alias/edge"}} {
		a := newAccount(t, fleet.IoTCore)
		a.spec.KMSKeyID = kms
		var sent http.Header
		next := a.wire.next
		a.wire.next = roundTrip(func(req *http.Request) (*http.Response, error) {
			sent = req.Header.Clone()
			return next.RoundTrip(req)
		})
		require.NoError(t, a.put(t.Context(), a.bundle(), RecordFile, []byte("{}"), thisRun, false))
		require.Equal(t, thisRun, sent.Get("X-Amz-Meta-Edgefleet-Run"))
		require.Equal(t, want[0], sent.Get("X-Amz-Server-Side-Encryption"))
		require.Equal(t, want[1], sent.Get("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id"))
		o, err := a.get(t.Context(), a.bundle(), RecordFile)
		require.NoError(t, err)
		require.Equal(t, thisRun, o.run)
		require.False(t, o.modified.IsZero())
	}
}

func TestPutIfAbsent(t *testing.T) {
	a := newAccount(t, fleet.IoTCore)
	_, err := a.get(t.Context(), a.bundle(), privateKeyFile)
	require.ErrorIs(t, err, errMissing)
	require.NoError(t, a.put(t.Context(), a.bundle(), privateKeyFile, []byte("one"), thisRun, true))
	require.ErrorIs(t, a.put(t.Context(), a.bundle(), privateKeyFile, []byte("two"), otherRun, true), errExists)
	require.Equal(t, "one", a.object(privateKeyFile))
}

// A missing bucket is not an empty bundle.
func TestMissingBucket(t *testing.T) {
	a := newAccount(t, fleet.IoTCore)
	a.spec.Bundles.Bucket = "no-such-bucket"
	_, err := a.get(t.Context(), a.bundle(), CertificateFile)
	require.Contains(t, requireType(t, err, NotFound).Message(), "reading s3://no-such-bucket/files/")
}
