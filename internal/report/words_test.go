package report

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestStanding(t *testing.T) {
	for _, c := range []struct {
		state  string
		total  int
		counts map[State]int
		want   string
	}{
		{"completed", 20_000, map[State]int{Provisioned: 20_000}, "Completed: all 20,000 devices are provisioned."},
		{"completed", 20_000, map[State]int{Provisioned: 100, AlreadyProvisioned: 19_900}, "Completed: all 20,000 devices are provisioned, 19,900 of them since before."},
		{"completed", 2, map[State]int{AlreadyProvisioned: 2}, "Completed: all 2 devices are provisioned, as before."},
		{"completed", 1, map[State]int{Provisioned: 1}, "Completed: the one device is provisioned."},
		{"completed", 2, map[State]int{Provisioned: 1, TimedOut: 1}, "Completed: 1 of 2 devices is provisioned; 1 timed out."},
		{"stopped", 100, map[State]int{Held: 5, NotStarted: 95}, "Stopped by itself: none of 100 devices is provisioned; 5 are held and 95 are not started."},
		{"paused", 9, map[State]int{Provisioned: 3, Running: 1, NotStarted: 5}, "Paused by an operator: 3 of 9 devices are provisioned; 1 is under way and 5 are not started."},
		{"running", 9, map[State]int{Provisioned: 3, Held: 1, RolledBack: 1, RollbackIncomplete: 1, Failed: 1, Canceled: 2},
			"Under way: 3 of 9 devices are provisioned; 1 is held, 1 was rolled back, 1 could not be rolled back wholly, 1 failed and 2 were canceled."},
		{"canceled", 0, nil, "Canceled: the manifest has no devices."},
		{"", 3, map[State]int{Provisioned: 3}, "All 3 devices are provisioned."},
	} {
		require.Equal(t, c.want, standing(Onboarding{State: c.state}, c.counts, c.total))
	}
}

func TestWhatToDoNext(t *testing.T) {
	h := func(state string) Onboarding { return Onboarding{Name: "osaka", Fleet: "cameras", State: state} }
	require.Empty(t, next(h("completed"), map[State]int{Provisioned: 3}))
	require.Empty(t, next(h("running"), map[State]int{Failed: 1, NotStarted: 3}))
	require.Equal(t, "When the cause is mended, `starter onboarding resume osaka` goes on with the manifest; "+
		"`starter resume --fleet cameras --all --reason …` takes the held devices on from where they stand.", next(h("stopped"), map[State]int{Held: 1, NotStarted: 3}))
	require.Equal(t, "When the cause is mended, onboarding the same manifest again does the devices that are missing, and only those.",
		next(h("canceled"), map[State]int{NotStarted: 3}))
}

func TestEveryStateHasAdviceAndAPlace(t *testing.T) {
	for _, state := range States {
		require.NotEmpty(t, kindOf(state), state)
		for _, retrySafe := range []bool{true, false} {
			for _, of := range []string{"running", "paused", "stopped", "canceled", "completed"} {
				advice := Outcome{Device: "cam-1", State: state, RetrySafe: retrySafe}.advice(Onboarding{Name: "osaka", State: of})
				require.Regexp(t, `^[A-Z`+"`"+`].*\.$`, advice)
			}
		}
	}
	advice := func(state State, retrySafe bool) string {
		return Outcome{Device: "cam-1", State: state, RetrySafe: retrySafe}.advice(Onboarding{Name: "osaka", State: "stopped"})
	}
	require.Equal(t, "Mend the cause, then onboard the manifest again.", advice(RolledBack, true))
	require.Equal(t, "Onboard the manifest again. It goes on from what there is.", advice(Terminated, true))
	require.Contains(t, advice(Failed, false), "`starter decommission cam-1`")
	require.Equal(t, "`starter onboarding resume osaka`.", advice(NotStarted, true))
}

func TestNumbersAndDurations(t *testing.T) {
	for n, want := range map[int]string{0: "0", 12: "12", 999: "999", 1000: "1,000", 20_000: "20,000", 1_234_567: "1,234,567"} {
		require.Equal(t, want, number(n))
	}
	for d, want := range map[time.Duration]string{
		0: "0 ms", 820 * time.Millisecond: "820 ms", 1200 * time.Millisecond: "1.2 s", 192 * time.Second: "3 min 12 s",
		59*time.Minute + 59*time.Second + 900*time.Millisecond: "1 h 0 min", 26*time.Hour + 5*time.Minute: "26 h 5 min",
		59_990 * time.Millisecond: "1 min 0 s",
	} {
		require.Equal(t, want, duration(d))
	}
	require.Equal(t, "9.8", perSecond(9.83))
	require.Equal(t, "0.05", perSecond(0.052))
}
