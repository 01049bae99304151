package activities

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"

	"edgefleet/internal/fleet"
	"edgefleet/internal/quota"
)

// newCA is a certificate that signed itself, in PEM.
func newCA(t *testing.T, notAfter time.Time) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Other CA"}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, NotBefore: notAfter.Add(-48 * time.Hour), NotAfter: notAfter}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// fromAmazon has Amazon's repository, and nothing else, answer as the test says.
func fromAmazon(t *testing.T, answerer roundTrip) {
	t.Helper()
	before := http.DefaultClient.Transport
	http.DefaultClient.Transport = roundTrip(func(req *http.Request) (*http.Response, error) {
		if req.URL.String() == amazonRootCAURL {
			return answerer(req)
		}
		return http.DefaultTransport.RoundTrip(req)
	})
	t.Cleanup(func() { http.DefaultClient.Transport = before })
}

// trusting is an account whose root CA comes from the URL.
func trusting(t *testing.T, url string) *account {
	a := newAccount(t, fleet.IoTCore)
	a.Activities = New(a.cfg, url, quota.Unlimited())
	return a
}

func (a *account) fetch() (RootCA, error) {
	a.Helper()
	return run[RootCA](a, a.FetchRootCA, FleetBundle(a.spec))
}

func (a *account) keptCA() string {
	a.Helper()
	o, err := a.get(a.Context(), FleetBundle(a.spec), rootCAFile)
	require.NoError(a, err)
	return string(o.body)
}

func TestEmbeddedRootCAIsAmazons(t *testing.T) {
	fingerprint, err := fingerprintOf(embeddedRootCA)
	require.NoError(t, err)
	require.Equal(t, amazonRootCASHA256, fingerprint)
}

func TestFetchRootCA(t *testing.T) {
	a := newAccount(t, fleet.IoTCore)
	ca, err := a.fetch()
	require.NoError(t, err)
	want, err := fingerprintOf(local.RootCA())
	require.NoError(t, err)
	require.Equal(t, RootCA{FleetBundle(a.spec), want, local.URL() + "/_localaws/AmazonRootCA1.pem"}, ca)
	require.Equal(t, string(local.RootCA()), a.keptCA())

	calls := a.callsDuring(func() {
		again, err := a.fetch()
		require.NoError(t, err)
		require.Equal(t, ca, again)
	})
	require.NotContains(t, calls, "s3:PutObject", "a versioned bucket should not gain a version")

	// A worker reads it once, and another worker reads it from the bundle.
	calls = a.callsDuring(func() {
		other := New(a.cfg, a.rootCAURL, quota.Unlimited())
		for range 2 {
			body, err := other.rootCA(t.Context(), ca)
			require.NoError(t, err)
			require.Equal(t, local.RootCA(), body)
		}
	})
	require.Equal(t, 1, calls["s3:GetObject"].Calls)
}

// Each fleet's bundle gets the root CA, also from a worker that has it in memory, and gets it back.
func TestRootCAOfEachFleet(t *testing.T) {
	a := newAccount(t, fleet.IoTCore)
	first, err := a.fetch()
	require.NoError(t, err)

	a.spec.Name = "gateways"
	second, err := a.fetch()
	require.NoError(t, err)
	require.Equal(t, first.SHA256, second.SHA256)
	require.Equal(t, string(local.RootCA()), a.keptCA())

	b := FleetBundle(a.spec).Location
	key := b.Key(rootCAFile)
	must(a, a.s3.DeleteObject, &s3.DeleteObjectInput{Bucket: &b.Bucket, Key: &key})
	_, err = New(a.cfg, "", quota.Unlimited()).rootCA(t.Context(), second)
	require.Contains(t, requireType(t, err, NotFound).Message(), "it is gone; `starter fleet apply` puts it back")
	_, err = a.fetch()
	require.NoError(t, err)
	require.Equal(t, string(local.RootCA()), a.keptCA())
}

// Where Amazon's repository cannot be reached, or does not answer, the embedded one serves.
func TestAmazonIsNotReached(t *testing.T) {
	for name, amazon := range map[string]roundTrip{
		"no answer": func(*http.Request) (*http.Response, error) { return nil, errors.New("no route to host") },
		"an error":  func(*http.Request) (*http.Response, error) { return answer(503, nil, "busy"), nil },
	} {
		t.Run(name, func(t *testing.T) {
			fromAmazon(t, amazon)
			a := trusting(t, "")
			ca, err := a.fetch()
			require.NoError(t, err)
			require.Equal(t, RootCA{FleetBundle(a.spec), amazonRootCASHA256, "embedded"}, ca)
			require.Equal(t, string(embeddedRootCA), a.keptCA())
		})
	}
}

func TestAmazonsRootCAIsPinned(t *testing.T) {
	serve := func(body []byte) roundTrip {
		return func(*http.Request) (*http.Response, error) { return answer(200, nil, string(body)), nil }
	}
	fromAmazon(t, serve(embeddedRootCA))
	ca, err := trusting(t, "").fetch()
	require.NoError(t, err)
	require.Equal(t, amazonRootCAURL, ca.Source)

	other := newCA(t, time.Now().Add(time.Hour))
	fromAmazon(t, serve(other))
	a := trusting(t, "")
	_, err = a.fetch()
	require.Contains(t, requireType(t, err, Conflict).Message(), "not Amazon's "+amazonRootCASHA256)
	_, err = a.get(t.Context(), FleetBundle(a.spec), rootCAFile)
	require.ErrorIs(t, err, errMissing, "nothing is kept")

	// A second certificate behind the pinned one would be trusted as well.
	fromAmazon(t, serve(append(append([]byte{}, embeddedRootCA...), other...)))
	_, err = trusting(t, "").fetch()
	require.Contains(t, requireType(t, err, InvalidInput).Message(), "more than one certificate")
}

func TestRootCAOfAnotherURL(t *testing.T) {
	expired := time.Now().Add(-time.Hour)
	key, err := newPrivateKey(fleet.KeyP256)
	require.NoError(t, err)
	for name, c := range map[string]struct {
		status int
		body   string
		kind   string
		want   string
	}{
		"missing":       {404, "", NotFound, "the answer was HTTP status 404"},
		"denied":        {403, "", AccessDenied, "the answer was HTTP status 403"},
		"broken":        {500, "", Unavailable, "the answer was HTTP status 500"},
		"no PEM":        {200, "<html>", InvalidInput, "it holds no PEM certificate"},
		"a key":         {200, string(key), InvalidInput, "it holds no PEM certificate"},
		"no DER":        {200, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", InvalidInput, "reading the root CA from"},
		"expired":       {200, string(newCA(t, expired)), InvalidInput, "the certificate expired on " + expired.UTC().Format(time.DateOnly)},
		"two of them":   {200, string(local.RootCA()) + string(newCA(t, time.Now().Add(time.Hour))), InvalidInput, "more than one certificate"},
		"text and PEM":  {200, "Local AWS\n" + string(local.RootCA()), "", ""},
		"unlike before": {200, string(newCA(t, time.Now().Add(time.Hour))), "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.body))
			}))
			defer server.Close()
			a := trusting(t, server.URL)
			_, err := a.fetch()
			if c.kind == "" {
				require.NoError(t, err)
				require.Equal(t, c.body, a.keptCA())
				return
			}
			require.Contains(t, requireType(t, err, c.kind).Message(), c.want)
		})
	}
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	_, err = trusting(t, gone.URL).fetch()
	requireType(t, err, Unavailable)
	_, err = trusting(t, "://").fetch()
	require.Contains(t, requireType(t, err, InvalidInput).Message(), "EDGEFLEET_ROOT_CA_URL is no URL")
}

// What stands in the bundle must be what the fleet was prepared with.
func TestKeptRootCAWasReplaced(t *testing.T) {
	a := newAccount(t, fleet.IoTCore)
	ca, err := a.fetch()
	require.NoError(t, err)
	for _, body := range [][]byte{newCA(t, time.Now().Add(time.Hour)), []byte("x")} {
		require.NoError(t, a.put(t.Context(), FleetBundle(a.spec), rootCAFile, body, "", false))
		_, err = New(a.cfg, "", quota.Unlimited()).rootCA(t.Context(), ca)
		requireType(t, err, Conflict)
	}
}
