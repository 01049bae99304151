package onboarding

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
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
	if s.drain {
		return // those that were under way when the line stopped say nothing of how it is after that
	}
	permanent := ""
	// Also of a type that is retried: the run has ended, or is held, because that did not help. Without a step it
	// was refused for what somebody else does to the device.
	if activities.IsErrorType(o.ErrorType) && o.Step != "" {
		permanent = o.ErrorType + " at " + o.Step
	}
	if canary && o.State != report.Provisioned && s.progress.Stopped == "" {
		s.progress.Stopped = fmt.Sprintf("the canary %s ended %s", o.Device, failure(o))
	}
	recent := append(s.progress.Recent, permanent)
	s.progress.Recent = recent[max(0, len(recent)-remembered):]
	if s.progress.Stopped != "" || permanent == "" {
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
	for at, w := range s.open {
		if time.Since(w.since) >= holdInterval { // the others have not had the time
			open[workflows.DeviceWorkflowID(s.in.Fleet.Name, w.line.Name)] = at
		}
	}
	for ids := range slices.Chunk(slices.Collect(maps.Keys(open)), idsPerList) {
		held, err := heldOf(ctx, s.Temporal, ids)
		if err != nil {
			return err
		}
		for id, info := range held {
			at := open[id]
			if err := s.note(ended{at: at, outcome: heldOutcome(s.open[at].line, info)}); err != nil {
				return err
			}
		}
	}
	return nil
}

// idsPerList is how many runs are asked for at once.
const idsPerList = 100

// heldOf are those of the device's runs of these ids, at most idsPerList, that are held. It asks for these
// alone: of the fleet, any number may be.
func heldOf(ctx context.Context, c client.Client, ids []string) (map[string]*workflow.WorkflowExecutionInfo, error) {
	page, err := c.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{
		Query: fmt.Sprintf("%s = '%s' AND ExecutionStatus = 'Running' AND WorkflowId IN ('%s')",
			workflows.ProvisionState.GetName(), workflows.Held, strings.Join(ids, "','")),
		PageSize: idsPerList,
	})
	if err != nil {
		return nil, fmt.Errorf("listing the runs that are held: %w", err)
	}
	held := map[string]*workflow.WorkflowExecutionInfo{}
	for _, info := range page.GetExecutions() {
		held[info.GetExecution().GetWorkflowId()] = info
	}
	return held, nil
}

// heldOutcome is what a run that is held tells of itself in its memo and search attributes.
func heldOutcome(line Line, info *workflow.WorkflowExecutionInfo) report.Outcome {
	var hold workflows.Hold
	if payload := info.GetMemo().GetFields()[workflows.MemoHold]; payload != nil {
		_ = converter.GetDefaultDataConverter().FromPayload(payload, &hold) // without it, the state says enough
	}
	return report.Outcome{
		Line: line.Number, Device: line.Name, Thing: line.Thing, State: report.Held, RetrySafe: true,
		Step: hold.Step, ErrorType: hold.ErrorType, Error: hold.Message,
		WorkflowID: info.GetExecution().GetWorkflowId(), RunID: info.GetExecution().GetRunId(),
		StartedAt: info.GetStartTime().AsTime(), EndedAt: hold.Since,
	}
}
