package test

import (
	"maps"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"edgefleet/activities"
	"edgefleet/workflows"
)

// TestUndoRefused: what AWS refuses to undo for good is listed, that and nothing else, and when it
// is allowed again a decommission finishes it.
func TestUndoRefused(t *testing.T) {
	pool := newLanes(t, 4)
	for name, test := range map[string]struct {
		keys    keysOf
		refused []fault
	}{
		"the certificate": {"csr", []fault{denied("iot:DeleteCertificate", -1)}},
		"its detachment":  {"csr", []fault{denied("iot:DetachPolicy", -1)}},
		"the thing":       {"csr", []fault{denied("iot:DeleteThing", -1)}},
		"the device":      {"aws", []fault{denied("sagemaker:DeregisterDevices", -1)}},
		"the files":       {"aws", []fault{denied("s3:DeleteObject", -1)}},
		"all of it": {"csr", []fault{
			denied("iot:DeleteCertificate", -1), denied("iot:DeleteThing", -1), denied("sagemaker:DeregisterDevices", -1), denied("s3:DeleteObject", -1)}},
		// Neither stored nor deleted: it is nowhere but in AWS.
		"a certificate that could not be stored": {"aws", []fault{denied("s3:PutObject", -1), denied("iot:DeleteCertificate", -1)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := pool.take(t)
			d := newDevice(t, sageMaker, test.keys.spec())
			had := s.certificates(t)
			if test.refused[0].Operation == "s3:PutObject" {
				test.refused[0].Match = d.Name + "/device.pem.crt"
				s.fault(t, test.refused...)
			} else {
				s.fault(t, append(test.refused, denied("iot:UpdateCertificate", 1))...)
			}
			o := s.starter(t, "provision", "-f", d.file, d.Name, "--on-failure", "rollback", "-o", "json")
			o.exits(t, 1, "AccessDenied")
			var failed struct {
				State workflows.State
				Left  []workflows.Leftover
			}
			o.decode(t, &failed)
			assert.Equal(t, workflows.RollbackIncomplete, failed.State)
			assert.ElementsMatch(t, s.whatIsLeft(t, d, had), namesOf(failed.Left), "%s", o)
			for _, l := range failed.Left {
				assert.NotEmpty(t, l.Error, "%+v", l)
				assert.Contains(t, o.stderr, l.Name)
			}

			o = s.starter(t, "status", "--fleet", d.spec.Name, d.Name, "-o", "json")
			o.exits(t, 0)
			var status struct {
				State workflows.State
				Left  []workflows.Leftover
			}
			o.decode(t, &status)
			assert.Equal(t, workflows.RollbackIncomplete, status.State)
			assert.Equal(t, failed.Left, status.Left)

			s.clearFaults(t)
			s.starter(t, "decommission", "-f", d.file, d.Name).exits(t, 0)
			s.assertGone(t, d)
			assert.Empty(t, s.whatIsLeft(t, d, had))
		})
	}
}

func namesOf(left []workflows.Leftover) []string {
	var names []string
	for _, l := range left {
		names = append(names, l.Name)
	}
	return names
}

// whatIsLeft asks AWS what there is of a device, by the names that leftovers have.
func (s *stack) whatIsLeft(t *testing.T, d device, had map[string]types.CertificateStatus) []string {
	t.Helper()
	var left []string
	if _, err := s.iot.DescribeThing(t.Context(), &iot.DescribeThingInput{ThingName: &d.Thing}); err == nil {
		left = append(left, d.Thing)
	}
	_, err := s.sagemaker.DescribeDevice(t.Context(), &sagemaker.DescribeDeviceInput{DeviceFleetName: &d.spec.Name, DeviceName: &d.Name})
	if err == nil {
		left = append(left, d.Name)
	}
	for id := range s.certificates(t) {
		if had[id] == "" {
			left = append(left, id)
		}
	}
	bundle := activities.DeviceBundle(d.spec, d.Name).Location
	if len(s.objects(t, bundle.Key(""))) > 0 {
		left = append(left, bundle.String())
	}
	return left
}

// TestLostForGood: AWS made a key, and allows neither to store it nor to delete its certificate.
// What is left is named, and when it is allowed again `starter sweep` removes it.
func TestLostForGood(t *testing.T) {
	if !all {
		t.Skip("sweep waits a minute, until no run can be storing the key; make chaos does")
	}
	s := newLanes(t, 1).take(t)
	d := newDevice(t, sageMaker, keysOf("aws").spec())
	unstored := denied("s3:PutObject", -1)
	unstored.Match = d.Name + "/private.pem.key"
	s.fault(t, unstored, denied("iot:DeleteCertificate", -1))
	result, err := ending[workflows.ProvisionResult](t, s.beginProvision(t, d))
	require.ErrorContains(t, err, "AccessDenied")
	assert.Equal(t, workflows.RollbackIncomplete, result.State)
	left := slices.Collect(maps.Keys(s.certificates(t)))
	require.Len(t, left, 1)
	assert.Contains(t, namesOf(result.Left), left[0])
	s.clearFaults(t)
	s.decommission(t, d)
	assert.Equal(t, map[string]string{left[0]: "orphaned-certificate"}, s.audit(t, d))
	s.starter(t, "sweep", "-f", d.file, "--delete").exits(t, 0)
	s.assertGone(t, d)
	assert.Empty(t, s.certificates(t))
}
