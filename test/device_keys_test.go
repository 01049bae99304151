package test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net/http"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"edgefleet/workflows"
)

// certificateRequest is what a device makes, of its own key, in PEM.
func certificateRequest(t *testing.T, name string, key crypto.Signer) string {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

func newECKey(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	require.NoError(t, err)
	return key
}

// TestDeviceKeys: the device's own key never leaves it, and with it the device fetches credentials.
func TestDeviceKeys(t *testing.T) {
	s := newLanes(t, 1).take(t)
	d := newDevice(t, sageMaker, "keys: device\n")
	key := newECKey(t, elliptic.P256())
	had := s.certificates(t)
	request := writeFile(t, "device.csr", certificateRequest(t, d.Name, key))
	s.fault(t, fault{Operation: "iot:CreateCertificateFromCsr", Kind: "drop-after", Times: 1}) // its certificate is adopted
	o := s.starter(t, "provision", "-f", d.file, d.Name, "--csr", request, "-o", "json")
	o.exits(t, 0)
	assert.Empty(t, s.pendingFaults(t))
	var r workflows.ProvisionResult
	o.decode(t, &r)
	assert.True(t, r.Proof.LeftToDevice)
	assert.Len(t, s.certificates(t), len(had)+1)

	kept := s.objects(t, r.Bundle.Key(""))
	slices.Sort(kept)
	assert.Equal(t, []string{"AmazonRootCA1.pem", "device.json", "device.pem.crt"}, kept)
	files := map[string][]byte{}
	for _, name := range kept {
		text, err := s.object(t.Context(), r.Bundle.Key(name))
		require.NoError(t, err)
		files[name] = text
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	files["private.pem.key"] = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	assert.Equal(t, http.StatusOK, asDevice(t, files, r.CredentialsURL))
	assert.Empty(t, s.audit(t, d))

	s.decommission(t, d)
	s.assertGone(t, d)
	assert.Equal(t, had, s.certificates(t))
}

// TestBadCertificateRequest: each is refused before anything is started.
func TestBadCertificateRequest(t *testing.T) {
	s := shared(t)
	const name = "device-with-bad-request"
	good := certificateRequest(t, name, newECKey(t, elliptic.P256()))
	block, _ := pem.Decode([]byte(good))
	spoiled := slices.Clone(block.Bytes)
	spoiled[len(spoiled)-1] ^= 1
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	d := newDevice(t, sageMaker, "keys: device\n")
	for what, test := range map[string]struct{ request, word string }{
		"a bad signature": {string(pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: spoiled})), "signature"},
		"a short RSA key": {certificateRequest(t, name, short), "1024 bits"},
		"another curve":   {certificateRequest(t, name, newECKey(t, elliptic.P521())), "P-521"},
		"another's name":  {certificateRequest(t, "somebody-else", newECKey(t, elliptic.P256())), `"somebody-else"`},
		"no request":      {"x", "no PEM certificate request"},
	} {
		t.Run(what, func(t *testing.T) {
			o := s.starter(t, "provision", "-f", d.file, name, "--csr", writeFile(t, "device.csr", test.request))
			o.exits(t, 2, "csr", test.word)
		})
	}
	t.Run("none", func(t *testing.T) {
		s.starter(t, "provision", "-f", d.file, name).exits(t, 2, "--csr")
	})
	t.Run("where the fleet's keys are not the devices'", func(t *testing.T) {
		other := newDevice(t, sageMaker, "keys: csr\n")
		s.starter(t, "provision", "-f", other.file, name, "--csr", writeFile(t, "device.csr", good)).exits(t, 2, "--csr", "keys: device")
	})
	started, err := s.executions(t.Context(), "default", "EdgeFleet = '"+d.spec.Name+"'")
	require.NoError(t, err)
	assert.Empty(t, started)
}
