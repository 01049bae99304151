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
