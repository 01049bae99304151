package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflow/v1"
	"go.temporal.io/sdk/converter"

	"edgefleet/internal/fleet"
	"edgefleet/workflows"
)

func (a *app) statusCommand() *cobra.Command {
	var fleetName string
	var watch bool
	cmd := &cobra.Command{
		Use:   "status [--fleet FLEET] [DEVICE | onboarding NAME]",
		Short: "Show where devices stand, one device step by step, or an onboarding",
		Args:  cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 2 || len(args) == 1 && args[0] == "onboarding" {
				if len(args) == 1 {
					a.running = false
					return errors.New("status onboarding needs a NAME; `starter onboarding list` shows all")
				}
				if args[0] != "onboarding" {
					a.running = false
					return errors.New("status takes one DEVICE, or onboarding NAME")
				}
				return a.showOnboarding(cmd.Context(), fleetName, args[1], watch)
			}
			if err := checkStatusInput(fleetName, args); err != nil {
				return err
			}
			t, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer t.Close()
			if len(args) == 0 {
				return a.printDevices(cmd.Context(), t, fleetName)
			}
			return a.printDevice(cmd.Context(), t, fleetName, args[0])
		},
	}
	cmd.Flags().StringVar(&fleetName, "fleet", "", "only this fleet's devices")
	cmd.Flags().BoolVar(&watch, "watch", false, "of an onboarding: go on showing it until it ends or stops")
	return cmd
}

func checkStatusInput(fleetName string, args []string) error {
	var bad fleet.InvalidInput
	if fleetName != "" {
		if err := fleet.FleetName.Check(fleetName); err != nil {
			bad = append(bad, fleet.Problem{Source: "--fleet", Reason: err.Error()})
		}
	}
	if len(args) > 0 {
		if err := fleet.DeviceName.Check(args[0]); err != nil {
			bad = append(bad, fleet.Problem{Source: "DEVICE", Reason: err.Error()})
		}
	}
	if len(bad) > 0 {
		return bad
	}
	return nil
}

// deviceStatus is the latest run of a device.
type deviceStatus struct {
	Fleet      string     `json:"fleet"`
	Device     string     `json:"device"`
	State      string     `json:"state"`
	WorkflowID string     `json:"workflowId"`
	RunID      string     `json:"runId"`
	StartedAt  time.Time  `json:"startedAt"`
	ClosedAt   *time.Time `json:"closedAt,omitempty"`
	// Hold is where, why and until when the run waits for an operator, while it does.
	Hold *workflows.Hold `json:"hold,omitempty"`
}

var stateOfStatus = map[enums.WorkflowExecutionStatus]string{
	enums.WORKFLOW_EXECUTION_STATUS_RUNNING:    "running",
	enums.WORKFLOW_EXECUTION_STATUS_FAILED:     "failed",
	enums.WORKFLOW_EXECUTION_STATUS_CANCELED:   "canceled",
	enums.WORKFLOW_EXECUTION_STATUS_TERMINATED: "terminated",
	enums.WORKFLOW_EXECUTION_STATUS_TIMED_OUT:  "timed out",
}

// stateOfType is the state that a run of the type ends in when all goes well.
var stateOfType = map[string]workflows.State{
	"ProvisionDevice":    workflows.Provisioned,
	"DecommissionDevice": workflows.Decommissioned,
}

// stateOf is a device's state: what its latest run says of itself off the happy path, otherwise
// what its type and status say.
func stateOf(info *workflow.WorkflowExecutionInfo) string {
	var said string
	payload := info.GetSearchAttributes().GetIndexedFields()[workflows.ProvisionState.GetName()]
	if payload != nil && converter.GetDefaultDataConverter().FromPayload(payload, &said) == nil && said != "" {
		// One that has ended may say what it was doing before.
		over := said == string(workflows.RolledBack) || said == string(workflows.RollbackIncomplete) || said == string(workflows.Unproven)
		if over || info.GetStatus() == enums.WORKFLOW_EXECUTION_STATUS_RUNNING {
			return said
		}
	}
	if info.GetStatus() == enums.WORKFLOW_EXECUTION_STATUS_COMPLETED {
		return string(stateOfType[info.GetType().GetName()])
	}
	return stateOfStatus[info.GetStatus()]
}

func newDeviceStatus(info *workflow.WorkflowExecutionInfo) deviceStatus {
	d := deviceStatus{
		WorkflowID: info.GetExecution().GetWorkflowId(),
		RunID:      info.GetExecution().GetRunId(),
		State:      stateOf(info),
		StartedAt:  info.GetStartTime().AsTime(),
	}
	if parts := strings.Split(d.WorkflowID, "/"); len(parts) == 3 {
		d.Fleet, d.Device = parts[1], parts[2]
	}
	if info.GetCloseTime() != nil {
		closed := info.GetCloseTime().AsTime()
		d.ClosedAt = &closed
	} else {
		d.Hold = holdOf(info.GetMemo())
	}
	return d
}

// devices lists the latest run of each device, of one fleet or of all.
func (t *temporal) devices(ctx context.Context, fleetName string) ([]deviceStatus, error) {
	query := "WorkflowType IN ('ProvisionDevice', 'DecommissionDevice')"
	if fleetName != "" {
		query += fmt.Sprintf(" AND %s = '%s'", workflows.EdgeFleet.GetName(), fleetName)
	}
	latest := map[string]deviceStatus{}
	err := t.eachRun(ctx, query, func(info *workflow.WorkflowExecutionInfo) {
		d := newDeviceStatus(info)
		if known, has := latest[d.WorkflowID]; !has || d.StartedAt.After(known.StartedAt) {
			latest[d.WorkflowID] = d
		}
	})
	if err != nil {
		return nil, err
	}
	all := make([]deviceStatus, 0, len(latest))
	for _, d := range latest {
		all = append(all, d)
	}
	slices.SortFunc(all, func(a, b deviceStatus) int {
		return cmp.Or(strings.Compare(a.Fleet, b.Fleet), strings.Compare(a.Device, b.Device))
	})
	return all, nil
}

func (a *app) printDevices(ctx context.Context, t *temporal, fleetName string) error {
	devices, err := t.devices(ctx, fleetName)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(devices)
	}
	if len(devices) == 0 {
		fmt.Fprintln(a.out, "No device has been provisioned here yet. `starter provision -f FILE DEVICE` does it.")
		return nil
	}
	rows := make([]table.Row, 0, len(devices))
	byState := map[string]int{}
	for _, d := range devices {
		took := time.Since(d.StartedAt)
		if d.ClosedAt != nil {
			took = d.ClosedAt.Sub(d.StartedAt)
		}
		byState[d.State]++
		rows = append(rows, table.Row{d.Fleet, d.Device, d.State, d.StartedAt.Local().Format(time.DateTime), duration(took)})
	}
	a.printTable(table.Row{"FLEET", "DEVICE", "STATE", "STARTED", "TOOK"}, rows)
	states := make([]string, 0, len(byState))
	for state, n := range byState {
		states = append(states, fmt.Sprintf("%d %s", n, state))
	}
	sort.Strings(states)
	fmt.Fprintf(a.out, "%s: %s\n", count(len(devices), "device"), strings.Join(states, ", "))
	if byState[string(workflows.Held)] > 0 {
		fmt.Fprintln(a.out, "`starter held` shows why runs are held, and until when.")
	}
	return nil
}

// deviceDetail is one device's run step by step.
type deviceDetail struct {
	deviceStatus
	Steps     []*stepView                `json:"steps"`
	ErrorType string                     `json:"errorType,omitempty"`
	Error     string                     `json:"error,omitempty"`
	Left      []workflows.Leftover       `json:"left,omitempty"`      // what could not be undone
	Decisions []workflows.Decided        `json:"decisions,omitempty"` // of operators, when the run was held
	Result    *workflows.ProvisionResult `json:"result,omitempty"`
}

func (a *app) printDevice(ctx context.Context, t *temporal, fleetName, device string) error {
	fleetName, err := t.fleetOf(ctx, fleetName, device)
	if err != nil {
		return err
	}
	described, err := t.DescribeWorkflowExecution(ctx, workflows.DeviceWorkflowID(fleetName, device), "")
	var missing *serviceerror.NotFound
	if errors.As(err, &missing) {
		return fmt.Errorf("no run of device %q in fleet %q is known to Temporal at %s", device, fleetName, t.options.HostPort)
	}
	if err != nil {
		return fmt.Errorf("describing device %q: %w", device, err)
	}
	detail := deviceDetail{deviceStatus: newDeviceStatus(described.GetWorkflowExecutionInfo())}
	view := newRunView()
	events := t.GetWorkflowHistory(ctx, detail.WorkflowID, detail.RunID, false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		event, err := events.Next()
		if err != nil {
			return fmt.Errorf("reading the history of %s: %w", detail.WorkflowID, err)
		}
		view.apply(event)
	}
	detail.Steps = view.Steps
	detail.ErrorType, detail.Error = cause(view.Failure)
	ending := view.ending()
	detail.Left, detail.Decisions = ending.Left, ending.Decisions
	if h := detail.Hold; h != nil {
		detail.ErrorType, detail.Error = h.ErrorType, h.Message
	}
	if view.Outcome == "completed" && described.GetWorkflowExecutionInfo().GetType().GetName() == "ProvisionDevice" {
		detail.Result = new(workflows.ProvisionResult)
		if err := view.Result.Get(detail.Result); err != nil {
			return fmt.Errorf("reading the result of %s: %w", detail.WorkflowID, err)
		}
		detail.Decisions = detail.Result.Decisions
	}
	if a.json {
		return a.printJSON(detail)
	}
	fmt.Fprintf(a.out, "%s: %s  (%s, run %s)\n", device, detail.State, detail.WorkflowID, detail.RunID)
	for _, step := range detail.Steps {
		a.printStep(step)
	}
	if detail.ClosedAt == nil {
		a.noteRetries(ctx, t, t.GetWorkflow(ctx, detail.WorkflowID, detail.RunID), map[string]int32{})
	}
	if h := detail.Hold; h != nil {
		fmt.Fprintf(a.out, "\nHeld at %s since %s. %s: %s\n", h.Step, h.Since.Local().Format(time.DateTime), h.ErrorType, h.Message)
		adviseHeld(a.out, detail.WorkflowID, h)
	}
	for _, d := range detail.Decisions {
		fmt.Fprintf(a.out, "\n%s at %s, %s, by %s: %s\n", d.Choice, d.Step, d.At.Local().Format(time.DateTime), cmp.Or(d.By, "somebody"), d.Reason)
	}
	if detail.Error != "" && detail.Hold == nil {
		fmt.Fprintf(a.out, "\n%s: %s\n", detail.ErrorType, detail.Error)
	}
	a.printLeft(detail.Left)
	if detail.Result != nil && detail.Result.State == workflows.Provisioned {
		a.printProvisioned(*detail.Result)
	}
	return nil
}

// fleetOf is the fleet of a device that was named without it, where that is unambiguous.
func (t *temporal) fleetOf(ctx context.Context, fleetName, device string) (string, error) {
	if fleetName != "" {
		return fleetName, nil
	}
	devices, err := t.devices(ctx, "")
	if err != nil {
		return "", err
	}
	var fleets []string
	for _, d := range devices {
		if d.Device == device {
			fleets = append(fleets, d.Fleet)
		}
	}
	switch len(fleets) {
	case 0:
		return "", fmt.Errorf("no run of a device %q is known to Temporal at %s", device, t.options.HostPort)
	case 1:
		return fleets[0], nil
	}
	return "", fmt.Errorf("device %q is in %d fleets (%s): name one with --fleet", device, len(fleets), strings.Join(fleets, ", "))
}
