package workflows

import (
	"log/slog"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"edgefleet/activities"
)

// TestNewStepBehindVersion: how the procedure is changed while runs are under way, or held. A step
// that comes into its middle is asked for with workflow.GetVersion; then all recorded histories
// replay, and a new run does it. Without, those that were past that point would not go on.
func TestNewStepBehindVersion(t *testing.T) {
	released := procedure
	t.Cleanup(func() { procedure = released })
	undo := func(*deviceRun, workflow.Context) (activities.Resource, error) { return activities.Resource{}, nil }
	tag := func(r *deviceRun, ctx workflow.Context) (activities.Resource, error) {
		return call[activities.Resource](ctx, r.stepOptions(ctx, "tags"), do.AttachThing, r.thingAttachment())
	}
	guarded := func(r *deviceRun, ctx workflow.Context) (activities.Resource, error) {
		if workflow.GetVersion(ctx, "TagThing", workflow.DefaultVersion, 1) == workflow.DefaultVersion {
			return activities.Resource{}, nil
		}
		return tag(r, ctx)
	}
	replay := func(t *testing.T, file string) error {
		r := worker.NewWorkflowReplayer()
		r.RegisterWorkflow(ProvisionDevice)
		return r.ReplayWorkflowHistoryFromJSONFile(log.NewStructuredLogger(slog.New(slog.DiscardHandler)), file)
	}
	files, err := filepath.Glob("testdata/provision_device.*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)

	procedure = slices.Insert(slices.Clone(released), 1, step{"TagThing", guarded, undo})
	for _, file := range files {
		assert.NoError(t, replay(t, file), file)
	}
	d := newDevice(t)
	require.Equal(t, []string{"CreateThing", "AttachThing", "RegisterDevice"}, d.run(testInput())[:3])

	procedure = slices.Insert(slices.Clone(released), 1, step{"TagThing", tag, undo})
	for _, file := range files {
		if filepath.Ext(file[:len(file)-len(".json")]) != ".failed" { // those failed at the first step
			assert.ErrorContains(t, replay(t, file), "TMPRL1100", file) // Temporal's code for it
		}
	}
}
