package test

import (
	"errors"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRecordExpansions writes the histories of runs of a schedule that workflows/replay_test.go replays: one that
// took manifests, one that stopped at its canary, and the one after it.
func TestRecordExpansions(t *testing.T) {
	if os.Getenv("EDGEFLEET_RECORD") != "1" {
		t.Skip("records only with EDGEFLEET_RECORD=1")
	}
	s := scheduling(t)
	const name = "recorded"
	file := scheduleSpec(t, name, "hook: {url: "+newHook(t).URL+"}\n")
	drop := func(object string, devices ...string) { s.drop(t, "drops/"+name+"/"+object, csvOf(devices...)) }
	ended := func(state, as string, runs int) {
		view := s.until(t, name, "the run", func(v scheduled) error {
			if len(v.Runs) != runs || v.Runs[0].ClosedAt == nil {
				return errors.New("it has not ended")
			}
			return differ(state, v.Runs[0].State)
		})
		s.saveHistory(t, view.Runs[0].WorkflowID, "expand_fleet", as)
	}
	trigger := func() { s.starter(t, "schedule", "trigger", name).exits(t, 0) }
	drop("a.csv", names("one", 3)...)
	drop("bad.csv", "no name")
	s.starter(t, "schedule", "create", name, "-f", file, "--manifests", "s3://"+bucket+"/drops/"+name+"/", "--every", "24h", "--canary", "50%").exits(t, 0)
	trigger()
	ended("completed", "fresh", 1)
	s.fault(t, fault{Operation: "iot:CreateThing", Kind: "error", Code: "AccessDeniedException", Status: 403, Match: "two-01", Times: -1})
	drop("b.csv", names("two", 3)...)
	trigger()
	ended("stopped", "stopped", 2)
	s.clearFaults(t)
	require.True(t, s.describe(t, name).Paused)
	trigger()
	ended("completed", "after-stopped", 3)
}
