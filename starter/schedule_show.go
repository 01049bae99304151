package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"
	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflow/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"edgefleet/workflows"
)

const expandWorkflow = "ExpandFleet"

// scheduleView is a schedule as list and describe show it.
type scheduleView struct {
	Name           string     `json:"name"`
	Fleet          string     `json:"fleet"`
	Manifests      string     `json:"manifests"`
	Cron           string     `json:"cron,omitempty"`
	Every          string     `json:"every,omitempty"`
	TimeZone       string     `json:"timeZone"`
	Jitter         string     `json:"jitter,omitempty"`
	Start          *time.Time `json:"start,omitempty"`
	End            *time.Time `json:"end,omitempty"`
	CatchupWindow  string     `json:"catchupWindow"`
	Overlap        string     `json:"overlap"`
	PauseOnFailure bool       `json:"pauseOnFailure"`
	MaxDevices     int        `json:"maxDevices"`
	Canary         string     `json:"canary,omitempty"`

	Paused bool        `json:"paused"`
	Note   string      `json:"note,omitempty"`
	Next   []time.Time `json:"next"` // times of the next runs, ten at the most
	// Started counts runs; Missed, those that the catch-up window left out; Skipped, those that the overlap policy did.
	Started int `json:"started"`
	Missed  int `json:"missed"`
	Skipped int `json:"skipped"`

	Added int           `json:"added"` // devices, by all runs that Temporal still knows
	Runs  []scheduleRun `json:"runs"`  // the last ten, the latest first
}

// scheduleRun is a run of a schedule.
type scheduleRun struct {
	workflows.ExpandStatus
	WorkflowID string     `json:"workflowId"`
	RunID      string     `json:"runId"`
	StartedAt  time.Time  `json:"startedAt"`
	ClosedAt   *time.Time `json:"closedAt,omitempty"`
}

// inputOf is what a schedule starts its runs with.
func inputOf(action client.ScheduleAction) (in workflows.ExpandInput, err error) {
	start, is := action.(*client.ScheduleWorkflowAction)
	if !is || start.Workflow != expandWorkflow || len(start.Args) != 1 {
		return in, fmt.Errorf("it was not made by `starter schedule create`: it starts no %s", expandWorkflow)
	}
	payload, is := start.Args[0].(*common.Payload)
	if !is {
		return in, fmt.Errorf("what it starts its runs with is a %T", start.Args[0])
	}
	return in, converter.GetDefaultDataConverter().FromPayload(payload, &in)
}

const shownRuns = 10

// schedule is a schedule of ours, with its last runs.
func (t *temporal) schedule(ctx context.Context, name string) (scheduleView, error) {
	d, err := t.ScheduleClient().GetHandle(ctx, name).Describe(ctx)
	if err := t.scheduleError("describing", name, err); err != nil {
		return scheduleView{}, err
	}
	in, err := inputOf(d.Schedule.Action)
	if err != nil {
		return scheduleView{}, fmt.Errorf("schedule %q: %w", name, err)
	}
	s := d.Schedule
	v := scheduleView{
		Name: name, Fleet: in.Fleet.Name, Manifests: in.Manifests, MaxDevices: in.MaxDevices, Canary: canaryText(in.Canary),
		TimeZone: s.Spec.TimeZoneName, Overlap: overlapName(s.Policy.Overlap), PauseOnFailure: s.Policy.PauseOnFailure,
		CatchupWindow: shortDuration(s.Policy.CatchupWindow), Jitter: shortDuration(s.Spec.Jitter),
		Paused: s.State.Paused, Note: s.State.Note, Next: d.Info.NextActionTimes,
		Started: d.Info.NumActions, Missed: d.Info.NumActionsMissedCatchupWindow, Skipped: d.Info.NumActionsSkippedOverlap,
		Start: timeOrNil(s.Spec.StartAt), End: timeOrNil(s.Spec.EndAt), Runs: []scheduleRun{},
	}
	if v.Next == nil {
		v.Next = []time.Time{}
	}
	if v.TimeZone == "" {
		v.TimeZone = "UTC"
	}
	for _, calendar := range s.Spec.Calendars {
		v.Cron = calendar.Comment
	}
	for _, interval := range s.Spec.Intervals {
		v.Every = shortDuration(interval.Every)
	}
	return v, t.addRuns(ctx, &v)
}

func timeOrNil(at time.Time) *time.Time {
	if at.IsZero() || at.Unix() == 0 {
		return nil
	}
	return &at
}

func shortDuration(d time.Duration) string {
	if d == 0 {
		return ""
	}
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-2]
		}
	}
	return text
}

// addRuns adds the runs that Temporal still knows.
func (t *temporal) addRuns(ctx context.Context, v *scheduleView) error {
	query := fmt.Sprintf("WorkflowType = '%s' AND TemporalScheduledById = '%s'", expandWorkflow, v.Name)
	err := t.eachRun(ctx, query, func(info *workflow.WorkflowExecutionInfo) {
		run := newScheduleRun(info)
		v.Added += run.Added
		v.Runs = append(v.Runs, run)
	})
	// Temporal lists them by the time of their end.
	slices.SortStableFunc(v.Runs, func(a, b scheduleRun) int { return b.StartedAt.Compare(a.StartedAt) })
	v.Runs = v.Runs[:min(len(v.Runs), shownRuns)]
	return err
}

func newScheduleRun(info *workflow.WorkflowExecutionInfo) scheduleRun {
	r := scheduleRun{
		WorkflowID: info.GetExecution().GetWorkflowId(), RunID: info.GetExecution().GetRunId(), StartedAt: info.GetStartTime().AsTime(),
	}
	if payload := info.GetMemo().GetFields()[workflows.ExpandMemo]; payload != nil {
		_ = converter.GetDefaultDataConverter().FromPayload(payload, &r.ExpandStatus) // without it only ids and times are shown
	}
	if at := info.GetCloseTime(); at != nil {
		closed := at.AsTime()
		r.ClosedAt = &closed
	}
	switch info.GetStatus() {
	case enums.WORKFLOW_EXECUTION_STATUS_TERMINATED, enums.WORKFLOW_EXECUTION_STATUS_TIMED_OUT:
		r.State = workflows.State(stateOfStatus[info.GetStatus()])
	}
	return r
}

func (a *app) scheduleListCommand() *cobra.Command {
	var fleetName string
	cmd := &cobra.Command{
		Use:   "list [--fleet FLEET]",
		Short: "Show the schedules",
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
			return a.listSchedules(cmd.Context(), t, fleetName)
		},
	}
	cmd.Flags().StringVar(&fleetName, "fleet", "", "only this fleet's schedules")
	return cmd
}

func (a *app) listSchedules(ctx context.Context, t *temporal, fleetName string) error {
	all := []scheduleView{}
	entries, err := t.ScheduleClient().List(ctx, client.ScheduleListOptions{PageSize: 1000})
	for err == nil && entries.HasNext() {
		var entry *client.ScheduleListEntry
		if entry, err = entries.Next(); err != nil || entry.WorkflowType.Name != expandWorkflow {
			continue
		}
		view, viewErr := t.schedule(ctx, entry.ID)
		if viewErr != nil {
			continue // it was deleted since, or is not ours
		}
		if fleetName == "" || view.Fleet == fleetName {
			all = append(all, view)
		}
	}
	if err != nil {
		return fmt.Errorf("listing the schedules on Temporal at %s: %w", t.options.HostPort, err)
	}
	if a.json {
		return a.printJSON(all)
	}
	if len(all) == 0 {
		fmt.Fprintln(a.out, "There is no schedule yet. `starter schedule create` makes one.")
		return nil
	}
	rows := make([]table.Row, len(all))
	for i, v := range all {
		next, last := "paused", "none yet"
		if !v.Paused {
			next = "none"
			if len(v.Next) > 0 {
				next = timeText(v.Next[0], v.TimeZone)
			}
		}
		if len(v.Runs) > 0 {
			last = fmt.Sprintf("%s, %d added", v.Runs[0].State, v.Runs[0].Added)
		}
		rows[i] = table.Row{v.Name, v.Fleet, v.when(), next, last, v.Added, firstLine(v.Note)}
	}
	a.printTable(table.Row{"NAME", "FLEET", "WHEN", "NEXT", "LAST RUN", "ADDED", "NOTE"}, rows)
	return nil
}

func firstLine(text string) string {
	const most = 70
	line, _, _ := strings.Cut(text, "\n")
	if runes := []rune(line); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return line
}

func (v scheduleView) when() string {
	if v.Cron != "" {
		return v.Cron + " " + v.TimeZone
	}
	return "every " + v.Every
}

func (a *app) scheduleDescribeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "describe NAME",
		Short: "Show a schedule, its next ten times, and its last runs with what they did",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkScheduleName(args[0]); err != nil {
				return err
			}
			t, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer t.Close()
			return a.describeSchedule(cmd.Context(), t, args[0])
		},
	}
}

func (a *app) describeSchedule(ctx context.Context, t *temporal, name string) error {
	view, err := t.schedule(ctx, name)
	if err != nil {
		return err
	}
	return a.showSchedule(view)
}

func (a *app) showSchedule(v scheduleView) error {
	if a.json {
		return a.printJSON(v)
	}
	state := "runs"
	if v.Paused {
		state = "paused"
	}
	fmt.Fprintf(a.out, "Schedule %s of fleet %s: %s, %s\n", v.Name, v.Fleet, v.when(), state)
	if v.Note != "" {
		fmt.Fprintf(a.out, "%s\n", v.Note)
	}
	fmt.Fprintln(a.out)
	for _, line := range [][2]string{
		{"manifests", v.Manifests}, {"devices a run", fmt.Sprint("up to ", v.MaxDevices)}, {"canary", v.Canary}, {"overlap", v.Overlap},
		{"catch-up window", v.CatchupWindow}, {"jitter", v.Jitter}, {"pause on failure", fmt.Sprint(v.PauseOnFailure)},
		{"runs", fmt.Sprintf("%d started, %d missed, %d skipped for overlap", v.Started, v.Missed, v.Skipped)}, {"devices added", fmt.Sprint(v.Added)},
	} {
		if line[1] != "" {
			fmt.Fprintf(a.out, "  %-17s %s\n", line[0], line[1])
		}
	}
	if len(v.Next) > 0 {
		fmt.Fprintln(a.out, "\nNext:")
		for _, at := range v.Next {
			fmt.Fprintf(a.out, "  %s\n", timeText(at, v.TimeZone))
		}
	}
	if len(v.Runs) == 0 {
		return nil
	}
	fmt.Fprintln(a.out)
	rows := make([]table.Row, len(v.Runs))
	for i, r := range v.Runs {
		rows[i] = table.Row{timeText(r.StartedAt, v.TimeZone), r.State, r.Added, r.Skipped, r.Held, r.Failed, r.Left, r.SetAside, r.Onboarding, firstLine(r.Why)}
	}
	a.printTable(table.Row{"RUN", "STATE", "ADDED", "SKIPPED", "HELD", "FAILED", "LEFT", "SET ASIDE", "REPORT", ""}, rows)
	return nil
}
