package activities

import (
	"bytes"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/internal/fleet"
)

// weakKey is an RSA key of 1024 bits, made for this test and of no other use.
func weakKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	t.Setenv("GODEBUG", "rsa1024min=0")
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	return key
}

// The device's own key: a certificate for its request, no private key on our side, and a proof that
// is left to the device.
func TestKeyOfDevice(t *testing.T) {
	a := newAccount(t, fleet.IoTCore)
	allKeys[3].use(a)
	a.upTo("ProveDevice", thisRun)
	a.awaitAttachments("ActivateCertificate")
	proof, err := a.prove(thisRun)
	require.NoError(t, err)
	require.Equal(t, Proof{LeftToDevice: true, Record: Created}, proof)
	r := a.record()
	require.Equal(t, fleet.KeysDevice, r.Keys)
	require.True(t, r.ProvenAt.IsZero(), "nobody has proven anything yet")
	require.False(t, r.CreatedAt.IsZero())
	require.Equal(t, a.certificate.ID, r.CertificateID)
	parsed, err := parseCertificate([]byte(a.object(CertificateFile)))
	require.NoError(t, err)
	require.True(t, isRequestOf(a.csr, parsed))
	require.NotContains(t, a.files(), a.bundle().Location.Key(privateKeyFile))
	for name, text := range a.files() {
		require.NotContains(t, text, "PRIVATE KEY", name)
	}
	require.Empty(t, a.wire.keys)

	// The certificate of another request is not the device's.
	a.csr = requestOf(t, newECKey(t, elliptic.P256()), a.device.Name)
	_, err = run[Certificate](a, a.IssueCertificate, a.issueInput(thisRun))
	require.Contains(t, requireType(t, err, Conflict).Message(), "is for another key than the device's request")
}

// Until all is in place the proof waits.
func TestProofLeftToDevice(t *testing.T) {
	for _, last := range []string{"AttachThing", "AttachPolicy", "ActivateCertificate"} {
		t.Run("before "+last, func(t *testing.T) {
			t.Parallel()
			a := newAccount(t, fleet.IoTCore)
			allKeys[3].use(a)
			a.upTo(last, thisRun)
			_, err := a.prove(thisRun)
			requireType(t, err, NotYetEffective)
			_, err = a.get(t.Context(), a.bundle(), RecordFile)
			require.ErrorIs(t, err, errMissing)
		})
	}
	a := newAccount(t, fleet.IoTCore)
	allKeys[3].use(a)
	a.upTo("AttachThing", thisRun)
	require.Equal(t, Removed, a.discarded(DiscardInput{CertificateInput: a.issueInput(thisRun)}))
	_, err := a.prove(thisRun)
	requireType(t, err, NotFound)
}

func TestRequestsThatAreRefused(t *testing.T) {
	broken := requestDER(t, newECKey(t, elliptic.P256()), "cam")
	broken[len(broken)-1] ^= 1
	other := requestDER(t, newECKey(t, elliptic.P256()), "cam")
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	key, err := newPrivateKey(fleet.KeyP256)
	require.NoError(t, err)
	good := requestOf(t, newECKey(t, elliptic.P384()), "cam")
	for name, c := range map[string]struct{ csr, want string }{
		"signature broken":      {pemOfRequest(broken), "its signature is bad"},
		"signature of another":  {pemOfRequest(bytes.Replace(other, []byte("cam"), []byte("mac"), 1)), "its signature is bad"},
		"RSA of 1024 bits":      {requestOf(t, weakKey(t), "cam"), "its RSA key has 1024 bits"},
		"P-224":                 {requestOf(t, newECKey(t, elliptic.P224()), "cam"), "its EC key is on P-224"},
		"P-521":                 {requestOf(t, newECKey(t, elliptic.P521()), "cam"), "its EC key is on P-521"},
		"Ed25519":               {requestOf(t, edKey, "cam"), "its key is of the type Ed25519"},
		"another name":          {requestOf(t, newECKey(t, elliptic.P256()), "cam-2"), `its subject's common name is "cam-2", not the device's name "cam"`},
		"no name":               {requestOf(t, newECKey(t, elliptic.P256()), ""), `its subject's common name is ""`},
		"no PEM":                {"x", "it holds no PEM certificate request"},
		"empty":                 {"", "it holds no PEM certificate request"},
		"a key instead":         {string(key), "it holds no PEM certificate request"},
		"PEM of something else": {string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: []byte("x")})), "asn1"},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorContains(t, fleet.CheckCSR(c.csr, "cam"), c.want)
			a := newAccount(t, fleet.IoTCore)
			a.device.Name, a.spec.Keys, a.csr = "cam", fleet.KeysDevice, c.csr
			_, err := run[Certificate](a, a.IssueCertificate, a.issueInput(thisRun))
			require.Contains(t, requireType(t, err, InvalidInput).Message(), `reading the certificate request of device "cam": `)
			require.Empty(t, a.certificates())
			require.Empty(t, a.files())
		})
	}
	require.NoError(t, fleet.CheckCSR(good, "cam"))
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	require.NoError(t, fleet.CheckCSR(requestOf(t, rsaKey, "cam"), "cam"))
}
