package test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/history/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"edgefleet/workflows"
)

// TestRecordHistories writes the histories that workflows/replay_test.go replays. A change of a
// workflow that replays them all needs no new ones: they stand for runs that are under way when
// the change is deployed. Where it cannot, that is the point; record only what a new shape adds.
func TestRecordHistories(t *testing.T) {
	if os.Getenv("EDGEFLEET_RECORD") != "1" {
		t.Skip("records only with EDGEFLEET_RECORD=1")
	}
	s := shared(t)
	for _, registry := range []string{sageMaker, iotCore} {
		fleet := "recorded-" + registry
		file, device := spec(t, fleet, registry), registry+"-01"
		refused := fleet + "-refused"
		refusal := func(operation, match string) fault {
			return fault{Operation: operation, Kind: "error", Code: "AccessDeniedException", Status: 403, Match: match, Times: 1}
		}
		apply := []string{"fleet", "apply", "-f"}
		provision := []string{"provision", "-f"}

		s.starter(t, append(provision, file, device)...).exits(t, 0)
		s.saveHistory(t, workflows.DeviceWorkflowID(fleet, device), "provision_device", registry, "fresh")
		s.saveHistory(t, workflows.FleetWorkflowID(fleet)+"/"+device, "prepare_fleet", registry, "fresh")
		s.starter(t, append(provision, file, device)...).exits(t, 0)
		s.saveHistory(t, workflows.DeviceWorkflowID(fleet, device), "provision_device", registry, "adopted")
		s.starter(t, append(apply, file)...).exits(t, 0)
		s.saveHistory(t, workflows.FleetWorkflowID(fleet), "prepare_fleet", registry, "adopted")

		s.fault(t, refusal("iot:CreateThing", device+"-refused"), refusal("iot:CreatePolicy", refused))
		s.starter(t, append(provision, file, device+"-refused", "--on-failure", "rollback")...).exits(t, 1)
		s.saveHistory(t, workflows.DeviceWorkflowID(fleet, device+"-refused"), "provision_device", registry, "failed")
		s.starter(t, append(apply, spec(t, refused, registry))...).exits(t, 1)
		s.saveHistory(t, workflows.FleetWorkflowID(refused), "prepare_fleet", registry, "failed")

		undone := device + "-undone"
		s.fault(t, refusal("iot:AttachPolicy", undone))
		s.starter(t, append(provision, file, undone, "--on-failure", "rollback")...).exits(t, 1)
		s.saveHistory(t, workflows.DeviceWorkflowID(fleet, undone), "provision_device", registry, "rolled-back")

		canceled := device + "-canceled"
		s.fault(t, fault{Operation: "iot:AttachPolicy", Kind: "throttle", Match: canceled, Times: -1})
		s.starter(t, append(provision, file, canceled, "--no-wait")...).exits(t, 0)
		id := workflows.DeviceWorkflowID(fleet, canceled)
		require.Eventually(t, func() bool { return s.attempts(t, id) > 1 }, patience, 50*time.Millisecond)
		require.NoError(t, s.temporal.CancelWorkflow(t.Context(), id, ""))
		require.Error(t, s.temporal.GetWorkflow(t.Context(), id, "").Get(t.Context(), nil))
		s.clearFaults(t)
		s.saveHistory(t, id, "provision_device", registry, "canceled")

		// Held at two steps: one that waits, one that was let go on, one that was rolled back.
		for _, name := range []string{"held", "resumed", "held-rolled-back"} {
			d := device + "-" + name
			s.fault(t, fault{Operation: "iot:AttachPolicy", Kind: "error", Code: "AccessDeniedException", Status: 403, Match: fleet, Times: 1})
			s.starter(t, append(provision, file, d)...).exits(t, 1, "is held at AttachPolicy")
			id := workflows.DeviceWorkflowID(fleet, d)
			switch name {
			case "resumed":
				_, err := s.tell(t, id, workflows.Resume, why{"reason": "allowed again", "by": "ops"})
				require.NoError(t, err)
				require.NoError(t, s.temporal.GetWorkflow(t.Context(), id, "").Get(t.Context(), nil))
			case "held-rolled-back":
				require.NoError(t, s.temporal.SignalWorkflow(t.Context(), id, "", "rollback", why{"reason": "not needed"}))
				require.Error(t, s.temporal.GetWorkflow(t.Context(), id, "").Get(t.Context(), nil))
			}
			s.saveHistory(t, id, "provision_device", registry, name)
		}

		decommission := []string{"decommission", "-f"}
		s.starter(t, append(decommission, file, device)...).exits(t, 0)
		s.saveHistory(t, workflows.DeviceWorkflowID(fleet, device), "decommission_device", registry, "fresh")
		s.starter(t, append(decommission, file, device)...).exits(t, 0)
		s.saveHistory(t, workflows.DeviceWorkflowID(fleet, device), "decommission_device", registry, "gone")
	}
}

// attempts is how often the step at issue was tried.
func (s *stack) attempts(t *testing.T, id string) int32 {
	t.Helper()
	described, err := s.temporal.DescribeWorkflowExecution(t.Context(), id, "")
	require.NoError(t, err)
	for _, p := range described.GetPendingActivities() {
		if p.GetActivityType().GetName() == "AttachPolicy" {
			return p.GetAttempt()
		}
	}
	return 0
}

// saveHistory writes the history of the latest run to workflows/testdata, without what only tells
// of the machine that it was recorded on.
func (s *stack) saveHistory(t *testing.T, id string, name ...string) {
	t.Helper()
	events, err := s.history(t.Context(), "default", &common.WorkflowExecution{WorkflowId: id})
	require.NoError(t, err)
	text, err := protojson.Marshal(&history.History{Events: events})
	require.NoError(t, err)
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var tree any
	require.NoError(t, decoder.Decode(&tree))
	scrub(tree)
	text, err = json.MarshalIndent(tree, "", " ")
	require.NoError(t, err)
	host, err := os.Hostname()
	require.NoError(t, err)
	require.NotContains(t, string(text), "@"+host)
	require.NotContains(t, string(text), mustAbs(".."), "a path of this machine")

	dir := filepath.Join("..", "workflows", "testdata")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, strings.Join(name, ".")+".json"), append(text, '\n'), 0o644))
}

// scrub replaces PID@HOST identities, and sticky task queues, whose names begin with the host's.
func scrub(tree any) {
	switch node := tree.(type) {
	case []any:
		for _, child := range node {
			scrub(child)
		}
	case map[string]any:
		if _, has := node["identity"]; has {
			node["identity"] = "1@host"
		}
		if node["kind"] == "TASK_QUEUE_KIND_STICKY" {
			node["name"] = "host:sticky"
		}
		for _, child := range node {
			scrub(child)
		}
	}
}
