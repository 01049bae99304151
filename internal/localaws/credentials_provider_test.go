package localaws

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// trust has the root CA as the control interface gives it.
func (l *local) trust() *x509.CertPool {
	pool := x509.NewCertPool()
	require.True(l, pool.AppendCertsFromPEM(l.control("GET", "AmazonRootCA1.pem", "", http.StatusOK)))
	return pool
}

// assume calls the credential provider as a device does.
func (l *local) assume(certificate tls.Certificate, path, thing string) (*http.Response, map[string]map[string]string, error) {
	l.Helper()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{RootCAs: l.trust(), Certificates: []tls.Certificate{certificate}},
	}}
	request, err := http.NewRequestWithContext(l.Context(), http.MethodGet, "https://"+l.CredentialsAddress()+path, nil)
	require.NoError(l, err)
	if thing != "" {
		request.Header.Set("x-amzn-iot-thingname", thing)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	var body map[string]map[string]string
	if response.StatusCode == http.StatusOK {
		require.NoError(l, json.NewDecoder(response.Body).Decode(&body))
	} else {
		var refusal struct{ Message string }
		require.NoError(l, json.NewDecoder(response.Body).Decode(&refusal))
		assert.NotEmpty(l, refusal.Message)
	}
	return response, body, nil
}

func (l *local) status(certificate tls.Certificate, alias, thing string) int {
	l.Helper()
	response, _, err := l.assume(certificate, "/role-aliases/"+alias+"/credentials", thing)
	require.NoError(l, err)
	return response.StatusCode
}

func TestCredentialProvider(t *testing.T) {
	l := newSettling(t, time.Second)
	ctx := t.Context()
	_, err := l.iot.CreateRoleAlias(ctx, &iot.CreateRoleAliasInput{RoleAlias: aws.String("edge"), RoleArn: aws.String(testRole), CredentialDurationSeconds: aws.Int32(900)})
	require.NoError(t, err)
	endpoint, err := l.iot.DescribeEndpoint(ctx, &iot.DescribeEndpointInput{EndpointType: aws.String("iot:CredentialProvider")})
	require.NoError(t, err)
	require.Equal(t, l.CredentialsAddress(), *endpoint.EndpointAddress)
	require.True(t, strings.HasPrefix(l.CredentialsAddress(), "localhost:"))

	made := l.provision("a")
	l.provision("b")
	device, err := tls.X509KeyPair([]byte(*made.CertificatePem), []byte(*made.KeyPair.PrivateKey))
	require.NoError(t, err)
	setStatus := func(status types.CertificateStatus) {
		_, err := l.iot.UpdateCertificate(ctx, &iot.UpdateCertificateInput{CertificateId: made.CertificateId, NewStatus: status})
		require.NoError(t, err)
	}
	assert.Equal(t, 403, l.status(device, "edge", ""), "no policy")
	l.attachPolicy("other", allow("arn:aws:iot:eu-west-1:123456789012:rolealias/other"), made.CertificateArn)
	assert.Equal(t, 403, l.status(device, "edge", ""), "policy of another alias")
	l.attachPolicy("fleet", allow("arn:aws:iot:eu-west-1:123456789012:rolealias/edge"), made.CertificateArn)

	response, body, err := l.assume(device, "/role-aliases/edge/credentials", "a")
	require.NoError(t, err)
	require.Equal(t, 200, response.StatusCode)
	got := body["credentials"]
	expiration, err := time.Parse(time.RFC3339, got["expiration"])
	require.NoError(t, err)
	assert.WithinDuration(t, l.clock.Now().Add(900*time.Second), expiration, 2*time.Second)
	for _, member := range []string{"accessKeyId", "secretAccessKey", "sessionToken"} {
		assert.NotEmpty(t, got[member])
	}
	_, again, err := l.assume(device, "/role-aliases/edge/credentials", "")
	require.NoError(t, err)
	assert.NotEqual(t, got["accessKeyId"], again["credentials"]["accessKeyId"])

	assert.Equal(t, 403, l.status(device, "edge", "b"), "another's thing")
	assert.Equal(t, 404, l.status(device, "ghost", ""), "alias")
	response, _, err = l.assume(device, "/role-aliases/edge", "")
	require.NoError(t, err)
	assert.Equal(t, 404, response.StatusCode, "path")
	setStatus(types.CertificateStatusInactive)
	assert.Equal(t, 403, l.status(device, "edge", ""), "inactive")
	setStatus(types.CertificateStatusActive)
	assert.Equal(t, 200, l.status(device, "edge", ""))
	l.fault(`{"operation":"credentials:AssumeRoleWithCertificate","kind":"error","code":"AccessDeniedException","match":"a"}`)
	assert.Equal(t, 403, l.status(device, "edge", ""), "fault by thing")
	_, err = l.iot.DetachPolicy(ctx, &iot.DetachPolicyInput{PolicyName: aws.String("fleet"), Target: made.CertificateArn})
	require.NoError(t, err)
	assert.Equal(t, 403, l.status(device, "edge", ""), "detached")

	l.control("PUT", "quotas", `{"credentials:AssumeRoleWithCertificate":1}`, http.StatusOK)
	l.status(device, "edge", "")
	assert.Equal(t, 429, l.status(device, "edge", ""))
	assert.Positive(t, l.callsOf(assumeRoleOperation).Throttled)
}

func TestCredentialsByThingGroup(t *testing.T) {
	l := newLocal(t)
	ctx := t.Context()
	_, err := l.iot.CreateRoleAlias(ctx, &iot.CreateRoleAliasInput{RoleAlias: aws.String("edge"), RoleArn: aws.String(testRole)})
	require.NoError(t, err)
	group, err := l.iot.CreateThingGroup(ctx, &iot.CreateThingGroupInput{ThingGroupName: aws.String("cameras")})
	require.NoError(t, err)
	l.attachPolicy("fleet", allow("*"), group.ThingGroupArn)
	made := l.provision("a")
	device, err := tls.X509KeyPair([]byte(*made.CertificatePem), []byte(*made.KeyPair.PrivateKey))
	require.NoError(t, err)
	assert.Equal(t, 403, l.status(device, "edge", ""))
	_, err = l.iot.AddThingToThingGroup(ctx, &iot.AddThingToThingGroupInput{ThingGroupName: aws.String("cameras"), ThingName: aws.String("a")})
	require.NoError(t, err)
	assert.Equal(t, 200, l.status(device, "edge", ""))
}

func TestHandshake(t *testing.T) {
	l := newLocal(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := l.devices.deviceCertificate(awsSubject, key.Public(), time.Now())
	require.NoError(t, err)
	stranger := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	assert.Equal(t, 403, l.status(stranger, "edge", ""), "unknown certificate")

	_, _, err = l.assume(tls.Certificate{}, "/role-aliases/edge/credentials", "")
	require.ErrorContains(t, err, "certificate required")

	_, port, _ := strings.Cut(l.CredentialsAddress(), ":")
	_, err = tls.Dial("tcp", "127.0.0.1:"+port, &tls.Config{RootCAs: l.trust(), ServerName: "127.0.0.1"})
	require.ErrorContains(t, err, "internal error", "an address is no server name, so the handshake has none")
	_, err = tls.Dial("tcp", "127.0.0.1:"+port, &tls.Config{RootCAs: l.trust(), ServerName: "elsewhere.example"})
	require.ErrorContains(t, err, "not elsewhere.example")
	_, err = tls.Dial("tcp", l.CredentialsAddress(), &tls.Config{RootCAs: x509.NewCertPool()})
	require.ErrorContains(t, err, "unknown authority")
}
