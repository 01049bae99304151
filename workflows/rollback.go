package workflows

import (
	"errors"
	"slices"
	"strings"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"edgefleet/activities"
)

// State is what a run came to.
type State string

const (
	// Provisioned: the device has proven that it can fetch AWS credentials.
	Provisioned State = "provisioned"
	// Held: the run cannot go on, and waits for an operator.
	Held State = "held"
	// Resumed: an operator let it go on.
	Resumed State = "resumed"
	// Unproven: all is in place, and an operator skipped the proof. The device has no record.
	Unproven State = "unproven"
	// RollingBack: the run is undoing what it did.
	RollingBack State = "rolling-back"
	// RolledBack: what the run created is gone, what it adopted is as it was.
	RolledBack State = "rolled-back"
	// RollbackIncomplete: something could not be undone; the result lists it.
	RollbackIncomplete State = "rollback-incomplete"
	// Decommissioned: nothing of the device is left.
	Decommissioned State = "decommissioned"
	// DecommissionIncomplete: something of the device could not be removed; the result lists it.
	DecommissionIncomplete State = "decommission-incomplete"
)

// The search attributes that are set when a run leaves the happy path.
var (
	ProvisionState = temporal.NewSearchAttributeKeyKeyword("ProvisionState")
	ProvisionStep  = temporal.NewSearchAttributeKeyKeyword("ProvisionStep")
	ProvisionError = temporal.NewSearchAttributeKeyKeyword("ProvisionError")
)

// Leftover is a resource that could not be removed, and why.
type Leftover struct {
	Step  string `json:"step"`
	Type  string `json:"type"`
	Name  string `json:"name"`
	Error string `json:"error"`
}

// rollBack undoes the steps that were begun, the last one first, whatever ended the run: an error,
// its deadline, or a cancellation. It returns what the run ends with.
func (r *deviceRun) rollBack(ctx workflow.Context, cause error) error {
	if ctx.Err() != nil {
		cause = ctx.Err() // whatever the step that ran then came to: its worker may be gone, say
	}
	ctx, _ = workflow.NewDisconnectedContext(ctx) // undo is not cancelled with the run
	kind, message := explain(cause)
	at := "PrepareFleet"
	if len(r.begun) > 0 {
		at = r.begun[len(r.begun)-1].name
	}
	r.at = at
	r.setState(ctx, RollingBack, ProvisionStep.ValueSet(at), ProvisionError.ValueSet(kind))
	if r.inMemo {
		r.setMemo(ctx, nil)
	}
	if n := len(r.decisions); n > 0 && r.decisions[n-1].Choice == Rollback {
		message += " " + rollbackText(r.decisions[n-1])
	}
	for i := len(r.begun) - 1; i >= 0; i-- {
		step := r.begun[i]
		if resource, err := step.undo(r, ctx); err != nil {
			_, why := explain(err)
			r.left = append(r.left, Leftover{step.name, resource.Type, resource.Name, why})
		}
		workflow.SetCurrentDetails(ctx, rollbackProgress(at, kind, message, r.begun[:i], r.left))
	}
	state := RolledBack
	if len(r.left) > 0 {
		state = RollbackIncomplete
	}
	r.setState(ctx, state)
	result := r.result(state)
	if temporal.IsCanceledError(cause) {
		return temporal.NewCanceledError(result)
	}
	return temporal.NewApplicationErrorWithOptions(message+" "+summaryOf(r.left, rolledBack), kind,
		temporal.ApplicationErrorOptions{NonRetryable: true, Details: []any{result}})
}

// rollbackText says who had the run rolled back, and why.
func rollbackText(d Decided) string {
	text := "Rollback was decided"
	if d.By != "" {
		text += " by " + d.By
	}
	return text + ": " + d.Reason + "."
}

func (r *deviceRun) setState(ctx workflow.Context, state State, more ...temporal.SearchAttributeUpdate) {
	updates := append(more, ProvisionState.ValueSet(string(state)))
	if err := workflow.UpsertTypedSearchAttributes(ctx, updates...); err != nil {
		workflow.GetLogger(ctx).Error("the run's state could not be made searchable", "state", state, "error", err)
	}
}

// stuckOn tells an undo whether what it depends on, the steps' resources, was left.
func stuckOn(left []Leftover, steps ...string) activities.Undo {
	return activities.Undo{Stuck: slices.ContainsFunc(left, func(l Leftover) bool { return slices.Contains(steps, l.Step) })}
}

// unknownError is the type of an error that has none of its own.
const unknownError = "Unknown"

// explain tells an error's type, and its message without what only says where it came from.
func explain(err error) (kind, message string) {
	var said *temporal.ApplicationError
	var timeout *temporal.TimeoutError
	switch {
	case temporal.IsCanceledError(err):
		return "Canceled", "The run was canceled."
	case errors.As(err, &said):
		return said.Type(), said.Message()
	case errors.As(err, &timeout):
		return activities.Unavailable, "No worker brought the step to an end in its time. What to do: check that workers run and reach AWS."
	}
	return unknownError, err.Error()
}

// What a removal says when nothing went wrong.
const (
	rolledBack     = "Rolled back: what the run created is gone, what it found is as it was."
	decommissioned = "Decommissioned: nothing of the device is left."
)

// summaryOf is what says how a removal ended: done, if nothing was left.
func summaryOf(left []Leftover, done string) string {
	if len(left) == 0 {
		return done
	}
	word, _, _ := strings.Cut(done, ":")
	text := word + ", save for what could not be removed:"
	for _, l := range left {
		text += " " + l.Type + " " + l.Name + " (" + l.Error + ")"
	}
	return text + ". When the cause is mended, `starter decommission` finishes it."
}
