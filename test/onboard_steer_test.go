package test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"edgefleet/activities"
	"edgefleet/internal/report"
	"edgefleet/workflows"
)

// onboarding is where an onboarding stands.
func (s *stack) onboarding(t *testing.T, name string) (got onboarded) {
	t.Helper()
	o := s.starter(t, "status", "onboarding", name, "-o", "json")
	o.exits(t, 0)
	o.decode(t, &got)
	return got
}

// until waits until the onboarding's status is as the condition wants it.
func (s *stack) until(t *testing.T, name, what string, condition func(onboarded) bool) (got onboarded) {
	t.Helper()
	eventually(t, what, func() error {
		if got = s.onboarding(t, name); !condition(got) {
			return fmt.Errorf("%+v", got)
		}
		return nil
	})
	return got
}

// begun starts an onboarding that goes on while the test does.
func (s *stack) begun(t *testing.T, d device, manifest, name string, more ...string) client.WorkflowRun {
	t.Helper()
	s.starter(t, append([]string{"onboard", "-f", d.file, manifest, "--name", name, "--no-wait"}, more...)...).exits(t, 0)
	return s.temporal.GetWorkflow(t.Context(), workflows.OnboardingWorkflowID(d.spec.Name, name), "")
}

// tallies counts a report's devices by their state.
func (r fullReport) tallies() map[report.State]int {
	n := map[report.State]int{}
	for _, o := range r.Devices {
		n[o.State]++
	}
	return n
}

// The same error keeps coming: few devices are launched, and the rest when its cause is mended.
func TestOnboardingStops(t *testing.T) {
	s := newLanes(t, 1).take(t)
	const devices = 60
	for how, test := range map[string]struct {
		rule []string
		why  string
		most int // launched
	}{
		"in a row":   {[]string{"--stop-in-a-row", "5", "--stop-percent", "0"}, "5 devices in a row ended with AccessDenied at AttachPolicy", 12},
		"in percent": {[]string{"--stop-in-a-row", "0", "--stop-percent", "8"}, "8 of the last 8 devices ended with AccessDenied at AttachPolicy", 15},
	} {
		t.Run(how, func(t *testing.T) {
			d := newDevice(t, iotCore, "keys: csr\n")
			manifest, name := manifestOf(t, d.Name, devices), d.Name+"-stops"
			s.fault(t, denied("iot:AttachPolicy", -1))
			args := append([]string{"-f", d.file, manifest, "--name", name, "--in-flight", "4", "--on-failure", "rollback"}, test.rule...)
			got := s.onboard(t, 1, args...)
			require.Equal(t, workflows.Stopped, got.State)
			require.Contains(t, got.Why, test.why)
			require.Contains(t, got.Why, "What to do: check the worker's AWS credentials")
			require.Zero(t, got.InFlight)
			require.Equal(t, workflows.Counts{Failed: got.Counts.Failed}, got.Counts)
			require.LessOrEqual(t, got.Counts.Failed, test.most)
			failed := got.Counts.Failed
			require.Equal(t, map[report.State]int{report.RolledBack: failed, report.NotStarted: devices - failed}, s.reportOf(t, name).tallies())
			shown := s.starter(t, "status", "onboarding", name)
			shown.exits(t, 0)
			require.Contains(t, shown.stdout, "starter onboarding resume "+name)
			s.starter(t, "onboarding", "pause", name).exits(t, 1, "the onboarding is stopped, so there is nothing to pause")

			s.clearFaults(t)
			s.starter(t, "onboarding", "resume", name, "--reason", "allowed again").exits(t, 0)
			s.starter(t, "status", "onboarding", name, "--watch").exits(t, 1)
			got = s.onboarding(t, name)
			require.Equal(t, workflows.Completed, got.State)
			require.Equal(t, workflows.Counts{Provisioned: devices - failed, Failed: failed}, got.Counts)
			require.Equal(t, map[report.State]int{report.RolledBack: failed, report.Provisioned: devices - failed}, s.reportOf(t, name).tallies())

			got = s.onboard(t, 0, args...)
			require.Equal(t, workflows.Counts{Provisioned: failed, Already: devices - failed}, got.Counts, "the same manifest does what had failed")
			s.assertOnboarded(t, d, name, devices)
		})
	}
}

// An onboarding is paused, resumed and canceled, by the command and by signals; what makes no sense is refused.
func TestOnboardingIsSteered(t *testing.T) {
	s := newLanes(t, 1).take(t)
	d := newDevice(t, iotCore, "keys: csr\n")
	const devices, name = 400, "steered" // more than are done while the test looks
	s.fault(t, fault{Operation: "iot:AttachPolicy", Kind: "delay", DelayMS: 200, Times: -1})
	run := s.begun(t, d, manifestOf(t, d.Name, devices), name, "--in-flight", "3")
	say := func(decision string) { s.starter(t, "onboarding", decision, name, "--reason", "a test").exits(t, 0) }
	signal := func(decision string) {
		require.NoError(t, s.temporal.SignalWorkflow(t.Context(), run.GetID(), "", decision, workflows.Steering{Reason: "a signal"}))
	}
	ended := 0
	for _, send := range []func(string){say, signal} {
		s.until(t, name, "it goes on", func(o onboarded) bool { return o.State == workflows.Running && o.Counts.Ended() > ended })
		send(workflows.PauseOnboarding)
		got := s.until(t, name, "what is under way comes to its end", func(o onboarded) bool { return o.State == workflows.Paused && o.InFlight == 0 })
		require.Less(t, got.Counts.Ended(), devices)
		require.Equal(t, workflows.Counts{Provisioned: got.Counts.Ended()}, got.Counts)
		require.Equal(t, map[report.State]int{report.Provisioned: got.Counts.Ended(), report.NotStarted: devices - got.Counts.Ended()}, s.reportOf(t, name).tallies())
		ended = got.Counts.Ended()
		s.starter(t, "onboarding", "pause", name).exits(t, 1, "the onboarding is paused, so there is nothing to pause")
		signal(workflows.PauseOnboarding) // does nothing
		send(workflows.ResumeOnboarding)
	}
	s.until(t, name, "it goes on", func(o onboarded) bool { return o.State == workflows.Running && o.Counts.Ended() > ended })
	s.starter(t, "onboarding", "resume", name).exits(t, 1, "the onboarding is running, so there is nothing to resume")
	say(workflows.CancelOnboarding)
	require.NoError(t, run.Get(t.Context(), nil))
	got := s.onboarding(t, name)
	require.Equal(t, workflows.Canceled, got.State)
	require.Equal(t, "a test", got.Why)
	require.Equal(t, map[report.State]int{report.Provisioned: got.Counts.Provisioned, report.NotStarted: devices - got.Counts.Provisioned}, s.reportOf(t, name).tallies())
	s.starter(t, "onboarding", "cancel", name).exits(t, 1, "has ended, so there is nothing to cancel")
	s.starter(t, "onboarding", "resume", "nobody-knows").exits(t, 1, `no onboarding "nobody-knows"`)
	s.starter(t, "onboarding", "resume", name, "--fleet", "no-such").exits(t, 1, `no onboarding "steered" of fleet "no-such"`)

	t.Run("through Temporal", func(t *testing.T) {
		other := newDevice(t, iotCore, "keys: csr\n")
		run := s.begun(t, other, manifestOf(t, other.Name, devices), name, "--in-flight", "3")
		eventually(t, "both are listed", func() error {
			o := s.starter(t, "onboarding", "pause", name)
			if o.code != 1 || !strings.Contains(o.stderr, "2 fleets have an onboarding") || !strings.Contains(o.stderr, "--fleet") {
				return errors.New(o.String())
			}
			return nil
		})
		eventually(t, "devices are under way", func() error {
			var got onboarded
			s.starter(t, "status", "onboarding", name, "--fleet", other.spec.Name, "-o", "json").decode(t, &got)
			if got.InFlight == 0 {
				return fmt.Errorf("%+v", got)
			}
			return nil
		})
		require.NoError(t, s.temporal.CancelWorkflow(t.Context(), run.GetID(), ""))
		var canceled *temporal.CanceledError
		require.ErrorAs(t, run.Get(t.Context(), nil), &canceled)
		var status workflows.OnboardStatus
		require.NoError(t, canceled.Details(&status))
		require.Equal(t, workflows.Canceled, status.State)
		require.Zero(t, status.InFlight)
		require.Positive(t, status.Counts.Provisioned)
		var r fullReport
		s.starter(t, "report", name, "--fleet", other.spec.Name, "-o", "json").decode(t, &r)
		require.Equal(t, map[report.State]int{report.Provisioned: status.Counts.Provisioned, report.NotStarted: devices - status.Counts.Provisioned}, r.tallies())
		require.Empty(t, s.audit(t, other))
	})
}

// Devices whose runs somebody ends, or that are being decommissioned, keep no place, and are told as what they are.
func TestOnboardingMeetsOthersHands(t *testing.T) {
	s := newLanes(t, 1).take(t)
	d := newDevice(t, iotCore, "keys: csr\n")
	const name = "others-hands"
	of := func(n int) device { return d.sibling(t, fmt.Sprintf("%s-%04d", d.Name, n)) }
	terminated, canceled, reset, deleted, leaving, unborn := of(1), of(2), of(3), of(4), of(5), of(6)

	// Two are being decommissioned: one that was provisioned, and has its record yet, and one that never was.
	s.provisioned(t, s.beginProvision(t, leaving))
	slow := func(operation string, of device) fault {
		return fault{Operation: operation, Kind: "throttle", Match: of.Name, Times: -1}
	}
	s.fault(t, slow("iot:DeleteThing", leaving), slow("iot:DescribeThing", unborn))
	decommissions := []client.WorkflowRun{s.beginDecommission(t, leaving), s.beginDecommission(t, unborn)}

	for _, of := range []device{terminated, canceled, reset, deleted} {
		s.fault(t, slow("iot:CreateThing", of))
	}
	run := s.begun(t, d, manifestOf(t, d.Name, 8), name, "--in-flight", "4")
	ids := map[string]string{}
	for _, of := range []device{terminated, canceled, reset, deleted} {
		eventually(t, of.Name+" is tried again", func() error {
			described, err := s.temporal.DescribeWorkflowExecution(t.Context(), of.workflowID(), "")
			if err == nil && len(described.GetPendingActivities()) == 0 {
				err = errors.New("no activity is pending")
			}
			ids[of.Name] = described.GetWorkflowExecutionInfo().GetExecution().GetRunId()
			return err
		})
	}
	require.NoError(t, s.temporal.TerminateWorkflow(t.Context(), terminated.workflowID(), "", "a test"))
	require.NoError(t, s.temporal.CancelWorkflow(t.Context(), canceled.workflowID(), ""))
	again := s.reset(t, s.temporal.GetWorkflow(t.Context(), reset.workflowID(), ids[reset.Name]))
	s.deleteRun(t, deleted.workflowID())
	s.until(t, name, "those that nothing keeps have ended", func(o onboarded) bool { return o.Counts.Ended() == 7 && o.InFlight == 1 })
	s.clearFaults(t)
	require.NoError(t, run.Get(t.Context(), nil))

	outcomes := map[string]report.Outcome{}
	r := s.reportOf(t, name)
	for _, o := range r.Devices {
		outcomes[o.Device] = o
	}
	require.Len(t, outcomes, 8)
	for device, want := range map[string]struct {
		state report.State
		kind  string
		says  string
	}{
		terminated.Name: {report.Terminated, "Terminated", "the run was terminated"},
		canceled.Name:   {report.Canceled, "Canceled", "the run was cancelled"},
		reset.Name:      {report.Provisioned, "", ""},
		deleted.Name:    {report.Terminated, "Deleted", "the run was deleted"},
		leaving.Name:    {report.Failed, activities.StateConflict, "is running as DecommissionDevice"},
		unborn.Name:     {report.Failed, activities.StateConflict, "is running as DecommissionDevice"},
		of(7).Name:      {report.Provisioned, "", ""},
		of(8).Name:      {report.Provisioned, "", ""},
	} {
		o := outcomes[device]
		require.Equal(t, want.state, o.State, "%+v", o)
		require.Equal(t, want.kind, o.ErrorType)
		require.Contains(t, o.Error, want.says)
	}
	require.Equal(t, again.GetRunID(), outcomes[reset.Name].RunID, "the run that it went on as")
	require.Equal(t, workflows.Counts{Provisioned: 3, Failed: 5}, s.onboarding(t, name).Counts)

	for _, decommission := range decommissions {
		s.decommissioned(t, decommission)
	}
	got := s.onboard(t, 0, "-f", d.file, manifestOf(t, d.Name, 8), "--name", name)
	require.Equal(t, workflows.Counts{Provisioned: 5, Already: 3}, got.Counts)
	s.assertOnboarded(t, d, name, 8)
	require.Len(t, s.certificates(t), 8)
}

// deleteRun has Temporal forget the latest run of an id, as after its retention, and waits until it has.
func (s *stack) deleteRun(t *testing.T, id string) {
	t.Helper()
	_, err := s.temporal.WorkflowService().DeleteWorkflowExecution(t.Context(), &workflowservice.DeleteWorkflowExecutionRequest{
		Namespace: "default", WorkflowExecution: &common.WorkflowExecution{WorkflowId: id},
	})
	require.NoError(t, err)
	eventually(t, id+" is forgotten", func() error {
		_, err := s.temporal.DescribeWorkflowExecution(t.Context(), id, "")
		if missing := (*serviceerror.NotFound)(nil); errors.As(err, &missing) {
			return nil
		}
		return fmt.Errorf("it is known: %w", err)
	})
}
