package activities

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	_ "embed"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"go.temporal.io/sdk/activity"
)

const (
	// amazonRootCAURL is where Amazon publishes the root CA of the credential provider.
	amazonRootCAURL = "https://www.amazontrust.com/repository/AmazonRootCA1.pem"
	// amazonRootCASHA256 is the fingerprint of that certificate's DER.
	amazonRootCASHA256 = "8ecde6884f3d87b1125ba31ac3fcb13d7016de7f57cc904fe1cb97c6ae98196e"
)

// embeddedRootCA is Amazon's, for a worker that may not reach Amazon's repository.
//
//go:embed AmazonRootCA1.pem
var embeddedRootCA []byte

// RootCA says which root CA a fleet's devices trust, and where it is kept.
type RootCA struct {
	Bundle Bundle `json:"bundle"` // the fleet's; the PEM is kept there once for all its devices
	SHA256 string `json:"sha256"` // of the certificate's DER, in hex
	Source string `json:"source"` // where it came from: a URL, or "embedded"
}

// rootCACache keeps root CAs by fingerprint, so that a worker reads each once.
type rootCACache struct{ byFingerprint sync.Map }

// FetchRootCA fetches the root CA from its URL and keeps it in the fleet's bundle. From Amazon's
// URL only the pinned certificate is taken; when that cannot be reached the embedded one serves.
func (a *Activities) FetchRootCA(ctx context.Context, fleetBundle Bundle) (RootCA, error) {
	source := a.rootCAURL
	body, err := a.download(ctx, a.rootCAURL)
	if err == nil && !isPEM(body) {
		err = failed(InvalidInput, "reading the root CA from "+source, "it holds no PEM certificate; check EDGEFLEET_ROOT_CA_URL")
	}
	if err != nil && a.rootCAURL == amazonRootCAURL {
		activity.GetLogger(ctx).Warn("Amazon's root CA was not to be had; the embedded one is used", "error", err)
		source, body, err = "embedded", embeddedRootCA, nil
	}
	if err != nil {
		return RootCA{}, err
	}
	fingerprint, err := fingerprintOf(body)
	if err != nil {
		return RootCA{}, failed(InvalidInput, "reading the root CA from "+source, "%v", err)
	}
	if a.rootCAURL == amazonRootCAURL && fingerprint != amazonRootCASHA256 {
		return RootCA{}, failed(Conflict, "checking the root CA from "+source,
			"its fingerprint is %s, not Amazon's %s: something between the worker and Amazon replaces it", fingerprint, amazonRootCASHA256)
	}
	ca := RootCA{Bundle: fleetBundle, SHA256: fingerprint, Source: source}
	if kept, err := a.get(ctx, fleetBundle, rootCAFile); err == nil && bytes.Equal(kept.body, body) {
		return ca, nil // a versioned bucket should not gain a version with every run
	}
	if err := a.put(ctx, fleetBundle, rootCAFile, body, "", false); err != nil {
		return RootCA{}, err
	}
	a.rootCAs.byFingerprint.Store(fingerprint, body)
	return ca, nil
}

// isPEM tells a certificate from the page of a network that asks people to sign in.
func isPEM(text []byte) bool {
	block, _ := pem.Decode(text)
	return block != nil && block.Type == "CERTIFICATE"
}

func (a *Activities) download(ctx context.Context, url string) ([]byte, error) {
	doing := "fetching the root CA from " + url
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, failed(InvalidInput, doing, "EDGEFLEET_ROOT_CA_URL is no URL: %v", err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, failed(Unavailable, doing, "no answer: %v", rootCause(err))
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, failed(typeOfStatus(res.StatusCode), doing, "the answer was HTTP status %d", res.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxObjectBytes))
	if err != nil {
		return nil, failed(Unavailable, doing, "the answer broke off: %v", err)
	}
	return body, nil
}

// fingerprintOf is the SHA-256 of the one certificate in the PEM text, in hex.
func fingerprintOf(text []byte) (string, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return "", fmt.Errorf("it holds no PEM certificate")
	}
	if next, _ := pem.Decode(rest); next != nil {
		return "", fmt.Errorf("it holds more than one certificate") // devices would trust them all
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "", err
	}
	if now := time.Now(); now.After(certificate.NotAfter) {
		return "", fmt.Errorf("the certificate expired on %s", certificate.NotAfter.Format(time.DateOnly))
	}
	sum := sha256.Sum256(block.Bytes)
	return hex.EncodeToString(sum[:]), nil
}

// rootCA is the PEM of the fleet's root CA, from this worker's memory or from the fleet's bundle.
func (a *Activities) rootCA(ctx context.Context, ca RootCA) ([]byte, error) {
	if kept, ok := a.rootCAs.byFingerprint.Load(ca.SHA256); ok {
		return kept.([]byte), nil
	}
	doing := "reading the fleet's root CA " + ca.Bundle.uri(rootCAFile)
	o, err := a.get(ctx, ca.Bundle, rootCAFile)
	if err == errMissing {
		return nil, failed(NotFound, doing, "it is gone; `starter fleet apply` puts it back")
	}
	if err != nil {
		return nil, err
	}
	if got, err := fingerprintOf(o.body); err != nil || got != ca.SHA256 {
		return nil, failed(Conflict, doing, "it is not the certificate that the fleet was prepared with (%s)", ca.SHA256)
	}
	a.rootCAs.byFingerprint.Store(ca.SHA256, o.body)
	return o.body, nil
}
