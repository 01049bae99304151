package workflows

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"edgefleet/activities"
	"edgefleet/internal/fleet"
)

// line is a test environment of one OnboardFleet whose shifts a test makes up; each takes ten seconds.
type line struct {
	*testsuite.TestWorkflowEnvironment
	t      *testing.T
	mu     sync.Mutex
	shifts []LaunchInput
	fleets int // how often the fleet was prepared

	told, answered int // updates
	// prepare is what the preparation of the fleet comes to.
	prepare func(workflow.Context) (PreparedFleet, error)
}

const shiftTime = 10 * time.Second

func newLine(t *testing.T, shift func(n int, in LaunchInput) (Progress, error)) *line {
	var suite testsuite.WorkflowTestSuite
	l := &line{TestWorkflowEnvironment: suite.NewTestWorkflowEnvironment(), t: t}
	l.SetTestTimeout(20 * time.Second)
	l.RegisterWorkflow(OnboardFleet)
	l.prepare = func(workflow.Context) (PreparedFleet, error) {
		return PreparedFleet{Policy: "edgefleet-cameras", Resources: []StepResource{{Step: "CreatePolicy"}}}, nil
	}
	l.RegisterWorkflowWithOptions(func(ctx workflow.Context, _ fleet.Spec) (PreparedFleet, error) {
		l.fleets++
		return l.prepare(ctx)
	}, workflow.RegisterOptions{Name: "PrepareFleet"})
	l.RegisterActivityWithOptions(func(context.Context, LaunchInput) (Progress, error) { panic("mocked") },
		activity.RegisterOptions{Name: "LaunchDevices"})
	l.OnActivity("LaunchDevices", mock.Anything, mock.Anything).After(shiftTime).Return(func(_ context.Context, in LaunchInput) (Progress, error) {
		l.mu.Lock()
		l.shifts = append(l.shifts, in)
		n := len(l.shifts)
		l.mu.Unlock()
		return shift(n, in)
	}).Maybe()
	return l
}

func onboardInput() OnboardInput {
	return OnboardInput{
		Fleet: testSpec(fleet.IoTCore), Name: "first", Manifest: "cameras.csv", SHA256: "abc",
		Files: fleet.S3URI{Bucket: "edge-bucket", Prefix: "authorization-files/cameras/_onboarding/first/then"},
		Pages: 3, Devices: 2500, InFlight: 7, Stop: DefaultStopRule,
	}
}

// at calls f so long after the start.
func (l *line) at(after time.Duration, f func()) { l.RegisterDelayedCallback(f, after) }

// tell sends a decision as an update; it must be refused with these words, or accepted if there are none.
func (l *line) tell(decision string, refused string) {
	l.told++
	l.UpdateWorkflow(decision, strconv.Itoa(l.told), &testsuite.TestUpdateCallback{
		OnAccept: func() {
			require.Empty(l.t, refused, "%s was accepted", decision)
			l.answered++
		},
		OnReject: func(err error) {
			require.NotEmpty(l.t, refused, "%s was refused: %v", decision, err)
			require.ErrorContains(l.t, err, refused)
			l.answered++
		},
		OnComplete: func(any, error) {},
	}, Steering{Reason: "for a test"})
}

// begun are the shifts that have begun so far.
func (l *line) begun() []LaunchInput {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.shifts)
}

func (l *line) run(in OnboardInput) (status OnboardStatus, err error) {
	l.ExecuteWorkflow(OnboardFleet, in)
	require.True(l.t, l.IsWorkflowCompleted(), "it has not ended")
	require.Equal(l.t, l.told, l.answered, "updates without an answer")
	if err := l.GetWorkflowError(); err != nil {
		return status, err
	}
	require.NoError(l.t, l.GetWorkflowResult(&status))
	return status, nil
}

var all = Progress{Next: Place{Page: 3}, Counts: Counts{Provisioned: 2500}, Ceiling: 10}

// Each shift begins where the last has ended, and the fleet is prepared once.
func TestOnboardFleetCompletes(t *testing.T) {
	part := Progress{
		Next: Place{Page: 1, Line: 7}, Open: []Place{{Page: 0, Line: 999}, {Page: 1, Line: 6}},
		Counts: Counts{Provisioned: 1000, Already: 3, Held: 1, Failed: 1}, Ceiling: 10, Recent: []string{"", "AccessDenied at AttachPolicy"},
	}
	l := newLine(t, func(n int, in LaunchInput) (Progress, error) {
		require.False(t, in.Drain)
		require.Equal(t, launchShift, in.For)
		require.Equal(t, "edgefleet-cameras", in.Onboarding.Prepared.Policy)
		require.Empty(t, in.Onboarding.Prepared.Resources, "no device's run need carry them")
		if n == 1 {
			require.Zero(t, in.Onboarding.Progress)
			return part, nil
		}
		require.Equal(t, part, in.Onboarding.Progress)
		return all, nil
	})
	status, err := l.run(onboardInput())
	require.NoError(t, err)
	require.Len(t, l.begun(), 2)
	require.Equal(t, 1, l.fleets)
	want := InitialStatus(onboardInput())
	want.State, want.Counts, want.Next, want.Ceiling = Completed, all.Counts, all.Next, 10
	want.Began = status.Began
	require.Equal(t, want, status)
}

// All that the next run needs is in its input.
func TestOnboardFleetGoesOnAsNew(t *testing.T) {
	progress := Progress{Next: Place{Page: 2, Line: 5}, Open: []Place{{1, 1}}, Counts: Counts{Held: 4}, Ceiling: 7, Recent: []string{"x"}, Unheard: true}
	for _, state := range []State{Running, Paused} {
		l := newLine(t, func(int, LaunchInput) (Progress, error) { return progress, nil })
		l.SetContinueAsNewSuggested(false)
		l.at(shiftTime/2, func() {
			l.SetContinueAsNewSuggested(true)
			if state == Paused {
				l.SignalWorkflow(PauseOnboarding, Steering{Reason: "lunch"})
			}
		})
		_, err := l.run(onboardInput())
		var again *workflow.ContinueAsNewError
		require.ErrorAs(t, err, &again)
		var in OnboardInput
		require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(again.Input, &in))
		require.False(t, in.Began.IsZero())
		want := onboardInput()
		want.Began = in.Began
		want.Prepared, want.Progress, want.State = &PreparedFleet{Policy: "edgefleet-cameras"}, progress, state
		if state == Paused { // the pause ended the shift before it could say how far it came
			want.Progress, want.Why = Progress{Unheard: true}, "lunch"
		}
		require.Equal(t, want, in)
	}
}

// A line that has stopped lets what is under way come to its end, and goes on when it is told to.
func TestOnboardFleetStops(t *testing.T) {
	stopped := Progress{
		Next: Place{Page: 0, Line: 9}, Open: []Place{{0, 7}, {0, 8}}, Counts: Counts{Failed: 7},
		Recent: []string{"AccessDenied at AttachPolicy"}, Stopped: "5 devices in a row",
	}
	l := newLine(t, func(n int, in LaunchInput) (Progress, error) {
		p := in.Onboarding.Progress
		require.Equal(t, n == 2, in.Drain)
		if n > 1 {
			require.Empty(t, p.Stopped, "it would stop at once")
			require.Empty(t, p.Recent, "so would the next error")
		}
		switch n {
		case 1:
			return stopped, nil
		case 2:
			require.Equal(t, stopped.Open, p.Open)
			p.Open, p.Counts.Failed = nil, 9
			return p, nil
		}
		require.Empty(t, p.Open)
		return all, nil
	})
	l.at(shiftTime+time.Second, func() { l.tell(PauseOnboarding, "the onboarding is stopped, so there is nothing to pause") })
	l.at(time.Hour, func() {
		require.Len(t, l.begun(), 2, "nothing is launched before somebody says so")
		l.tell(ResumeOnboarding, "")
		l.tell(ResumeOnboarding, "the onboarding is running, so there is nothing to resume")
	})
	status, err := l.run(onboardInput())
	require.NoError(t, err)
	require.Equal(t, Completed, status.State)
	require.Equal(t, "", status.Why)
	require.Len(t, l.begun(), 3)
}

// What fails for good concerns all devices: the line stops and says why; resume tries again.
func TestOnboardFleetShiftFails(t *testing.T) {
	l := newLine(t, func(n int, in LaunchInput) (Progress, error) {
		if n == 1 {
			return Progress{Next: Place{Page: 2}}, temporal.NewNonRetryableApplicationError("reading the manifest", activities.AccessDenied, nil)
		}
		require.Zero(t, in.Onboarding.Progress.Next, "nobody said how far it came")
		require.True(t, in.Onboarding.Progress.Unheard, "so what it launched must be looked for")
		return all, nil
	})
	l.at(time.Hour, func() {
		require.Len(t, l.begun(), 1)
		l.tell(ResumeOnboarding, "")
	})
	status, err := l.run(onboardInput())
	require.NoError(t, err)
	require.Equal(t, Completed, status.State)
	require.Len(t, l.begun(), 2)
}

// How far a shift came that failed is in its failure; until somebody decides, nothing is watched.
func TestOnboardFleetShiftFailsAndTells(t *testing.T) {
	far := Progress{Next: Place{Page: 1}, Open: []Place{{0, 999}}, Counts: Counts{Provisioned: 999}, Ceiling: 10}
	l := newLine(t, func(n int, in LaunchInput) (Progress, error) {
		if n == 1 {
			return Progress{}, temporal.NewNonRetryableApplicationError("writing the report", activities.AccessDenied, nil, activities.ErrorDetails{Doing: "writing"}, far)
		}
		want := far
		want.Unheard = true
		require.Equal(t, want, in.Onboarding.Progress)
		return all, nil
	})
	l.at(time.Hour, func() {
		require.Len(t, l.begun(), 1)
		l.tell(ResumeOnboarding, "")
	})
	_, err := l.run(onboardInput())
	require.NoError(t, err)
}

// Canceled while a shift that said nothing is tried again: what it may have launched is looked for first.
func TestOnboardFleetCanceledUnheard(t *testing.T) {
	l := newLine(t, func(n int, in LaunchInput) (Progress, error) {
		if n == 1 {
			return Progress{}, temporal.NewApplicationError("AWS is out of reach", activities.Unavailable)
		}
		require.True(t, in.Drain)
		require.True(t, in.Onboarding.Progress.Unheard)
		return Progress{Next: Place{Line: 40}, Counts: Counts{Provisioned: 40}}, nil
	})
	l.at(shiftTime+100*time.Millisecond, func() { l.tell(CancelOnboarding, "") })
	status, err := l.run(onboardInput())
	require.NoError(t, err)
	require.Equal(t, Canceled, status.State)
	require.Equal(t, 40, status.Counts.Provisioned)
}

// Canceled while it is stuck, it tries once more to see its runs to their end.
func TestOnboardFleetCanceledWhileStuck(t *testing.T) {
	l := newLine(t, func(n int, in LaunchInput) (Progress, error) {
		switch n {
		case 1:
			return Progress{Next: Place{Page: 0, Line: 2}, Open: []Place{{0, 1}}}, nil
		case 2:
			return Progress{}, temporal.NewNonRetryableApplicationError("reading the manifest", activities.AccessDenied, nil)
		}
		require.True(t, in.Drain)
		return Progress{Next: Place{Page: 0, Line: 2}, Counts: Counts{Provisioned: 2}}, nil
	})
	l.at(time.Hour, func() { l.tell(CancelOnboarding, "") })
	status, err := l.run(onboardInput())
	require.NoError(t, err)
	require.Equal(t, Canceled, status.State)
	require.Equal(t, 2, status.Counts.Provisioned)
	require.Len(t, l.begun(), 3)
}

// Decisions by update and by signal; those that make no sense are refused, or do nothing.
func TestOnboardFleetIsSteered(t *testing.T) {
	bySignal := func(l *line, decision string) { l.SignalWorkflow(decision, Steering{Reason: "for a test"}) }
	byUpdate := func(l *line, decision string) { l.tell(decision, "") }
	for way, send := range map[string]func(*line, string){"signal": bySignal, "update": byUpdate} {
		t.Run(way, func(t *testing.T) {
			l := newLine(t, func(n int, in LaunchInput) (Progress, error) {
				if n == 1 {
					return Progress{Next: Place{Page: 0, Line: 9}, Open: []Place{{0, 8}}}, nil
				}
				in.Onboarding.Progress.Open, in.Onboarding.Progress.Unheard = nil, false // what is drained
				return in.Onboarding.Progress, nil
			})
			l.at(shiftTime+time.Second, func() { send(l, PauseOnboarding) })
			l.at(time.Hour, func() {
				last := l.begun()[len(l.begun())-1]
				require.True(t, last.Drain)
				require.Equal(t, drainShift, last.For)
				l.SignalWorkflow(PauseOnboarding, Steering{}) // does nothing
				l.tell(PauseOnboarding, "the onboarding is paused, so there is nothing to pause")
				send(l, ResumeOnboarding)
			})
			l.at(time.Hour+time.Second, func() {
				send(l, CancelOnboarding)
			})
			status, err := l.run(onboardInput())
			require.NoError(t, err)
			require.Equal(t, Canceled, status.State)
			require.Equal(t, "for a test", status.Why)
			require.Zero(t, status.InFlight)
		})
	}
}

// A cancellation through Temporal is a cancel, and the run ends as canceled, with its status.
func TestOnboardFleetCancellation(t *testing.T) {
	l := newLine(t, func(n int, in LaunchInput) (Progress, error) {
		if !in.Drain {
			return Progress{Next: Place{Page: 0, Line: 9}, Open: []Place{{0, 8}}, Counts: Counts{Provisioned: 8}}, nil
		}
		return Progress{Next: Place{Page: 0, Line: 9}, Counts: Counts{Provisioned: 9}}, nil
	})
	l.at(shiftTime+time.Second, l.CancelWorkflow)
	_, err := l.run(onboardInput())
	var canceled *temporal.CanceledError
	require.ErrorAs(t, err, &canceled)
	var status OnboardStatus
	require.NoError(t, canceled.Details(&status))
	require.Equal(t, Canceled, status.State)
	require.Equal(t, Counts{Provisioned: 9}, status.Counts, "those under way came to their end")
	require.Equal(t, "canceled through Temporal", status.Why)
}

// The fleet cannot be prepared: the line stops before it began, and resume tries that again.
func TestOnboardFleetUnprepared(t *testing.T) {
	l := newLine(t, func(int, LaunchInput) (Progress, error) { return all, nil })
	l.prepare = func(workflow.Context) (PreparedFleet, error) {
		if l.fleets == 1 {
			return PreparedFleet{}, temporal.NewNonRetryableApplicationError("creating the policy", activities.AccessDenied, nil)
		}
		return PreparedFleet{}, nil
	}
	l.at(time.Hour, func() {
		require.Empty(t, l.begun())
		l.tell(ResumeOnboarding, "")
	})
	status, err := l.run(onboardInput())
	require.NoError(t, err)
	require.Equal(t, Completed, status.State)
	require.Equal(t, 2, l.fleets)
}

// AWS is down while the fleet is prepared: a cancel does not wait for it.
func TestOnboardFleetCanceledWhilePreparing(t *testing.T) {
	l := newLine(t, func(int, LaunchInput) (Progress, error) { return all, nil })
	l.prepare = func(ctx workflow.Context) (PreparedFleet, error) {
		return PreparedFleet{}, workflow.Sleep(ctx, stepLimit)
	}
	begun := l.Now()
	l.at(time.Minute, func() { l.tell(CancelOnboarding, "") })
	status, err := l.run(onboardInput())
	require.NoError(t, err)
	require.Equal(t, Canceled, status.State)
	require.Less(t, l.Now().Sub(begun), time.Hour)
	require.Empty(t, l.begun())
}
