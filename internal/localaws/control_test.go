package localaws

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"edgefleet/internal/quota"
)

func (l *local) createThing(name string) error {
	_, err := l.iot.CreateThing(l.Context(), &iot.CreateThingInput{ThingName: &name})
	return err
}

func (l *local) thingExists(name string) bool {
	_, err := l.iot.DescribeThing(l.Context(), &iot.DescribeThingInput{ThingName: &name})
	return err == nil
}

func TestQuotaIsHard(t *testing.T) {
	var quotas quotaTable
	quotas.init()
	const operation = "iot:CreateKeysAndCertificate" // 10 a second
	begun := time.Now()
	var passed []time.Time
	for at := begun; at.Before(begun.Add(3 * time.Second)); at = at.Add(7 * time.Millisecond) {
		if quotas.allow(operation, testRegion, at) {
			passed = append(passed, at)
		}
	}
	assert.Len(t, passed, 30)
	for i := 10; i < len(passed); i++ {
		assert.GreaterOrEqual(t, passed[i].Sub(passed[i-10]), time.Second)
	}
	assert.True(t, quotas.allow(operation, "us-east-1", begun), "quotas are per region")

	half := 0.5
	require.NoError(t, quotas.set(map[string]*float64{operation: &half}))
	later := begun.Add(time.Hour)
	assert.True(t, quotas.allow(operation, testRegion, later))
	assert.False(t, quotas.allow(operation, testRegion, later.Add(1900*time.Millisecond)))
	assert.True(t, quotas.allow(operation, testRegion, later.Add(2*time.Second)))
}

func TestThrottling(t *testing.T) {
	l := newLocal(t)
	l.control("PUT", "quotas", `{"iot:CreateThing":2,"sagemaker:CreateDeviceFleet":1}`, http.StatusOK)
	require.NoError(t, l.createThing("a"))
	require.NoError(t, l.createThing("b"))
	assert.Equal(t, "Rate exceeded", refused(t, l.createThing("c"), "ThrottlingException", http.StatusTooManyRequests))
	assert.False(t, l.thingExists("c"))
	_, err := l.sm.CreateDeviceFleet(t.Context(), fleetOf("one", nil, nil))
	require.NoError(t, err)
	_, err = l.sm.CreateDeviceFleet(t.Context(), fleetOf("two", nil, nil))
	refused(t, err, "ThrottlingException", http.StatusBadRequest)
	assert.Equal(t, callCount{Calls: 3, Throttled: 1, MaxPerSecond: 3}, l.callsOf("iot:CreateThing"))
	l.control("DELETE", "calls", "", http.StatusOK)
	assert.Zero(t, l.callsOf("iot:CreateThing"))
}

func TestQuotasInterface(t *testing.T) {
	server, err := Start(Config{Address: "127.0.0.1:0", CredentialsAddress: "127.0.0.1:0", KeyPool: 1})
	require.NoError(t, err)
	defer func() { require.NoError(t, server.Close()) }()
	l := &local{T: t, Server: server}
	quotas := func() (q map[string]float64) {
		require.NoError(t, json.Unmarshal(l.control("GET", "quotas", "", http.StatusOK), &q))
		return q
	}
	defaults := quotas()
	assert.EqualValues(t, 100, defaults["iot:CreateThing"])
	assert.EqualValues(t, 15, defaults["iot:AttachPolicy"])
	assert.EqualValues(t, 10, defaults["sagemaker:RegisterDevices"])
	assert.EqualValues(t, 100, defaults[assumeRoleOperation])
	assert.EqualValues(t, 0, defaults["s3:PutObject"])
	for operation := range quota.Published() {
		assert.Contains(t, allOperations(), operation)
	}
	for _, wrong := range []string{
		`{"iot:CreateThing":5,"iot:Nothing":1}`, `{"iot:CreateThing":5,"iot:DeleteThing":-1}`, `{"iot:CreateThing":"5"}`,
		`{"iot:CreateThing":null}`, `null`, `[]`, `{"iot:CreateThing":5} {}`, ``,
	} {
		assert.Contains(t, string(l.control("PUT", "quotas", wrong, http.StatusBadRequest)), "message")
		assert.Equal(t, defaults, quotas(), wrong)
	}
	l.control("PUT", "quotas", `{"*":7,"iot:CreateThing":5}`, http.StatusOK)
	assert.EqualValues(t, 5, quotas()["iot:CreateThing"])
	assert.EqualValues(t, 7, quotas()["s3:PutObject"])
	assert.EqualValues(t, 0, quotas()[devicesQuota], "a number of resources is not a rate")
	l.control("PUT", "quotas", `{"iot:DeleteThing":3}`, http.StatusOK)
	assert.EqualValues(t, 5, quotas()["iot:CreateThing"], "changes merge")
	l.control("POST", "quotas", `{}`, http.StatusMethodNotAllowed)
	l.control("GET", "nothing", "", http.StatusNotFound)
}

func TestFaultsInterface(t *testing.T) {
	l := newLocal(t)
	for _, wrong := range []string{
		``, `{}`, `{"operation":"iot:CreateThing"}`, `{"operation":"iot:CreateThing","kind":"explode"}`,
		`{"operation":"iot:Nothing","kind":"error"}`, `{"operation":"nothing:*","kind":"error"}`,
		`{"operation":"*","kind":"error","often":3}`, `{"operation":"*","kind":"error","times":0}`, `{"operation":"*","kind":"error","times":-2}`,
		`{"operation":"*","kind":"error","probability":0}`, `{"operation":"*","kind":"error","probability":1.5}`,
		`{"operation":"*","kind":"delay"}`, `{"operation":"*","kind":"error","status":200}`, `{"operation":"*","kind":"error","id":3}`,
	} {
		assert.Contains(t, string(l.control("POST", "faults", wrong, http.StatusBadRequest)), "message", wrong)
	}
	l.fault(`{"operation":"iot:*","kind":"throttle","times":3}`)
	refused(t, l.createThing("a"), "ThrottlingException", http.StatusTooManyRequests)
	var left []fault
	require.NoError(t, json.Unmarshal(l.control("GET", "faults", "", http.StatusOK), &left))
	require.Len(t, left, 1)
	assert.Equal(t, 2, *left[0].Times)
	assert.Equal(t, 1, left[0].ID)
	l.control("DELETE", "faults", "", http.StatusOK)
	require.NoError(t, l.createThing("a"))
}

func TestFaultError(t *testing.T) {
	l := newLocal(t)
	l.fault(`{"operation":"iot:CreateThing","kind":"error"}`)
	refused(t, l.createThing("a"), "InternalFailureException", 500)
	require.NoError(t, l.createThing("b"), "absent times is once")
	assert.False(t, l.thingExists("a"))
	l.fault(`{"operation":"iot:CreateThing","kind":"error","code":"AccessDeniedException"}`)
	refused(t, l.createThing("a"), "AccessDeniedException", 403)
	l.fault(`{"operation":"sagemaker:*","kind":"error","code":"ValidationException","status":400,"message":"SageMaker Edge Manager has been retired"}`)
	assert.Contains(t, refused(t, l.register("f", "d", ""), "ValidationException", 400), "retired")
	put := func() error {
		_, err := l.s3.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("edge-bucket"), Key: aws.String("fleet/a/device.json")})
		return err
	}
	l.fault(`{"operation":"s3:PutObject","kind":"error","match":"fleet/a/"}`)
	refused(t, put(), "InternalError", 500)
	l.fault(`{"operation":"s3:PutObject","kind":"error","code":"AccessDenied"}`)
	refused(t, put(), "AccessDenied", 403)
	require.NoError(t, put())
	assert.Equal(t, callCount{Calls: 3, MaxPerSecond: 3}, l.callsOf("s3:PutObject"))
}

func TestFaultMatches(t *testing.T) {
	l := newLocal(t)
	l.fault(`{"operation":"*","kind":"error","match":"camera-7","times":-1}`)
	require.NoError(t, l.createThing("camera-1"))
	refused(t, l.createThing("camera-7"), "InternalFailureException", 500)
	l.control("DELETE", "faults", "", http.StatusOK)

	certificate := l.provision("camera-7")
	l.fault(`{"operation":"iot:UpdateCertificate","kind":"error","match":"camera-7"}`)
	update := func(id *string) error {
		_, err := l.iot.UpdateCertificate(t.Context(), &iot.UpdateCertificateInput{CertificateId: id, NewStatus: "INACTIVE"})
		return err
	}
	require.NoError(t, update(l.provision("camera-8").CertificateId))
	refused(t, update(certificate.CertificateId), "InternalFailureException", 500) // by the thing it is attached to

	l.fault(`{"operation":"iot:CreateThing","kind":"error","probability":0.000001,"times":-1}`)
	for range 20 {
		require.NoError(t, l.createThing("improbable"))
	}
}

func TestFaultDrops(t *testing.T) {
	l := newLocal(t)
	l.fault(`{"operation":"iot:CreateThing","kind":"drop-before"}`)
	cut(t, l.createThing("before"))
	assert.False(t, l.thingExists("before"), "drop-before must not do the work")
	l.fault(`{"operation":"iot:CreateThing","kind":"drop-after"}`)
	cut(t, l.createThing("after"))
	assert.True(t, l.thingExists("after"), "drop-after must do the work")

	l.fault(`{"operation":"s3:PutObject","kind":"drop-after"}`)
	object := &s3.PutObjectInput{Bucket: aws.String("edge-bucket"), Key: aws.String("k")}
	_, err := l.s3.PutObject(t.Context(), object)
	cut(t, err)
	_, err = l.s3.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: object.Bucket, Key: object.Key})
	require.NoError(t, err)
}

func TestFaultDelay(t *testing.T) {
	l := newLocal(t)
	l.fault(`{"operation":"iot:CreateThing","kind":"delay","delayMs":150}`)
	begun := time.Now()
	require.NoError(t, l.createThing("slow"))
	assert.GreaterOrEqual(t, time.Since(begun), 150*time.Millisecond)
	assert.True(t, l.thingExists("slow"))
}

func TestFaultHang(t *testing.T) {
	l := newLocal(t)
	l.fault(`{"operation":"iot:CreateThing","kind":"hang","times":-1}`)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := l.iot.CreateThing(ctx, &iot.CreateThingInput{ThingName: aws.String("a")})
	require.ErrorIs(t, err, context.DeadlineExceeded)

	done := make(chan error, 1)
	go func() {
		_, err := l.iot.CreateThing(context.Background(), &iot.CreateThingInput{ThingName: aws.String("a")})
		done <- err
	}()
	require.Eventually(t, func() bool { return l.callsOf("iot:CreateThing").Calls == 2 }, time.Minute, time.Millisecond)
	l.control("DELETE", "faults", "", http.StatusOK)
	cut(t, soon(t, done))
	assert.False(t, l.thingExists("a"))
}
