package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	sdktemporal "go.temporal.io/sdk/temporal"

	"edgefleet/activities"
	"edgefleet/internal/fleet"
	"edgefleet/internal/onboarding"
	"edgefleet/workflows"
)

func (a *app) onboardingCommand() *cobra.Command {
	return a.group("onboarding", "List onboardings, pause, resume or cancel one", a.onboardingListCommand(),
		a.steerCommand(workflows.PauseOnboarding, "Launch no more devices until resume; those under way come to their end"),
		a.steerCommand(workflows.ResumeOnboarding, "Go on, after a pause or when the line has stopped and its cause is mended"),
		a.steerCommand(workflows.CancelOnboarding, "Launch no more devices, for good; those under way come to their end"))
}

func (a *app) onboardingListCommand() *cobra.Command {
	var fleetName string
	cmd := &cobra.Command{
		Use:   "list [--fleet FLEET]",
		Short: "Show the onboardings, the latest first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkStatusInput(fleetName, nil); err != nil {
				return err
			}
			t, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer t.Close()
			return a.listOnboardings(cmd.Context(), t, fleetName)
		},
	}
	cmd.Flags().StringVar(&fleetName, "fleet", "", "only this fleet's onboardings")
	return cmd
}

func (a *app) listOnboardings(ctx context.Context, t *temporal, fleetName string) error {
	all, err := t.onboardings(ctx, fleetName)
	if err != nil {
		return err
	}
	for i, o := range all {
		if o.ClosedAt == nil { // its memo may be a minute old
			if all[i], err = t.onboardingStatus(ctx, o.WorkflowID); err != nil {
				return err
			}
		}
	}
	if a.json {
		if all == nil {
			all = []onboardingStatus{}
		}
		return a.printJSON(all)
	}
	if len(all) == 0 {
		fmt.Fprintln(a.out, "There has been no onboarding yet. `starter onboard -f FILE MANIFEST` starts one.")
		return nil
	}
	rows, held := make([]table.Row, len(all)), 0
	for i, o := range all {
		took := time.Since(o.StartedAt)
		if o.ClosedAt != nil {
			took = o.ClosedAt.Sub(o.StartedAt)
		}
		held += o.Counts.Held
		rows[i] = table.Row{o.Fleet, o.Name, o.State, o.Devices, o.Counts.Provisioned, o.Counts.Already, o.Counts.Held, o.Counts.Failed,
			o.StartedAt.Local().Format(time.DateTime), duration(took)}
	}
	a.printTable(table.Row{"FLEET", "NAME", "STATE", "DEVICES", "PROVISIONED", "BEFORE", "HELD", "FAILED", "STARTED", "TOOK"}, rows)
	if held > 0 {
		fmt.Fprintln(a.out, "HELD counts those that were when the onboarding passed them. `starter held` shows which are, `starter status onboarding NAME` what became of them.")
	}
	return nil
}

// steerCommand sends an onboarding a decision.
func (a *app) steerCommand(decision, short string) *cobra.Command {
	var fleetName string
	var said workflows.Steering
	cmd := &cobra.Command{
		Use:   decision + " NAME",
		Short: short,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkOnboardingName(fleetName, args[0]); err != nil {
				return err
			}
			ctx := cmd.Context()
			t, err := a.connectToWorkers(ctx)
			if err != nil {
				return err
			}
			defer t.Close()
			id, err := t.findOnboarding(ctx, fleetName, args[0])
			if err != nil {
				return err
			}
			return a.steer(ctx, t, id, decision, said)
		},
	}
	cmd.Flags().StringVar(&fleetName, "fleet", "", "the onboarding's fleet, where several have one of that name")
	cmd.Flags().StringVar(&said.Reason, "reason", "", "why, for whoever looks later")
	return cmd
}

func checkOnboardingName(fleetName, name string) error {
	var bad fleet.InvalidInput
	if err := fleet.OnboardingName.Check(name); err != nil {
		bad = fleet.InvalidInput{{Source: "NAME", Reason: err.Error()}}
	}
	return allProblems(checkStatusInput(fleetName, nil), bad.OrNil())
}

func (a *app) steer(ctx context.Context, t *temporal, id, decision string, said workflows.Steering) error {
	var status workflows.OnboardStatus
	if err := t.steer(ctx, id, decision, said, &status); err != nil {
		return err
	}
	if a.json {
		return a.printJSON(status)
	}
	fmt.Fprintf(a.out, "%s is %s. `starter status onboarding %s` shows how it goes on.\n", id, status.State, status.Name)
	return nil
}

// steer sends an onboarding a decision and returns what it answers.
func (t *temporal) steer(ctx context.Context, id, decision string, said workflows.Steering, status *workflows.OnboardStatus) error {
	handle, err := t.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		WorkflowID: id, UpdateName: decision, Args: []any{said}, WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	if err == nil {
		err = handle.Get(ctx, status)
	}
	var closed *serviceerror.NotFound
	var refused *sdktemporal.ApplicationError
	switch {
	case errors.As(err, &closed):
		return fmt.Errorf("%s has ended, so there is nothing to %s", id, decision)
	case errors.As(err, &refused):
		return fmt.Errorf("%s: %s", id, refused.Message())
	case err != nil:
		return fmt.Errorf("telling %s to %s: %w", id, decision, err)
	}
	return nil
}

// resumeOnboardings lets a fleet's onboardings go on that have stopped, when all that is held of the fleet
// is resumed: what stopped them is what was mended.
func (a *app) resumeOnboardings(ctx context.Context, t *temporal, c *decideCommand) error {
	if c.choice != workflows.Resume || c.decision.SkipProof {
		return nil
	}
	all, err := t.onboardings(ctx, c.filter.fleet)
	if err != nil {
		return err
	}
	for _, o := range all {
		if o.ClosedAt != nil || o.State != workflows.Stopped {
			continue
		}
		if c.dryRun {
			fmt.Fprintf(a.errs, "%s has stopped, and would go on.\n", o.WorkflowID)
			continue
		}
		if err := t.steer(ctx, o.WorkflowID, workflows.ResumeOnboarding, workflows.Steering{Reason: c.decision.Reason}, &o.OnboardStatus); err != nil {
			return err
		}
		fmt.Fprintf(a.errs, "%s had stopped, and goes on. `starter status onboarding %s --watch` shows how.\n", o.WorkflowID, o.Name)
	}
	return nil
}

func (a *app) showOnboarding(ctx context.Context, fleetName, name string, watch bool) error {
	if err := checkOnboardingName(fleetName, name); err != nil {
		return err
	}
	t, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer t.Close()
	id, err := t.findOnboarding(ctx, fleetName, name)
	if err != nil {
		return err
	}
	if watch {
		return a.watchOnboarding(ctx, t, t.GetWorkflow(ctx, id, ""), false, false)
	}
	status, err := t.onboardingStatus(ctx, id)
	if err != nil {
		return err
	}
	a.settleHeld(ctx, t, &status)
	if a.json {
		return a.printJSON(status)
	}
	a.printOnboarding(status)
	return nil
}

// settleHeld counts the devices that the onboarding passed as held by what has become of them since. It needs
// the report's parts; without them the counts stay, and that is said.
func (a *app) settleHeld(ctx context.Context, t *temporal, s *onboardingStatus) {
	if s.Counts.Held == 0 || s.Files.Bucket == "" {
		return
	}
	cfg, err := awsConfig(ctx)
	if err == nil {
		r := onboarding.NewReport(onboarding.NewFiles(activities.NewS3(cfg), s.Files, ""), s.Fleet, s.Pages, s.Next)
		if err = r.LookAgain(ctx, t); err == nil {
			counts, underWay := r.Settle(s.Counts)
			s.Counts, s.InFlight = counts, s.InFlight+underWay
			return
		}
	}
	fmt.Fprintf(a.errs, "Held are those that were when the onboarding passed them; what has become of them since could not be read: %v\n", ownCall(err))
}

func (a *app) printOnboarding(s onboardingStatus) {
	took := time.Since(s.StartedAt)
	if s.ClosedAt != nil {
		took = s.ClosedAt.Sub(s.StartedAt)
	}
	fmt.Fprintf(a.out, "%s: %s after %s  (run %s)\n", s.WorkflowID, s.State, duration(took), s.RunID)
	if s.Why != "" {
		fmt.Fprintf(a.out, "\nWhy: %s\n", s.Why)
	}
	if s.Retrying != "" {
		fmt.Fprintf(a.out, "\nIt is being tried again: %s\n", s.Retrying)
	}
	fmt.Fprintf(a.out, "\n  manifest            %s, %s\n", s.Manifest, count(s.Devices, "device"))
	for _, c := range []struct {
		what string
		n    int
	}{
		{"provisioned", s.Counts.Provisioned}, {"provisioned before", s.Counts.Already}, {"held", s.Counts.Held},
		{"failed", s.Counts.Failed}, {"under way", s.InFlight}, {"to come", s.Devices - s.Counts.Ended() - s.InFlight},
	} {
		fmt.Fprintf(a.out, "  %-18s  %d\n", c.what, c.n)
	}
	if s.Ceiling > 0 {
		fmt.Fprintf(a.out, "  %-18s  %g a second\n", "the quotas allow", s.Ceiling)
	}
	fmt.Fprintf(a.out, "\n%s\n", strings.ReplaceAll(a.onboardingHint(s), "`", ""))
}

// onboardingHint says what can be done next.
func (a *app) onboardingHint(s onboardingStatus) string {
	switch s.State {
	case workflows.Stopped, workflows.Paused:
		return "What to do: " + workflows.OnboardingAdvice(s.OnboardStatus)
	case workflows.Running:
		return "Watch it: starter status onboarding " + s.Name + " --watch"
	}
	return "Device by device: starter report " + s.Name
}
