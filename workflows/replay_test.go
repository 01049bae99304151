package workflows_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"

	"edgefleet/workflows"
)

func replayer() worker.WorkflowReplayer {
	r := worker.NewWorkflowReplayer()
	r.RegisterWorkflow(workflows.PrepareFleet)
	r.RegisterWorkflow(workflows.ProvisionDevice)
	r.RegisterWorkflow(workflows.DecommissionDevice)
	r.RegisterWorkflow(workflows.OnboardFleet)
	r.RegisterWorkflow(workflows.QuotaShares)
	r.RegisterWorkflow(workflows.ExpandFleet)
	return r
}

var quiet = log.NewStructuredLogger(slog.New(slog.DiscardHandler))

func recordings(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files, "no histories to replay: EDGEFLEET_RECORD=1 go test ./test -run TestRecordHistories makes them")
	return files
}

// TestReplay: a run that is under way when a worker of this code takes it goes on as it began.
// The histories are recorded from running code (TestRecordHistories in test).
func TestReplay(t *testing.T) {
	for _, file := range recordings(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			require.NoError(t, replayer().ReplayWorkflowHistoryFromJSONFile(quiet, file))
		})
	}
}

// TestReplayNotices: the replays above would fail if a step were another, or came elsewhere.
func TestReplayNotices(t *testing.T) {
	for _, file := range recordings(t) {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		first := "CreateThingType"
		switch base := filepath.Base(file); {
		case strings.HasPrefix(base, "provision_device.onboarded-local"):
			continue // they schedule nothing
		case strings.HasPrefix(base, "provision_device.onboarded"):
			first = "IssueCertificate" // those before it are local
		case strings.HasPrefix(base, "onboard_fleet"):
			first = "LaunchDevices"
		case strings.HasPrefix(base, "provision_device"):
			first = "CreateThing"
		case strings.HasPrefix(base, "decommission_device"):
			first = "FindDevice"
		case strings.HasPrefix(base, "expand_fleet"):
			first = "FindManifests"
		}
		changed := bytes.ReplaceAll(text, []byte(`"name": "`+first+`"`), []byte(`"name": "AnotherStep"`))
		require.NotEqual(t, text, changed, file)
		history, err := client.HistoryFromJSON(bytes.NewReader(changed), client.HistoryJSONOptions{})
		require.NoError(t, err)
		assert.ErrorContains(t, replayer().ReplayWorkflowHistory(quiet, history), "nondeterministic", file)
	}
}
