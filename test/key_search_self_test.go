package test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/converter"
)

// TestKeySearchFindsPlantedKeys: a search that finds nothing proves nothing unless it would find.
func TestKeySearchFindsPlantedKeys(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	ecDER, err := x509.MarshalPKCS8PrivateKey(ecKey)
	require.NoError(t, err)
	scalar, err := ecKey.Bytes()
	require.NoError(t, err)
	for name, key := range map[string]struct {
		kind          string
		der, exponent []byte
	}{
		"RSA as AWS writes it": {"RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey), rsaKey.D.Bytes()},
		"EC as we write it":    {"PRIVATE KEY", ecDER, scalar},
	} {
		t.Run(name, func(t *testing.T) {
			text := pem.EncodeToMemory(&pem.Block{Type: key.kind, Bytes: key.der})
			search := newKeySearch()
			require.NoError(t, search.addKey("cam-01", text))
			for how, planted := range plants(t, text, key.der, key.exponent) {
				assert.NotEmpty(t, search.in("a log", []byte(planted)), "%s is not found in a text", how)

				payloads, err := converter.GetDefaultDataConverter().ToPayloads(map[string]string{"note": planted})
				require.NoError(t, err)
				if how == "DER" || how == "the exponent alone" { // no JSON string can hold them: they travel raw
					payloads.Payloads[0].Data = []byte(planted)
					payloads.Payloads[0].Metadata["encoding"] = []byte("binary/plain")
				}
				found, err := search.inMessage("an event", completedWith(payloads))
				require.NoError(t, err)
				assert.NotEmpty(t, found, "%s is not found in an event's payload", how)
			}
		})
	}
}

// plants are the ways in which a key, or a piece of it, could come into a text.
func plants(t *testing.T, text, der, exponent []byte) map[string]string {
	t.Helper()
	lines := strings.Split(string(text), "\n")
	quoted, err := json.Marshal(string(text))
	require.NoError(t, err)
	return map[string]string{
		"PEM":                           string(text),
		"PEM in JSON":                   string(quoted),
		"PEM in base64":                 base64.StdEncoding.EncodeToString(text),
		"PEM in base64, after 1 byte":   base64.StdEncoding.EncodeToString(append([]byte("x"), text...)),
		"PEM in base64, after 2 bytes":  base64.StdEncoding.EncodeToString(append([]byte("xx"), text...)),
		"the PEM's body alone":          strings.Join(lines[1:len(lines)-2], "\n"),
		"a line of secrets":             "x" + lines[(len(lines)-1)/3] + "x", // there are public ones
		"DER":                           "\x00" + string(der),
		"DER in base64":                 base64.StdEncoding.EncodeToString(der),
		"DER in base64, after 1 byte":   base64.StdEncoding.EncodeToString(append([]byte("x"), der...)),
		"DER in base64, after 2 bytes":  base64.StdEncoding.EncodeToString(append([]byte("xx"), der...)),
		"DER in URL-safe base64":        base64.URLEncoding.EncodeToString(der),
		"DER in hex":                    hex.EncodeToString(der),
		"the exponent alone":            string(exponent),
		"the exponent alone in hex":     strings.ToUpper(hex.EncodeToString(exponent)),
		"the exponent alone in base64":  base64.StdEncoding.EncodeToString(exponent),
		"the words of a PEM key, alone": "-----BEGIN EC PRIVATE KEY-----",
	}
}

// TestKeySearchLeavesThePublicAlone: a certificate holds half of what is in its key.
func TestKeySearchLeavesThePublicAlone(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	search := newKeySearch()
	require.NoError(t, search.addKey("cam-01", pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})))
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	require.NoError(t, err)
	for shift := range 3 {
		shifted := append([]byte("xx")[:shift:shift], public...)
		assert.Empty(t, search.in("a certificate", []byte(base64.StdEncoding.EncodeToString(shifted))))
	}
	assert.Empty(t, search.in("a certificate", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})))
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	for _, found := range search.in("another key", x509.MarshalPKCS1PrivateKey(other)) {
		assert.NotContains(t, found, "cam-01")
	}
}

// TestKeySearchFindsUnknownKeys: of a key that no store has, only its kind is known.
func TestKeySearchFindsUnknownKeys(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	for _, key := range []any{rsaKey, ecKey} {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		require.NoError(t, err)
		text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
		for how, planted := range plants(t, text, der, nil) {
			if strings.HasPrefix(how, "the exponent") || how == "a line of secrets" {
				continue
			}
			assert.NotEmpty(t, newKeySearch().in("a log", []byte(planted)), "%s of a %T is not found", how, key)
		}
	}
}

func TestKeySearchTellsOfPayloadsItCannotRead(t *testing.T) {
	found, err := newKeySearch().inMessage("an event", completedWith(&common.Payloads{Payloads: []*common.Payload{{
		Metadata: map[string][]byte{"encoding": []byte("binary/zlib")}, Data: []byte("?"),
	}}}))
	require.NoError(t, err)
	assert.Len(t, found, 1)
}

func completedWith(result *common.Payloads) *history.HistoryEvent {
	return &history.HistoryEvent{Attributes: &history.HistoryEvent_ActivityTaskCompletedEventAttributes{
		ActivityTaskCompletedEventAttributes: &history.ActivityTaskCompletedEventAttributes{Result: result},
	}}
}
