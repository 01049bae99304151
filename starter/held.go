package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"
	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/converter"

	"edgefleet/internal/fleet"
	"edgefleet/workflows"
)

func (a *app) heldCommand() *cobra.Command {
	var filter heldFilter
	cmd := &cobra.Command{
		Use:   "held [--fleet FLEET]",
		Short: "Show the devices whose runs wait for an operator, and why",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := filter.check(); err != nil {
				return err
			}
			t, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer t.Close()
			held, err := t.held(cmd.Context(), filter)
			if err != nil {
				return err
			}
			return a.printHeld(held)
		},
	}
	filter.flags(cmd)
	return cmd
}

// heldFilter says which of the held runs are meant; empty fields say nothing.
type heldFilter struct {
	fleet, step, errorType string
	steps                  []string // any of these
}

func (f *heldFilter) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.fleet, "fleet", "", "only this fleet's devices")
	cmd.Flags().StringVar(&f.step, "step", "", "only those held at this step, such as AttachPolicy")
	cmd.Flags().StringVar(&f.errorType, "error", "", "only those held by an error of this type, such as AccessDenied")
}

func (f *heldFilter) check() error {
	var bad fleet.InvalidInput
	if f.fleet != "" {
		if err := fleet.FleetName.Check(f.fleet); err != nil {
			bad = append(bad, fleet.Problem{Source: "--fleet", Reason: err.Error()})
		}
	}
	if f.step != "" && !slices.Contains(workflows.Steps(), f.step) {
		bad = append(bad, fleet.Problem{Source: "--step", Reason: fmt.Sprintf("%q is no step; the steps are %s", f.step, strings.Join(workflows.Steps(), ", "))})
	}
	if f.errorType != "" && !slices.Contains(workflows.ErrorTypes(), f.errorType) {
		bad = append(bad, fleet.Problem{Source: "--error", Reason: fmt.Sprintf("%q is no type of error; the types are %s", f.errorType, strings.Join(workflows.ErrorTypes(), ", "))})
	}
	if len(bad) > 0 {
		return bad
	}
	return nil
}

// query is the filter in Temporal's words. What it holds was checked, so that nothing needs quoting.
func (f *heldFilter) query() string {
	query := fmt.Sprintf("WorkflowType = 'ProvisionDevice' AND ExecutionStatus = 'Running' AND %s = '%s'", workflows.ProvisionState.GetName(), workflows.Held)
	for name, value := range map[string]string{
		workflows.EdgeFleet.GetName(): f.fleet, workflows.ProvisionStep.GetName(): f.step, workflows.ProvisionError.GetName(): f.errorType,
	} {
		if value != "" {
			query += fmt.Sprintf(" AND %s = '%s'", name, value)
		}
	}
	if len(f.steps) > 0 {
		query += fmt.Sprintf(" AND %s IN ('%s')", workflows.ProvisionStep.GetName(), strings.Join(f.steps, "', '"))
	}
	return query
}

// heldRun is a device's run that waits for an operator.
type heldRun struct {
	Fleet      string `json:"fleet"`
	Device     string `json:"device"`
	WorkflowID string `json:"workflowId"`
	RunID      string `json:"runId"`
	workflows.Hold
}

func newHeldRun(info *workflow.WorkflowExecutionInfo, hold *workflows.Hold) heldRun {
	d := newDeviceStatus(info)
	return heldRun{d.Fleet, d.Device, d.WorkflowID, d.RunID, *hold}
}

// holdOf is what a memo says of a hold; nil where the run is not held.
func holdOf(memo *common.Memo) *workflows.Hold {
	payload := memo.GetFields()[workflows.MemoHold]
	if len(payload.GetData()) == 0 {
		return nil
	}
	hold := new(workflows.Hold)
	if converter.GetDefaultDataConverter().FromPayload(payload, hold) != nil || hold.Step == "" {
		return nil
	}
	return hold
}

// held lists the runs that wait for an operator, by fleet and device.
func (t *temporal) held(ctx context.Context, filter heldFilter) ([]heldRun, error) {
	held := []heldRun{}
	err := t.eachRun(ctx, filter.query(), func(info *workflow.WorkflowExecutionInfo) {
		if hold := holdOf(info.GetMemo()); hold != nil {
			held = append(held, newHeldRun(info, hold))
		}
	})
	slices.SortFunc(held, func(a, b heldRun) int {
		return cmp.Or(strings.Compare(a.Fleet, b.Fleet), strings.Compare(a.Device, b.Device))
	})
	return held, err
}

// eachRun visits the runs that a query finds.
func (t *temporal) eachRun(ctx context.Context, query string, visit func(*workflow.WorkflowExecutionInfo)) error {
	request := &workflowservice.ListWorkflowExecutionsRequest{Query: query, PageSize: 1000}
	for {
		page, err := t.ListWorkflow(ctx, request)
		if err != nil {
			return fmt.Errorf("listing runs on Temporal at %s: %w", t.options.HostPort, err)
		}
		for _, info := range page.GetExecutions() {
			visit(info)
		}
		if request.NextPageToken = page.GetNextPageToken(); len(request.NextPageToken) == 0 {
			return nil
		}
	}
}

func (a *app) printHeld(held []heldRun) error {
	if a.json {
		return a.printJSON(held)
	}
	if len(held) == 0 {
		fmt.Fprintln(a.out, "No run is held.")
		return nil
	}
	rows := make([]table.Row, len(held))
	for i, h := range held {
		rows[i] = table.Row{h.Fleet, h.Device, h.Step, h.ErrorType, h.Since.Local().Format(time.DateTime), h.Deadline.Local().Format(time.DateTime)}
	}
	a.printTable(table.Row{"FLEET", "DEVICE", "STEP", "ERROR", "SINCE", "DEADLINE"}, rows)
	fmt.Fprintf(a.out, "%s held. `starter status DEVICE` shows what was said; `starter resume` and `starter rollback` decide.\n", count(len(held), "run"))
	return nil
}

// reportHeld says where and why a run is held; the error is for those who wait for its end.
func (a *app) reportHeld(id, runID string, view *runView) error {
	h := view.Held
	if a.json {
		report := failedRun{State: workflows.Held, WorkflowID: id, RunID: runID, Steps: view.Steps, ErrorType: h.ErrorType, Error: h.Message, Hold: h}
		if err := a.printJSON(report); err != nil {
			return err
		}
	}
	fmt.Fprintf(a.errs, "%s is held at %s. %s: %s\n", id, h.Step, h.ErrorType, h.Message)
	adviseHeld(a.errs, id, h)
	return reportedError{errors.New(h.Message)}
}

// adviseHeld says what to do about a run that is held.
func adviseHeld(w io.Writer, id string, h *workflows.Hold) {
	_, name, _ := strings.Cut(id, "/")
	fleetName, device, _ := strings.Cut(name, "/")
	fmt.Fprintf(w, `It keeps what it has and waits until %s; then it rolls back. When the cause is mended:
  starter resume --fleet %s %s --reason "…"      goes on at %s
  starter rollback --fleet %s %s --reason "…"    undoes what the run did
`, h.Deadline.Local().Format(time.DateTime), fleetName, device, h.Step, fleetName, device)
}
