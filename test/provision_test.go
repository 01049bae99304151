package test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/enums/v1"

	"edgefleet/activities"
	"edgefleet/workflows"
)

var (
	deviceSteps = []string{"CreateThing", "RegisterDevice", "IssueCertificate", "AttachThing", "AttachPolicy", "ActivateCertificate", "ProveDevice"}
	bundleFiles = []string{"AmazonRootCA1.pem", "device.json", "device.pem.crt", "private.pem.key"}
)

// TestProvision takes a device of each example fleet through the procedure, twice.
func TestProvision(t *testing.T) {
	for registry, example := range map[string]struct{ file, fleet, device string }{
		sageMaker: {"../examples/fleet.yaml", "cameras", "cam-01"},
		iotCore:   {"../examples/fleet-iot-core.yaml", "gateways", "gw-01"},
	} {
		t.Run(registry, func(t *testing.T) {
			s := shared(t)
			first := s.provision(t, example.file, example.device)
			require.Equal(t, example.fleet, first.Fleet)
			assert.Equal(t, workflows.Provisioned, first.State)
			assert.Equal(t, registry, string(first.Registry))
			assert.Equal(t, deviceSteps, stepsOf(first.Resources))
			for _, r := range append(first.Resources, first.FleetResources...) {
				switch r.Step {
				case "FindRoleAlias":
					// SageMaker made it with the fleet; iot-core has a step of its own make it.
				case "DescribeEndpoint", "FetchRootCA": // looked up, not made
					assert.Equal(t, activities.Adopted, r.Action, r.Step)
				default:
					assert.Equal(t, activities.Created, r.Action, r.Step)
				}
			}
			s.assertProvisioned(t, first)
			s.assertSmall(t, first)

			before := s.calls(t)
			second := s.provision(t, example.file, example.device)
			assert.Equal(t, first.CertificateID, second.CertificateID)
			for _, r := range append(second.Resources, second.FleetResources...) {
				if r.Step != "ProveDevice" { // proof is given anew each time
					assert.Equal(t, activities.Adopted, r.Action, r.Step)
				}
			}
			s.assertProvisioned(t, second)
			for _, operation := range []string{"iot:CreateKeysAndCertificate", "iot:CreateThingType", "iot:CreatePolicy", "iot:UpdateCertificate"} {
				assert.Equal(t, before[operation], s.calls(t)[operation], "%s was called again", operation)
			}
		})
	}
}

// provision runs `starter provision -o json`, which must succeed.
func (s *stack) provision(t *testing.T, file, device string, more ...string) workflows.ProvisionResult {
	t.Helper()
	o := s.starter(t, append([]string{"provision", "-f", file, device, "-o", "json"}, more...)...)
	o.exits(t, 0)
	var result workflows.ProvisionResult
	o.decode(t, &result)
	t.Logf("%s of %s: %s", device, result.Fleet, o.took)
	return result
}

func stepsOf(resources []workflows.StepResource) []string {
	var steps []string
	for _, r := range resources {
		steps = append(steps, r.Step)
	}
	return steps
}

// assertProvisioned looks at AWS, not at what the run says: the thing, its enrolment, its one
// certificate, the bundle, and credentials for whoever has the bundle.
func (s *stack) assertProvisioned(t *testing.T, r workflows.ProvisionResult) {
	t.Helper()
	ctx := t.Context()
	thing, err := s.iot.DescribeThing(ctx, &iot.DescribeThingInput{ThingName: &r.Thing})
	require.NoError(t, err)
	assert.Equal(t, "osaka", thing.Attributes["site"])

	if string(r.Registry) == sageMaker {
		device, err := s.sagemaker.DescribeDevice(ctx, &sagemaker.DescribeDeviceInput{DeviceFleetName: &r.Fleet, DeviceName: &r.Device})
		require.NoError(t, err)
		assert.Equal(t, r.Thing, *device.IotThingName)
	}

	eventually(t, "the lists of "+r.Thing, func() error { // they lag an attach, as AWS's do
		principals, err := s.iot.ListThingPrincipals(ctx, &iot.ListThingPrincipalsInput{ThingName: &r.Thing})
		if err != nil {
			return err
		}
		policies, err := s.iot.ListAttachedPolicies(ctx, &iot.ListAttachedPoliciesInput{Target: &r.CertificateARN})
		if err != nil {
			return err
		}
		if string(r.Registry) == iotCore {
			of, err := s.iot.ListThingGroupsForThing(ctx, &iot.ListThingGroupsForThingInput{ThingName: &r.Thing})
			if err != nil {
				return err
			}
			var groups []string
			for _, g := range of.ThingGroups {
				groups = append(groups, *g.GroupName)
			}
			if err := differ([]string{r.Fleet}, groups); err != nil {
				return err
			}
		}
		var names []string
		for _, p := range policies.Policies {
			names = append(names, *p.PolicyName)
		}
		return differ(map[string][]string{"principals": {r.CertificateARN}, "policies": {r.Policy}},
			map[string][]string{"principals": principals.Principals, "policies": names})
	})
	certificate, err := s.iot.DescribeCertificate(ctx, &iot.DescribeCertificateInput{CertificateId: &r.CertificateID})
	require.NoError(t, err)
	assert.Equal(t, types.CertificateStatusActive, certificate.CertificateDescription.Status)

	files := s.bundle(t, r)
	assert.Equal(t, http.StatusOK, asDevice(t, files, r.CredentialsURL))
	var record activities.Record
	require.NoError(t, json.Unmarshal(files["device.json"], &record))
	assert.Equal(t, r.CertificateID, record.CertificateID)
}

// bundle reads the device's files, all of which must be there.
func (s *stack) bundle(t *testing.T, r workflows.ProvisionResult) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for _, name := range bundleFiles {
		text, err := s.object(t.Context(), r.Bundle.Key(name))
		require.NoError(t, err, name)
		require.NotEmpty(t, text, name)
		files[name] = text
	}
	return files
}

// asDevice fetches credentials with nothing but the device's files, and returns the HTTP status.
func asDevice(t *testing.T, files map[string][]byte, url string) int {
	t.Helper()
	pair, err := tls.X509KeyPair(files["device.pem.crt"], files["private.pem.key"])
	require.NoError(t, err)
	trusted := x509.NewCertPool()
	require.True(t, trusted.AppendCertsFromPEM(files["AmazonRootCA1.pem"]))
	transport := &http.Transport{TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: trusted}}
	defer transport.CloseIdleConnections()
	res, err := (&http.Client{Transport: transport}).Get(url)
	require.NoError(t, err)
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	require.NoError(t, err)
	return res.StatusCode
}

// assertSmall: events and activities are what a device costs Temporal.
func (s *stack) assertSmall(t *testing.T, r workflows.ProvisionResult) {
	t.Helper()
	events, err := s.history(t.Context(), "default", &common.WorkflowExecution{WorkflowId: workflows.DeviceWorkflowID(r.Fleet, r.Device)})
	require.NoError(t, err)
	activities := 0
	for _, e := range events {
		if e.GetEventType() == enums.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED {
			activities++
		}
	}
	t.Logf("a device's run: %d history events, %d activities", len(events), activities)
	assert.LessOrEqual(t, len(events), 60)
	assert.LessOrEqual(t, activities, 8)
}

// TestProvisionAsPeopleSeeIt: the steps, and in the end a curl line that works as it is printed.
func TestProvisionAsPeopleSeeIt(t *testing.T) {
	s := shared(t)
	o := s.starter(t, "provision", "-f", spec(t, "seen", sageMaker), "seen-01", "--attribute", "rack=007")
	o.exits(t, 0)
	var steps []string
	lines := strings.Split(strings.TrimSpace(o.stdout), "\n")
	for _, line := range lines {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "✓" {
			steps = append(steps, fields[1])
		}
	}
	assert.Equal(t, append([]string{"PrepareFleet"}, deviceSteps...), steps, "%s", o)
	assert.NotContains(t, o.stdout, "\x1b", "colour without a terminal")

	const bundle = "authorization-files/seen/seen-01"
	assert.Contains(t, o.stdout, "s3://"+bucket+"/"+bundle+"/")
	_, curl, has := strings.Cut(lines[len(lines)-1], "curl ")
	require.True(t, has, "the last line is no curl line\n%s", o)
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "seen-01"), 0o700))
	for _, name := range bundleFiles {
		text, err := s.object(t.Context(), path.Join(bundle, name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "seen-01", name), text, 0o600))
	}
	// The line as it is printed; what is added only makes it say more.
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "curl "+curl+` --silent --show-error --write-out '\n%{http_code}'`)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "NO_PROXY=localhost,127.0.0.1", "no_proxy=localhost,127.0.0.1")
	answer, err := cmd.CombinedOutput()
	require.NoError(t, err, "curl %s\n%s", curl, answer)
	assert.Contains(t, string(answer), `"accessKeyId"`)
	assert.True(t, strings.HasSuffix(string(answer), "\n200"), "%s", answer)

	thing, err := s.iot.DescribeThing(t.Context(), &iot.DescribeThingInput{ThingName: new("seen-01")})
	require.NoError(t, err)
	assert.Equal(t, "osaka", thing.Attributes["site"])
	assert.Equal(t, "007", thing.Attributes["rack"])
}

// TestProvisionConcurrently: three devices of a fleet that none of them finds prepared.
func TestProvisionConcurrently(t *testing.T) {
	for _, registry := range []string{sageMaker, iotCore} {
		t.Run(registry, func(t *testing.T) {
			s := shared(t)
			file := spec(t, "at-once-"+registry, registry)
			devices := []string{registry + "-1", registry + "-2", registry + "-3"}
			results := make([]outcome, len(devices))
			var all sync.WaitGroup
			for i, device := range devices {
				all.Go(func() { results[i] = s.starter(t, "provision", "-f", file, device, "-o", "json") })
			}
			all.Wait()
			certificates := map[string]bool{}
			for _, o := range results {
				o.exits(t, 0)
				var r workflows.ProvisionResult
				o.decode(t, &r)
				s.assertProvisioned(t, r)
				certificates[r.CertificateID] = true
			}
			assert.Len(t, certificates, len(devices))
		})
	}
}
