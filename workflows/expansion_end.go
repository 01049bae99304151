package workflows

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// hookLimit is how long the hook is tried: the next run may be waiting.
const hookLimit = 10 * time.Minute

// end says how the run ended: it pauses the schedule if the onboarding has stopped, tells the hook, and
// returns the run's result.
func (e *expansion) end(ctx workflow.Context, canceled bool, err error) (ExpandResult, error) {
	var stopped *temporal.ApplicationError
	switch {
	case err == nil:
		e.status.State = Completed
	case canceled:
		e.status.State, e.status.Why = Canceled, "canceled through Temporal"
	case errors.As(err, &stopped) && stopped.Type() == errStopped:
		e.status.State, e.status.Why = Stopped, stopped.Message()
		e.pause(ctx)
	default:
		e.status.State = "failed"
		_, e.status.Why = explain(err)
	}
	e.post(ctx)
	e.tell(ctx)
	result := ExpandResult{e.status, e.ledger}
	switch {
	case err == nil:
		return result, nil
	case canceled:
		return ExpandResult{}, temporal.NewCanceledError(result)
	}
	kind, message := explain(err)
	return ExpandResult{}, temporal.NewNonRetryableApplicationError(message, kind, err, result)
}

// maxNote is the most characters of a schedule's note: it is read in lists.
const maxNote = 900

// pause pauses the schedule: what stopped this run would stop the next one.
func (e *expansion) pause(ctx workflow.Context) {
	why := e.status.Why
	if len(why) > maxNote {
		why = strings.ToValidUTF8(why[:maxNote], "") + "…"
	}
	note := "Paused by run " + e.status.Onboarding + ", which stopped: " + why +
		" Mend the cause, then `starter schedule unpause " + e.in.Schedule + "`: the next run goes on."
	if err := run(ctx, stepOptions("schedule "+e.in.Schedule), "PauseSchedule", PauseInput{e.in.Schedule, note}); err != nil {
		_, message := explain(err)
		e.status.Why += " The schedule could not be paused: " + message
		return
	}
	e.paused = true
}

// post tells the hook, if there is one and there is anything to tell.
func (e *expansion) post(ctx workflow.Context) {
	s := e.status
	if e.in.Fleet.Hook == nil || s.State == Completed && s.Onboarding == "" && s.SetAside == 0 {
		return
	}
	info := workflow.GetInfo(ctx)
	body := HookBody{
		ExpandStatus: s, Paused: e.paused, StartedAt: info.WorkflowStartTime.UTC(),
		WorkflowID: info.WorkflowExecution.ID, RunID: info.WorkflowExecution.RunID,
	}
	if s.Onboarding != "" {
		body.Report = s.Files.String() + "/report/"
	}
	options := stepOptions(e.in.Fleet.Name)
	options.ScheduleToCloseTimeout = hookLimit
	if err := run(ctx, options, do.PostHook, *e.in.Fleet.Hook, body); err != nil {
		_, e.status.Hook = explain(err)
	}
}

// tell brings the memo, and what the Temporal UI shows, up to date.
func (e *expansion) tell(ctx workflow.Context) {
	workflow.SetCurrentDetails(ctx, expansionDetails(e.status))
	if err := workflow.UpsertMemo(ctx, map[string]any{ExpandMemo: e.status}); err != nil {
		workflow.GetLogger(ctx).Error("the run's memo could not be brought up to date", "error", err)
	}
}

// expansionDetails are a run's current details in the Temporal UI, in Markdown.
func expansionDetails(s ExpandStatus) string {
	var b strings.Builder
	b.WriteString("**" + strconv.Itoa(s.Added) + " devices added**: " + string(s.State))
	if s.Why != "" {
		b.WriteString("\n\n" + s.Why)
	}
	if s.Onboarding != "" {
		b.WriteString("\n\nReport: `starter report " + s.Onboarding + "`")
	}
	for _, c := range []struct {
		what string
		n    int
	}{
		{"skipped (provisioned before)", s.Skipped}, {"held", s.Held}, {"failed", s.Failed}, {"left for the next run", s.Left},
		{"manifests taken", s.Taken}, {"manifests set aside", s.SetAside}, {"manifests for the next run", s.Waiting},
	} {
		b.WriteString("\n- " + c.what + ": " + strconv.Itoa(c.n))
	}
	for _, t := range s.Manifests {
		if t.Reason != "" {
			b.WriteString("\n- `" + t.Manifest.Key + "`: " + t.Reason)
		}
	}
	if s.Hook != "" {
		b.WriteString("\n\nThe hook was not told: " + s.Hook)
	}
	return b.String()
}

// ExpansionWorkflowID is what the workflow ids of a schedule's runs begin with; Temporal adds the time.
func ExpansionWorkflowID(fleetName, schedule string) string {
	return "expansion/" + fleetName + "/" + schedule
}

// ExpansionSummary is the line that stands for a schedule's runs in the Temporal UI.
func ExpansionSummary(in ExpandInput) string {
	return "Expand fleet " + in.Fleet.Name + " by the new devices in " + in.Manifests
}

// ExpansionDetails says in the Temporal UI, in Markdown, what a run will do.
func ExpansionDetails(in ExpandInput) string {
	text := "Takes the manifests in `" + in.Manifests + "` that schedule **" + in.Schedule + "** has not taken yet, and provisions up to " +
		strconv.Itoa(in.MaxDevices) + " devices that are not yet provisioned."
	if in.Canary != (Canary{}) {
		text += "\n\nFirst the canaries: when one is not provisioned, the run stops and the schedule pauses."
	}
	return text
}
