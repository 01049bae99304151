package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"edgefleet/internal/fleet"
)

func (a *app) schedulePauseCommand() *cobra.Command {
	var note string
	cmd := &cobra.Command{
		Use:   "pause NAME",
		Short: "Start no more runs until unpause; one that is under way comes to its end",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, name := cmd.Context(), args[0]
			return a.withSchedule(ctx, name, "pausing", func(t *temporal, h client.ScheduleHandle) error {
				if err := h.Pause(ctx, client.SchedulePauseOptions{Note: note}); err != nil {
					return err
				}
				return a.describeSchedule(ctx, t, name)
			})
		},
	}
	cmd.Flags().StringVar(&note, "note", "paused with starter", "why, for whoever looks later")
	return cmd
}

func (a *app) scheduleUnpauseCommand() *cobra.Command {
	var note string
	cmd := &cobra.Command{
		Use:   "unpause NAME",
		Short: "Start runs again; devices that the run before left held are resumed by the next one",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, name := cmd.Context(), args[0]
			return a.withSchedule(ctx, name, "unpausing", func(t *temporal, h client.ScheduleHandle) error {
				if err := h.Unpause(ctx, client.ScheduleUnpauseOptions{Note: note}); err != nil {
					return err
				}
				return a.describeSchedule(ctx, t, name)
			})
		},
	}
	cmd.Flags().StringVar(&note, "note", "unpaused with starter", "why, for whoever looks later")
	return cmd
}

// overlapFlag is a policy for these runs alone; the schedule's where it is not given.
func overlapFlag(cmd *cobra.Command, overlap *string) {
	cmd.Flags().StringVar(overlap, "overlap", "", "another policy than the schedule's: "+overlapNames())
}

func readOverlap(overlap string) (enums.ScheduleOverlapPolicy, error) {
	if overlap == "" {
		return enums.SCHEDULE_OVERLAP_POLICY_UNSPECIFIED, nil
	}
	policy, err := overlapOf(overlap)
	if err != nil {
		return policy, fleet.InvalidInput{{Source: "--overlap", Reason: err.Error()}}
	}
	return policy, nil
}

func (a *app) scheduleTriggerCommand() *cobra.Command {
	var overlap string
	cmd := &cobra.Command{
		Use:   "trigger NAME",
		Short: "Start a run now, also of a schedule that is paused",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, name := cmd.Context(), args[0]
			policy, err := readOverlap(overlap)
			if err := allProblems(checkScheduleName(name), err); err != nil {
				return err
			}
			return a.withSchedule(ctx, name, "triggering", func(t *temporal, h client.ScheduleHandle) error {
				if err := t.requireWorker(ctx); err != nil {
					return err
				}
				if err := h.Trigger(ctx, client.ScheduleTriggerOptions{Overlap: policy}); err != nil {
					return err
				}
				return a.tellAsked(name, "a run")
			})
		},
	}
	overlapFlag(cmd, &overlap)
	return cmd
}

func (a *app) scheduleBackfillCommand() *cobra.Command {
	var from, to, overlap string
	cmd := &cobra.Command{
		Use:   "backfill NAME --from TIME --to TIME",
		Short: "Start the runs that the schedule would have started in that time",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, name := cmd.Context(), args[0]
			policy, overlapErr := readOverlap(overlap)
			if err := allProblems(checkScheduleName(name), overlapErr, checkSpan(from, to, time.UTC)); err != nil {
				return err
			}
			return a.withSchedule(ctx, name, "backfilling", func(t *temporal, h client.ScheduleHandle) error {
				view, err := t.schedule(ctx, name)
				if err != nil {
					return err
				}
				zone, err := time.LoadLocation(view.TimeZone)
				if err != nil {
					zone = time.UTC
				}
				fill := client.ScheduleBackfill{Overlap: policy}
				fill.Start, _ = parseTime(from, zone) // both were checked
				fill.End, _ = parseTime(to, zone)
				if err := h.Backfill(ctx, client.ScheduleBackfillOptions{Backfill: []client.ScheduleBackfill{fill}}); err != nil {
					return err
				}
				return a.tellAsked(name, "the runs from "+timeText(fill.Start, view.TimeZone)+" to "+timeText(fill.End, view.TimeZone))
			})
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "the first time, in the schedule's time zone, as in 2026-05-01T02:00")
	cmd.Flags().StringVar(&to, "to", "", "the last time")
	overlapFlag(cmd, &overlap)
	return cmd
}

// checkSpan tells what is wrong with a time from and to.
func checkSpan(from, to string, zone *time.Location) error {
	var bad fleet.InvalidInput
	read := func(flag, text string) (at time.Time) {
		at, err := parseTime(text, zone)
		if err == nil && at.IsZero() {
			err = fmt.Errorf("is missing: it must read as 2026-05-01 or 2026-05-01T02:00 do")
		}
		if err != nil {
			bad = append(bad, fleet.Problem{Source: flag, Reason: err.Error()})
		}
		return at
	}
	start, end := read("--from", from), read("--to", to)
	if len(bad) == 0 && !end.After(start) {
		bad = append(bad, fleet.Problem{Source: "--to", Reason: to + " is not after " + from})
	}
	return bad.OrNil()
}

// tellAsked says what Temporal was asked to start.
func (a *app) tellAsked(name, what string) error {
	if a.json {
		return a.printJSON(map[string]string{"name": name, "started": what})
	}
	fmt.Fprintf(a.out, "Schedule %s starts %s. `starter schedule describe %s` shows what becomes of it.\n", name, what, name)
	return nil
}

func (a *app) scheduleDeleteCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "delete NAME",
		Short: "Remove a schedule; devices stay, and a run that is under way comes to its end",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, name := cmd.Context(), args[0]
			return a.withSchedule(ctx, name, "deleting", func(t *temporal, h client.ScheduleHandle) error {
				if err := h.Delete(ctx); err != nil {
					return err
				}
				if a.json {
					return a.printJSON(map[string]string{"name": name, "deleted": time.Now().UTC().Format(time.RFC3339)})
				}
				fmt.Fprintf(a.out, "Schedule %s is gone. Its devices stay; a run that is under way comes to its end.\n", name)
				return nil
			})
		},
	}
}
