package test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
)

// TestScheduleCanary: a canary that fails stops the run and pauses the schedule; nothing but canaries was
// begun. After the mend, the next run finishes.
func TestScheduleCanary(t *testing.T) {
	s := scheduling(t)
	devices := names("can", 6)
	file := scheduleSpec(t, "careful", "")
	s.drop(t, "drops/careful/a.csv", csvOf(devices...))
	s.fault(t, fault{Operation: "iot:CreateThing", Kind: "error", Code: "AccessDeniedException", Status: 403, Match: "can-02", Times: -1})
	s.starter(t, "schedule", "create", "careful", "-f", file, "--manifests", "s3://"+bucket+"/drops/careful/", "--every", "3s", "--canary", "2").exits(t, 0)
	view := s.until(t, "careful", "the pause", func(v scheduled) error {
		if !v.Paused || len(v.Runs) == 0 || v.Runs[0].ClosedAt == nil {
			return fmt.Errorf("it has not stopped")
		}
		return nil
	})
	for _, word := range []string{"canary can-02", "AccessDenied", "CreateThing", "starter schedule unpause careful"} {
		assert.Contains(t, view.Note, word)
	}
	require.Len(t, view.Runs, 1, "no other run followed")
	run := view.Runs[0]
	assert.Equal(t, "stopped", run.State)
	assert.Equal(t, []int{1, 1, 4}, []int{run.Added, run.Held + run.Failed, run.Left})
	for _, device := range devices[2:] {
		assert.Zero(t, s.principals(t, device), device)
		_, err := s.temporal.DescribeWorkflowExecution(t.Context(), "device/careful/"+device, "")
		require.Error(t, err, "%s was begun", device)
	}

	s.clearFaults(t)
	s.starter(t, "schedule", "unpause", "careful", "--note", "mended").exits(t, 0)
	view = s.until(t, "careful", "the rest", func(v scheduled) error {
		if v.Runs[0].State != "completed" || v.Added < len(devices)-1 {
			return fmt.Errorf("it has not finished") // the canary may have been held, and was resumed before it was launched
		}
		return nil
	})
	assert.False(t, view.Paused)
	assert.Equal(t, "mended", view.Note)
	s.assertOne(t, devices...)
	s.starter(t, "audit", "-f", file).exits(t, 0)
}

// TestSchedulesShareTheQuotas: the runs of two fleets overlap, and AWS throttles none of their calls.
func TestSchedulesShareTheQuotas(t *testing.T) {
	s := scheduling(t)
	const each = 25
	fleets := []string{"east", "west"}
	for _, fleet := range fleets {
		s.drop(t, "drops/"+fleet+"/a.csv", csvOf(names(fleet, each)...))
		s.starter(t, "schedule", "create", fleet, "-f", scheduleSpec(t, fleet, ""), "--manifests", "s3://"+bucket+"/drops/"+fleet+"/", "--every", "24h").exits(t, 0)
	}
	for _, fleet := range fleets {
		s.starter(t, "schedule", "trigger", fleet).exits(t, 0)
	}
	var runs []scheduledRun
	for _, fleet := range fleets {
		view := s.until(t, fleet, "all devices", hasAdded(each))
		s.until(t, fleet, "the end", func(v scheduled) error { return differ("completed", v.Runs[0].State) })
		runs = append(runs, s.describe(t, fleet).Runs[0])
		assert.Len(t, view.Runs, 1)
	}
	assert.True(t, runs[0].StartedAt.Before(*runs[1].ClosedAt) && runs[1].StartedAt.Before(*runs[0].ClosedAt), "they did not overlap: %+v", runs)
	var calls map[string]struct{ Calls, Throttled int }
	require.NoError(t, s.ControlAWS(t.Context(), "GET", "calls", nil, &calls))
	assert.GreaterOrEqual(t, calls["iot:CreateThing"].Calls, 2*each)
	for operation, n := range calls {
		assert.Zero(t, n.Throttled, operation)
	}
}

// TestScheduleCatchesUp: server and worker are down over three scheduled times. A schedule whose window is
// long makes up for each, one whose window is short leaves some out, and says so.
func TestScheduleCatchesUp(t *testing.T) {
	s := scheduling(t)
	const every = 5 * time.Second
	for name, window := range map[string]string{"patient": "1h", "hasty": "10s"} {
		s.drop(t, "drops/"+name+"/a.csv", csvOf(name+"-01"))
		s.starter(t, "schedule", "create", name, "-f", scheduleSpec(t, name, ""), "--manifests", "s3://"+bucket+"/drops/"+name+"/",
			"--every", every.String(), "--overlap", "buffer-all", "--catchup-window", window).exits(t, 0)
		s.until(t, name, "the first device", hasAdded(1))
	}
	require.NoError(t, s.Workers[0].Kill())
	require.NoError(t, s.KillTemporal())
	down := time.Now()
	for _, name := range []string{"patient", "hasty"} {
		s.drop(t, "drops/"+name+"/b.csv", csvOf(name+"-02"))
	}
	eventually(t, "three scheduled times and the short window", func() error {
		if passed := time.Since(down); passed < 4*every {
			return fmt.Errorf("%s have passed", passed)
		}
		return nil
	})
	require.NoError(t, s.StartTemporal(t.Context()))
	_, err := s.StartWorker(t.Context())
	require.NoError(t, err)
	back := time.Now()

	for _, name := range []string{"patient", "hasty"} {
		s.until(t, name, "what was dropped meanwhile", hasAdded(2))
		s.assertOne(t, name+"-01", name+"-02")
	}
	eventually(t, "all times of the patient schedule", func() error { return s.everyTime(t, "patient", every, down, back) })
	assert.Zero(t, s.describe(t, "patient").Missed)
	require.Error(t, s.everyTime(t, "hasty", every, down, back))
	assert.Positive(t, s.describe(t, "hasty").Missed)
}

// everyTime is an error when the schedule has no run for one of its times in the span.
func (s *stack) everyTime(t *testing.T, name string, every time.Duration, from, to time.Time) error {
	t.Helper()
	d, err := s.temporal.ScheduleClient().GetHandle(t.Context(), name).Describe(t.Context())
	require.NoError(t, err)
	require.IsType(t, &client.ScheduleWorkflowAction{}, d.Schedule.Action)
	all, err := s.executions(t.Context(), "default", "TemporalScheduledById = '"+name+"'")
	require.NoError(t, err)
	var times []string
	for _, info := range all {
		times = append(times, strings.TrimPrefix(info.GetExecution().GetWorkflowId(), "expansion/"+name+"/"+name+"-"))
	}
	for at := from.Truncate(every).Add(every); at.Before(to); at = at.Add(every) {
		if want := at.UTC().Format(time.RFC3339); !slices.Contains(times, want) {
			return fmt.Errorf("no run of %s among %v", want, times)
		}
	}
	return nil
}

// TestScheduleBadInput: what is wrong is said, all of it at once, and nothing is created.
func TestScheduleBadInput(t *testing.T) {
	s := scheduling(t)
	file := scheduleSpec(t, "wrong", "")
	manifests := "s3://" + bucket + "/drops/wrong/"
	create := func(name string, more ...string) []string {
		return append([]string{"schedule", "create", name, "-f", file}, more...)
	}
	right := []string{"--manifests", manifests, "--every", "6h"}
	for name, test := range map[string]struct {
		args  []string
		code  int
		words []string
	}{
		"hour 25":      {create("w", "--manifests", manifests, "--cron", "0 25 * * *"), 2, []string{"--cron", "hour", `"25"`, "0 to 23"}},
		"never":        {create("w", "--manifests", manifests, "--cron", "0 0 31 2 *"), 2, []string{"--cron", "never run"}},
		"time zone":    {create("w", append(right, "--time-zone", "Asia/Osaka-Namba")...), 2, []string{"--time-zone", "Asia/Osaka-Namba", "IANA"}},
		"canary":       {create("w", append(right, "--canary", "200%")...), 2, []string{"--canary", `"200%"`, "100%"}},
		"both":         {create("w", append(right, "--cron", "0 2 * * *")...), 2, []string{"either --cron or --every"}},
		"neither":      {create("w", "--manifests", manifests), 2, []string{"--cron", "--every"}},
		"no manifests": {create("w", "--every", "6h"), 2, []string{"--manifests", "s3://BUCKET/PREFIX/"}},
		"no bucket":    {create("w", "--manifests", "s3://no-such-bucket-here/x/", "--every", "6h"), 2, []string{"--manifests", "NoSuchBucket"}},
		"no object":    {create("w", "--manifests", "s3://"+bucket+"/drops/wrong", "--every", "6h"), 2, []string{"no object", "drops/wrong/"}},
		"the bundles":  {create("w", "--manifests", "s3://"+bucket+"/authorization-files/", "--every", "6h"), 2, []string{"--manifests", "bundles"}},
		"overlap":      {create("w", append(right, "--overlap", "sometimes")...), 2, []string{"--overlap", "buffer-one", "terminate-other"}},
		"end":          {create("w", append(right, "--end", "2020-01-01")...), 2, []string{"--end", "has passed"}},
		"max devices":  {create("w", append(right, "--max-devices", "0")...), 2, []string{"--max-devices"}},
		"name":         {create("no name", right...), 2, []string{"NAME", "schedule name"}},
		"all at once":  {create("w", "--manifests", "wrong", "--cron", "61 25 * * *", "--time-zone", "x", "--canary", "0%", "--jitter", "-1s"), 2, []string{"--manifests", "minute", "hour", "--time-zone", "--canary", "--jitter", "6 problems"}},
		"not there":    {[]string{"schedule", "pause", "nobody"}, 1, []string{"no schedule", "nobody", "starter schedule list"}},
		"backfill":     {[]string{"schedule", "backfill", "nobody", "--from", "2026-01-02", "--to", "2026-01-01"}, 2, []string{"--to", "not after"}},
		"no command":   {[]string{"schedule"}, 2, []string{"create, update"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := s.starter(t, test.args...)
			o.exits(t, test.code, test.words...)
			assert.Empty(t, o.stdout)
		})
	}
	s.fault(t, fault{Operation: "s3:ListObjectsV2", Kind: "error", Code: "AccessDenied", Status: 403, Match: "drops/wrong", Times: -1})
	s.starter(t, create("w", right...)...).exits(t, 1, "--manifests", "AccessDenied", manifests)
	s.clearFaults(t)
	list := s.starter(t, "schedule", "list")
	list.exits(t, 0)
	assert.Contains(t, list.stdout, "no schedule yet")

	// What is taken for right here, Temporal takes too.
	for i, cron := range []string{"*/15 8-18 * * MON-FRI", "0 0 1,15 jan-jun 7", "0 2 * * * 2090", "30 0 2 * * * 2026-2090/2", "5/10 * * * *", "0 2 * * sun-sat", "0 2 * * 5-7", "@daily"} {
		name := fmt.Sprint("right-", i)
		s.starter(t, create(name, "--manifests", manifests, "--cron", cron)...).exits(t, 0)
		assert.Equal(t, cron, s.describe(t, name).Cron)
		s.starter(t, "schedule", "delete", name).exits(t, 0)
	}
	s.starter(t, create("w", right...)...).exits(t, 0)
	s.starter(t, create("w", right...)...).exits(t, 1, `a schedule "w" already`)
	s.starter(t, "schedule", "update", "w", "-f", scheduleSpec(t, "another", "")).exits(t, 2, "another fleet")
	s.starter(t, "schedule", "update", "w", "--cron", "0 2 * * 9").exits(t, 2, "day of the week")
	assert.Equal(t, "6h", s.describe(t, "w").Every)
}
