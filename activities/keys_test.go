package activities

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/internal/fleet"
)

// waysToKeys are how a device comes by its key: each of them must hold for every step.
type waysToKeys struct {
	name string
	keys fleet.Keys
	kind fleet.KeyType
}

var allKeys = []waysToKeys{
	{"aws", fleet.KeysAWS, ""},
	{"csr, P-256", fleet.KeysCSR, fleet.KeyP256},
	{"csr, RSA", fleet.KeysCSR, fleet.KeyRSA2048},
	{"device", fleet.KeysDevice, ""},
}

func (w waysToKeys) use(a *account) {
	a.Helper()
	a.spec.Keys, a.spec.KeyType = w.keys, w.kind
	if w.keys == fleet.KeysDevice {
		a.csr = requestOf(a.T, newECKey(a.T, elliptic.P256()), a.device.Name)
	}
}

func newECKey(t *testing.T, curve elliptic.Curve) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	require.NoError(t, err)
	return key
}

// requestOf is a certificate request in PEM.
func requestOf(t *testing.T, key crypto.Signer, name string) string {
	t.Helper()
	return pemOfRequest(requestDER(t, key, name))
}

func requestDER(t *testing.T, key crypto.Signer, name string) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
	require.NoError(t, err)
	return der
}

func pemOfRequest(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

// The keys that we make are of the type that was asked for, and readable as any key of AWS's is.
func TestNewPrivateKey(t *testing.T) {
	for kind, right := range map[fleet.KeyType]func(crypto.Signer) bool{
		fleet.KeyP256: func(key crypto.Signer) bool {
			ec, is := key.(*ecdsa.PrivateKey)
			return is && ec.Curve == elliptic.P256()
		},
		fleet.KeyRSA2048: func(key crypto.Signer) bool {
			rsaKey, is := key.(*rsa.PrivateKey)
			return is && rsaKey.N.BitLen() == 2048
		},
	} {
		text, err := newPrivateKey(kind)
		require.NoError(t, err)
		key, err := parsePrivateKey(text)
		require.NoError(t, err)
		require.True(t, right(key), kind)
		request, err := newCSR(text, "cam-01")
		require.NoError(t, err)
		require.NoError(t, fleet.CheckCSR(request, "cam-01"))
	}
	_, err := newPrivateKey("dsa")
	require.ErrorContains(t, err, `"dsa" is no type of key`)
	for _, text := range []string{"", "x", pemOfRequest([]byte("x"))} {
		_, err := parsePrivateKey([]byte(text))
		require.Error(t, err)
	}
}
