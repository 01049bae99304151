package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"go.temporal.io/api/batch/v1"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/converter"
	"golang.org/x/term"

	"edgefleet/workflows"
)

// batchPatience is how long nothing may change, once all runs were told, before those that are still
// held are called so.
const batchPatience = 30 * time.Second

// batchResult counts what became of the runs that were meant.
type batchResult struct {
	JobID     string `json:"jobId"`   // of Temporal's batch job
	Matched   int    `json:"matched"` // runs that were held
	Left      int    `json:"left"`    // that are held no more
	HeldAgain int    `json:"heldAgain"`
	StillHeld int    `json:"stillHeld"` // that did not take the decision, or have not yet
}

// decideAll tells all runs that the filter finds, by a Signal from Temporal's batch operation.
func (a *app) decideAll(ctx context.Context, t *temporal, c *decideCommand) error {
	c.filter.steps = c.decision.StepsFor()
	held, err := t.held(ctx, c.filter)
	if err != nil {
		return err
	}
	if c.dryRun || len(held) == 0 {
		if a.json && !c.dryRun {
			return a.printJSON(batchResult{})
		}
		return a.printHeld(held)
	}
	job, err := a.startBatch(ctx, t, c)
	if err != nil {
		return err
	}
	result, err := a.watchBatch(ctx, t, c, held, job)
	if err != nil {
		return err
	}
	if a.json {
		err = a.printJSON(result)
	} else {
		fmt.Fprintf(a.out, "%s: %s, %d held again, %d still held.\n", c.choice, count(result.Left, "run"), result.HeldAgain, result.StillHeld)
	}
	if result.StillHeld > 0 {
		fmt.Fprintf(a.errs, "%s did not take the decision: `starter held --fleet %s` shows them, and their details in the Temporal UI say why.\n", count(result.StillHeld, "run"), c.filter.fleet)
	}
	if result.StillHeld > 0 || result.HeldAgain > 0 {
		return reportedError{errors.New("not all runs go on")}
	}
	return err
}

// startBatch starts the batch job. A namespace runs one at a time: behind another one it waits.
func (a *app) startBatch(ctx context.Context, t *temporal, c *decideCommand) (job string, err error) {
	input, err := converter.GetDefaultDataConverter().ToPayloads(c.payload())
	if err != nil {
		return "", err
	}
	job = "edgefleet-" + string(c.choice) + "-" + uuid.NewString()
	for waiting := false; ; {
		_, err = t.WorkflowService().StartBatchOperation(ctx, &workflowservice.StartBatchOperationRequest{
			Namespace: t.options.Namespace, VisibilityQuery: c.filter.query(), JobId: job, Reason: c.decision.Reason,
			Operation: &workflowservice.StartBatchOperationRequest_SignalOperation{
				SignalOperation: &batch.BatchOperationSignal{Signal: string(c.choice), Input: input, Identity: c.decision.By},
			},
		})
		if err == nil {
			return job, nil
		}
		if !strings.Contains(err.Error(), "concurrent batch operations") {
			return "", fmt.Errorf("starting a batch operation on Temporal at %s: %w", t.options.HostPort, err)
		}
		if !waiting {
			fmt.Fprintln(a.errs, "Another batch operation runs in this namespace, and Temporal runs one at a time: waiting for its end (`temporal batch list` shows it). Ctrl-C gives up; nothing was changed yet.")
			waiting = true
		}
		if err := pause(ctx, time.Second); err != nil {
			return "", errors.New("gave up waiting for another batch operation; nothing was changed")
		}
	}
}

// watchBatch shows how many of the runs have left their hold, until all have or nothing moves.
func (a *app) watchBatch(ctx context.Context, t *temporal, c *decideCommand, held []heldRun, job string) (batchResult, error) {
	was := map[string]time.Time{} // run → the hold that was to end
	for _, h := range held {
		was[h.RunID] = h.Since
	}
	show := a.progressOf(ctx, c.choice, len(held))
	defer func() { show(-1) }()
	result := batchResult{JobID: job, Matched: len(held)}
	moved, last := time.Now(), ""
	for {
		described, err := t.WorkflowService().DescribeBatchOperation(ctx, &workflowservice.DescribeBatchOperationRequest{Namespace: t.options.Namespace, JobId: job})
		if err == nil {
			var now []heldRun
			if now, err = t.held(ctx, heldFilter{fleet: c.filter.fleet}); err == nil {
				result.count(was, now)
			}
		}
		if ctx.Err() != nil {
			return result, fmt.Errorf("stopped watching; the batch job goes on: `temporal batch describe --job-id %s`, `starter held --fleet %s`", job, c.filter.fleet)
		}
		if err != nil {
			return result, fmt.Errorf("watching batch job %s: %w. It goes on", job, err)
		}
		if described.GetState() == enums.BATCH_OPERATION_STATE_FAILED {
			return result, fmt.Errorf("batch job %s failed on Temporal; repeat the command for the runs that are still held", job)
		}
		show(result.Matched - result.StillHeld)
		ended := described.GetState() == enums.BATCH_OPERATION_STATE_COMPLETED
		if at := fmt.Sprint(result, described.GetCompleteOperationCount()); at != last {
			moved, last = time.Now(), at
		}
		if ended && (result.StillHeld == 0 || time.Since(moved) > batchPatience) {
			return result, nil
		}
		if err := pause(ctx, 500*time.Millisecond); err != nil {
			continue // told above
		}
	}
}

func (r *batchResult) count(was map[string]time.Time, now []heldRun) {
	r.StillHeld, r.HeldAgain = 0, 0
	for _, h := range now {
		switch since, meant := was[h.RunID]; {
		case meant && h.Since.Equal(since):
			r.StillHeld++
		case meant:
			r.HeldAgain++
		}
	}
	r.Left = r.Matched - r.StillHeld - r.HeldAgain
}

// lineInterval is how often progress is told where there is no terminal.
const lineInterval = 3 * time.Second

// progressOf shows a bar on a terminal, else a line now and then; a negative number ends it.
func (a *app) progressOf(ctx context.Context, choice workflows.Choice, total int) func(done int) {
	if !term.IsTerminal(int(a.errs.Fd())) || os.Getenv("TERM") == "dumb" {
		told, at := -1, time.Time{}
		return func(done int) {
			if done >= 0 && done != told && (done == total || time.Since(at) >= lineInterval) {
				fmt.Fprintf(a.errs, "%s: %d of %d\n", choice, done, total)
				told, at = done, time.Now()
			}
		}
	}
	bars := mpb.NewWithContext(ctx, mpb.WithOutput(a.errs), mpb.WithWidth(60))
	bar := bars.AddBar(int64(total),
		mpb.PrependDecorators(decor.Name(string(choice)+" "), decor.CountersNoUnit("%d of %d")),
		mpb.AppendDecorators(decor.Percentage()))
	return func(done int) {
		if done < 0 {
			bar.Abort(false)
			bars.Wait()
			return
		}
		bar.SetCurrent(int64(done))
	}
}
