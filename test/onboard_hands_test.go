package test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"edgefleet/activities"
	"edgefleet/internal/report"
	"edgefleet/workflows"
)

// begun starts an onboarding that goes on while the test does.
func (s *stack) begun(t *testing.T, d device, manifest, name string, more ...string) client.WorkflowRun {
	t.Helper()
	s.starter(t, append([]string{"onboard", "-f", d.file, manifest, "--name", name, "--no-wait"}, more...)...).exits(t, 0)
	return s.temporal.GetWorkflow(t.Context(), workflows.OnboardingWorkflowID(d.spec.Name, name), "")
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
	s.onboardingIs(t, name, func(o onboarded) bool { return o.Counts.Ended() == 7 && o.InFlight == 1 })
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
		// Temporal terminates a run before it deletes it: which of the two is seen is up to the moment.
		deleted.Name: {report.Terminated, outcomes[deleted.Name].ErrorType, "so nothing was undone"},
		leaving.Name: {report.Failed, activities.StateConflict, "is running as DecommissionDevice"},
		unborn.Name:  {report.Failed, activities.StateConflict, "is running as DecommissionDevice"},
		of(7).Name:   {report.Provisioned, "", ""},
		of(8).Name:   {report.Provisioned, "", ""},
	} {
		o := outcomes[device]
		require.Equal(t, want.state, o.State, "%+v", o)
		require.Equal(t, want.kind, o.ErrorType)
		require.Contains(t, o.Error, want.says)
	}
	require.Equal(t, again.GetRunID(), outcomes[reset.Name].RunID, "the run that it went on as")
	require.Equal(t, workflows.Counts{Provisioned: 3, Failed: 5}, s.onboardingIs(t, name, func(onboarded) bool { return true }).Counts)

	for _, decommission := range decommissions {
		s.decommissioned(t, decommission)
	}
	got := s.onboard(t, 0, "-f", d.file, manifestOf(t, d.Name, 8), "--name", name)
	require.Equal(t, workflows.Counts{Provisioned: 5, Already: 3}, got.Counts)
	s.assertOnboarded(t, d, name, 8)
	require.Len(t, s.certificates(t), 8)
}

// A device whose decommission could not finish has its record yet, and is not taken for provisioned.
func TestOnboardingMeetsHalfDecommissioned(t *testing.T) {
	s := newLanes(t, 1).take(t)
	d := newDevice(t, iotCore, "keys: csr\n")
	manifest := writeFile(t, "m.csv", "device\n"+d.Name+"\n")
	s.provisioned(t, s.beginProvision(t, d))
	s.fault(t, denied("iot:DeleteThing", -1))
	s.starter(t, "decommission", "-f", d.file, d.Name).exits(t, 1, "AccessDenied")
	s.clearFaults(t)

	got := s.onboard(t, 1, "-f", d.file, manifest, "--name", "half", "--on-failure", "rollback")
	require.Equal(t, workflows.Counts{Failed: 1}, got.Counts)
	outcome := s.reportOf(t, "half").Devices[0]
	require.Equal(t, activities.StateConflict, outcome.ErrorType)
	require.Contains(t, outcome.Error, "`starter decommission` clears what is left")

	s.decommission(t, d)
	got = s.onboard(t, 0, "-f", d.file, manifest, "--name", "whole")
	require.Equal(t, workflows.Counts{Provisioned: 1}, got.Counts)
	s.assertOnboarded(t, d, "whole", 1)
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
