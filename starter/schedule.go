package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	sdktemporal "go.temporal.io/sdk/temporal"

	"edgefleet/activities"
	"edgefleet/internal/fleet"
	"edgefleet/internal/onboarding"
	"edgefleet/workflows"
)

func (a *app) scheduleCommand() *cobra.Command {
	return a.group("schedule", "Fleets that grow by themselves: runs at set times take the manifests that are new",
		a.scheduleCreateCommand(), a.scheduleUpdateCommand(), a.scheduleListCommand(), a.scheduleDescribeCommand(),
		a.schedulePauseCommand(), a.scheduleUnpauseCommand(), a.scheduleTriggerCommand(), a.scheduleBackfillCommand(), a.scheduleDeleteCommand())
}

func (a *app) scheduleCreateCommand() *cobra.Command {
	var f scheduleFlags
	cmd := &cobra.Command{
		Use:   "create NAME -f FILE --manifests URI --cron EXPRESSION | --every TIME",
		Short: "Make a schedule that takes new manifests into a fleet",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.createSchedule(cmd.Context(), args[0], &f)
		},
	}
	specFlag(cmd, &f.file)
	f.add(cmd.Flags())
	cmd.Flags().StringVar(&f.note, "note", "", "for whoever looks at the schedule")
	return cmd
}

func (a *app) createSchedule(ctx context.Context, name string, f *scheduleFlags) error {
	spec, err := fleet.ReadSpec(f.file)
	s := &client.Schedule{Spec: &client.ScheduleSpec{}, Policy: &client.SchedulePolicies{}, State: &client.ScheduleState{Note: f.note}}
	in := workflows.ExpandInput{Fleet: spec, Schedule: name, Stop: workflows.DefaultStopRule}
	if err := allProblems(checkScheduleName(name), err, f.missing(), f.apply(s, &in), checkPlace(in)); err != nil {
		return err
	}
	if err := checkManifests(ctx, in); err != nil {
		return err
	}
	t, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer t.Close()
	if err := t.requireSearchAttributes(ctx); err != nil {
		return err
	}
	handle, err := t.ScheduleClient().Create(ctx, client.ScheduleOptions{
		ID: name, Spec: *s.Spec, Action: scheduleAction(in), Note: f.note,
		Overlap: s.Policy.Overlap, CatchupWindow: s.Policy.CatchupWindow, PauseOnFailure: s.Policy.PauseOnFailure,
		TypedSearchAttributes: workflows.SearchAttributes(in.Fleet.Name),
	})
	if err := t.scheduleError("creating", name, err); err != nil {
		return err
	}
	view, err := t.schedule(ctx, name)
	if err != nil {
		return err
	}
	if len(view.Next) == 0 {
		if err := handle.Delete(ctx); err != nil {
			return fmt.Errorf("schedule %q would never run, and could not be removed: %w", name, err)
		}
		return fleet.InvalidInput{{Source: "--cron", Reason: "there is no such time until the schedule's end: it would never run"}}
	}
	return a.showSchedule(view)
}

// scheduleAction starts a run.
func scheduleAction(in workflows.ExpandInput) *client.ScheduleWorkflowAction {
	return &client.ScheduleWorkflowAction{
		ID:                    workflows.ExpansionWorkflowID(in.Fleet.Name, in.Schedule),
		Workflow:              expandWorkflow,
		Args:                  []any{in},
		TaskQueue:             workflows.TaskQueue,
		TypedSearchAttributes: workflows.SearchAttributes(in.Fleet.Name),
		StaticSummary:         workflows.ExpansionSummary(in),
		StaticDetails:         workflows.ExpansionDetails(in),
		Priority:              sdktemporal.Priority{PriorityKey: workflows.DefaultPriority},
	}
}

// checkPlace refuses manifests among the fleet's own files.
func checkPlace(in workflows.ExpandInput) error {
	at, err := fleet.ParseManifests(in.Manifests)
	if err != nil || in.Fleet.Name == "" {
		return nil // told already
	}
	if err := in.Fleet.CheckManifests(at); err != nil {
		return fleet.InvalidInput{{Source: "--manifests", Reason: err.Error()}}
	}
	return nil
}

// checkManifests makes sure that the manifests can be listed, and that the one that grows is there.
func checkManifests(ctx context.Context, in workflows.ExpandInput) error {
	at, err := fleet.ParseManifests(in.Manifests)
	if err != nil {
		return err
	}
	cfg, err := awsConfig(ctx)
	if err != nil {
		return err
	}
	found, err := onboarding.ListManifests(ctx, activities.NewS3(cfg), at)
	switch {
	case activities.IsType(err, activities.NotFound), activities.IsType(err, activities.InvalidInput):
		return fleet.InvalidInput{{Source: "--manifests", Reason: ownCall(err).Error()}}
	case err != nil:
		return fmt.Errorf("--manifests: %w", ownCall(err))
	case at.One() && len(found) == 0:
		return fleet.InvalidInput{{Source: "--manifests", Reason: fmt.Sprintf("there is no object %s; a prefix ends with a slash: %s/", at, at)}}
	}
	return nil
}

func (a *app) scheduleUpdateCommand() *cobra.Command {
	var f scheduleFlags
	cmd := &cobra.Command{
		Use:   "update NAME [-f FILE] [flags of create]",
		Short: "Change what the flags name, and leave the rest; -f reads the fleet specification again",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.updateSchedule(cmd.Context(), args[0], &f)
		},
	}
	specFlag(cmd, &f.file)
	f.add(cmd.Flags())
	return cmd
}

func (a *app) updateSchedule(ctx context.Context, name string, f *scheduleFlags) error {
	// Against nothing, only what was given can be wrong.
	trial := &client.Schedule{Spec: &client.ScheduleSpec{}, Policy: &client.SchedulePolicies{}}
	spec, specErr := fleet.Spec{}, error(nil)
	if f.file != "" {
		spec, specErr = fleet.ReadSpec(f.file)
	}
	if err := allProblems(checkScheduleName(name), specErr, f.apply(trial, &workflows.ExpandInput{})); err != nil {
		return err
	}
	t, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer t.Close()
	old, err := t.schedule(ctx, name)
	if err != nil {
		return err
	}
	if f.file != "" && spec.Name != old.Fleet {
		return fleet.InvalidInput{{Source: f.file, Field: "name", Reason: fmt.Sprintf("%q is another fleet than the schedule's, %q", spec.Name, old.Fleet)}}
	}
	err = t.ScheduleClient().GetHandle(ctx, name).Update(ctx, client.ScheduleUpdateOptions{
		DoUpdate: func(now client.ScheduleUpdateInput) (*client.ScheduleUpdate, error) {
			s := now.Description.Schedule
			in, err := inputOf(s.Action)
			if err != nil {
				return nil, err
			}
			if f.file != "" {
				in.Fleet = spec
			}
			if err := allProblems(f.apply(&s, &in), checkPlace(in)); err != nil {
				return nil, err
			}
			if f.set.Changed("manifests") {
				if err := checkManifests(ctx, in); err != nil {
					return nil, err
				}
			}
			s.Action = scheduleAction(in)
			return &client.ScheduleUpdate{Schedule: &s}, nil
		},
	})
	if err := t.scheduleError("updating", name, err); err != nil {
		return err
	}
	return a.describeSchedule(ctx, t, name)
}

// scheduleError says what went wrong with a schedule.
func (t *temporal) scheduleError(doing, name string, err error) error {
	var invalid fleet.InvalidInput
	var missing *serviceerror.NotFound
	var refused *serviceerror.InvalidArgument
	var exists *serviceerror.AlreadyExists
	switch {
	case err == nil || errors.As(err, &invalid):
		return err
	case errors.Is(err, sdktemporal.ErrScheduleAlreadyRunning), errors.As(err, &exists):
		return fmt.Errorf("there is a schedule %q already, so nothing was created. `starter schedule describe %s` shows it; `update` changes it", name, name)
	case errors.As(err, &missing):
		return fmt.Errorf("no schedule %q is known to Temporal at %s. `starter schedule list` shows all", name, t.options.HostPort)
	case errors.As(err, &refused):
		return fleet.InvalidInput{{Source: "schedule " + name, Reason: "Temporal refuses it: " + refused.Error()}}
	}
	return fmt.Errorf("%s schedule %q on Temporal at %s: %w", doing, name, t.options.HostPort, err)
}

// withSchedule runs what is done to a schedule of ours that is there.
func (a *app) withSchedule(ctx context.Context, name, doing string, do func(*temporal, client.ScheduleHandle) error) error {
	if err := checkScheduleName(name); err != nil {
		return err
	}
	t, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer t.Close()
	if _, err := t.schedule(ctx, name); err != nil {
		return err
	}
	return t.scheduleError(doing, name, do(t, t.ScheduleClient().GetHandle(ctx, name)))
}

// timeText shows a time in a schedule's zone.
func timeText(at time.Time, zone string) string {
	if location, err := time.LoadLocation(zone); err == nil {
		at = at.In(location)
	}
	return at.Format("Mon 2006-01-02 15:04:05 MST")
}
