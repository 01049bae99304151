package onboarding

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflow/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"edgefleet/activities"
	"edgefleet/internal/fleet"
	"edgefleet/internal/report"
	"edgefleet/workflows"
)

// startedMemo is the field of a device's run's memo that names the onboarding that started it, by the
// location of its files.
const startedMemo = "onboarding"

// provision launches a device unless it is provisioned, and returns what became of it. again: it may
// have been launched by this very onboarding. An error says nothing about the device.
func (s *shift) provision(ctx context.Context, line Line, again bool) (report.Outcome, error) {
	begun := time.Now()
	outcome := report.Outcome{
		Line: line.Number, Device: line.Name, Thing: line.Thing, RetrySafe: true,
		WorkflowID: workflows.DeviceWorkflowID(s.in.Fleet.Name, line.Name),
	}
	certificate, err := provisioned(ctx, s.Activities, s.in.Fleet, line.Device)
	if err != nil {
		return outcome, err
	}
	if certificate != "" || again {
		latest, err := s.latest(ctx, outcome.WorkflowID)
		if err != nil {
			return outcome, err
		}
		if again && startedBy(latest, s.in.Files) {
			return s.end(ctx, outcome, latest)
		}
		if certificate != "" && latest.GetType().GetName() == "DecommissionDevice" && latest.GetStatus() == enums.WORKFLOW_EXECUTION_STATUS_RUNNING {
			return exclude(outcome, latest, begun), nil // its record goes last
		}
	}
	if certificate != "" {
		outcome.State, outcome.CertificateID = report.AlreadyProvisioned, certificate
		outcome.StartedAt, outcome.EndedAt = begun, time.Now()
		return outcome, nil
	}
	run, err := s.start(ctx, outcome.WorkflowID, line)
	if err == nil && run.GetType().GetName() != provisionDevice && run.GetStatus() != enums.WORKFLOW_EXECUTION_STATUS_RUNNING {
		run, err = s.start(ctx, outcome.WorkflowID, line) // what excluded it has ended since
	}
	if err != nil {
		return outcome, err
	}
	if run.GetType().GetName() != provisionDevice {
		return exclude(outcome, run, begun), nil
	}
	outcome.StartedAt = begun
	return s.end(ctx, outcome, run)
}

// provisioned is the id of a device's certificate, by its record; "" for a device that is not provisioned.
func provisioned(ctx context.Context, a *activities.Activities, spec fleet.Spec, d fleet.Device) (certificate string, err error) {
	record, err := a.ProvenRecord(ctx, activities.DeviceBundle(spec, d.Name))
	switch {
	case err == nil && record.Thing == d.Thing && record.Registry == spec.Registry:
		return record.CertificateID, nil
	case err == nil, activities.IsNotThere(err), activities.IsType(err, activities.StateConflict):
		return "", nil // another thing's, none, or one that cannot be read: the run says what is wrong
	}
	return "", err
}

// latest is the latest run of an id, nil when there is none.
func (s *shift) latest(ctx context.Context, id string) (*workflow.WorkflowExecutionInfo, error) {
	described, err := s.Temporal.DescribeWorkflowExecution(ctx, id, "")
	var missing *serviceerror.NotFound
	if errors.As(err, &missing) {
		return nil, nil
	}
	return described.GetWorkflowExecutionInfo(), err
}

// startedBy tells whether the onboarding with these files started the run.
func startedBy(run *workflow.WorkflowExecutionInfo, files fleet.S3URI) bool {
	var by string
	payload := run.GetMemo().GetFields()[startedMemo]
	return payload != nil && converter.GetDefaultDataConverter().FromPayload(payload, &by) == nil && by == files.String()
}

// exclude is what becomes of a device that something else is being done to.
func exclude(outcome report.Outcome, by *workflow.WorkflowExecutionInfo, begun time.Time) report.Outcome {
	outcome.State, outcome.ErrorType = report.Failed, activities.StateConflict
	outcome.Error = fmt.Sprintf("%s is running as %s, which excludes provisioning. What to do: wait until it has ended, then run the manifest again",
		outcome.WorkflowID, by.GetType().GetName())
	outcome.StartedAt, outcome.EndedAt = begun, time.Now()
	return outcome
}

const provisionDevice = "ProvisionDevice"

// start starts a device's run. Where something is being done to the device, it returns that run.
func (s *shift) start(ctx context.Context, id string, line Line) (*workflow.WorkflowExecutionInfo, error) {
	run, err := s.Temporal.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID:                       id,
		TaskQueue:                workflows.TaskQueue,
		WorkflowIDConflictPolicy: enums.WORKFLOW_ID_CONFLICT_POLICY_FAIL,
		TypedSearchAttributes:    workflows.SearchAttributes(s.in.Fleet.Name),
		StaticSummary:            workflows.ProvisionSummary(s.in.Fleet, line.Device),
		StaticDetails:            workflows.ProvisionDetails(s.in.Fleet, line.Device),
		Memo:                     map[string]any{startedMemo: s.in.Files.String()},
		Priority:                 temporal.Priority{PriorityKey: workflows.OnboardingPriority, FairnessKey: s.in.Fleet.Name},

		WorkflowExecutionErrorWhenAlreadyStarted: true,
	}, provisionDevice, workflows.ProvisionInput{
		Fleet: s.in.Fleet, Device: line.Device, Prepared: s.in.Prepared, Onboarding: s.in.Name, OnFailure: s.in.OnFailure,
	})
	var running *serviceerror.WorkflowExecutionAlreadyStarted
	switch {
	case errors.As(err, &running):
		described, err := s.Temporal.DescribeWorkflowExecution(ctx, id, running.RunId)
		return described.GetWorkflowExecutionInfo(), err
	case err != nil:
		return nil, err
	}
	return &workflow.WorkflowExecutionInfo{
		Execution: &common.WorkflowExecution{WorkflowId: id, RunId: run.GetRunID()}, Type: &common.WorkflowType{Name: provisionDevice},
	}, nil
}

// end waits for the end of a run and completes the outcome. One that was taken up again began, and may
// have ended, before this shift.
func (s *shift) end(ctx context.Context, outcome report.Outcome, run *workflow.WorkflowExecutionInfo) (report.Outcome, error) {
	if outcome.StartedAt.IsZero() {
		outcome.StartedAt = run.GetStartTime().AsTime()
	}
	if closed := run.GetCloseTime(); closed != nil {
		outcome.EndedAt = closed.AsTime()
	}
	at := run.GetExecution()
	return Watch(ctx, s.Temporal, s.Temporal.GetWorkflow(ctx, at.GetWorkflowId(), at.GetRunId()), outcome)
}

// Watch waits until a device's run has ended and completes the outcome by what became of it. A run
// that was reset goes on as another; one that was deleted is as good as terminated.
func Watch(ctx context.Context, c client.Client, run client.WorkflowRun, outcome report.Outcome) (report.Outcome, error) {
	for {
		var result workflows.ProvisionResult
		err := run.Get(ctx, &result)
		outcome.RunID = run.GetRunID()
		if terminated := (*temporal.TerminatedError)(nil); errors.As(err, &terminated) {
			described, again := c.DescribeWorkflowExecution(ctx, run.GetID(), "")
			if latest := described.GetWorkflowExecutionInfo(); isReset(latest, run.GetRunID()) {
				run = c.GetWorkflow(ctx, run.GetID(), latest.GetExecution().GetRunId())
				outcome.EndedAt = time.Time{} // it has not: it goes on as that one
				continue
			}
			if again != nil {
				err = again
			}
		}
		if deleted := (*serviceerror.NotFound)(nil); errors.As(err, &deleted) {
			outcome.State, outcome.ErrorType, outcome.EndedAt = report.Terminated, "Deleted", time.Now()
			outcome.Error = "the run was deleted from Temporal, so nothing was undone. What to do: run the manifest again, or `starter decommission` the device"
			return outcome, nil
		}
		if err != nil && !isEnd(err) {
			return outcome, err
		}
		return complete(outcome, result, err), nil
	}
}

// isReset tells whether a run is another's continuation by a reset.
func isReset(latest *workflow.WorkflowExecutionInfo, terminated string) bool {
	return latest.GetType().GetName() == provisionDevice && latest.GetExecution().GetRunId() != terminated
}

// isEnd tells a run's end from the failure of asking for it.
func isEnd(err error) bool {
	var ended *temporal.WorkflowExecutionError
	return errors.As(err, &ended)
}

func complete(outcome report.Outcome, result workflows.ProvisionResult, err error) report.Outcome {
	if outcome.EndedAt.IsZero() {
		outcome.EndedAt = time.Now()
	}
	var said *temporal.ApplicationError
	var canceled *temporal.CanceledError
	var terminated *temporal.TerminatedError
	var timeout *temporal.TimeoutError
	switch {
	case err == nil:
		outcome.State = report.State(result.State)
	case errors.As(err, &canceled):
		outcome.State, outcome.ErrorType, outcome.Error = report.Canceled, "Canceled", "the run was cancelled"
		if canceled.HasDetails() {
			_ = canceled.Details(&result) // of a run that was cancelled before it began there are none
		}
	case errors.As(err, &terminated):
		outcome.State, outcome.ErrorType = report.Terminated, "Terminated"
		outcome.Error = "the run was terminated, so nothing was undone. What to do: run the manifest again, or `starter decommission` the device"
	case errors.As(err, &said):
		outcome.State, outcome.ErrorType, outcome.Error = report.Failed, said.Type(), said.Message()
		if said.HasDetails() && said.Details(&result) == nil && result.State != "" {
			outcome.State = report.State(result.State)
		}
	case errors.As(err, &timeout):
		outcome.State, outcome.ErrorType, outcome.Error = report.TimedOut, "TimedOut", "the run's time was over, so nothing was undone. What to do: run the manifest again"
	default:
		outcome.State, outcome.ErrorType, outcome.Error = report.Failed, "Unknown", err.Error()
	}
	if result.State == workflows.RollbackIncomplete {
		outcome.State, outcome.RetrySafe = report.RollbackIncomplete, false
	}
	outcome.CertificateID = cmp.Or(result.CertificateID, outcome.CertificateID)
	outcome.Step = result.Step
	outcome.Steps = nil
	for _, r := range result.Resources {
		outcome.Steps = append(outcome.Steps, report.StepTime{Step: r.Step, MS: r.TookMS})
	}
	if !outcome.StartedAt.IsZero() {
		outcome.DurationMS = outcome.EndedAt.Sub(outcome.StartedAt).Milliseconds()
	}
	return outcome
}
