package workflows

import (
	"strconv"
	"time"

	"edgefleet/activities"
)

// The current details of a run in the Temporal UI, in Markdown. They are no events: the UI asks a
// worker for them. Its pane shows some nine lines, so what matters most comes first.

// progress tells the steps that are done.
func progress(done []StepResource, of int) string {
	text := "**" + strconv.Itoa(len(done)) + " of " + strconv.Itoa(of) + " steps done**\n\n"
	for _, r := range done {
		text += "- " + r.Step + ": " + r.Type + " `" + r.Name + "` " + string(r.Action) + "\n"
	}
	return text
}

// progress is that of a device's run; what an operator decided stands above it.
func (r *deviceRun) progress() string {
	if len(r.decisions) == 0 {
		return progress(r.done, len(procedure))
	}
	return decisionText(r.decisions[len(r.decisions)-1]) + "\n\n" + progress(r.done, len(procedure))
}

func decisionText(d Decided) string {
	text := "**" + string(d.Choice) + "** at " + d.Step + ", " + clock(d.At)
	if d.By != "" {
		text += ", by " + d.By
	}
	return text + ": " + d.Reason
}

// holdDetails says why a run waits, what to press, and what it has done.
func (r *deviceRun) holdDetails() string {
	h := r.held
	text := "**Held at " + h.Step + ": " + h.ErrorType + "**\n\n" + h.Message + "\n\n" +
		"**To go on:** mend the cause, then *More Actions → Send an Update*: `resume` with `{\"reason\": \"…\"}`. " +
		"**To give up:** `rollback` with the same. Undecided, it rolls back on " + clock(h.Deadline) + ".\n\n"
	if causes := activities.LikelyCauses(h.ErrorType); causes != "" {
		text += "**Likely:** " + causes + ".\n\n"
	}
	if h.RequestID != "" {
		text += "AWS's request id: `" + h.RequestID + "`\n\n"
	}
	if r.ignored != "" {
		text += "**Ignored:** " + r.ignored + "\n\n"
	}
	return text + progress(r.done, len(procedure))
}

func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// rollbackProgress says why a run rolls back, and what is still to be undone.
func rollbackProgress(at, kind, message string, open []step, left []Leftover) string {
	headline := "Rolling back"
	rest := "Still to undo:"
	for i := len(open) - 1; i >= 0; i-- {
		rest += " " + open[i].name
	}
	if len(open) == 0 {
		headline, rest = "Rolled back", summaryOf(left, rolledBack)
	}
	return "**" + headline + "** after " + at + ": " + kind + "\n\n" + message + "\n\n" + rest
}
