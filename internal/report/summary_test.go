package report

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// ran is an outcome of a run that began some seconds after the sample did, and took some.
func ran(line int, state State, after, took float64) Outcome {
	start := began.Add(time.Duration(after * float64(time.Second)))
	d := time.Duration(took * float64(time.Second))
	return Outcome{Line: line, Device: fmt.Sprintf("cam-%d", line), State: state, StartedAt: start, EndedAt: start.Add(d), DurationMS: d.Milliseconds()}
}

func summarize(t *testing.T, outcomes ...Outcome) Summary {
	t.Helper()
	s, err := Summarize(listed(outcomes...))
	require.NoError(t, err)
	return s
}

func TestSummaryCountsEachState(t *testing.T) {
	var outcomes []Outcome
	for i, state := range States {
		for range i + 1 {
			outcomes = append(outcomes, Outcome{Line: len(outcomes) + 1, Device: "cam", State: state})
		}
	}
	s := summarize(t, outcomes...)
	require.Equal(t, len(outcomes), s.Devices)
	for i, state := range States {
		require.Equal(t, i+1, s.Count(state), state)
	}
	require.Equal(t, 3, s.Count(Provisioned, AlreadyProvisioned))
	require.Zero(t, s.DevicesPerSecond, "no outcome has a time")
	require.Empty(t, s.Progress.Buckets)
}

func TestSummaryPercentiles(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	var outcomes []Outcome
	var durations []int64
	for line := 1; line <= 20_000; line++ {
		took := int64(random.ExpFloat64() * 3000)
		durations = append(durations, took)
		outcomes = append(outcomes, Outcome{Line: line, Device: "cam", State: Provisioned, DurationMS: max(took, 1), Steps: []StepTime{{"CreateThing", took}, {"ProveDevice", 7}}})
	}
	// What did not end well says nothing of how long a step takes.
	outcomes = append(outcomes, Outcome{Line: 20_001, Device: "cam", State: Held, DurationMS: 1e9, Steps: []StepTime{{"CreateThing", 1e9}}})
	s := summarize(t, outcomes...)
	slices.Sort(durations)
	for _, l := range []Latency{s.Total, s.Steps[0]} {
		require.Equal(t, 20_000, l.Devices)
		require.InEpsilon(t, durations[10_000], l.P50MS, 0.01)
		require.InEpsilon(t, durations[19_000], l.P95MS, 0.01)
		require.InEpsilon(t, durations[19_800], l.P99MS, 0.01)
		require.Equal(t, durations[19_999], l.MaxMS)
	}
	require.Len(t, s.Steps, 2)
	require.Equal(t, Latency{Step: "ProveDevice", Devices: 20_000, P50MS: 7, P95MS: 7, P99MS: 7, MaxMS: 7}, s.Steps[1])
}

func TestSummaryTakesAnyDuration(t *testing.T) {
	s := summarize(t,
		Outcome{Line: 1, Device: "a", State: Provisioned, Steps: []StepTime{{"CreateThing", -5}, {"ProveDevice", 1 << 60}}},
		ran(2, Provisioned, 0, 2.5))
	require.Zero(t, s.Steps[0].MaxMS)
	require.Equal(t, maxLatency.Milliseconds(), s.Steps[1].MaxMS)
	require.EqualValues(t, 2500, s.Total.P99MS)
}

func TestSummaryCauses(t *testing.T) {
	failed := func(line int, state State, step, kind string) Outcome {
		return Outcome{Line: line, Device: fmt.Sprintf("cam-%d", line), State: state, Step: step, ErrorType: kind, Error: fmt.Sprintf("message %d", line)}
	}
	s := summarize(t,
		failed(1, Held, "AttachPolicy", "AccessDenied"),
		failed(2, RolledBack, "CreateThing", "Conflict"),
		failed(3, RolledBack, "AttachPolicy", "AccessDenied"),
		failed(4, Held, "CreateThing", "AccessDenied"),
		failed(5, Held, "AttachPolicy", "AccessDenied"),
		failed(6, RollbackIncomplete, "CreateThing", "Conflict"),
		Outcome{Line: 7, Device: "cam-7", State: Terminated},
		failed(8, Provisioned, "AttachPolicy", "AccessDenied"), // was held, and went on
		failed(9, Running, "AttachPolicy", "AccessDenied"),
		failed(10, NotStarted, "", ""))
	require.Equal(t, []Cause{
		{Step: "AttachPolicy", ErrorType: "AccessDenied", Devices: 3, Held: 2, Example: "cam-1", Error: "message 1"},
		{Step: "CreateThing", ErrorType: "Conflict", Devices: 2, Example: "cam-2", Error: "message 2"},
		{ErrorType: "terminated", Devices: 1, Example: "cam-7"},
		{Step: "CreateThing", ErrorType: "AccessDenied", Devices: 1, Held: 1, Example: "cam-4", Error: "message 4"},
	}, s.Causes)
}

func TestRateIsOfTheTimeThatTheOnboardingRan(t *testing.T) {
	var outcomes []Outcome
	for line := 1; line <= 100; line++ {
		after := float64(line-1) / 10
		if line > 50 {
			after += 8 * 3600 // it stopped overnight
		}
		outcomes = append(outcomes, ran(line, Provisioned, after, 5))
	}
	// Neither is the rate of provisioning: one that was there, one that was held all night, one at work.
	there := ran(101, AlreadyProvisioned, 4*3600, 60)
	resumed := ran(102, Provisioned, 2, 8*3600)
	working := ran(103, Running, 8*3600+9, 0)
	working.EndedAt, working.DurationMS = time.Time{}, 0
	outcomes = append(outcomes, there, resumed, working)
	want := summarize(t, outcomes...)
	// From the first start to the last end, and again in the morning, from where the held one went on.
	require.EqualValues(t, (4.9+5)*1000+(9.9+5-2)*1000, want.RunningMS)
	require.InDelta(t, 101/22.8, want.DevicesPerSecond, 0.001)
	for seed := range uint64(20) {
		rand.New(rand.NewPCG(seed, 0)).Shuffle(len(outcomes), func(i, j int) { outcomes[i], outcomes[j] = outcomes[j], outcomes[i] })
		got := summarize(t, outcomes...)
		require.Equal(t, want.RunningMS, got.RunningMS, "the order of the outcomes matters")
		require.Equal(t, want.Progress, got.Progress, "the order of the outcomes matters")
	}
}

func TestProgress(t *testing.T) {
	s := summarize(t,
		ran(1, Provisioned, 0, 1), ran(2, Provisioned, 0, 1.5), ran(3, AlreadyProvisioned, 0, 2), ran(4, Held, 0, 4),
		ran(5, Terminated, 0, 4), ran(6, RolledBack, 0, 4), ran(7, Running, 0, 4), Outcome{Line: 8, Device: "cam-8", State: Held})
	at := func(second int) time.Time { return began.Add(time.Duration(second) * time.Second) }
	require.Equal(t, Progress{WidthSeconds: 1, Buckets: []Bucket{
		{At: at(1), Provisioned: 2}, {At: at(2), AlreadyProvisioned: 1}, {At: at(3)}, {At: at(4), Held: 1, Failed: 2},
	}}, s.Progress)
}

func TestProgressStaysSmall(t *testing.T) {
	for _, span := range []time.Duration{time.Minute, 17 * time.Minute, 5 * time.Hour, 30 * 24 * time.Hour, 5000 * 24 * time.Hour} {
		random := rand.New(rand.NewPCG(5, 6))
		timeline := newTimeline()
		for line := range 5000 {
			o := Outcome{Line: line + 1, State: Provisioned, EndedAt: began.Add(time.Duration(random.Int64N(int64(span))))}
			timeline.add(o)
		}
		p := timeline.progress()
		require.LessOrEqual(t, len(p.Buckets), maxBuckets, span)
		require.GreaterOrEqual(t, len(p.Buckets), maxBuckets/6, span)
		sum := 0
		for i, b := range p.Buckets {
			require.Equal(t, p.Buckets[0].At.Add(time.Duration(i)*p.width()), b.At)
			sum += b.Provisioned
		}
		require.Equal(t, 5000, sum, span)
	}
	for i, width := range widths[1:] {
		require.Zero(t, width%widths[i], "buckets of %d s cannot be put together to %d s", widths[i], width)
	}
}

func TestSummarizeReturnsTheError(t *testing.T) {
	gone := errors.New("part 3 is gone")
	_, err := Summarize(broken(gone))
	require.ErrorIs(t, err, gone)
}

func TestSummaryOfNothing(t *testing.T) {
	require.Equal(t, Summary{States: map[State]int{}, Steps: []Latency{}, Causes: []Cause{}, Progress: Progress{WidthSeconds: 1, Buckets: []Bucket{}}}, summarize(t))
}
