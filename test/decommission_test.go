package test

import (
	"encoding/json"
	"path"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/iot"
	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"edgefleet/activities"
	"edgefleet/workflows"
)

func (s *stack) decommission(t *testing.T, d device, more ...string) workflows.DecommissionResult {
	t.Helper()
	o := s.starter(t, append([]string{"decommission", "-f", d.file, d.Name, "-o", "json"}, more...)...)
	o.exits(t, 0)
	var results []workflows.DecommissionResult
	o.decode(t, &results)
	require.Len(t, results, 1)
	assert.Equal(t, workflows.Decommissioned, results[0].State)
	return results[0]
}

// TestDecommission: whatever of a device has gone by hand, the rest goes, and a second time changes nothing.
func TestDecommission(t *testing.T) {
	pool := newLanes(t, 3)
	for name, breakOff := range map[string]func(*testing.T, *lane, device, workflows.ProvisionResult){
		"whole": func(*testing.T, *lane, device, workflows.ProvisionResult) {},
		"without registration": func(t *testing.T, s *lane, d device, _ workflows.ProvisionResult) {
			_, err := s.sagemaker.DeregisterDevices(t.Context(), &sagemaker.DeregisterDevicesInput{DeviceFleetName: &d.spec.Name, DeviceNames: []string{d.Name}})
			require.NoError(t, err)
		},
		"with an INACTIVE certificate": func(t *testing.T, s *lane, _ device, r workflows.ProvisionResult) {
			_, err := s.iot.UpdateCertificate(t.Context(), &iot.UpdateCertificateInput{CertificateId: &r.CertificateID, NewStatus: iottypes.CertificateStatusInactive})
			require.NoError(t, err)
		},
		"without policy": func(t *testing.T, s *lane, _ device, r workflows.ProvisionResult) {
			_, err := s.iot.DetachPolicy(t.Context(), &iot.DetachPolicyInput{PolicyName: &r.Policy, Target: &r.CertificateARN})
			require.NoError(t, err)
		},
		"without certificate on the thing": func(t *testing.T, s *lane, d device, r workflows.ProvisionResult) {
			_, err := s.iot.DetachThingPrincipal(t.Context(), &iot.DetachThingPrincipalInput{ThingName: &d.Thing, Principal: &r.CertificateARN})
			require.NoError(t, err)
		},
		"without certificate": func(t *testing.T, s *lane, _ device, r workflows.ProvisionResult) {
			_, err := s.iot.DeleteCertificate(t.Context(), &iot.DeleteCertificateInput{CertificateId: &r.CertificateID, ForceDelete: true})
			if err != nil { // attached as it is
				s.takeOffCertificate(t, r)
			}
		},
		"without thing": func(t *testing.T, s *lane, d device, r workflows.ProvisionResult) {
			s.takeOffCertificate(t, r)
			eventually(t, "the thing is let go of", func() error {
				_, err := s.iot.DeleteThing(t.Context(), &iot.DeleteThingInput{ThingName: &d.Thing})
				return err
			})
		},
		"without device.json":      withoutFiles("device.json"),
		"without its key":          withoutFiles("private.pem.key"),
		"without certificate file": withoutFiles("device.pem.crt"),
		"without any file":         withoutFiles(bundleFiles...),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := pool.take(t)
			d := newDevice(t, sageMaker, "keys: csr\n")
			had := s.certificates(t)
			r := s.provisioned(t, s.beginProvision(t, d))
			s.remember(t, d)
			breakOff(t, s, d, r)
			s.decommission(t, d)
			s.assertGone(t, d)
			assert.Empty(t, s.whatIsLeft(t, d, had))

			is := s.settled(t)
			for _, removed := range s.decommission(t, d).Removals {
				assert.Equal(t, activities.Gone, removed.Result, "%+v", removed)
			}
			assert.Equal(t, is, s.settled(t))
			s.provisioned(t, s.beginProvision(t, d)) // and it can come back
		})
	}
}

func withoutFiles(names ...string) func(*testing.T, *lane, device, workflows.ProvisionResult) {
	return func(t *testing.T, s *lane, _ device, r workflows.ProvisionResult) {
		for _, name := range names {
			_, err := s.s3.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: new(bucket), Key: new(r.Bundle.Key(name))})
			require.NoError(t, err)
		}
	}
}

// takeOffCertificate removes the certificate as a person would.
func (s *stack) takeOffCertificate(t *testing.T, r workflows.ProvisionResult) {
	t.Helper()
	_, err := s.iot.UpdateCertificate(t.Context(), &iot.UpdateCertificateInput{CertificateId: &r.CertificateID, NewStatus: iottypes.CertificateStatusInactive})
	require.NoError(t, err)
	_, err = s.iot.DetachPolicy(t.Context(), &iot.DetachPolicyInput{PolicyName: &r.Policy, Target: &r.CertificateARN})
	require.NoError(t, err)
	_, err = s.iot.DetachThingPrincipal(t.Context(), &iot.DetachThingPrincipalInput{ThingName: &r.Thing, Principal: &r.CertificateARN})
	require.NoError(t, err)
	eventually(t, "the certificate is let go of", func() error {
		_, err := s.iot.DeleteCertificate(t.Context(), &iot.DeleteCertificateInput{CertificateId: &r.CertificateID})
		return err
	})
}

// TestDecommissionFiles: of a versioned bucket all versions go, and what is kept has no key.
func TestDecommissionFiles(t *testing.T) {
	s := newLanes(t, 1).take(t)
	_, err := s.s3.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{
		Bucket: new(bucket), VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled},
	})
	require.NoError(t, err)
	for _, keep := range []bool{false, true} {
		d := newDevice(t, sageMaker, "keys: csr\n")
		r := s.provisioned(t, s.beginProvision(t, d))
		s.remember(t, d)
		key, err := s.object(t.Context(), r.Bundle.Key("private.pem.key"))
		require.NoError(t, err)
		s.putObject(t, r.Bundle.Key("private.pem.key"), key) // another version of the same
		_, err = s.s3.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: new(bucket), Key: new(r.Bundle.Key("device.json"))})
		require.NoError(t, err)
		require.Contains(t, s.objects(t, r.Bundle.Key("")), "device.json (delete marker)")
		require.Greater(t, len(s.objects(t, r.Bundle.Key(""))), len(bundleFiles))
		if !keep {
			s.decommission(t, d)
		} else {
			archive := s.decommission(t, d, "--keep-bundle").Archive
			kept := s.objects(t, archive.Key(""))
			slices.Sort(kept)
			assert.Equal(t, []string{"AmazonRootCA1.pem", "device.pem.crt"}, kept, "the record was deleted before")
			assert.Equal(t, d.Name, path.Base(path.Dir(archive.Prefix)))
		}
		s.assertGone(t, d)
	}
}

// TestOneOperationAtATime: provisioning and decommissioning a device exclude each other.
func TestOneOperationAtATime(t *testing.T) {
	s := newLanes(t, 1).take(t)
	d := newDevice(t, iotCore, "keys: csr\n")
	provisioning := s.held(t, "iot:AttachPolicy", "", func() client.WorkflowRun { return s.beginProvision(t, d) })
	s.starter(t, "decommission", "-f", d.file, d.Name).exits(t, 1, d.Name, "is running as ProvisionDevice", "starter status")
	s.clearFaults(t)
	s.provisioned(t, provisioning)
	s.remember(t, d)

	decommissioning := s.held(t, "iot:DeleteThing", "", func() client.WorkflowRun { return s.beginDecommission(t, d) })
	s.starter(t, "provision", "-f", d.file, d.Name).exits(t, 1, d.Name, "is running as DecommissionDevice", "starter status")
	s.clearFaults(t)
	s.decommissioned(t, decommissioning)
	s.assertGone(t, d)
	o := s.starter(t, "status", d.Name, "-o", "json")
	o.exits(t, 0)
	var status struct{ State workflows.State }
	require.NoError(t, json.Unmarshal([]byte(o.stdout), &status))
	assert.Equal(t, workflows.Decommissioned, status.State)
}
