package activities

import (
	"crypto/rsa"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/stretchr/testify/require"

	"edgefleet/internal/fleet"
)

// issuing is an account in which a certificate may be issued.
func issuing(t *testing.T, keys fleet.Keys) *account {
	a := newAccount(t, fleet.IoTCore)
	a.spec.Keys = keys
	if keys == fleet.KeysCSR {
		a.spec.KeyType = fleet.KeyP256
	}
	return a.upTo("CreateThing", thisRun)
}

// requireOne wants one certificate, INACTIVE, to be the one in the bundle, with its key.
func (a *account) requireOne(c Certificate) {
	a.Helper()
	require.Equal(a, map[string]string{c.ID: "INACTIVE"}, a.certificates())
	a.requireBundle(c)
}

func (a *account) requireBundle(c Certificate) {
	a.Helper()
	parsed, err := parseCertificate([]byte(a.object(CertificateFile)))
	require.NoError(a, err)
	require.Equal(a, c.ID, certificateID(parsed))
	require.True(a, isKeyOf([]byte(a.object(privateKeyFile)), parsed))
	fingerprint, err := fingerprintOf([]byte(a.object(rootCAFile)))
	require.NoError(a, err)
	require.Equal(a, a.ca.SHA256, fingerprint)
}

func TestIssuedCertificate(t *testing.T) {
	for _, keys := range allKeys {
		a := issuing(t, keys.keys)
		keys.use(a)
		c, err := run[Certificate](a, a.IssueCertificate, a.issueInput(thisRun))
		require.NoError(t, err)
		require.Equal(t, Certificate{ID: c.ID, ARN: c.ARN, Action: Created}, c)
		require.Equal(t, map[string]string{c.ID: "INACTIVE"}, a.certificates())
		parsed, err := parseCertificate([]byte(a.object(CertificateFile)))
		require.NoError(t, err)
		want := a.device.Name
		if keys.keys == fleet.KeysAWS {
			want = "AWS IoT Certificate"
		}
		require.Equal(t, want, parsed.Subject.CommonName)
		if keys.keys == fleet.KeysDevice {
			require.True(t, isRequestOf(a.csr, parsed))
			continue
		}
		a.requireOne(c)
		_, isRSA := parsed.PublicKey.(*rsa.PublicKey)
		require.Equal(t, keys.kind != fleet.KeyP256, isRSA)
	}
	for _, keys := range []fleet.Keys{"", "x"} {
		a := issuing(t, keys)
		_, err := run[Certificate](a, a.IssueCertificate, a.issueInput(thisRun))
		require.Contains(t, requireType(t, err, InvalidInput).Message(), "is none of aws, csr, device")
	}
}

// Whichever file of the bundle cannot be written, for a while or for good, no certificate stays
// that the bundle does not hold.
func TestBundleCannotBeWritten(t *testing.T) {
	for _, file := range []string{privateKeyFile, rootCAFile, CertificateFile} {
		for _, m := range mishaps {
			if m.fault.Kind != "drop-after" && m.fault.Kind != "throttle" {
				continue // each takes the seconds that an attempt tries on
			}
			t.Run(m.fault.Kind+"/"+file, func(t *testing.T) {
				t.Parallel()
				a := issuing(t, fleet.KeysAWS)
				m.fault.Operation, m.fault.Match, m.fault.Times = "s3:PutObject", a.bundle().Location.Key(file), 4
				a.arm(m.fault)
				c, err := run[Certificate](a, a.IssueCertificate, a.issueInput(thisRun))
				a.requireStruck(m.fault.Match)
				if m.fault.Kind == "drop-after" && file == CertificateFile { // it is there all the same
					require.NoError(t, err)
					a.requireOne(c)
					return
				}
				requireType(t, err, m.kind)
				require.Empty(t, a.certificates())
				c, err = again[Certificate](a, a.IssueCertificate, a.issueInput(thisRun))
				require.NoError(t, err)
				require.Equal(t, Created, c.Action)
				a.requireOne(c)
			})
		}
		t.Run("denied/"+file, func(t *testing.T) {
			t.Parallel()
			a := issuing(t, fleet.KeysAWS)
			a.arm(fault{Operation: "s3:PutObject", Kind: "error", Code: "AccessDenied", Status: 403, Match: a.bundle().Location.Key(file), Times: 1})
			_, err := run[Certificate](a, a.IssueCertificate, a.issueInput(thisRun))
			final := requireType(t, err, AccessDenied)
			require.Contains(t, final.Message(), "writing "+a.bundle().uri(file))
			require.Empty(t, a.certificates())
		})
	}
}

// What an attempt noted that was killed: its certificate is completed when its key is stored,
// otherwise deleted.
func TestAttemptWasKilled(t *testing.T) {
	killed := func(t *testing.T, key bool) (*account, *iot.CreateKeysAndCertificateOutput) {
		a := issuing(t, fleet.KeysAWS)
		made := must(a, a.iot.CreateKeysAndCertificate, &iot.CreateKeysAndCertificateInput{})
		if key {
			require.NoError(t, a.put(t.Context(), a.bundle(), privateKeyFile, []byte(*made.KeyPair.PrivateKey), thisRun, false))
		}
		a.heartbeat = AttemptNote{CertificateID: *made.CertificateId}
		return a, made
	}
	t.Run("after it stored the key", func(t *testing.T) {
		a, made := killed(t, true)
		c, err := again[Certificate](a, a.IssueCertificate, a.issueInput(thisRun))
		require.NoError(t, err)
		require.Equal(t, Certificate{ID: *made.CertificateId, ARN: *made.CertificateArn, Action: Created}, c)
		a.requireOne(c)
	})
	t.Run("before it stored the key", func(t *testing.T) {
		a, made := killed(t, false)
		c, err := again[Certificate](a, a.IssueCertificate, a.issueInput(thisRun))
		require.NoError(t, err)
		require.NotEqual(t, *made.CertificateId, c.ID)
		a.requireOne(c)
	})
	t.Run("and the bundle holds another key", func(t *testing.T) {
		a, made := killed(t, false)
		key, err := newPrivateKey(fleet.KeyP256)
		require.NoError(t, err)
		require.NoError(t, a.put(t.Context(), a.bundle(), privateKeyFile, key, otherRun, false))
		c, err := again[Certificate](a, a.IssueCertificate, a.issueInput(thisRun))
		require.NoError(t, err)
		require.NotEqual(t, *made.CertificateId, c.ID)
		a.requireOne(c)
	})
	for _, key := range []bool{true, false} {
		for _, operation := range []string{"iot:DescribeCertificate", "iot:DeleteCertificate"} {
			if key && operation == "iot:DeleteCertificate" {
				continue
			}
			for _, m := range mishaps {
				t.Run(fmt.Sprintf("key stored %t, then %s of %s", key, m.fault.Kind, operation), func(t *testing.T) {
					a, _ := killed(t, key)
					m.fault.Operation = operation
					a.arm(m.fault)
					_, err := again[Certificate](a, a.IssueCertificate, a.issueInput(thisRun))
					requireType(t, err, m.kind)
					a.requireStruck("")
					c, err := again[Certificate](a, a.IssueCertificate, a.issueInput(thisRun))
					require.NoError(t, err)
					a.requireOne(c)
				})
			}
		}
	}
}

// A certificate whose answer was lost is found by its public key, among others and on any page.
func TestCertificateFoundByPublicKey(t *testing.T) {
	a := issuing(t, fleet.KeysCSR)
	others := func() {
		for range 3 {
			_, err := a.iot.CreateKeysAndCertificate(t.Context(), &iot.CreateKeysAndCertificateInput{})
			require.NoError(t, err)
		}
	}
	others()
	a.arm(fault{Operation: "iot:CreateCertificateFromCsr", Kind: "drop-after"})
	_, err := run[Certificate](a, a.IssueCertificate, a.issueInput(thisRun))
	requireType(t, err, Unavailable)
	others()
	key := a.object(privateKeyFile)

	calls := a.callsDuring(func() {
		c, err := again[Certificate](a, a.IssueCertificate, a.issueInput(thisRun))
		require.NoError(t, err)
		require.Equal(t, Created, c.Action)
		a.requireBundle(c)
	})
	require.NotContains(t, calls, "iot:CreateCertificateFromCsr")
	require.Equal(t, key, a.object(privateKeyFile), "the key stays")
	require.Len(t, a.certificates(), 7)
}

// A key that AWS never heard of is used for the certificate, not replaced.
func TestStoredKeyIsUsed(t *testing.T) {
	a := issuing(t, fleet.KeysCSR)
	a.arm(fault{Operation: "iot:CreateCertificateFromCsr", Kind: "drop-before"})
	_, err := run[Certificate](a, a.IssueCertificate, a.issueInput(thisRun))
	requireType(t, err, Unavailable)
	key := a.object(privateKeyFile)
	c, err := run[Certificate](a, a.IssueCertificate, a.issueInput(otherRun))
	require.NoError(t, err)
	require.Equal(t, key, a.object(privateKeyFile))
	a.requireOne(c)
}

func TestBundleThatDoesNotFit(t *testing.T) {
	spoiled := func(t *testing.T, spoil func(*account, string)) (a *account, certificates, files map[string]string, err error) {
		a = issuing(t, fleet.KeysAWS)
		c, err := run[Certificate](a, a.IssueCertificate, a.issueInput(otherRun))
		require.NoError(t, err)
		spoil(a, c.ID)
		certificates, files = a.certificates(), a.files()
		_, err = run[Certificate](a, a.IssueCertificate, a.issueInput(thisRun))
		return a, certificates, files, err
	}
	put := func(name, text string) func(*account, string) {
		return func(a *account, _ string) {
			require.NoError(a, a.put(a.Context(), a.bundle(), name, []byte(text), otherRun, false))
		}
	}
	key, err := newPrivateKey(fleet.KeyP256)
	require.NoError(t, err)
	for name, c := range map[string]struct {
		spoil func(*account, string)
		want  string
	}{
		"no key":           {func(a *account, _ string) { a.remove(privateKeyFile) }, "device.pem.crt is there and private.pem.key is not"},
		"another key":      {put(privateKeyFile, string(key)), "private.pem.key does not belong to device.pem.crt"},
		"key is none":      {put(privateKeyFile, "x"), "private.pem.key does not belong to device.pem.crt"},
		"certificate none": {put(CertificateFile, "x"), "device.pem.crt: it holds no PEM certificate"},
		"key for it":       {put(CertificateFile, string(key)), "device.pem.crt: it holds no PEM certificate"},
		"deleted in AWS": {func(a *account, id string) {
			must(a, a.iot.DeleteCertificate, &iot.DeleteCertificateInput{CertificateId: &id})
		}, "it was deleted by hand. `starter decommission` clears what is left of the device"},
		"revoked": {func(a *account, id string) {
			must(a, a.iot.UpdateCertificate, &iot.UpdateCertificateInput{CertificateId: &id, NewStatus: types.CertificateStatusRevoked})
		}, "is REVOKED"},
	} {
		t.Run(name, func(t *testing.T) {
			a, certificates, files, err := spoiled(t, c.spoil)
			require.Contains(t, requireType(t, err, StateConflict).Message(), c.want)
			require.Equal(t, certificates, a.certificates())
			require.Equal(t, files, a.files())
		})
	}
}

func TestActivateCertificate(t *testing.T) {
	a := issuing(t, fleet.KeysAWS)
	c, err := run[Certificate](a, a.IssueCertificate, a.issueInput(thisRun))
	require.NoError(t, err)
	r, err := run[Resource](a, a.ActivateCertificate, c)
	require.NoError(t, err)
	require.Equal(t, Resource{Type: "iot:CertificateStatus", Name: "ACTIVE", ARN: c.ARN, Action: Created}, r)
	require.Equal(t, map[string]string{c.ID: "ACTIVE"}, a.certificates())

	must(a, a.iot.UpdateCertificate, &iot.UpdateCertificateInput{CertificateId: &c.ID, NewStatus: types.CertificateStatusRevoked})
	_, err = run[Resource](a, a.ActivateCertificate, c)
	requireType(t, err, StateConflict)
	_, err = run[Resource](a, a.ActivateCertificate, Certificate{ID: strings.Repeat("0", 64)})
	requireType(t, err, NotFound)
}

// The check that no key is said can fail: it finds the keys that went over the wire.
func TestKeysAreWatched(t *testing.T) {
	for _, keys := range []fleet.Keys{fleet.KeysAWS, fleet.KeysCSR} {
		a := issuing(t, keys)
		_, err := run[Certificate](a, a.IssueCertificate, a.issueInput(thisRun))
		require.NoError(t, err)
		require.NotEmpty(t, a.wire.keys)
		body := strings.Split(a.object(privateKeyFile), "\n")
		require.Equal(t, body[1], strings.Split(a.wire.keys[len(a.wire.keys)-1], "\n")[0])
	}
}
