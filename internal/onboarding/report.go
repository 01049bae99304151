package onboarding

import (
	"context"
	"errors"
	"iter"
	"sync"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflow/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"golang.org/x/sync/errgroup"

	"edgefleet/internal/fleet"
	"edgefleet/internal/report"
	"edgefleet/workflows"
)

// Report reads what became of the devices of an onboarding.
type Report struct {
	files Files
	fleet string
	pages int
	next  workflows.Place // the first line that was not launched
	seen  snapshot
	mu    sync.Mutex
	later map[string]later // what became of devices, by name, that the parts leave open
}

// later is what has become of a device since the onboarding last saw it.
type later struct {
	was report.State
	now report.Outcome
}

// NewReport is the report of an onboarding of a fleet that has so many pages and has launched what is before
// next, or may have.
func NewReport(files Files, fleetName string, pages int, next workflows.Place) *Report {
	return &Report{files: files, fleet: fleetName, pages: pages, next: next, later: map[string]later{}}
}

// CountPages is how many pages an onboarding's manifest has, where nobody else knows.
func (f Files) CountPages(ctx context.Context) (n int, err error) {
	for ; ; n++ {
		switch _, err := f.Page(ctx, n); {
		case errors.Is(err, errMissing):
			return n, nil
		case err != nil:
			return n, err
		}
	}
}

const (
	parallelLooks = 16 // runs that are asked for at a time
	// mostMissed is how many lines in a row without a run of the onboarding's end the looking, where nobody has said
	// how far it came: more than may be under way.
	mostMissed = 2 * pageLines
)

// LookAgain asks Temporal what has become of the devices that were held, or under way, when the
// onboarding last saw them.
func (r *Report) LookAgain(ctx context.Context, c client.Client) error {
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(parallelLooks)
	missed := 0 // mu guards it, too
	for o, err := range r.Outcomes(ctx) {
		if err != nil {
			return errors.Join(err, group.Wait())
		}
		if o.State != report.Held && o.State != report.Running || o.WorkflowID == "" {
			continue
		}
		r.mu.Lock()
		if missed >= mostMissed && o.State == report.Running {
			r.next = workflows.Place{} // of the pages to come
			o.State, o.WorkflowID = report.NotStarted, ""
			r.later[o.Device] = later{report.Running, o}
			r.mu.Unlock()
			continue
		}
		r.mu.Unlock()
		group.Go(func() error {
			now, err := r.lookAt(groupCtx, c, o)
			r.mu.Lock()
			defer r.mu.Unlock()
			if missed++; now.State != report.NotStarted {
				missed = 0
			}
			r.later[o.Device] = later{o.State, now}
			return err
		})
	}
	return group.Wait()
}

// Settle is the onboarding's counts with those that it saw held counted by what LookAgain found; underWay are
// those of them that were resumed and run.
func (r *Report) Settle(counts workflows.Counts) (settled workflows.Counts, underWay int) {
	for _, l := range r.later {
		if l.was != report.Held || l.now.State == report.Held {
			continue
		}
		counts.Held--
		switch l.now.State {
		case report.Provisioned:
			counts.Provisioned++
		case report.Running:
			underWay++
		default:
			counts.Failed++
		}
	}
	return counts, underWay
}

// lookAt is the device as its latest run has it now.
func (r *Report) lookAt(ctx context.Context, c client.Client, o report.Outcome) (report.Outcome, error) {
	untold := o
	if o.State == report.Running {
		untold.State, untold.WorkflowID = report.NotStarted, "" // unless there is a run
	}
	described, err := c.DescribeWorkflowExecution(ctx, o.WorkflowID, "")
	var missing *serviceerror.NotFound
	if errors.As(err, &missing) {
		return untold, nil // or its history has expired
	}
	if err != nil {
		return o, err
	}
	info := described.GetWorkflowExecutionInfo()
	running := info.GetStatus() == enums.WORKFLOW_EXECUTION_STATUS_RUNNING
	if info.GetType().GetName() != provisionDevice || o.State == report.Running && !running && !startedBy(info, r.files.at) {
		return untold, nil
	}
	if running {
		if stateIn(info) == workflows.Held {
			return heldOutcome(Line{o.Line, fleet.Device{Name: o.Device, Thing: o.Thing}}, info), nil
		}
		o.State, o.Step, o.ErrorType, o.Error = report.Running, "", "", ""
		o.RunID, o.StartedAt = info.GetExecution().GetRunId(), info.GetStartTime().AsTime()
		o.EndedAt, o.DurationMS = o.StartedAt, 0
		return o, nil
	}
	o.StartedAt, o.EndedAt = info.GetStartTime().AsTime(), info.GetCloseTime().AsTime()
	o.Step, o.ErrorType, o.Error = "", "", ""
	return Watch(ctx, c, c.GetWorkflow(ctx, o.WorkflowID, info.GetExecution().GetRunId()), o)
}

// stateIn is what a run off the happy path says of itself.
func stateIn(info *workflow.WorkflowExecutionInfo) (said workflows.State) {
	if payload := info.GetSearchAttributes().GetIndexedFields()[workflows.ProvisionState.GetName()]; payload != nil {
		_ = converter.GetDefaultDataConverter().FromPayload(payload, &said) // one that cannot be read says nothing
	}
	return said
}

// Outcomes are those of all lines, in their order; it may be called again.
func (r *Report) Outcomes(ctx context.Context) iter.Seq2[report.Outcome, error] {
	return func(yield func(report.Outcome, error) bool) {
		for n := range r.pages {
			outcomes, err := r.read(ctx, n)
			if err != nil {
				yield(report.Outcome{}, err)
				return
			}
			for _, o := range outcomes {
				if !yield(r.latest(o), nil) {
					return
				}
			}
		}
	}
}

// latest is the outcome as LookAgain found it.
func (r *Report) latest(o report.Outcome) report.Outcome {
	r.mu.Lock()
	defer r.mu.Unlock()
	if later, has := r.later[o.Device]; has {
		return later.now
	}
	return o
}

// read is a page as it was when it was first read.
func (r *Report) read(ctx context.Context, n int) ([]report.Outcome, error) {
	if r.seen.has(n) {
		return r.seen.read(n)
	}
	outcomes, err := r.page(ctx, n)
	if err == nil {
		err = r.seen.add(outcomes)
	}
	return outcomes, err
}

// page is what became of the lines of a page. Those that no part tells of are under way, or to come.
func (r *Report) page(ctx context.Context, n int) ([]report.Outcome, error) {
	told, _, err := r.files.Part(ctx, n)
	if err != nil || len(told) == pageLines {
		return told, err
	}
	lines, err := r.files.Page(ctx, n)
	if err != nil || len(told) == len(lines) {
		return told, err
	}
	outcomes := make([]report.Outcome, len(lines))
	for i, line := range lines {
		if len(told) > 0 && told[0].Device == line.Name {
			outcomes[i], told = told[0], told[1:]
			continue
		}
		outcomes[i] = report.Outcome{Line: line.Number, Device: line.Name, Thing: line.Thing, State: report.NotStarted, RetrySafe: true}
		if n < r.next.Page || n == r.next.Page && i < r.next.Line {
			outcomes[i].State, outcomes[i].WorkflowID = report.Running, workflows.DeviceWorkflowID(r.fleet, line.Name)
		}
	}
	return outcomes, nil
}
