package fleet

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var deviceKeys = Spec{Name: "cameras", Keys: KeysDevice}

// newRequest is a certificate request for that common name, and its key, in PEM.
func newRequest(t *testing.T, name string) (request, key string) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, private)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
}

func jsonLine(t *testing.T, device, csr string) string {
	line, err := json.Marshal(map[string]string{"device": device, "csr": csr})
	require.NoError(t, err)
	return string(line) + "\n"
}

func TestReadManifestTakesRequests(t *testing.T) {
	dir := t.TempDir()
	one, _ := newRequest(t, "cam-1")
	two, _ := newRequest(t, "cam-2")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "csrs"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "csrs", "1.csr"), []byte("of the first\n"+one+"etc\n"), 0o600))
	absolute := filepath.Join(t.TempDir(), "2.csr")
	require.NoError(t, os.WriteFile(absolute, []byte(two), 0o600))

	for _, text := range []string{
		"device,csr\ncam-1,csrs/1.csr\ncam-2," + absolute + "\n",
		jsonLine(t, "cam-1", one+"etc\n") + jsonLine(t, "cam-2", absolute),
	} {
		var got []Device
		_, err := deviceKeys.ReadManifest(t.Context(), "m", strings.NewReader(text), CSRsBeside(filepath.Join(dir, "m.csv")), func(_ int, d Device) error {
			got = append(got, d)
			return nil
		})
		require.NoError(t, err)
		require.Len(t, got, 2)
		require.Equal(t, []string{one, two}, []string{got[0].CSR, got[1].CSR}, "the request, and nothing else that stands there")
	}
}

func TestReadManifestRefusesRequests(t *testing.T) {
	dir := t.TempDir()
	other, key := newRequest(t, "other")
	mine, _ := newRequest(t, "cam-1")
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	write("other.csr", other)
	write("key-after.csr", mine+key)
	write("key-before.csr", key+mine)
	write("key.csr", key)
	large := write("large.csr", mine+strings.Repeat("\n", MaxCSRBytes))
	csr := CSRsBeside(filepath.Join(dir, "m"))
	for ref, want := range map[string]string{
		"":                           "m:1: csr: is missing: with keys: device each device has its certificate request",
		"other.csr":                  `m:1: csr: other.csr: its subject's common name is "other", not the device's name "cam-1"`,
		other:                        `m:1: csr: its subject's common name is "other", not the device's name "cam-1"`,
		"-----BEGIN X-----":          "m:1: csr: it holds no PEM certificate request, or something before it",
		"key-after.csr":              "m:1: csr: key-after.csr: it holds a private key beside the certificate request",
		"key-before.csr":             "m:1: csr: key-before.csr: it holds no PEM certificate request, or something before it",
		"key.csr":                    "m:1: csr: key.csr: it holds no PEM certificate request, or something before it",
		mine + key:                   "m:1: the line holds a private key, which belongs in no manifest; nothing after it was read",
		"none.csr":                   "m:1: csr: " + filepath.Join(dir, "none.csr") + ": there is no such file",
		".":                          "m:1: csr: " + dir + ": cannot be read: is a directory",
		"large.csr":                  "m:1: csr: " + large + ": has more than 65536 bytes: too large for a certificate request",
		strings.Repeat("x", 5000):    "m:1: csr: is neither a certificate request in PEM nor the path of one",
		"MC4CAQAwBQYDK2Vw\nBCIEIA==": "m:1: csr: is neither a certificate request in PEM nor the path of one",
	} {
		_, err := deviceKeys.ReadManifest(t.Context(), "m", strings.NewReader(jsonLine(t, "cam-1", ref)), csr, nil)
		requireProblems(t, err)
		require.EqualError(t, err, want)
		for line := range strings.Lines(key) {
			require.NotContains(t, err.Error(), strings.TrimSpace(line))
		}
	}

	// A name that is wrong is told alone: no request could have it.
	_, err := deviceKeys.ReadManifest(t.Context(), "m", strings.NewReader("device,csr\n-,none.csr\n"), csr, nil)
	require.Equal(t, []string{"device"}, fieldsOf(requireProblems(t, err)))

	_, err = deviceKeys.ReadManifest(t.Context(), "m", strings.NewReader("device,csr\ncam-1,1.csr\n"), nil, nil)
	requireProblems(t, err)
	require.ErrorContains(t, err, "m:2: csr: points at a certificate request that cannot be had from here")

	// Where it is not the manifest's fault, it is not told as such.
	mineErr := errors.New("throttled")
	_, err = deviceKeys.ReadManifest(t.Context(), "m", strings.NewReader("device,csr\n-,\ncam-1,s3://b/1.csr\n"),
		func(ref string) (string, error) {
			require.Equal(t, "s3://b/1.csr", ref)
			return "", mineErr
		}, nil)
	require.Equal(t, mineErr, err)
}

func TestReadCSR(t *testing.T) {
	mine, key := newRequest(t, "cam-1")
	path := filepath.Join(t.TempDir(), "1.csr")
	require.NoError(t, os.WriteFile(path, []byte("etc\n"+mine), 0o600))
	got, err := ReadCSR(path, "cam-1")
	require.NoError(t, err)
	require.Equal(t, mine, got)

	_, err = ReadCSR(path, "cam-2")
	require.EqualError(t, err, path+`: csr: its subject's common name is "cam-1", not the device's name "cam-2"`)
	require.NoError(t, os.WriteFile(path, []byte(mine+key), 0o600))
	_, err = ReadCSR(path, "cam-1")
	require.EqualError(t, err, path+": csr: it holds a private key beside the certificate request")
	_, err = ReadCSR(path+"x", "cam-1")
	require.EqualError(t, err, path+"x: csr: there is no such file")
}
