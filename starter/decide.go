package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflow/v1"
	"go.temporal.io/sdk/client"
	"golang.org/x/sync/errgroup"

	"edgefleet/internal/fleet"
	"edgefleet/workflows"
)

// decideCommand is resume or rollback.
type decideCommand struct {
	choice   workflows.Choice
	devices  []string
	filter   heldFilter
	all      bool
	dryRun   bool
	bundles  string
	decision workflows.Decision
}

func (a *app) resumeCommand() *cobra.Command {
	c := &decideCommand{choice: workflows.Resume}
	cmd := a.decideCommand(c, "Let runs that are held go on, at the step that failed")
	cmd.Flags().StringVar(&c.decision.RoleARN, "role-arn", "", "correction: the role's ARN, for runs held at PrepareFleet")
	cmd.Flags().StringVar(&c.bundles, "bundles", "", "correction: s3://BUCKET/PREFIX, for runs whose certificate is not stored yet")
	cmd.Flags().BoolVar(&c.decision.SkipProof, "skip-proof", false, "end runs held at ProveDevice as unproven")
	return cmd
}

func (a *app) rollbackCommand() *cobra.Command {
	return a.decideCommand(&decideCommand{choice: workflows.Rollback}, "Have runs that are held undo what they did")
}

func (a *app) decideCommand(c *decideCommand, short string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   string(c.choice) + ` [DEVICE… | --fleet FLEET --all] --reason "…"`,
		Short: short,
		RunE: func(cmd *cobra.Command, devices []string) error {
			c.devices = devices
			if err := c.check(); err != nil {
				return err
			}
			ctx := cmd.Context()
			t, err := a.connectToWorkers(ctx)
			if err != nil {
				return err
			}
			defer t.Close()
			if c.all {
				return errors.Join(a.decideAll(ctx, t, c), a.resumeOnboardings(ctx, t, c))
			}
			return a.decideNamed(ctx, t, c)
		},
	}
	c.filter.flags(cmd)
	cmd.Flags().BoolVar(&c.all, "all", false, "all held runs of the fleet, at once")
	cmd.Flags().StringVar(&c.decision.Reason, "reason", "", "why; it is kept in the run's result (required)")
	cmd.Flags().BoolVar(&c.dryRun, "dry-run", false, "show which runs are meant, and change nothing")
	return cmd
}

// check reads the command line; all that is wrong is told at once.
func (c *decideCommand) check() error {
	var bad fleet.InvalidInput
	report := func(source, format string, args ...any) {
		bad = append(bad, fleet.Problem{Source: source, Reason: fmt.Sprintf(format, args...)})
	}
	switch {
	case len(c.devices) == 0 && !c.all:
		report("DEVICE", "names no device; --fleet FLEET --all means all that are held")
	case len(c.devices) > 0 && c.all:
		report("--all", "goes without devices' names")
	case c.all && c.filter.fleet == "":
		report("--fleet", "is missing: --all means all held runs of one fleet")
	}
	for _, device := range c.devices {
		if err := fleet.DeviceName.Check(device); err != nil {
			report("DEVICE", "%s", err)
		}
	}
	filterErr := c.filter.check()
	if c.bundles != "" {
		var err error
		if c.decision.Bundles, err = fleet.ParseS3URI(c.bundles); err != nil {
			report("--bundles", "%s", err)
		}
	}
	c.decision.By = operator()
	if c.dryRun && c.decision.Reason == "" {
		c.decision.Reason = "a dry run"
	}
	if err := c.decision.Check(); err != nil {
		report("--reason, or a correction", "%s", err)
	}
	if filterErr == nil && c.filter.step != "" {
		if err := c.decision.CheckAt(c.filter.step); err != nil {
			report("--step", "%s", err)
		}
	}
	if len(bad) > 0 {
		return allProblems(bad, filterErr)
	}
	return filterErr
}

// operator is who decides, as this machine knows it.
func operator() string {
	name := "somebody"
	if who, err := user.Current(); err == nil {
		name = who.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name
}

// decidedRun is what became of one run.
type decidedRun struct {
	heldRun
	Answer string `json:"answer,omitempty"`
	Error  string `json:"error,omitempty"`
}

// updatePatience is how long a worker gets to answer.
const updatePatience = 30 * time.Second

// decideNamed tells runs one by one, by Update: each answers. Before that all are looked at, so that
// a name that is wrong changes nothing.
func (a *app) decideNamed(ctx context.Context, t *temporal, c *decideCommand) error {
	held, err := t.findHeld(ctx, c)
	if err != nil {
		return err
	}
	if c.dryRun {
		return a.printHeld(held)
	}
	results := make([]decidedRun, len(held))
	var group errgroup.Group
	group.SetLimit(10)
	for i, h := range held {
		group.Go(func() error {
			results[i].heldRun = h
			var err error
			if results[i].Answer, err = t.update(ctx, h, c); err != nil {
				results[i].Error = err.Error()
			}
			return nil
		})
	}
	_ = group.Wait() // errors are in the results
	failed := 0
	for _, r := range results {
		switch {
		case r.Error != "":
			failed++
			fmt.Fprintf(a.errs, "%s: %s\n", r.Device, r.Error)
		case !a.json:
			fmt.Fprintf(a.out, "%s: %s\n", r.Device, r.Answer)
		}
	}
	if a.json {
		err = a.printJSON(results)
	} else if failed < len(results) {
		fmt.Fprintln(a.out, "`starter status DEVICE` shows how it goes on.")
	}
	if failed > 0 {
		return reportedError{errors.New("not all runs took the decision")}
	}
	return err
}

func (t *temporal) update(ctx context.Context, h heldRun, c *decideCommand) (answer string, err error) {
	ctx, cancel := context.WithTimeout(ctx, updatePatience)
	defer cancel()
	handle, err := t.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		WorkflowID: h.WorkflowID, RunID: h.RunID, UpdateName: string(c.choice), Args: []any{c.payload()},
		WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	if err == nil {
		err = handle.Get(ctx, &answer)
	}
	if ctx.Err() != nil {
		return "", fmt.Errorf("no worker answered within %s. `starter status` shows whether the run took the decision", updatePatience)
	}
	return answer, err
}

// payload is what goes to a run: a rollback takes no corrections, not even empty ones.
func (c *decideCommand) payload() any {
	if c.choice == workflows.Resume {
		return c.decision
	}
	return struct {
		Reason string `json:"reason"`
		By     string `json:"by"`
	}{c.decision.Reason, c.decision.By}
}

// findHeld finds the named devices' runs. What is wrong with any of them is told at once.
func (t *temporal) findHeld(ctx context.Context, c *decideCommand) ([]heldRun, error) {
	fleets, err := t.runningFleets(ctx, c)
	if err != nil {
		return nil, err
	}
	held := make([]heldRun, len(c.devices))
	problems := make([]error, len(c.devices))
	var group errgroup.Group
	group.SetLimit(10)
	for i, device := range c.devices {
		group.Go(func() error {
			held[i], problems[i] = t.findOneHeld(ctx, c, device, fleets[device])
			return nil
		})
	}
	_ = group.Wait() // errors are among the problems
	var lines []string
	for _, problem := range problems {
		if problem != nil {
			lines = append(lines, problem.Error())
		}
	}
	if len(lines) > 0 {
		return nil, errors.New(strings.Join(lines, "\n") + "\n" + count(len(lines), "problem") + "; nothing was changed")
	}
	return held, nil
}

func (t *temporal) findOneHeld(ctx context.Context, c *decideCommand, device string, fleets []string) (heldRun, error) {
	fleetName := c.filter.fleet
	switch {
	case fleetName != "":
	case len(fleets) > 1:
		return heldRun{}, fmt.Errorf("device %q is being provisioned in %d fleets (%s): name one with --fleet", device, len(fleets), strings.Join(fleets, ", "))
	case len(fleets) == 1:
		fleetName = fleets[0]
	default:
		var err error
		if fleetName, err = t.fleetOf(ctx, "", device); err != nil {
			return heldRun{}, err
		}
	}
	described, err := t.DescribeWorkflowExecution(ctx, workflows.DeviceWorkflowID(fleetName, device), "")
	var missing *serviceerror.NotFound
	if errors.As(err, &missing) {
		return heldRun{}, fmt.Errorf("no run of device %q in fleet %q is known to Temporal at %s", device, fleetName, t.options.HostPort)
	}
	if err != nil {
		return heldRun{}, fmt.Errorf("describing device %q: %w", device, err)
	}
	info := described.GetWorkflowExecutionInfo()
	hold := holdOf(info.GetMemo())
	if info.GetStatus() != enums.WORKFLOW_EXECUTION_STATUS_RUNNING || hold == nil {
		return heldRun{}, fmt.Errorf("device %q of fleet %q is not held: it is %s", device, fleetName, stateOf(info))
	}
	found := newHeldRun(info, hold)
	if c.filter.step != "" && hold.Step != c.filter.step || c.filter.errorType != "" && hold.ErrorType != c.filter.errorType {
		return found, fmt.Errorf("device %q of fleet %q is held at %s by %s", device, fleetName, hold.Step, hold.ErrorType)
	}
	if err := c.decision.CheckAt(hold.Step); err != nil {
		return found, fmt.Errorf("device %q of fleet %q: %w", device, fleetName, err)
	}
	return found, nil
}

// listPatience is how long a run that has just been started may take to be in Temporal's list.
const listPatience = 3 * time.Second

// runningFleets are the fleets in which each of the named devices has a run that goes on.
func (t *temporal) runningFleets(ctx context.Context, c *decideCommand) (map[string][]string, error) {
	if c.filter.fleet != "" {
		return nil, nil
	}
	for deadline := time.Now().Add(listPatience); ; {
		fleets := map[string][]string{}
		err := t.eachRun(ctx, "WorkflowType = 'ProvisionDevice' AND ExecutionStatus = 'Running'", func(info *workflow.WorkflowExecutionInfo) {
			d := newDeviceStatus(info)
			fleets[d.Device] = append(fleets[d.Device], d.Fleet)
		})
		missing := false
		for _, device := range c.devices {
			missing = missing || len(fleets[device]) == 0
		}
		if err != nil || !missing || time.Now().After(deadline) {
			return fleets, err
		}
		if err := pause(ctx, 250*time.Millisecond); err != nil {
			return nil, err
		}
	}
}
