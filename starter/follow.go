package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"

	"edgefleet/workflows"
)

// retryNoteInterval is how often the run is asked whether a step is being retried.
const retryNoteInterval = time.Second

// follow shows a run's steps as they happen and returns it when it has closed or is held. quiet shows only
// what went wrong, on stderr.
func (a *app) follow(ctx context.Context, t *temporal, run client.WorkflowRun, quiet bool) (*runView, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type next struct {
		event *history.HistoryEvent
		err   error
	}
	events := make(chan next)
	go func() {
		defer close(events)
		iterator := t.GetWorkflowHistory(ctx, run.GetID(), run.GetRunID(), true, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
		for iterator.HasNext() {
			event, err := iterator.Next()
			select {
			case events <- next{event, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()

	view := newRunView()
	notTaken := time.NewTimer(workerPatience)
	defer notTaken.Stop()
	retries := time.NewTicker(retryNoteInterval)
	defer retries.Stop()
	noted := map[string]int32{} // step → the attempt that was shown
	for {
		select {
		case <-ctx.Done():
			return view, fmt.Errorf("stopped watching; the run goes on. `starter status` shows it: %s", run.GetID())
		case <-notTaken.C:
			if !view.Started {
				return view, fmt.Errorf("no worker took %s within %s. It is queued on task queue %q and starts when a worker polls it: start one (`bin/worker`), then watch with `starter status`",
					run.GetID(), workerPatience, workflows.TaskQueue)
			}
		case <-retries.C:
			a.noteRetries(ctx, t, run, noted)
		case n, open := <-events:
			switch {
			case n.err != nil && ctx.Err() == nil:
				return view, fmt.Errorf("reading the history of %s: %w. The run goes on; `starter status` shows it", run.GetID(), n.err)
			case !open || n.err != nil:
				if view.Outcome == "" && ctx.Err() == nil {
					return view, errors.New("the history of " + run.GetID() + " ended before the run did")
				}
				if view.Outcome != "" {
					return view, nil
				}
				continue
			}
			if step := view.apply(n.event); step != nil && !quiet && step.State != stepRunning {
				a.printStep(step)
			}
			if view.Outcome != "" || view.Held != nil && t.isHeld(ctx, run, view.Held) {
				return view, nil
			}
		}
	}
}

// isHeld tells whether a hold that the history tells of lasts: it may be long over.
func (t *temporal) isHeld(ctx context.Context, run client.WorkflowRun, hold *workflows.Hold) bool {
	described, err := t.DescribeWorkflowExecution(ctx, run.GetID(), run.GetRunID())
	if err != nil {
		return true // as the history has it
	}
	now := holdOf(described.GetWorkflowExecutionInfo().GetMemo())
	return now != nil && now.Since.Equal(hold.Since)
}

func (a *app) printStep(s *stepView) {
	line := fmt.Sprintf("  %s %-20s %8s", a.mark(s.State), s.Step, duration(s.Duration))
	if s.Action != "" {
		line += fmt.Sprintf("   %-8s %s", s.Action, s.Resource)
	}
	fmt.Fprintln(a.out, line)
}

// noteRetries tells of steps that failed and will be tried again: history holds only their end.
func (a *app) noteRetries(ctx context.Context, t *temporal, run client.WorkflowRun, noted map[string]int32) {
	described, err := t.DescribeWorkflowExecution(ctx, run.GetID(), run.GetRunID())
	if err != nil {
		return // the history's reader says so if it lasts
	}
	for _, p := range described.GetPendingActivities() {
		name := p.GetActivityType().GetName()
		if p.GetLastFailure() == nil || noted[name] == p.GetAttempt() {
			continue
		}
		noted[name] = p.GetAttempt()
		_, message := cause(p.GetLastFailure())
		fmt.Fprintf(a.errs, "  %s %s: attempt %d failed: %s\n", a.mark(stepRunning), name, p.GetAttempt()-1, message)
	}
	for _, child := range described.GetPendingChildren() {
		a.noteRetries(ctx, t, t.GetWorkflow(ctx, child.GetWorkflowId(), child.GetRunId()), noted)
	}
}
