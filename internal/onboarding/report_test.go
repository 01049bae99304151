package onboarding

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/mocks"

	"edgefleet/internal/report"
	"edgefleet/workflows"
)

// Most devices were held, and their runs' histories have expired since: the looks, many at a time, change nothing
// and do not disturb the reading of the pages beside them.
func TestLookAgain(t *testing.T) {
	store, spec := newStore(t), testSpec()
	files := NewFiles(store, workflows.OnboardingFiles(spec, "held", day), "")
	const pages, launched = 4, pageLines / 2
	for n := range pages {
		var lines []Line
		var outcomes []report.Outcome
		for i := range pageLines {
			line := Line{n*pageLines + i + 2, device(n*pageLines + i)}
			lines = append(lines, line)
			o := report.Outcome{Line: line.Number, Device: line.Name, State: report.Held, WorkflowID: workflows.DeviceWorkflowID(spec.Name, line.Name)}
			if n < pages-1 {
				outcomes = append(outcomes, o)
			}
		}
		require.NoError(t, files.PutPage(t.Context(), n, lines))
		if n < pages-1 {
			_, err := files.PutPart(t.Context(), n, outcomes, "")
			require.NoError(t, err)
		}
	}
	temporal := &mocks.Client{}
	temporal.On("DescribeWorkflowExecution", mock.Anything, mock.Anything, "").Return(nil, serviceerror.NewNotFound("expired")).After(time.Millisecond)
	r := NewReport(files, spec.Name, pages, workflows.Place{Page: pages - 1, Line: launched})
	require.NoError(t, r.LookAgain(t.Context(), temporal))
	temporal.AssertNumberOfCalls(t, "DescribeWorkflowExecution", (pages-1)*pageLines+launched)
	states := map[report.State]int{}
	n := 0
	for o, err := range r.Outcomes(t.Context()) {
		require.NoError(t, err)
		require.Equal(t, device(n).Name, o.Device, fmt.Sprint(n))
		states[o.State]++
		n++
	}
	require.Equal(t, map[report.State]int{report.Held: (pages - 1) * pageLines, report.NotStarted: pageLines}, states)
	counts, underWay := r.Settle(workflows.Counts{Held: (pages - 1) * pageLines})
	require.Equal(t, workflows.Counts{Held: (pages - 1) * pageLines}, counts)
	require.Zero(t, underWay)
}
