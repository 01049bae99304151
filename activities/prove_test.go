package activities

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/stretchr/testify/require"

	"edgefleet/internal/fleet"
)

func (a *account) record() Record {
	a.Helper()
	var r Record
	decoder := json.NewDecoder(strings.NewReader(a.object(RecordFile)))
	decoder.DisallowUnknownFields()
	require.NoError(a, decoder.Decode(&r))
	return r
}

func (a *account) prove(run string) (Proof, error) {
	a.Helper()
	return runProof(a, a.proveInput(run))
}

func runProof(a *account, in ProveInput) (Proof, error) {
	a.Helper()
	return run[Proof](a, a.ProveDevice, in)
}

// proving is an account whose device is ready to prove itself.
func proving(t *testing.T) *account {
	return newAccount(t, fleet.IoTCore).upTo("ProveDevice", thisRun)
}

func TestProofWritesTheRecord(t *testing.T) {
	a := proving(t)
	begun := time.Now().Truncate(time.Millisecond)
	proof, err := a.prove(thisRun)
	require.NoError(t, err)
	require.False(t, proof.ProvenAt.Before(begun))
	require.False(t, proof.ProvenAt.After(time.Now()))
	require.WithinRange(t, proof.CredentialsExpire, begun.Add(3599*time.Second).Truncate(time.Second), time.Now().Add(time.Hour))

	want := a.proveInput(thisRun).Record
	got := a.record()
	require.WithinRange(t, got.CreatedAt, proof.ProvenAt, time.Now())
	want.RunID, want.CreatedAt, want.ProvenAt = thisRun, got.CreatedAt, proof.ProvenAt
	require.Equal(t, want, got)
	require.Equal(t, Created, proof.Record)
	require.Equal(t, a.certificate.ID, want.CertificateID)
	require.Equal(t, "https://"+local.CredentialsAddress()+"/role-aliases/edgefleet-"+a.spec.Name+"/credentials", want.CredentialsURL)
}

// A record of the same certificate stays as it is, whoever wrote it; another certificate's is in the way.
func TestSecondProof(t *testing.T) {
	a := proving(t)
	first := a.proveInput(otherRun).Record
	first.RunID, first.CreatedAt = otherRun, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	first.ProvenAt = first.CreatedAt
	require.NoError(t, a.putRecord(t.Context(), a.bundle(), first))
	text := a.object(RecordFile)

	proof, err := a.prove(thisRun)
	require.NoError(t, err)
	require.Equal(t, Adopted, proof.Record)
	require.WithinDuration(t, time.Now(), proof.ProvenAt, time.Minute)
	require.Equal(t, text, a.object(RecordFile))
	proof, err = a.prove(otherRun)
	require.NoError(t, err)
	require.Equal(t, Created, proof.Record)
	require.Equal(t, text, a.object(RecordFile))

	first.CertificateID = strings.Repeat("0", 64)
	require.NoError(t, a.putRecord(t.Context(), a.bundle(), first))
	text = a.object(RecordFile)
	_, err = a.prove(thisRun)
	require.Contains(t, requireType(t, err, StateConflict).Message(), first.CertificateID)
	require.Equal(t, text, a.object(RecordFile))

	require.NoError(t, a.put(t.Context(), a.bundle(), RecordFile, []byte("<html>"), "", false))
	_, err = a.prove(thisRun)
	require.Contains(t, requireType(t, err, StateConflict).Message(), "it is not the record of a device")
}

// A 403 may mean that a policy has not taken effect yet; the next attempt sees that it has.
func TestProofIsNotYetEffective(t *testing.T) {
	for name, c := range map[string]struct{ spoil, mend func(*account) }{
		"the certificate is INACTIVE": {
			func(a *account) {
				must(a, a.iot.UpdateCertificate, &iot.UpdateCertificateInput{CertificateId: &a.certificate.ID, NewStatus: types.CertificateStatusInactive})
			},
			func(a *account) {
				must(a, a.iot.UpdateCertificate, &iot.UpdateCertificateInput{CertificateId: &a.certificate.ID, NewStatus: types.CertificateStatusActive})
			}},
		"the policy is not attached": {
			func(a *account) {
				must(a, a.iot.DetachPolicy, &iot.DetachPolicyInput{PolicyName: aws.String(a.spec.PolicyName()), Target: &a.certificate.ARN})
			},
			func(a *account) {
				must(a, a.iot.AttachPolicy, &iot.AttachPolicyInput{PolicyName: aws.String(a.spec.PolicyName()), Target: &a.certificate.ARN})
			}},
		"the thing is not attached": {
			func(a *account) {
				must(a, a.iot.DetachThingPrincipal, &iot.DetachThingPrincipalInput{ThingName: &a.device.Thing, Principal: &a.certificate.ARN})
			},
			func(a *account) {
				must(a, a.iot.AttachThingPrincipal, &iot.AttachThingPrincipalInput{ThingName: &a.device.Thing, Principal: &a.certificate.ARN})
			}},
	} {
		t.Run(name, func(t *testing.T) {
			a := proving(t)
			c.spoil(a)
			_, err := a.prove(thisRun)
			final := requireType(t, err, NotYetEffective)
			require.Contains(t, final.Message(), "the credential provider said 403 Forbidden: Access Denied (request id ")
			require.Contains(t, final.Message(), a.device.Name)
			_, err = a.get(t.Context(), a.bundle(), RecordFile)
			require.ErrorIs(t, err, errMissing, "no record before the proof")
			c.mend(a)
			_, err = a.prove(thisRun)
			require.NoError(t, err)
		})
	}
}

// The device trusts only what vouches for the fleet's root CA: another server is final, and gets nothing.
func TestProviderOfAnotherCA(t *testing.T) {
	a := proving(t)
	asked := make(chan struct{}, 1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked <- struct{}{} }))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	in := a.proveInput(thisRun)
	in.Record.CredentialsURL = server.URL + "/role-aliases/x/credentials"
	_, err := runProof(a, in)
	require.True(t, requireType(t, err, Conflict).NonRetryable())
	require.Empty(t, asked)

	// The right server, and a fleet that trusts another CA.
	other := newCA(t, time.Now().Add(time.Hour))
	in = a.proveInput(thisRun)
	in.RootCA.Bundle = Bundle{Location: fleet.S3URI{Bucket: a.spec.Bundles.Bucket, Prefix: "other"}}
	in.RootCA.SHA256, err = fingerprintOf(other)
	require.NoError(t, err)
	require.NoError(t, a.put(t.Context(), in.RootCA.Bundle, rootCAFile, other, "", false))
	_, err = runProof(a, in)
	require.Contains(t, requireType(t, err, Conflict).Message(), "certificate signed by unknown authority")
}

func TestProofWithoutItsFiles(t *testing.T) {
	for _, name := range []string{privateKeyFile, CertificateFile} {
		a := proving(t)
		a.remove(name)
		_, err := a.prove(thisRun)
		require.Contains(t, requireType(t, err, NotFound).Message(), a.bundle().uri(name)+" is gone")
	}
	a := proving(t)
	key, err := newPrivateKey(fleet.KeyP256)
	require.NoError(t, err)
	for _, body := range [][]byte{key, []byte("x")} {
		require.NoError(t, a.put(t.Context(), a.bundle(), privateKeyFile, body, "", false))
		_, err = a.prove(thisRun)
		require.Contains(t, requireType(t, err, StateConflict).Message(), "key and certificate in "+a.bundle().Location.String()+" do not fit")
	}
}

// What else the credential provider may answer.
func TestAnswersOfTheProvider(t *testing.T) {
	a := proving(t)
	for _, c := range []struct {
		says fault
		want string
	}{
		{fault{Status: 404, Code: "ResourceNotFoundException"}, NotFound},
		{fault{Status: 400, Code: "InvalidRequestException"}, InvalidInput},
		{fault{Status: 500}, Unavailable},
		{fault{Status: 503}, Unavailable},
	} {
		c.says.Operation, c.says.Kind = "credentials:AssumeRoleWithCertificate", "error"
		a.arm(c.says)
		_, err := a.prove(thisRun)
		requireType(t, err, c.want)
	}
	// A provider without a listener, and one whose role alias is gone.
	in := a.proveInput(thisRun)
	in.Record.CredentialsURL = "https://localhost:1/role-aliases/x/credentials"
	_, err := runProof(a, in)
	requireType(t, err, Unavailable)
	in.Record.CredentialsURL = CredentialsURL(local.CredentialsAddress(), "no-such-alias")
	_, err = runProof(a, in)
	requireType(t, err, NotFound)
	in.Record.CredentialsURL = "://"
	_, err = runProof(a, in)
	requireType(t, err, InvalidInput)
}

// The credentials that prove a device are dropped: neither result nor record nor log has them.
func TestCredentialsAreDropped(t *testing.T) {
	a := proving(t)
	_, err := a.prove(thisRun)
	require.NoError(t, err)
	for _, text := range []string{a.said.String(), a.object(RecordFile)} {
		require.NotContains(t, text, "ASIA")
		require.NotContains(t, strings.ToLower(text), "secretaccesskey")
		require.NotContains(t, strings.ToLower(text), "sessiontoken")
	}
}
