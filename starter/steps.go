package main

import (
	"time"

	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/failure/v1"
	"go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"edgefleet/workflows"
)

type stepState string

const (
	stepRunning stepState = "running"
	stepDone    stepState = "done"
	stepFailed  stepState = "failed"
)

// stepView is one step of a run, as its history tells it.
type stepView struct {
	Step       string        `json:"step"`
	State      stepState     `json:"state"`
	Action     string        `json:"action,omitempty"` // created or adopted
	Resource   string        `json:"resource,omitempty"`
	StartedAt  time.Time     `json:"startedAt"`
	Duration   time.Duration `json:"-"`
	DurationMS int64         `json:"durationMs"`
	Error      string        `json:"error,omitempty"`
}

// runView is a run, as its history tells it: so no worker is needed to show it.
type runView struct {
	Started bool // a worker took it
	Steps   []*stepView
	// Result is the payload of a run that completed; Failure that of one that did not.
	Result  converter.EncodedValue
	Failure *failure.Failure
	Outcome string // what closed the run, empty while it goes on
	// Canceled are the details of a run that was canceled.
	Canceled *common.Payloads
	// Held says where the run waits for an operator, while it does.
	Held *workflows.Hold

	byEvent map[int64]*stepView // scheduled or initiated event → its step
}

func newRunView() *runView { return &runView{byEvent: map[int64]*stepView{}} }

// apply takes in the next event; the step that it changed, if any.
func (v *runView) apply(e *history.HistoryEvent) *stepView {
	at := e.GetEventTime().AsTime()
	switch e.GetEventType() {
	case enums.EVENT_TYPE_WORKFLOW_TASK_STARTED:
		v.Started = true
	case enums.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
		return v.begin(e.GetEventId(), e.GetActivityTaskScheduledEventAttributes().GetActivityType().GetName(), at)
	case enums.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
		done := e.GetActivityTaskCompletedEventAttributes()
		step := v.end(done.GetScheduledEventId(), stepDone, at)
		var result struct{ Action, Name, ID string }
		var removal string
		// Each step's result says what it did; one that does not is shown without.
		if decode(done.GetResult(), &result) == nil {
			step.Action, step.Resource = result.Action, result.Name+result.ID
		} else if decode(done.GetResult(), &removal) == nil {
			step.Action = removal
		}
		return step
	case enums.EVENT_TYPE_ACTIVITY_TASK_FAILED:
		failed := e.GetActivityTaskFailedEventAttributes()
		return v.fail(failed.GetScheduledEventId(), failed.GetFailure(), at)
	case enums.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT:
		out := e.GetActivityTaskTimedOutEventAttributes()
		return v.fail(out.GetScheduledEventId(), out.GetFailure(), at)
	case enums.EVENT_TYPE_ACTIVITY_TASK_CANCELED:
		return v.end(e.GetActivityTaskCanceledEventAttributes().GetScheduledEventId(), stepFailed, at)
	case enums.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED:
		return v.begin(e.GetEventId(), e.GetStartChildWorkflowExecutionInitiatedEventAttributes().GetWorkflowType().GetName(), at)
	case enums.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_COMPLETED:
		return v.end(e.GetChildWorkflowExecutionCompletedEventAttributes().GetInitiatedEventId(), stepDone, at)
	case enums.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_FAILED:
		failed := e.GetChildWorkflowExecutionFailedEventAttributes()
		return v.fail(failed.GetInitiatedEventId(), failed.GetFailure(), at)
	case enums.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_FAILED:
		return v.end(e.GetStartChildWorkflowExecutionFailedEventAttributes().GetInitiatedEventId(), stepFailed, at)
	case enums.EVENT_TYPE_WORKFLOW_PROPERTIES_MODIFIED:
		if memo := e.GetWorkflowPropertiesModifiedEventAttributes().GetUpsertedMemo(); memo.GetFields()[workflows.MemoHold] != nil {
			v.Held = holdOf(memo)
		}
	case enums.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED:
		v.Outcome = "completed"
		v.Result = client.NewValue(e.GetWorkflowExecutionCompletedEventAttributes().GetResult())
	case enums.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED:
		v.Outcome, v.Failure = "failed", e.GetWorkflowExecutionFailedEventAttributes().GetFailure()
	case enums.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT:
		v.Outcome = "timed out"
	case enums.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED:
		v.Outcome, v.Canceled = "canceled", e.GetWorkflowExecutionCanceledEventAttributes().GetDetails()
	case enums.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED:
		v.Outcome = "terminated: " + e.GetWorkflowExecutionTerminatedEventAttributes().GetReason()
	}
	return nil
}

func (v *runView) begin(event int64, name string, at time.Time) *stepView {
	step := &stepView{Step: name, State: stepRunning, StartedAt: at}
	v.byEvent[event] = step
	v.Steps = append(v.Steps, step)
	return step
}

func (v *runView) end(event int64, state stepState, at time.Time) *stepView {
	step := v.byEvent[event]
	if step == nil { // cannot be: each ends what an event before it began
		return &stepView{}
	}
	step.State, step.Duration = state, at.Sub(step.StartedAt)
	step.DurationMS = step.Duration.Milliseconds()
	return step
}

func (v *runView) fail(event int64, f *failure.Failure, at time.Time) *stepView {
	step := v.end(event, stepFailed, at)
	_, step.Error = cause(f)
	return step
}

func decode(payloads *common.Payloads, v any) error {
	return converter.GetDefaultDataConverter().FromPayloads(payloads, v)
}

// ending is what a run that did not complete says of its end.
type ending struct {
	State workflows.State      `json:"state"`
	Left  []workflows.Leftover `json:"left"`
	// Decisions are what operators decided when the run was held.
	Decisions []workflows.Decided `json:"decisions"`
}

// ending reads what a run that rolled back, or could not remove everything, ended with.
func (v *runView) ending() ending {
	details := v.Canceled
	if v.Failure != nil {
		details = v.Failure.GetApplicationFailureInfo().GetDetails()
	}
	var e ending
	if details == nil || decode(details, &e) != nil {
		return ending{} // it was ended from outside
	}
	return e
}

// cause is the type and message of the failure at the bottom: the ones around it only say which
// activity or child it came from.
func cause(f *failure.Failure) (kind, message string) {
	for f.GetCause() != nil {
		f = f.GetCause()
	}
	return f.GetApplicationFailureInfo().GetType(), f.GetMessage()
}
