package activities

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"edgefleet/internal/fleet"
	"edgefleet/internal/localaws"
	"edgefleet/internal/quota"
)

const (
	testRole  = "arn:aws:iam::123456789012:role/EdgeFleetRole"
	otherRole = "arn:aws:iam::123456789012:role/Other"
	thisRun   = "11111111-1111-4111-8111-111111111111"
	otherRun  = "22222222-2222-4222-8222-222222222222"
)

// local is the AWS of all tests. Each test has a region and a bucket of its own; since faults and
// counts of calls are shared, only tests whose faults match their own names run in parallel.
var local *localaws.Server

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "16"); err != nil { // they wait more than they compute
		panic(err)
	}
	server, err := localaws.Start(localaws.Config{
		Address: "127.0.0.1:0", CredentialsAddress: "127.0.0.1:0",
		KeyPool: 4, // making an RSA key takes long; one key for all would hide a mix-up
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	local = server
	code := m.Run()
	if err := server.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

var accounts atomic.Int64

// account is a fresh AWS account, as far as a test can tell, with what the steps have made in it.
type account struct {
	*testing.T
	*Activities
	cfg    aws.Config
	region string
	wire   *wire
	spec   fleet.Spec
	device fleet.Device

	roleAlias   Resource
	endpoint    string
	ca          RootCA
	thing       Thing
	certificate Certificate
	begun       time.Time // when the run was
	csr         string    // the device's own, with keys: device

	heartbeat any         // the details of the last one, which the next attempt gets
	said      lockedBytes // all that activities returned, failed with, noted and logged
}

// newAccount has a fleet specification for the registry, with keys made by AWS.
func newAccount(t *testing.T, registry fleet.Registry) *account {
	t.Helper()
	id := fmt.Sprintf("%04d", accounts.Add(1))
	a := &account{T: t, begun: time.Now(), region: "eu-test-" + id, wire: &wire{next: &http.Transport{DisableKeepAlives: true}}}
	a.cfg = aws.Config{
		Region:       a.region,
		BaseEndpoint: aws.String(local.URL()),
		Credentials:  credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", ""),
		Retryer:      func() aws.Retryer { return aws.NopRetryer{} },
		// A connection per call: Go's transport repeats a GET by itself when a kept one is cut.
		HTTPClient: &http.Client{Transport: a.wire, Timeout: callTimeout},
	}
	a.Activities = New(a.cfg, local.URL()+"/_localaws/AmazonRootCA1.pem", quota.Unlimited())
	a.listLag = 350 * time.Millisecond // the local AWS is quicker than AWS
	bucket := "edge-bucket-" + id
	a.spec = fleet.Spec{
		Name: "cameras-" + id, Registry: registry, RoleARN: testRole, ThingType: "smart-camera",
		Bundles: fleet.S3URI{Bucket: bucket, Prefix: "files"}, Keys: fleet.KeysAWS,
		Attributes: map[string]string{"site": "osaka"},
	}
	if registry == fleet.SageMakerEdge {
		a.spec.Output = fleet.S3URI{Bucket: bucket, Prefix: "output"}
	}
	var err error
	a.device, err = a.spec.NewDevice("cam-"+id, "thing:"+id, nil)
	require.NoError(t, err)
	_, err = a.s3.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &bucket})
	require.NoError(t, err)
	a.control("PUT", "quotas", `{"*":0}`)
	t.Cleanup(a.requireNoKeySaid)
	return a
}

// suite logs to what the account's activities said.
func (a *account) suite() *testsuite.WorkflowTestSuite {
	suite := &testsuite.WorkflowTestSuite{}
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.NewTextHandler(&a.said, &slog.HandlerOptions{Level: slog.LevelDebug}))))
	return suite
}

// attempt runs an activity once, as Temporal does: it gets what the attempt before noted.
func (a *account) attempt(fn any, args ...any) (converter.EncodedValue, error) {
	a.Helper()
	suite := a.suite()
	env := suite.NewTestActivityEnvironment()
	env.RegisterActivity(a.Activities)
	if a.heartbeat != nil {
		env.SetHeartbeatDetails(a.heartbeat)
	}
	var mu sync.Mutex
	noted := a.heartbeat
	env.SetOnActivityHeartbeatListener(func(_ *activity.Info, details converter.EncodedValues) {
		mu.Lock()
		defer mu.Unlock()
		noted = nil
		if details.HasValues() && details.Get(&noted) == nil {
			fmt.Fprintln(&a.said, noted)
		}
	})
	value, err := env.ExecuteActivity(fn, args...)
	mu.Lock()
	a.heartbeat = noted
	mu.Unlock()
	if err != nil {
		fmt.Fprintf(&a.said, "%+v\n", err)
		if final, ok := errors.AsType[*temporal.ApplicationError](err); ok && final.HasDetails() {
			var details any
			require.NoError(a, final.Details(&details))
			fmt.Fprintf(&a.said, "%+v\n", details)
		}
		return nil, err
	}
	var result any
	if value.HasValue() {
		require.NoError(a, value.Get(&result))
	}
	fmt.Fprintf(&a.said, "%+v\n", result)
	return value, nil
}

// run runs an activity once and decodes its result. It is a new activity: without a heartbeat.
func run[R any](a *account, fn any, args ...any) (R, error) {
	a.Helper()
	a.heartbeat = nil
	return again[R](a, fn, args...)
}

// again is the next attempt of the activity that ran last.
func again[R any](a *account, fn any, args ...any) (result R, err error) {
	a.Helper()
	value, err := a.attempt(fn, args...)
	if err == nil && value.HasValue() {
		require.NoError(a, value.Get(&result))
	}
	return result, err
}

// requireType wants an application error of a type, retryable or not as the type says, whose
// message tells what to do, and returns it.
func requireType(t *testing.T, err error, kind string) *temporal.ApplicationError {
	t.Helper()
	final, ok := errors.AsType[*temporal.ApplicationError](err)
	require.True(t, ok, "want %s, got %v", kind, err)
	require.Equal(t, kind, final.Type(), final.Message())
	require.Contains(t, errorTypes, kind)
	var left Unfinished // what an attempt left makes the workflow retry it, not the server
	if final.HasDetails() {
		_ = final.Details(new(ErrorDetails), &left) // most errors have no second detail
	}
	require.Equal(t, !errorTypes[kind].retried, final.NonRetryable() && !left.Retry)
	require.Contains(t, final.Message(), ". What to do: "+errorTypes[kind].advice+".")
	return final
}

// control calls the local AWS's control interface and returns its answer.
func (a *account) control(method, path, body string) []byte {
	a.Helper()
	req, err := http.NewRequestWithContext(context.WithoutCancel(a.Context()), method, local.URL()+"/_localaws/"+path, strings.NewReader(body))
	require.NoError(a, err)
	res, err := http.DefaultClient.Do(req)
	require.NoError(a, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(a, err)
	require.Less(a, res.StatusCode, 300, "%s %s: %s", method, path, text)
	return text
}

// fault is what POST /_localaws/faults takes.
type fault struct {
	Operation string `json:"operation"`
	Kind      string `json:"kind"`
	Code      string `json:"code,omitempty"`
	Status    int    `json:"status,omitempty"`
	Message   string `json:"message,omitempty"`
	Match     string `json:"match,omitempty"`
	Times     int    `json:"times,omitempty"`
}

// arm has a fault wait for its call. A fault without a match is for tests that run alone.
func (a *account) arm(f fault) {
	a.Helper()
	body, err := json.Marshal(f)
	require.NoError(a, err)
	a.control("POST", "faults", string(body))
	if f.Match == "" {
		a.Cleanup(a.disarm)
	}
}

func (a *account) disarm() { a.control("DELETE", "faults", "") }

// requireStruck wants that no fault of that match is left.
func (a *account) requireStruck(match string) {
	a.Helper()
	var left []fault
	require.NoError(a, json.Unmarshal(a.control("GET", "faults", ""), &left))
	for _, f := range left {
		require.NotEqual(a, match, f.Match, "%s %s did not strike", f.Kind, f.Operation)
	}
}

// callsDuring are the operations that the local AWS was asked for meanwhile.
func (a *account) callsDuring(do func()) (calls map[string]struct{ Calls int }) {
	a.Helper()
	a.control("DELETE", "calls", "")
	do()
	require.NoError(a, json.Unmarshal(a.control("GET", "calls", ""), &calls))
	return calls
}

// lockedBytes is a buffer that goroutines share.
type lockedBytes struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBytes) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBytes) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// wire sees each private key that goes to or comes from AWS.
type wire struct {
	next http.RoundTripper
	mu   sync.Mutex
	keys []string
}

func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		body, err := io.ReadAll(req.Body)
		_ = req.Body.Close()
		if err != nil {
			return nil, err
		}
		w.see(string(body))
		req.Body = io.NopCloser(bytes.NewReader(body))
	}
	res, err := w.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	w.see(strings.ReplaceAll(string(body), `\n`, "\n"))
	res.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), brokenReader{err}))
	return res, nil
}

// brokenReader ends as the body that was read before ended.
type brokenReader struct{ err error }

func (r brokenReader) Read([]byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	return 0, io.EOF
}

var privateKeyPEM = regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----\n(.*?)-----END`)

func (w *wire) see(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, key := range privateKeyPEM.FindAllStringSubmatch(text, -1) {
		w.keys = append(w.keys, key[1])
	}
}

// requireNoKeySaid wants nothing of any private key in what the activities said: no line of its
// PEM, and no part of a line.
func (a *account) requireNoKeySaid() {
	said := a.said.String()
	require.NotContains(a, said, "PRIVATE KEY")
	a.wire.mu.Lock()
	defer a.wire.mu.Unlock()
	for _, key := range a.wire.keys {
		flat := strings.ReplaceAll(key, "\n", "")
		const part = 24
		for i := 0; i+part <= len(flat); i += part / 2 {
			if strings.Contains(said, flat[i:i+part]) {
				a.Errorf("a private key's %q was said", flat[i:i+part])
				return
			}
		}
	}
}

// soon is far more than the local AWS's lists are stale for, on any machine.
const soon = time.Minute

// await asks, in the test's own goroutine, until it is so or it is too late.
func (a *account) await(so func() bool) bool {
	for begun := time.Now(); !so(); time.Sleep(50 * time.Millisecond) {
		if time.Since(begun) > soon {
			return false
		}
	}
	return true
}

// roundTrip stands in for the way to AWS.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// answer is a response made up.
func answer(status int, header map[string]string, body string) *http.Response {
	res := &http.Response{
		StatusCode: status, Status: fmt.Sprintf("%d %s", status, http.StatusText(status)), ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
	}
	for name, value := range header {
		res.Header.Set(name, value)
	}
	return res
}

// answerTo has AWS answer to the operations that SageMaker's target header names.
func (a *account) answerTo(sageMakerOperation string, res func() *http.Response) {
	next := a.wire.next
	a.wire.next = roundTrip(func(req *http.Request) (*http.Response, error) {
		if req.Header.Get("X-Amz-Target") == "SageMaker."+sageMakerOperation {
			return res(), nil
		}
		return next.RoundTrip(req)
	})
}
