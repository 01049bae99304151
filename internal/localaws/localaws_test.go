package localaws

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	testRegion = "eu-west-1"
	testRole   = "arn:aws:iam::123456789012:role/EdgeFleetRole"
)

// manualClock is a clock that tests move.
type manualClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *manualClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *manualClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// local is a server with clients; its lists settle at once and its APIs are not limited unless a test says so.
type local struct {
	*testing.T
	*Server
	clock *manualClock
	iot   *iot.Client
	sm    *sagemaker.Client
	s3    *s3.Client
	sts   *sts.Client
}

func newLocal(t *testing.T) *local { return newSettling(t, 0) }

func newSettling(t *testing.T, settle time.Duration) *local {
	t.Helper()
	clock := &manualClock{now: time.Now()}
	server, err := start(Config{Address: "127.0.0.1:0", CredentialsAddress: "127.0.0.1:0", KeyPool: 1, Buckets: []string{"edge-bucket"}}, clock.Now, settle)
	require.NoError(t, err)
	l := &local{T: t, Server: server, clock: clock}
	t.Cleanup(func() { assert.NoError(t, server.Close()) })
	l.iot, l.sm, l.s3, l.sts = l.clients(testRegion)
	l.control("PUT", "quotas", `{"*":0}`, http.StatusOK)
	return l
}

func (l *local) config(region string) aws.Config {
	return aws.Config{
		Region:       region,
		BaseEndpoint: aws.String(l.URL()),
		Credentials:  credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "any", ""),
		Retryer:      func() aws.Retryer { return aws.NopRetryer{} },
		// A connection per call: Go's transport repeats a GET on its own when a kept one is cut.
		HTTPClient: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
	}
}

func (l *local) clients(region string) (*iot.Client, *sagemaker.Client, *s3.Client, *sts.Client) {
	cfg := l.config(region)
	return iot.NewFromConfig(cfg), sagemaker.NewFromConfig(cfg), s3.NewFromConfig(cfg), sts.NewFromConfig(cfg)
}

// control calls the control interface and returns its answer.
func (l *local) control(method, path, body string, status int) []byte {
	l.Helper()
	request, err := http.NewRequestWithContext(l.Context(), method, l.URL()+controlPrefix+path, strings.NewReader(body))
	require.NoError(l, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(l, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(l, err)
	require.Equal(l, status, response.StatusCode, "%s %s %s: %s", method, path, body, text)
	return text
}

func (l *local) fault(body string) { l.Helper(); l.control("POST", "faults", body, http.StatusCreated) }

func (l *local) callsOf(operation string) callCount {
	l.Helper()
	var counts map[string]callCount
	require.NoError(l, json.Unmarshal(l.control("GET", "calls", "", http.StatusOK), &counts))
	return counts[operation]
}

// refused wants an API error with code and HTTP status, and returns its message.
func refused(t *testing.T, err error, code string, status int) string {
	t.Helper()
	api, ok := errors.AsType[smithy.APIError](err)
	require.True(t, ok, "want %s, got %v", code, err)
	require.Equal(t, code, api.ErrorCode(), api.ErrorMessage())
	response, ok := errors.AsType[*smithyhttp.ResponseError](err)
	require.True(t, ok)
	require.Equal(t, status, response.HTTPStatusCode())
	return api.ErrorMessage()
}

// cut wants a call to have ended without an answer.
func cut(t *testing.T, err error) {
	t.Helper()
	require.Error(t, err)
	_, answered := errors.AsType[smithy.APIError](err)
	require.False(t, answered, "answered: %v", err)
	require.NotErrorIs(t, err, context.DeadlineExceeded)
}

// device is a thing with a certificate attached to it, and a policy attached to that.
func (l *local) provision(name string) *iot.CreateKeysAndCertificateOutput {
	l.Helper()
	ctx := l.Context()
	_, err := l.iot.CreateThing(ctx, &iot.CreateThingInput{ThingName: &name})
	require.NoError(l, err)
	certificate, err := l.iot.CreateKeysAndCertificate(ctx, &iot.CreateKeysAndCertificateInput{SetAsActive: true})
	require.NoError(l, err)
	_, err = l.iot.AttachThingPrincipal(ctx, &iot.AttachThingPrincipalInput{ThingName: &name, Principal: certificate.CertificateArn})
	require.NoError(l, err)
	return certificate
}

func (l *local) attachPolicy(name, document string, target *string) {
	l.Helper()
	_, err := l.iot.CreatePolicy(l.Context(), &iot.CreatePolicyInput{PolicyName: &name, PolicyDocument: &document})
	require.NoError(l, err)
	_, err = l.iot.AttachPolicy(l.Context(), &iot.AttachPolicyInput{PolicyName: &name, Target: target})
	require.NoError(l, err)
}

func allow(resource string) string {
	return `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:AssumeRoleWithCertificate","Resource":"` + resource + `"}}`
}

// soon returns what a call in the background ended with.
func soon(t *testing.T, done <-chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(time.Minute):
		require.Fail(t, "the call has not ended")
		return nil
	}
}

func TestStartNamesTheAddressInUse(t *testing.T) {
	l := newLocal(t)
	taken := strings.TrimPrefix(l.URL(), "http://")
	_, err := Start(Config{Address: taken, CredentialsAddress: "127.0.0.1:0"})
	require.ErrorContains(t, err, taken)
	_, err = Start(Config{Address: "127.0.0.1:0", CredentialsAddress: taken})
	require.ErrorContains(t, err, taken)
}

func TestCloseCutsWhatHangs(t *testing.T) {
	l := newLocal(t)
	l.fault(`{"operation":"*","kind":"hang","times":-1}`)
	done := make(chan error, 1)
	go func() {
		_, err := l.sts.GetCallerIdentity(context.Background(), nil)
		done <- err
	}()
	require.Eventually(t, func() bool { return l.callsOf("sts:GetCallerIdentity").Calls == 1 }, time.Minute, time.Millisecond)
	require.NoError(t, l.Close())
	cut(t, soon(t, done))
	require.NoError(t, l.Close(), "closing twice")
}

func TestCallerIdentity(t *testing.T) {
	l := newLocal(t)
	identity, err := l.sts.GetCallerIdentity(t.Context(), nil)
	require.NoError(t, err)
	assert.Equal(t, defaultAccount, *identity.Account)
}

func TestSignatures(t *testing.T) {
	l := newLocal(t)
	hex := strings.Repeat("0", 64)
	scoped := func(scope string) string {
		return "AWS4-HMAC-SHA256 Credential=" + scope + ", SignedHeaders=host;x-amz-date, Signature=" + hex
	}
	for name, c := range map[string]struct {
		path, authorization string
		status              int
		answer              string
	}{
		"unsigned IoT":     {"/things/a", "", 403, "MissingAuthenticationTokenException"},
		"unsigned S3":      {"/edge-bucket/a", "", 403, "<Code>AccessDenied</Code>"},
		"unsigned control": {"/_localaws/health", "", 200, "ok"},
		"no signature":     {"/things/a", "AWS4-HMAC-SHA256 Credential=AK/20260101/eu-west-1/iot/aws4_request, SignedHeaders=host", 403, "IncompleteSignatureException"},
		"bad signature":    {"/things/a", strings.Replace(scoped("AK/20260101/eu-west-1/iot/aws4_request"), hex, "0", 1), 403, "InvalidSignatureException"},
		"bad scope":        {"/things/a", scoped("AK/20260101/eu-west-1/iot"), 403, "IncompleteSignatureException"},
		"other algorithm":  {"/things/a", "Bearer abc", 403, "IncompleteSignatureException"},
		"bad region":       {"/things/a", scoped("AK/20260101/nowhere/iot/aws4_request"), 403, "Credential should be scoped to a valid region."},
		"other service":    {"/things/a", scoped("AK/20260101/eu-west-1/dynamodb/aws4_request"), 403, "correct service"},
		"S3 malformed":     {"/edge-bucket/a", scoped("AK/20260101/nowhere/s3/aws4_request"), 400, "AuthorizationHeaderMalformed"},
		"unknown path":     {"/nothing/here", scoped("AK/20260101/eu-west-1/iot/aws4_request"), 404, "UnknownOperationException"},
		"presigned, v2":    {"/edge-bucket?AWSAccessKeyId=AK&Signature=x&Expires=1", "", 200, "ListBucketResult"},
		"presigned":        {"/edge-bucket?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AK/20260101/eu-west-1/s3/aws4_request&X-Amz-SignedHeaders=host&X-Amz-Signature=" + hex, "", 200, "ListBucketResult"},
	} {
		t.Run(name, func(t *testing.T) {
			request := httptest.NewRequest("GET", c.path, nil)
			if c.authorization != "" {
				request.Header.Set("Authorization", c.authorization)
			}
			recorder := httptest.NewRecorder()
			l.dispatch(recorder, request)
			text := recorder.Body.String() + recorder.Header().Get("x-amzn-ErrorType")
			assert.Equal(t, c.status, recorder.Code, text)
			assert.Contains(t, text, c.answer)
			assert.NotEmpty(t, recorder.Header().Get("x-amzn-RequestId")+recorder.Header().Get("x-amz-request-id"))
		})
	}
}

func TestRegionsAreApart(t *testing.T) {
	l := newLocal(t)
	ctx := t.Context()
	there, _, elsewhereS3, _ := l.clients("us-east-1")
	_, err := l.iot.CreateThing(ctx, &iot.CreateThingInput{ThingName: aws.String("a")})
	require.NoError(t, err)
	_, err = there.DescribeThing(ctx, &iot.DescribeThingInput{ThingName: aws.String("a")})
	refused(t, err, "ResourceNotFoundException", 404)
	made, err := there.CreateThing(ctx, &iot.CreateThingInput{ThingName: aws.String("a")})
	require.NoError(t, err)
	assert.Equal(t, "arn:aws:iot:us-east-1:123456789012:thing/a", *made.ThingArn)

	_, err = l.s3.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("edge-bucket"), Key: aws.String("k"), Body: bytes.NewReader(nil)})
	require.NoError(t, err)
	_, err = elsewhereS3.HeadObject(ctx, &s3.HeadObjectInput{Bucket: aws.String("edge-bucket"), Key: aws.String("k")})
	require.NoError(t, err, "S3 is global")
}
