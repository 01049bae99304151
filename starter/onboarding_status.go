package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflow/v1"
	"go.temporal.io/sdk/converter"

	"edgefleet/workflows"
)

// onboardingStatus is where an onboarding stands.
type onboardingStatus struct {
	workflows.OnboardStatus
	WorkflowID string     `json:"workflowId"`
	RunID      string     `json:"runId"`
	StartedAt  time.Time  `json:"startedAt"`
	ClosedAt   *time.Time `json:"closedAt,omitempty"`
	// Retrying is the last failure of the launching, while that is tried again.
	Retrying string `json:"retrying,omitempty"`
}

// statusOf is what an onboarding's memo says.
func statusOf(info *workflow.WorkflowExecutionInfo) workflows.OnboardStatus {
	var status workflows.OnboardStatus
	if payload := info.GetMemo().GetFields()[workflows.OnboardMemo]; payload != nil {
		_ = converter.GetDefaultDataConverter().FromPayload(payload, &status) // without it only ids and times are shown
	}
	return status
}

func newOnboardingStatus(info *workflow.WorkflowExecutionInfo) onboardingStatus {
	s := onboardingStatus{
		OnboardStatus: statusOf(info),
		WorkflowID:    info.GetExecution().GetWorkflowId(), RunID: info.GetExecution().GetRunId(),
		StartedAt: info.GetStartTime().AsTime(),
	}
	if at := info.GetCloseTime(); at != nil {
		closed := at.AsTime()
		s.ClosedAt = &closed
	}
	switch info.GetStatus() {
	case enums.WORKFLOW_EXECUTION_STATUS_TERMINATED:
		s.State, s.Why = "terminated", "it was terminated: devices that were under way go on by themselves"
		s.Next.Page = s.Pages // nobody said how far it came
	case enums.WORKFLOW_EXECUTION_STATUS_FAILED, enums.WORKFLOW_EXECUTION_STATUS_TIMED_OUT:
		s.State = workflows.State(stateOfStatus[info.GetStatus()])
		s.Next.Page = s.Pages
	}
	if !s.Began.IsZero() { // a run that goes on as new has another start
		s.StartedAt = s.Began
	}
	return s
}

// onboardingStatus asks where an onboarding stands, to the second: what the memo says is as old as the
// last shift, and the heartbeat of the one that runs knows more.
func (t *temporal) onboardingStatus(ctx context.Context, id string) (onboardingStatus, error) {
	described, err := t.DescribeWorkflowExecution(ctx, id, "")
	if err != nil {
		return onboardingStatus{}, fmt.Errorf("describing %s on Temporal at %s: %w", id, t.options.HostPort, err)
	}
	s := newOnboardingStatus(described.GetWorkflowExecutionInfo())
	for _, p := range described.GetPendingActivities() {
		if p.GetActivityType().GetName() != "LaunchDevices" {
			continue
		}
		var progress workflows.Progress
		if beat := p.GetHeartbeatDetails(); beat != nil && decode(beat, &progress) == nil {
			s.Counts, s.InFlight, s.Ceiling, s.Next = progress.Counts, len(progress.Open), progress.Ceiling, progress.Next
		}
		if f := p.GetLastFailure(); f != nil {
			_, s.Retrying = cause(f)
		}
	}
	return s, nil
}

// findOnboarding is the workflow id of the onboarding of that name, in a fleet or wherever it is
// unambiguous.
func (t *temporal) findOnboarding(ctx context.Context, fleetName, name string) (string, error) {
	if fleetName != "" {
		id := workflows.OnboardingWorkflowID(fleetName, name)
		_, err := t.DescribeWorkflowExecution(ctx, id, "")
		var missing *serviceerror.NotFound
		if errors.As(err, &missing) {
			return "", fmt.Errorf("no onboarding %q of fleet %q is known to Temporal at %s. `starter onboarding list` shows all", name, fleetName, t.options.HostPort)
		}
		return id, err
	}
	all, err := t.onboardings(ctx, "")
	if err != nil {
		return "", err
	}
	var ids, fleets []string
	for _, o := range all {
		if o.Name == name {
			ids, fleets = append(ids, o.WorkflowID), append(fleets, o.Fleet)
		}
	}
	switch len(ids) {
	case 0:
		return "", fmt.Errorf("no onboarding %q is known to Temporal at %s. `starter onboarding list` shows all; one that was started a moment ago is found with --fleet", name, t.options.HostPort)
	case 1:
		return ids[0], nil
	}
	return "", fmt.Errorf("%d fleets have an onboarding %q (%s): name one with --fleet", len(ids), name, strings.Join(fleets, ", "))
}

// onboardings lists the latest onboarding of each name, the latest first.
func (t *temporal) onboardings(ctx context.Context, fleetName string) ([]onboardingStatus, error) {
	query := "WorkflowType = 'OnboardFleet'"
	if fleetName != "" {
		query += fmt.Sprintf(" AND %s = '%s'", workflows.EdgeFleet.GetName(), fleetName)
	}
	var all []onboardingStatus
	seen := map[string]bool{}
	err := t.eachRun(ctx, query, func(info *workflow.WorkflowExecutionInfo) {
		id := info.GetExecution().GetWorkflowId()
		if seen[id] {
			return
		}
		seen[id] = true
		o := newOnboardingStatus(info)
		if o.Name == "" {
			if parts := strings.SplitN(id, "/", 3); len(parts) == 3 {
				o.Fleet, o.Name = parts[1], parts[2]
			}
		}
		all = append(all, o)
	})
	return all, err
}
