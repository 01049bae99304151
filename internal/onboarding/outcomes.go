package onboarding

import (
	"context"
	"fmt"
	"time"

	"go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"edgefleet/activities"
	"edgefleet/internal/report"
	"edgefleet/workflows"
)

// remembered is how many of the last devices' errors the stop rule looks at.
const remembered = 100

// count counts a device that has ended, and stops the line when its error keeps coming.
func (s *shift) count(o report.Outcome) {
	counts := &s.progress.Counts
	canary := s.canaries()
	switch o.State {
	case report.Provisioned:
		counts.Provisioned++
	case report.AlreadyProvisioned:
		counts.Already++
		return // says nothing of whether devices can be provisioned
	case report.Held:
		counts.Held++
	default:
		counts.Failed++
	}
	permanent := ""
	if activities.IsPermanent(o.ErrorType) {
		permanent = o.ErrorType + " at " + o.Step
	}
	if canary && !s.drain && o.State != report.Provisioned && s.progress.Stopped == "" {
		s.progress.Stopped = fmt.Sprintf("the canary %s ended %s", o.Device, failure(o))
	}
	recent := append(s.progress.Recent, permanent)
	s.progress.Recent = recent[max(0, len(recent)-remembered):]
	if s.drain || s.progress.Stopped != "" || permanent == "" {
		return
	}
	if n := inARow(s.progress.Recent, permanent); s.in.Stop.InARow > 0 && n >= s.in.Stop.InARow {
		s.progress.Stopped = fmt.Sprintf("%d devices in a row ended with %s. The last, %s: %s", n, permanent, o.Device, o.Error)
	} else if n := among(s.progress.Recent, permanent); s.in.Stop.Percent > 0 && n >= s.in.Stop.Percent*remembered/100 {
		s.progress.Stopped = fmt.Sprintf("%d of the last %d devices ended with %s. The last, %s: %s", n, len(s.progress.Recent), permanent, o.Device, o.Error)
	}
}

// failure says how a device that is not provisioned ended.
func failure(o report.Outcome) string {
	text := string(o.State)
	if o.ErrorType != "" {
		text += " with " + o.ErrorType
	}
	if o.Step != "" {
		text += " at " + o.Step
	}
	if o.Error != "" {
		text += ": " + o.Error
	}
	return text
}

func inARow(recent []string, what string) (n int) {
	for n < len(recent) && recent[len(recent)-1-n] == what {
		n++
	}
	return n
}

func among(recent []string, what string) (n int) {
	for _, r := range recent {
		if r == what {
			n++
		}
	}
	return n
}

// findHeld lets go of the runs that are held: they wait for an operator, and their places are for others.
func (s *shift) findHeld(ctx context.Context) error {
	open := map[string]workflows.Place{}
	oldest := time.Now()
	for at, w := range s.open {
		open[workflows.DeviceWorkflowID(s.in.Fleet.Name, w.line.Name)] = at
		if w.since.Before(oldest) {
			oldest = w.since
		}
	}
	if time.Since(oldest) < holdInterval {
		return nil // none of them has had the time
	}
	return eachHeld(ctx, s.Temporal, s.in.Fleet.Name, func(info *workflow.WorkflowExecutionInfo) error {
		at, is := open[info.GetExecution().GetWorkflowId()]
		if !is {
			return nil
		}
		return s.note(ended{at: at, outcome: heldOutcome(s.open[at].line, info)})
	})
}

// eachHeld calls f for each run of the fleet that is held.
func eachHeld(ctx context.Context, c client.Client, fleetName string, f func(*workflow.WorkflowExecutionInfo) error) error {
	request := &workflowservice.ListWorkflowExecutionsRequest{
		Query: fmt.Sprintf("%s = '%s' AND %s = '%s' AND ExecutionStatus = 'Running'",
			workflows.EdgeFleet.GetName(), fleetName, workflows.ProvisionState.GetName(), workflows.Held),
		PageSize: 1000,
	}
	for {
		page, err := c.ListWorkflow(ctx, request)
		if err != nil {
			return fmt.Errorf("listing the runs that are held: %w", err)
		}
		for _, info := range page.GetExecutions() {
			if err := f(info); err != nil {
				return err
			}
		}
		if request.NextPageToken = page.GetNextPageToken(); len(request.NextPageToken) == 0 {
			return nil
		}
	}
}

// heldOutcome is what a run that is held tells of itself in its memo and search attributes.
func heldOutcome(line Line, info *workflow.WorkflowExecutionInfo) report.Outcome {
	var hold struct {
		Step, ErrorType, Message string
		Since                    time.Time
	}
	if payload := info.GetMemo().GetFields()["hold"]; payload != nil {
		_ = converter.GetDefaultDataConverter().FromPayload(payload, &hold) // without it, the state says enough
	}
	return report.Outcome{
		Line: line.Number, Device: line.Name, Thing: line.Thing, State: report.Held, RetrySafe: true,
		Step: hold.Step, ErrorType: hold.ErrorType, Error: hold.Message,
		WorkflowID: info.GetExecution().GetWorkflowId(), RunID: info.GetExecution().GetRunId(),
		StartedAt: info.GetStartTime().AsTime(), EndedAt: hold.Since,
	}
}
