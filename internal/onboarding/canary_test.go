package onboarding

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"edgefleet/internal/report"
	"edgefleet/workflows"
)

// TestCanaries: nothing else is launched before the first devices are provisioned, and nothing at all after
// one of them was not.
func TestCanaries(t *testing.T) {
	begin := func() *shift {
		return &shift{in: workflows.OnboardInput{Pages: 1, Devices: 9, Canary: 2, InFlight: 5}, open: map[workflows.Place]*watched{}}
	}
	launch := func(s *shift, n int) {
		t.Helper()
		for range n {
			assert.True(t, s.mayLaunch())
			s.open[s.progress.Next] = &watched{}
			s.progress.Next.Line++
		}
	}
	end := func(s *shift, line int, o report.Outcome) {
		delete(s.open, workflows.Place{Line: line})
		s.count(o)
	}
	provisioned := report.Outcome{State: report.Provisioned}

	s := begin()
	launch(s, 2)
	assert.False(t, s.mayLaunch(), "two are on their way")
	end(s, 1, provisioned)
	assert.False(t, s.mayLaunch(), "one is still")
	end(s, 0, provisioned)
	launch(s, 5)
	end(s, 2, report.Outcome{State: report.RolledBack})
	assert.Empty(t, s.progress.Stopped, "it is no canary")

	for _, state := range []report.State{report.Held, report.RolledBack, report.Failed, report.Canceled, report.Terminated} {
		s = begin()
		launch(s, 2)
		end(s, 0, report.Outcome{Device: "cam-01", State: state, ErrorType: "AccessDenied", Step: "CreateThing", Error: "no"})
		assert.Equal(t, "the canary cam-01 ended "+string(state)+" with AccessDenied at CreateThing: no", s.progress.Stopped)
		end(s, 1, provisioned)
		assert.False(t, s.mayLaunch())
	}
}
