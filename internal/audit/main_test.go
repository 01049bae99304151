package audit

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	sagemakertypes "github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"edgefleet/activities"
	"edgefleet/internal/fleet"
	"edgefleet/internal/localaws"
)

const testRole = "arn:aws:iam::123456789012:role/EdgeFleetRole"

var local *localaws.Server

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "16"); err != nil { // they wait more than they compute
		panic(err)
	}
	server, err := localaws.Start(localaws.Config{Address: "127.0.0.1:0", CredentialsAddress: "127.0.0.1:0", KeyPool: 2})
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

// account is a fleet in a region of its own, and its auditor: without limits, and without waiting.
type account struct {
	*testing.T
	*Auditor
	cfg aws.Config
}

func newAccount(t *testing.T, registry fleet.Registry) *account {
	t.Helper()
	id := accounts.Add(1)
	cfg := aws.Config{
		Region:       fmt.Sprintf("eu-test-%04d", id),
		BaseEndpoint: aws.String(local.URL()),
		Credentials:  credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", ""),
		Retryer:      func() aws.Retryer { return aws.NopRetryer{} },
	}
	bucket := fmt.Sprintf("edge-bucket-%04d", id)
	a := (&account{T: t, cfg: cfg}).fleetOf(fleet.Spec{
		Name: "cameras", Registry: registry, RoleARN: testRole, ThingType: "smart-camera",
		Bundles: fleet.S3URI{Bucket: bucket, Prefix: "files"}, Output: fleet.S3URI{Bucket: bucket}, Keys: fleet.KeysAWS,
	})
	must(a, a.s3.CreateBucket, &s3.CreateBucketInput{Bucket: &bucket})
	lifted, err := http.NewRequest(http.MethodPut, local.URL()+"/_localaws/quotas", strings.NewReader(`{"*":0}`))
	require.NoError(t, err)
	res, err := http.DefaultClient.Do(lifted)
	require.NoError(t, err)
	defer res.Body.Close()
	require.Less(t, res.StatusCode, 300)
	a.prepare()
	return a
}

// fleetOf is a fleet of the same account.
func (a *account) fleetOf(spec fleet.Spec) *account {
	of := &account{a.T, newAuditor(a.cfg, spec), a.cfg}
	of.pause = func(context.Context, time.Duration) error { return nil }
	return of
}

// must is the answer of a call that has to succeed.
func must[In, Out, Option any](a *account, call func(context.Context, *In, ...Option) (*Out, error), in *In) *Out {
	a.Helper()
	out, err := call(a.Context(), in)
	require.NoError(a, err)
	return out
}

// prepare makes what the fleet's devices share.
func (a *account) prepare() {
	a.Helper()
	must(a, a.iot.CreateThingType, &iot.CreateThingTypeInput{ThingTypeName: &a.spec.ThingType})
	must(a, a.iot.CreatePolicy, &iot.CreatePolicyInput{PolicyName: aws.String(a.spec.PolicyName()),
		PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:Publish","Resource":"*"}}`)})
	if a.spec.Registry == fleet.IoTCore {
		must(a, a.iot.CreateThingGroup, &iot.CreateThingGroupInput{ThingGroupName: &a.spec.Name})
	} else {
		must(a, a.sagemaker.CreateDeviceFleet, &sagemaker.CreateDeviceFleetInput{DeviceFleetName: &a.spec.Name, RoleArn: aws.String(testRole),
			OutputConfig: &sagemakertypes.EdgeOutputConfig{S3OutputLocation: aws.String("s3://edge-bucket/output")}})
	}
	a.put(a.spec.Bundles.Key(a.spec.Name, "AmazonRootCA1.pem"), "the fleet's root CA")
}

func (a *account) put(key, text string) {
	a.Helper()
	must(a, a.s3.PutObject, &s3.PutObjectInput{Bucket: &a.spec.Bundles.Bucket, Key: &key, Body: strings.NewReader(text)})
}

func (a *account) putJSON(key string, v any) {
	a.Helper()
	text, err := json.Marshal(v)
	require.NoError(a, err)
	a.put(key, string(text))
}

func (a *account) inBundle(device, file string) string {
	return activities.DeviceBundle(a.spec, device).Location.Key(file)
}

func (a *account) drop(key string) {
	a.Helper()
	must(a, a.s3.DeleteObject, &s3.DeleteObjectInput{Bucket: &a.spec.Bundles.Bucket, Key: &key})
}

// provision makes a device by hand, whole; its certificate is returned.
func (a *account) provision(name string) *iot.CreateKeysAndCertificateOutput {
	a.Helper()
	thing := "thing:" + name
	a.thing(thing, map[string]string{fleet.RunMark: "run", fleet.FleetMark: a.spec.Name})
	a.register(name, thing)
	c := a.certificate(true)
	a.attachPolicy(c)
	a.attachThing(c, thing)
	a.put(a.inBundle(name, "device.pem.crt"), *c.CertificatePem)
	a.put(a.inBundle(name, "AmazonRootCA1.pem"), "the fleet's root CA")
	if a.spec.Keys != fleet.KeysDevice {
		a.put(a.inBundle(name, "private.pem.key"), "the device's key")
	}
	a.putJSON(a.inBundle(name, "device.json"), a.record(name, c))
	return c
}

func (a *account) record(name string, c *iot.CreateKeysAndCertificateOutput) activities.Record {
	return activities.Record{
		Fleet: a.spec.Name, Registry: a.spec.Registry, Device: name, Thing: "thing:" + name, ThingType: a.spec.ThingType,
		CertificateID: *c.CertificateId, CertificateARN: *c.CertificateArn, Keys: a.spec.Keys, Policy: a.spec.PolicyName(),
		RunID: "run", CreatedAt: time.Now(), ProvenAt: time.Now(),
	}
}

func (a *account) thing(name string, attributes map[string]string) {
	a.Helper()
	must(a, a.iot.CreateThing, &iot.CreateThingInput{ThingName: &name, ThingTypeName: &a.spec.ThingType,
		AttributePayload: &types.AttributePayload{Attributes: attributes}})
}

func (a *account) register(device, thing string) {
	a.Helper()
	if a.spec.Registry == fleet.IoTCore {
		must(a, a.iot.AddThingToThingGroup, &iot.AddThingToThingGroupInput{ThingGroupName: &a.spec.Name, ThingName: &thing})
		return
	}
	must(a, a.sagemaker.RegisterDevices, &sagemaker.RegisterDevicesInput{DeviceFleetName: &a.spec.Name,
		Devices: []sagemakertypes.Device{{DeviceName: &device, IotThingName: &thing}}})
}

func (a *account) deregister(device, thing string) {
	a.Helper()
	if a.spec.Registry == fleet.IoTCore {
		must(a, a.iot.RemoveThingFromThingGroup, &iot.RemoveThingFromThingGroupInput{ThingGroupName: &a.spec.Name, ThingName: &thing})
		return
	}
	must(a, a.sagemaker.DeregisterDevices, &sagemaker.DeregisterDevicesInput{DeviceFleetName: &a.spec.Name, DeviceNames: []string{device}})
}

func (a *account) certificate(active bool) *iot.CreateKeysAndCertificateOutput {
	a.Helper()
	return must(a, a.iot.CreateKeysAndCertificate, &iot.CreateKeysAndCertificateInput{SetAsActive: active})
}

func (a *account) attachPolicy(c *iot.CreateKeysAndCertificateOutput) {
	a.Helper()
	must(a, a.iot.AttachPolicy, &iot.AttachPolicyInput{PolicyName: aws.String(a.spec.PolicyName()), Target: c.CertificateArn})
}

func (a *account) attachThing(c *iot.CreateKeysAndCertificateOutput, thing string) {
	a.Helper()
	must(a, a.iot.AttachThingPrincipal, &iot.AttachThingPrincipalInput{ThingName: &thing, Principal: c.CertificateArn})
}

func (a *account) detachThing(c *iot.CreateKeysAndCertificateOutput, thing string) {
	a.Helper()
	must(a, a.iot.DetachThingPrincipal, &iot.DetachThingPrincipalInput{ThingName: &thing, Principal: c.CertificateArn})
}

func (a *account) setStatus(c *iot.CreateKeysAndCertificateOutput, status types.CertificateStatus) {
	a.Helper()
	must(a, a.iot.UpdateCertificate, &iot.UpdateCertificateInput{CertificateId: c.CertificateId, NewStatus: status})
}

// provisionMany makes devices at a time.
func (a *account) provisionMany(count int) {
	a.Helper()
	var group errgroup.Group
	group.SetLimit(16)
	for i := range count {
		group.Go(func() error { a.provision(fmt.Sprintf("cam-%04d", i)); return nil })
	}
	require.NoError(a, group.Wait())
}

// soon is far more than the local AWS's lists are stale for, on any machine.
const soon = time.Minute

// requireFound wants the audit to find these, `KIND RESOURCE` or `KIND RESOURCE of DEVICE`, as soon
// as AWS's lists have caught up.
func (a *account) requireFound(want ...string) {
	a.Helper()
	var got []string
	require.Eventually(a, func() bool {
		found, err := a.Audit(a.Context())
		if err != nil {
			got = []string{err.Error()}
			return false
		}
		got = []string{}
		for _, f := range found {
			text := string(f.Kind) + " " + f.Resource
			if f.Device != "" {
				text += " of " + f.Device
			}
			got = append(got, text)
		}
		return len(got) == len(want) && strings.Join(got, "\n") == strings.Join(want, "\n")
	}, soon, 50*time.Millisecond, "found %v", &got)
}
