package workflows

import "strconv"

// progress is a run's current details in the Temporal UI, in Markdown. They are no events: the UI
// asks a worker for them.
func progress(done []StepResource, of int) string {
	text := "**" + strconv.Itoa(len(done)) + " of " + strconv.Itoa(of) + " steps done**\n\n"
	for _, r := range done {
		text += "- " + r.Step + ": " + r.Type + " `" + r.Name + "` " + string(r.Action) + "\n"
	}
	return text
}

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
