package onboarding

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"edgefleet/activities"
	"edgefleet/internal/report"
	"edgefleet/workflows"
)

func newShift(rule workflows.StopRule) *shift { return &shift{in: workflows.OnboardInput{Stop: rule}} }

var number int

// counted counts devices that ended with these errors at AttachPolicy, "" for none.
func (s *shift) counted(kinds ...string) string {
	for _, kind := range kinds {
		number++
		o := report.Outcome{Line: number, Device: "cam-" + strconv.Itoa(number), State: report.Provisioned}
		if kind != "" {
			o.State, o.Step, o.ErrorType, o.Error = report.RolledBack, "AttachPolicy", kind, "AWS said no"
		}
		s.count(o)
	}
	return s.progress.Stopped
}

func TestStopInARow(t *testing.T) {
	const denied, conflict = activities.AccessDenied, activities.Conflict
	s := newShift(workflows.StopRule{InARow: 3})
	require.Empty(t, s.counted(denied, denied, "", denied, denied, conflict, denied, denied), "never the same three times")
	stopped := s.counted(denied)
	require.Contains(t, stopped, "3 devices in a row ended with AccessDenied at AttachPolicy")
	require.Contains(t, stopped, "cam-"+strconv.Itoa(number)+": AWS said no")
	require.Equal(t, stopped, s.counted(denied), "the first word stays")

	require.Empty(t, newShift(workflows.StopRule{InARow: 2}).counted("Canceled", "Canceled", "Terminated", "Terminated"), "what people do stops nothing")
	require.Contains(t, newShift(workflows.StopRule{InARow: 2}).counted(activities.NotYetEffective, activities.NotYetEffective), "2 devices in a row",
		"retrying has not mended it")
	s = newShift(workflows.StopRule{InARow: 2})
	for range 5 {
		s.count(exclude(report.Outcome{}, nil, time.Now()))
	}
	require.Empty(t, s.progress.Stopped, "what is done to these devices says nothing of the others")
	s = newShift(workflows.StopRule{InARow: 2})
	s.counted(denied)
	s.count(report.Outcome{State: report.AlreadyProvisioned})
	require.NotEmpty(t, s.counted(denied), "one that was provisioned before says nothing")
	never := newShift(workflows.StopRule{})
	for range 500 {
		require.Empty(t, never.counted(denied))
	}
	require.Len(t, never.progress.Recent, remembered)
}

func TestStopPercent(t *testing.T) {
	s := newShift(workflows.StopRule{Percent: 20})
	for range 19 {
		require.Empty(t, s.counted("", activities.AccessDenied))
	}
	require.Empty(t, s.counted("", "", "", ""))
	require.Contains(t, s.counted(activities.AccessDenied), "20 of the last 43 devices ended with AccessDenied at AttachPolicy")

	s = newShift(workflows.StopRule{Percent: 20})
	for range 100 { // one in five and a bit
		require.Empty(t, s.counted(activities.AccessDenied, "", "", "", "", ""))
	}
}

func TestCounts(t *testing.T) {
	s := newShift(workflows.DefaultStopRule)
	for _, state := range report.States {
		s.count(report.Outcome{State: state})
	}
	require.Equal(t, workflows.Counts{Provisioned: 1, Already: 1, Held: 1, Failed: len(report.States) - 3}, s.progress.Counts)
}

// Those that were under way when the line stopped say nothing of how it is once the cause is mended.
func TestDrainedAreNotRemembered(t *testing.T) {
	s := newShift(workflows.StopRule{InARow: 2})
	s.drain = true
	require.Empty(t, s.counted(activities.AccessDenied, activities.AccessDenied, activities.AccessDenied))
	require.Empty(t, s.progress.Recent)
	require.Equal(t, 3, s.progress.Counts.Failed)
}
