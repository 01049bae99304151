package activities

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// ProveInput is what ProveDevice needs. Record is the device's, without its times and runs.
type ProveInput struct {
	Bundle Bundle `json:"bundle"`
	RootCA RootCA `json:"rootCa"`
	Record Record `json:"record"`
	Run    string `json:"run"`
}

// Proof says that the device's certificate fetched AWS credentials over mutual TLS. The
// credentials themselves were dropped.
type Proof struct {
	ProvenAt          time.Time `json:"provenAt"`
	CredentialsExpire time.Time `json:"credentialsExpire"` // what the provider said of those it gave
}

// ProveDevice fetches credentials as the device will: with the key and certificate of its bundle,
// trusting the fleet's root CA. Only then it writes the device's record. A 403 is NotYetEffective,
// to be retried: a policy may take minutes to take effect.
func (a *Activities) ProveDevice(ctx context.Context, in ProveInput) (Proof, error) {
	client, err := a.deviceClient(ctx, in)
	if err != nil {
		return Proof{}, err
	}
	defer client.CloseIdleConnections()
	expire, err := fetchCredentials(ctx, client, in.Record)
	if err != nil {
		return Proof{}, err
	}
	now := time.Now().UTC().Truncate(time.Millisecond)
	record := in.Record
	record.RunID, record.CreatedAt = in.Run, now
	earlier, err := a.getRecord(ctx, in.Bundle)
	switch {
	case err == nil && earlier.CertificateID == record.CertificateID:
		record.RunID, record.CreatedAt = earlier.RunID, earlier.CreatedAt
	case err != nil && !errors.Is(err, errMissing):
		return Proof{}, err
	}
	record.ProvenAt, record.ProvenByRun = now, in.Run
	if err := a.putRecord(ctx, in.Bundle, record); err != nil {
		return Proof{}, err
	}
	return Proof{ProvenAt: now, CredentialsExpire: expire}, nil
}

// deviceClient is an HTTP client that is the device.
func (a *Activities) deviceClient(ctx context.Context, in ProveInput) (*http.Client, error) {
	doing := fmt.Sprintf("proving device %q", in.Record.Device)
	var files [2][]byte
	for i, name := range []string{certificateFile, privateKeyFile} {
		o, err := a.get(ctx, in.Bundle, name)
		if errors.Is(err, errMissing) {
			return nil, failed(NotFound, doing, "%s is gone", in.Bundle.uri(name))
		}
		if err != nil {
			return nil, err
		}
		files[i] = o.body
	}
	pair, err := tls.X509KeyPair(files[0], files[1])
	if err != nil {
		return nil, failed(StateConflict, doing, "key and certificate in %s do not fit each other", in.Bundle.Location)
	}
	rootCA, err := a.rootCA(ctx, in.RootCA)
	if err != nil {
		return nil, err
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(rootCA)
	return &http.Client{
		Timeout: callTimeout,
		Transport: &http.Transport{
			Proxy:           http.ProxyFromEnvironment,
			TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: trusted, MinVersion: tls.VersionTLS12},
		},
	}, nil
}

// fetchCredentials returns when the credentials that the provider gave expire; it drops them.
func fetchCredentials(ctx context.Context, client *http.Client, r Record) (time.Time, error) {
	details := ErrorDetails{Doing: fmt.Sprintf("fetching credentials as device %q from %s", r.Device, r.CredentialsURL)}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.CredentialsURL, nil)
	if err != nil {
		return time.Time{}, newError(InvalidInput, err.Error(), details)
	}
	req.Header.Set("x-amzn-iot-thingname", r.Thing)
	res, err := client.Do(req)
	if err != nil {
		return time.Time{}, newError(typeOfTLSFailure(err), "no answer: "+rootCause(err), details)
	}
	defer res.Body.Close()
	details.RequestID = res.Header.Get("x-amzn-RequestId")
	body, err := io.ReadAll(io.LimitReader(res.Body, maxObjectBytes))
	if err != nil {
		return time.Time{}, newError(Unavailable, "the answer broke off: "+rootCause(err), details)
	}
	if res.StatusCode != http.StatusOK {
		kind := typeOfStatus(res.StatusCode)
		if res.StatusCode == http.StatusForbidden {
			kind = NotYetEffective
		}
		var answer struct {
			Message string `json:"message"`
		}
		_ = json.Unmarshal(body, &answer) // an answer without a message is told by its status
		return time.Time{}, newError(kind, fmt.Sprintf("the credential provider said %s: %s", res.Status, answer.Message), details)
	}
	var answer struct {
		Credentials struct {
			AccessKeyID string    `json:"accessKeyId"`
			Expiration  time.Time `json:"expiration"`
		} `json:"credentials"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.Credentials.AccessKeyID == "" {
		return time.Time{}, newError(Unavailable, "the credential provider answered 200 without credentials", details)
	}
	return answer.Credentials.Expiration, nil
}

// typeOfTLSFailure tells a server that the root CA does not vouch for, which no retry mends, from
// one that does not answer.
func typeOfTLSFailure(err error) string {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	if errors.As(err, &unknown) || errors.As(err, &name) {
		return Conflict
	}
	return Unavailable
}
