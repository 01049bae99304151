package workflows

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"edgefleet/activities"
	"edgefleet/internal/fleet"
)

func testSpec(registry fleet.Registry) fleet.Spec {
	return fleet.Spec{
		Name: "cameras", Registry: registry, RoleARN: "arn:aws:iam::123456789012:role/EdgeFleetRole", ThingType: "smart-camera",
		Output:  fleet.S3URI{Bucket: "edge-bucket", Prefix: "device_output"},
		Bundles: fleet.S3URI{Bucket: "edge-bucket", Prefix: "authorization-files"}, Keys: fleet.KeysAWS,
	}
}

func testInput() ProvisionInput {
	return ProvisionInput{
		Fleet:    testSpec(fleet.SageMakerEdge),
		Device:   fleet.Device{Name: "cam-01", Thing: "cam-01"},
		Prepared: &PreparedFleet{RoleAlias: "SageMakerEdge-cameras", Policy: "edgefleet-cameras", CredentialsURL: "https://localhost:8443/role-aliases/SageMakerEdge-cameras/credentials"},
	}
}

const (
	certificateID  = "aaaabbbbccccdddd"
	certificateARN = "arn:aws:iot:us-east-1:123456789012:cert/" + certificateID
)

// undoOf names, by step, the activity that undoes it for a certificate that the run created. The
// rest goes with the certificate.
var undoOf = map[string]string{
	"CreateThing": "DeleteThing", "RegisterDevice": "DeregisterDevice", "IssueCertificate": "DiscardCertificate",
}

// device is a test environment in which activities answer as AWS would, and are counted.
type device struct {
	*testsuite.TestWorkflowEnvironment
	mu          sync.Mutex
	called      []string
	stuck       bool // what DeleteThing was told
	certificate activities.Certificate
	discarded   activities.Removal          // what DiscardCertificate answers
	rootCAs     []fleet.S3URI               // where FetchRootCA was told to keep it
	before      func(activity string) error // an error fails the activity
}

func newDevice(t *testing.T) *device {
	var suite testsuite.WorkflowTestSuite
	d := &device{
		TestWorkflowEnvironment: suite.NewTestWorkflowEnvironment(),
		certificate:             activities.Certificate{ID: certificateID, ARN: certificateARN, Action: activities.Created},
		discarded:               activities.Removed,
		before:                  func(string) error { return nil },
	}
	created := func(name string) activities.Resource {
		return activities.Resource{Type: "test:" + name, Name: name, Action: activities.Created}
	}
	fake(d, "CreateThing", func(activities.ThingInput) activities.Thing { return activities.Thing{Resource: created("cam-01")} })
	fake(d, "RegisterDevice", func(activities.RegisterInput) activities.Resource { return created("cam-01") })
	fake(d, "IssueCertificate", func(activities.CertificateInput) activities.Certificate { return d.certificate })
	fake(d, "AttachThing", func(activities.ThingAttachment) activities.Resource { return created("cam-01") })
	fake(d, "AttachPolicy", func(activities.PolicyAttachment) activities.Resource { return created("edgefleet-cameras") })
	fake(d, "ActivateCertificate", func(activities.Certificate) activities.Resource { return created("ACTIVE") })
	fake(d, "ProveDevice", func(activities.ProveInput) activities.Proof { return activities.Proof{Record: activities.Created} })
	fake(d, "DeleteThing", func(in activities.DeleteThingInput) activities.Removal {
		d.stuck = in.Stuck
		return activities.Removed
	})
	fake(d, "DeregisterDevice", func(activities.DeregisterInput) activities.Removal { return activities.Removed })
	fake(d, "DiscardCertificate", func(activities.DiscardInput) activities.Removal { return d.discarded })
	fake(d, "FetchRootCA", func(b activities.Bundle) activities.RootCA {
		d.rootCAs = append(d.rootCAs, b.Location)
		return activities.RootCA{Bundle: b}
	})
	fake(d, "DeleteRecord", func(activities.DeleteRecordInput) activities.Removal { return activities.Removed })
	fake(d, "DetachThing", func(activities.ThingAttachment) any { return nil })
	fake(d, "DetachPolicy", func(activities.PolicyAttachment) any { return nil })
	fake(d, "DeactivateCertificate", func(activities.Certificate) any { return nil })
	return d
}

// fake registers an activity that answers at once.
func fake[In, Out any](d *device, name string, answer func(In) Out) {
	d.RegisterActivityWithOptions(func(_ context.Context, in In) (Out, error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.called = append(d.called, name)
		if err := d.before(name); err != nil {
			var none Out
			return none, err
		}
		return answer(in), nil
	}, activity.RegisterOptions{Name: name})
}

// run provisions the device and returns the activities that ran, each once however often it was tried.
func (d *device) run(in ProvisionInput) []string {
	d.ExecuteWorkflow(ProvisionDevice, in)
	return slices.Compact(d.called)
}

func (d *device) ending(t *testing.T) ProvisionResult {
	t.Helper()
	require.True(t, d.IsWorkflowCompleted())
	err := d.GetWorkflowError()
	require.Error(t, err)
	var result ProvisionResult
	var failed *temporal.ApplicationError
	var canceled *temporal.CanceledError
	switch {
	case errors.As(err, &failed):
		require.NoError(t, failed.Details(&result))
	case errors.As(err, &canceled):
		require.NoError(t, canceled.Details(&result))
	default:
		t.Fatalf("unexpected end: %v", err)
	}
	return result
}

func permanent(activity string) error {
	return temporal.NewNonRetryableApplicationError("refused: "+activity, activities.AccessDenied, nil)
}

func names() []string {
	all := make([]string, len(procedure))
	for i, s := range procedure {
		all[i] = s.name
	}
	return all
}

func TestProvisionDeviceRunsTheProcedure(t *testing.T) {
	d := newDevice(t)
	require.Equal(t, names(), d.run(testInput()))
	var result ProvisionResult
	require.NoError(t, d.GetWorkflowResult(&result))
	require.Equal(t, Provisioned, result.State)
	require.Equal(t, certificateID, result.CertificateID)
	require.Len(t, result.Resources, len(procedure))
	require.Empty(t, result.Left)
}

// Whatever step is refused, it and those before it are undone, the last one first.
func TestRefusalRollsBackInReverse(t *testing.T) {
	for i, refused := range names() {
		t.Run(refused, func(t *testing.T) {
			d := newDevice(t)
			d.before = func(activity string) error {
				if activity == refused {
					return permanent(activity)
				}
				return nil
			}
			want := names()[:i+1]
			for j := i; j >= 0; j-- {
				if undo := undoOf[names()[j]]; undo != "" {
					want = append(want, undo)
				}
			}
			require.Equal(t, want, d.run(testInput()))
			result := d.ending(t)
			require.Equal(t, RolledBack, result.State)
			require.Empty(t, result.Left)
			var failed *temporal.ApplicationError
			require.ErrorAs(t, d.GetWorkflowError(), &failed)
			require.Equal(t, activities.AccessDenied, failed.Type())
			require.Contains(t, failed.Message(), "refused: "+refused)
		})
	}
}

// A cancellation before or during a step undoes what was begun, and the run ends canceled.
func TestCancellationRollsBack(t *testing.T) {
	for i, during := range names() {
		t.Run(during, func(t *testing.T) {
			d := newDevice(t)
			d.before = func(activity string) error {
				if activity == during {
					d.CancelWorkflow()
				}
				return nil
			}
			called := d.run(testInput())
			require.Equal(t, RolledBack, d.ending(t).State)
			require.True(t, temporal.IsCanceledError(d.GetWorkflowError()))
			require.Equal(t, names()[:i+1], slices.DeleteFunc(slices.Clone(called), func(c string) bool { return !slices.Contains(names(), c) }),
				"no further step is begun")
			for _, begun := range names()[:i+1] {
				if undo := undoOf[begun]; undo != "" {
					require.Contains(t, called, undo)
				}
			}
		})
	}
}

// What a run found attached, or active, stays; what it added to an adopted certificate goes.
func TestRollbackLeavesAnAdoptedCertificateAsItWas(t *testing.T) {
	for name, c := range map[string]struct {
		found   activities.Certificate
		undoing []string
	}{
		"complete": {activities.Certificate{Active: true, HasPolicy: true, HasThing: true}, []string{"DeleteRecord"}},
		"bare":     {activities.Certificate{}, []string{"DeleteRecord", "DeactivateCertificate", "DetachPolicy", "DetachThing"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t)
			d.certificate = c.found
			d.certificate.ID, d.certificate.ARN, d.certificate.Action = certificateID, certificateARN, activities.Adopted
			d.before = func(activity string) error {
				if activity == "ProveDevice" {
					return permanent(activity)
				}
				return nil
			}
			require.Equal(t, slices.Concat(names(), c.undoing, []string{"DeregisterDevice", "DeleteThing"}), d.run(testInput()))
			require.Equal(t, RolledBack, d.ending(t).State)
		})
	}
}

// An undo that is refused for good does not stop the others, and is listed.
func TestRollbackListsWhatIsLeft(t *testing.T) {
	d := newDevice(t)
	d.before = func(activity string) error {
		if activity == "AttachPolicy" || activity == "DiscardCertificate" {
			return permanent(activity)
		}
		return nil
	}
	d.run(testInput())
	result := d.ending(t)
	require.Equal(t, RollbackIncomplete, result.State)
	require.Equal(t, []Leftover{
		{"IssueCertificate", "iot:Certificate", certificateID, "refused: DiscardCertificate"},
		{"IssueCertificate", "bundle", "s3://edge-bucket/authorization-files/cameras/cam-01", "kept, because it names what is left"},
	}, result.Left)
	require.Contains(t, d.GetWorkflowError().Error(), certificateID)
	require.Contains(t, d.called, "DeregisterDevice")
	require.True(t, d.stuck, "waiting for what holds the thing is of no use")
}

// What only passes is retried until the run's deadline; then the run rolls back.
func TestDeadlineRollsBack(t *testing.T) {
	d := newDevice(t)
	started := d.Now()
	d.before = func(activity string) error {
		if activity == "AttachThing" {
			return temporal.NewApplicationError("no answer", activities.Unavailable)
		}
		return nil
	}
	in := testInput()
	in.Deadline = time.Minute
	d.run(in)
	require.Equal(t, RolledBack, d.ending(t).State)
	require.Contains(t, d.GetWorkflowError().Error(), "no answer")
	require.WithinDuration(t, started.Add(time.Minute), d.Now(), 35*time.Second, "within the longest pause between two attempts")
}

func TestRunIsMarkedOnlyWhenItLeavesTheHappyPath(t *testing.T) {
	marks := func(refused string) []string {
		d := newDevice(t)
		d.before = func(activity string) error {
			if activity == refused {
				return permanent(activity)
			}
			return nil
		}
		var states []string
		d.OnUpsertTypedSearchAttributes(mock.Anything).Run(func(args mock.Arguments) {
			if state, ok := args.Get(0).(temporal.SearchAttributes).GetKeyword(ProvisionState); ok {
				states = append(states, state)
			}
		}).Return(nil).Maybe()
		d.run(testInput())
		return states
	}
	require.Empty(t, marks(""))
	require.Equal(t, []string{string(RollingBack), string(RolledBack)}, marks("AttachPolicy"))
}
