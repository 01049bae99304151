package workflows

import (
	"fmt"
	"strings"
)

// progress is a run's current details in the Temporal UI, in Markdown. They are no events: the UI
// asks a worker for them.
func progress(done []StepResource, of int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "**%d of %d steps done**\n\n", len(done), of)
	for _, r := range done {
		fmt.Fprintf(&b, "- %s: %s `%s` %s\n", r.Step, r.Type, r.Name, r.Action)
	}
	return b.String()
}
