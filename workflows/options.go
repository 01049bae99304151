package workflows

import (
	"errors"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// The limits of a step. One attempt is given more than its AWS calls can take (each at most 5 s),
// and little more, since it is what a killed worker costs. Retrying goes on for a day: AWS's
// outages end, and errors that retrying cannot mend say so themselves.
const (
	attemptTimeout = 15 * time.Second
	stepLimit      = 24 * time.Hour

	// IssueCertificate makes up to a dozen calls, and stores a key before it gives up. Below
	// activities.IssueTime.
	issueAttemptTimeout = 45 * time.Second
	// It heartbeats every 2 s, so that a killed worker costs less than that.
	issueHeartbeatTimeout = 10 * time.Second

	// DefaultDeadline is how much time a run's steps have in all.
	DefaultDeadline = 24 * time.Hour

	// prepareGrace is what a fleet's preparation has beyond its steps' time, to say what was wrong.
	prepareGrace = time.Minute

	// undoLimit is how long an undo is retried: AWS may be down for hours.
	undoLimit = 24 * time.Hour

	// A policy may take 6 to 8 minutes to take effect; until then the credential provider says 403.
	proofLimit = 15 * time.Minute
)

// stepOptions are the options of every activity; summary stands beside its name in the Temporal UI.
func stepOptions(summary string) workflow.ActivityOptions {
	return workflow.ActivityOptions{
		Summary:                summary,
		StartToCloseTimeout:    attemptTimeout,
		ScheduleToCloseTimeout: stepLimit,
		// So that a cancellation waits for the attempt that runs: undo must know what it did.
		WaitForCancellation: true,
		RetryPolicy: &temporal.RetryPolicy{
			InitialInterval:    500 * time.Millisecond,
			BackoffCoefficient: 2,
			MaximumInterval:    30 * time.Second,
		},
	}
}

// undoOptions are the options of every undo.
func undoOptions(summary string) workflow.ActivityOptions {
	options := stepOptions("undo: " + summary)
	options.ScheduleToCloseTimeout = undoLimit
	return options
}

// run runs an activity that returns nothing.
func run(ctx workflow.Context, options workflow.ActivityOptions, activity any, input ...any) error {
	return workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, options), activity, input...).Get(ctx, nil)
}

// call runs an activity and returns its result.
func call[R any](ctx workflow.Context, options workflow.ActivityOptions, activity any, input ...any) (R, error) {
	var result R
	err := workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, options), activity, input...).Get(ctx, &result)
	return result, err
}

// localTimeout is how long a local activity may take, the wait for its lanes included. A worker that
// dies meanwhile costs a workflow task's timeout, not this.
const localTimeout = time.Minute

// attempt runs a step's activity. A run of an onboarding tries it once as a local activity; what that
// cannot bring to an end, the activity retries, where everyone can see it.
func attempt[R any](ctx workflow.Context, r *deviceRun, options workflow.ActivityOptions, activity, input any) (R, error) {
	if r.in.Onboarding != "" {
		// Not cancelled with the run: a cancellation waits for the attempt, since undo must know what it did.
		local, _ := workflow.NewDisconnectedContext(ctx)
		local = workflow.WithLocalActivityOptions(local, workflow.LocalActivityOptions{
			Summary:                options.Summary,
			ScheduleToCloseTimeout: localTimeout,
			RetryPolicy:            &temporal.RetryPolicy{MaximumAttempts: 1},
		})
		var result R
		err := workflow.ExecuteLocalActivity(local, activity, input).Get(local, &result)
		var said *temporal.ApplicationError
		if err == nil || errors.As(err, &said) && said.NonRetryable() {
			return result, err
		}
	}
	return call[R](ctx, options, activity, input)
}
