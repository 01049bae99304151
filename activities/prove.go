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
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"edgefleet/internal/fleet"
	"edgefleet/internal/quota"
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
	ProvenAt          time.Time `json:"provenAt,omitzero"`
	CredentialsExpire time.Time `json:"credentialsExpire,omitzero"` // what the provider said of those it gave
	// LeftToDevice: the private key is the device's alone, so only it can fetch credentials. What
	// it needs for that was checked.
	LeftToDevice bool `json:"leftToDevice,omitempty"`
	// Record says whether the device's record was written or found.
	Record Action `json:"record"`
}

// ProveDevice fetches credentials as the device will: with the key and certificate of its bundle,
// trusting the fleet's root CA. Only then it writes the device's record, if the device has none for
// this certificate. A 403 is NotYetEffective, to be retried: a policy may take minutes to take effect.
func (a *Activities) ProveDevice(ctx context.Context, in ProveInput) (Proof, error) {
	proof, err := a.prove(ctx, in)
	if err != nil {
		return Proof{}, err
	}
	earlier, err := a.getRecord(ctx, in.Bundle)
	switch {
	case errors.Is(err, errMissing):
		proof.Record = Created
	case err != nil:
		return Proof{}, err
	case earlier.CertificateID != in.Record.CertificateID:
		return Proof{}, failed(StateConflict, "writing "+in.Bundle.uri(RecordFile),
			"it is there and names certificate %s. `starter decommission` clears what is left of the device", earlier.CertificateID)
	case !earlier.RetractedAt.IsZero(): // a decommission did not get far
		proof.Record = Created
	case earlier.RunID == in.Run:
		proof.Record = Created
		return proof, nil
	default:
		proof.Record = Adopted
		return proof, nil
	}
	record := in.Record
	record.RunID, record.CreatedAt, record.ProvenAt = in.Run, time.Now().UTC().Truncate(time.Millisecond), proof.ProvenAt
	return proof, a.putRecord(ctx, in.Bundle, record)
}

func (a *Activities) prove(ctx context.Context, in ProveInput) (Proof, error) {
	if in.Record.Keys == fleet.KeysDevice {
		return Proof{LeftToDevice: true}, settled(ctx, func() error { return a.checkInPlace(ctx, in.Record) })
	}
	client, err := a.deviceClient(ctx, in)
	if err != nil {
		return Proof{}, err
	}
	defer client.CloseIdleConnections()
	answered, err := a.lanes.Turn(ctx, quota.CredentialProvider)
	if err != nil {
		return Proof{}, AWSError(fmt.Sprintf("fetching credentials as device %q", in.Record.Device), err)
	}
	defer answered()
	expire, err := fetchCredentials(ctx, client, in.Record)
	if err != nil {
		return Proof{}, err
	}
	return Proof{ProvenAt: time.Now().UTC().Truncate(time.Millisecond), CredentialsExpire: expire}, nil
}

// checkInPlace checks what a device needs to fetch credentials, as far as that goes without its key.
func (a *Activities) checkInPlace(ctx context.Context, r Record) error {
	doing := fmt.Sprintf("checking what device %q needs to fetch credentials", r.Device)
	found, err := a.describeCertificate(ctx, r.CertificateID)
	if errors.Is(err, errMissing) {
		return failed(NotFound, doing, "AWS IoT has no certificate %s", r.CertificateID)
	}
	if err != nil {
		return err
	}
	if found.Status != types.CertificateStatusActive {
		return failed(NotYetEffective, doing, "certificate %s is %s", r.CertificateID, found.Status)
	}
	policies, err := a.policiesOf(ctx, r.CertificateARN)
	if err != nil {
		return err
	}
	things, err := a.thingsOf(ctx, r.CertificateARN)
	if err != nil {
		return err
	}
	if !slices.Contains(policies, r.Policy) || !slices.Contains(things, r.Thing) {
		return failed(NotYetEffective, doing, "certificate %s has the policies %q and things %q", r.CertificateID, policies, things)
	}
	return nil
}

// deviceClient is an HTTP client that is the device.
func (a *Activities) deviceClient(ctx context.Context, in ProveInput) (*http.Client, error) {
	doing := fmt.Sprintf("proving device %q", in.Record.Device)
	var files [2][]byte
	for i, name := range []string{CertificateFile, privateKeyFile} {
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
