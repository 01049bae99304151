package workflows

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"edgefleet/internal/fleet"
)

// drop is a prefix with manifests, and how what they hold is taken and onboarded.
type drop struct {
	*testsuite.TestWorkflowEnvironment
	there    []ManifestVersion
	holds    map[string]TakenManifest // by key
	rooms    []int
	resumed  []ResumeInput
	pauses   []PauseInput
	posts    []HookBody
	onboard  OnboardInput
	onboards int
}

func newDrop(t *testing.T, ends func(OnboardInput) (OnboardStatus, error), there ...ManifestVersion) *drop {
	var suite testsuite.WorkflowTestSuite
	d := &drop{TestWorkflowEnvironment: suite.NewTestWorkflowEnvironment(), there: there, holds: map[string]TakenManifest{}}
	d.SetTestTimeout(30 * time.Second)
	d.RegisterWorkflow(ExpandFleet)
	d.RegisterWorkflow(OnboardFleet)
	register := func(name string, f any) {
		d.RegisterActivityWithOptions(f, activity.RegisterOptions{Name: name})
	}
	register("FindManifests", func(_ context.Context, in FindInput) (FoundManifests, error) {
		found := FoundManifests{Ledger: in.Ledger}
		for _, m := range d.there {
			if !in.Ledger.Has(m) {
				found.New = append(found.New, m)
			}
		}
		found.Ledger.Prune(d.there)
		return found, nil
	})
	register("TakeManifest", func(_ context.Context, in TakeInput) (TakenManifest, error) {
		d.rooms = append(d.rooms, in.Room)
		held, known := d.holds[in.Manifest.Key]
		if !known {
			return held, temporal.NewNonRetryableApplicationError("reading "+in.Manifest.Key+": AWS said AccessDenied", "AccessDenied", nil)
		}
		held.Manifest = in.Manifest
		if held.New > in.Room {
			held.Left, held.New = held.New-in.Room, in.Room
		}
		return held, nil
	})
	register("ResumeHeld", func(_ context.Context, in ResumeInput) error {
		d.resumed = append(d.resumed, in)
		return nil
	})
	register("PauseSchedule", func(_ context.Context, in PauseInput) error {
		d.pauses = append(d.pauses, in)
		return nil
	})
	register("PostHook", func(_ context.Context, hook fleet.Hook, body json.RawMessage) error {
		var told HookBody
		if err := json.Unmarshal(body, &told); err != nil {
			return err
		}
		d.posts = append(d.posts, told)
		if hook.URL == "https://gone.example.com" {
			return temporal.NewNonRetryableApplicationError("it answered 410 Gone", "InvalidInput", nil)
		}
		return nil
	})
	d.OnWorkflow(OnboardFleet, mock.Anything, mock.Anything).Return(func(_ workflow.Context, in OnboardInput) (OnboardStatus, error) {
		d.onboard = in
		d.onboards++
		return ends(in)
	}).Maybe()
	return d
}

func allProvisioned(in OnboardInput) (OnboardStatus, error) {
	return OnboardStatus{State: Completed, Counts: Counts{Provisioned: in.Devices}}, nil
}

func manifest(key string, etag int) ManifestVersion {
	return ManifestVersion{Key: "night/" + key, ETag: fmt.Sprintf(`"%d"`, etag), Modified: time.Date(2026, 1, 1, 0, 0, etag, 0, time.UTC)}
}

func expandInput() ExpandInput {
	return ExpandInput{
		Fleet: testSpec(fleet.SageMakerEdge), Schedule: "nightly", Manifests: "s3://edge-drop/night/", MaxDevices: 100,
		Stop: DefaultStopRule, Canary: Canary{Percent: 10},
	}
}

func (d *drop) expand(t *testing.T, in ExpandInput) ExpandResult {
	t.Helper()
	d.ExecuteWorkflow(ExpandFleet, in)
	require.True(t, d.IsWorkflowCompleted())
	var result ExpandResult
	require.NoError(t, d.GetWorkflowError())
	require.NoError(t, d.GetWorkflowResult(&result))
	return result
}

func TestExpandTakesWhatIsNew(t *testing.T) {
	a, b, bad, denied := manifest("a.csv", 1), manifest("b.csv", 2), manifest("bad.csv", 3), manifest("denied.csv", 4)
	d := newDrop(t, allProvisioned, a, b, bad, denied)
	d.holds[a.Key] = TakenManifest{Devices: 12, New: 11, Skipped: 1, Pages: 1}
	d.holds[b.Key] = TakenManifest{Devices: 4, New: 4, Pages: 1}
	d.holds[bad.Key] = TakenManifest{Problems: 2, Reason: "s3://edge-drop/night/bad.csv:2: device: is missing", Report: "s3://edge-drop/night/bad.csv.errors.json"}
	in := expandInput()
	in.Fleet.Hook = &fleet.Hook{URL: "https://example.com", SecretEnv: fleet.DefaultHookSecret}
	first := d.expand(t, in)
	assert.Equal(t, Completed, first.State)
	assert.Equal(t, []int{15, 1, 0, 0, 2, 1, 1}, []int{first.Added, first.Skipped, first.Held, first.Failed, first.Taken, first.SetAside, first.Waiting})
	assert.Equal(t, []int{100, 89, 85, 85}, d.rooms)
	assert.Equal(t, 2, d.onboard.Pages)
	assert.Equal(t, 2, d.onboard.Canary, "10% of 15, and not less")
	assert.True(t, d.onboard.Unattended)
	assert.Empty(t, d.pauses)
	require.Len(t, d.posts, 1)
	assert.Equal(t, 15, d.posts[0].Added)
	assert.Contains(t, d.posts[0].Report, "_onboarding/nightly-")

	for _, done := range []ManifestVersion{a, b, bad} {
		assert.True(t, first.Ledger.Has(done), done.Key)
	}
	assert.False(t, first.Ledger.Has(denied), "what could not be read is tried again")
	again, mended := a, bad
	again.Modified = a.Modified.Add(time.Minute)
	mended.ETag = `"mended"`
	assert.False(t, first.Ledger.Has(again), "put again: taken again")
	assert.False(t, first.Ledger.Has(mended))
	bad.Modified = bad.Modified.Add(time.Minute)
	assert.True(t, first.Ledger.Has(bad), "as invalid as it was")

	d = newDrop(t, allProvisioned, a, b, bad)
	d.SetLastCompletionResult(first)
	second := d.expand(t, in)
	assert.Equal(t, Completed, second.State)
	assert.Empty(t, d.rooms, "nothing is read twice")
	assert.Zero(t, d.onboards)
	assert.Empty(t, d.posts, "and there is nothing to tell")
	assert.Equal(t, first.Ledger, second.Ledger)
}

func TestExpandLeavesTheRestForTheNextRun(t *testing.T) {
	a, b := manifest("a.csv", 1), manifest("b.csv", 2)
	d := newDrop(t, allProvisioned, a, b)
	d.holds[a.Key] = TakenManifest{Devices: 12, New: 12, Pages: 1}
	d.holds[b.Key] = TakenManifest{Devices: 4, New: 4, Pages: 1}
	in := expandInput()
	in.MaxDevices = 10
	r := d.expand(t, in)
	assert.Equal(t, []int{10, 2, 0, 2}, []int{r.Added, r.Left, r.Taken, r.Waiting})
	assert.False(t, r.Ledger.Has(a))
	assert.False(t, r.Ledger.Has(b))
	assert.Equal(t, []int{10}, d.rooms)
}

func TestExpandPausesItsScheduleWhenTheCanaryFails(t *testing.T) {
	a := manifest("a.csv", 1)
	d := newDrop(t, func(in OnboardInput) (OnboardStatus, error) {
		return OnboardStatus{State: Stopped, Why: "the canary cam-03 ended held with AccessDenied at CreateThing", Counts: Counts{Provisioned: 1, Held: 1}}, nil
	}, a)
	d.holds[a.Key] = TakenManifest{Devices: 12, New: 12, Pages: 1}
	in := expandInput()
	in.Fleet.Hook = &fleet.Hook{URL: "https://gone.example.com", SecretEnv: fleet.DefaultHookSecret}
	d.ExecuteWorkflow(ExpandFleet, in)
	var failed *temporal.ApplicationError
	require.ErrorAs(t, d.GetWorkflowError(), &failed)
	assert.Equal(t, errStopped, failed.Type())
	var r ExpandResult
	require.NoError(t, failed.Details(&r))
	assert.Equal(t, Stopped, r.State)
	assert.Equal(t, []int{1, 1, 10, 0}, []int{r.Added, r.Held, r.Left, r.Taken})
	assert.False(t, r.Ledger.Has(a), "the next run takes it again")
	require.Len(t, d.pauses, 1)
	assert.Equal(t, "nightly", d.pauses[0].Schedule)
	assert.Contains(t, d.pauses[0].Note, "the canary cam-03 ended held with AccessDenied at CreateThing")
	assert.Contains(t, d.pauses[0].Note, "starter schedule unpause nightly")
	require.Len(t, d.posts, 1)
	assert.True(t, d.posts[0].Paused)
	assert.Contains(t, r.Hook, "410 Gone", "a hook that is gone ends no run otherwise")

	// The next run, after the mend.
	stopped := r.Files
	d = newDrop(t, allProvisioned, a)
	d.SetLastError(failed)
	d.holds[a.Key] = TakenManifest{Devices: 12, New: 11, Skipped: 1, Pages: 1}
	r = d.expand(t, expandInput())
	assert.Equal(t, []ResumeInput{{"cameras", stopped, "schedule nightly goes on"}}, d.resumed)
	assert.Equal(t, []int{11, 1, 1}, []int{r.Added, r.Skipped, r.Taken})
	assert.Equal(t, fleet.S3URI{}, r.Ledger.Resume)
}

// TestOnboardUnattended: an onboarding that nobody attends ends when its line has stopped.
func TestOnboardUnattended(t *testing.T) {
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestWorkflowEnvironment()
	env.SetTestTimeout(30 * time.Second)
	shifts := 0
	env.RegisterActivityWithOptions(func(_ context.Context, in LaunchInput) (Progress, error) {
		shifts++
		p := Progress{Next: Place{Page: 0, Line: 3}, Counts: Counts{Provisioned: 1, Failed: 1}}
		if in.Drain {
			p.Counts.Provisioned++
			return p, nil
		}
		p.Stopped, p.Open = "the canary cam-02 ended rolled-back", []Place{{0, 2}}
		return p, nil
	}, activity.RegisterOptions{Name: "LaunchDevices"})
	env.ExecuteWorkflow(OnboardFleet, OnboardInput{
		Fleet: testSpec(fleet.SageMakerEdge), Name: "n", Pages: 1, Devices: 9, Canary: 3, Unattended: true, Prepared: &PreparedFleet{},
	})
	var status OnboardStatus
	require.NoError(t, env.GetWorkflowError())
	require.NoError(t, env.GetWorkflowResult(&status))
	assert.Equal(t, Stopped, status.State)
	assert.Equal(t, Counts{Provisioned: 2, Failed: 1}, status.Counts, "those under way came to their end")
	assert.Equal(t, 2, shifts)
}

func TestLedgerIsBounded(t *testing.T) {
	var l Ledger
	var there []ManifestVersion
	for i := range maxLedger + 500 {
		m := ManifestVersion{Key: fmt.Sprint("m-", i), ETag: fmt.Sprint(i), Modified: time.Unix(int64(1000+i), 0).UTC()}
		there = append(there, m)
		l.take(m)
	}
	open := ManifestVersion{Key: "open", ETag: "1", Modified: time.Unix(1100, 0).UTC()}
	l.Prune(append(there, open))
	assert.False(t, l.Has(open), "what was not taken is never taken for it")
	l.Prune(there)
	for _, m := range there[:100] {
		require.True(t, l.Has(m), m.Key)
	}
	for _, m := range there[500:] {
		require.True(t, l.Has(m), m.Key)
	}
	assert.Len(t, l.Digests, 8*maxLedger)
	assert.False(t, l.Has(ManifestVersion{Key: "m-new", ETag: "1", Modified: time.Now()}))
	l.Prune(there[maxLedger:])
	assert.Len(t, l.Digests, 8*500, "what is gone is forgotten")
	text, err := json.Marshal(l)
	require.NoError(t, err)
	assert.Less(t, len(text), 200_000)
	assert.False(t, strings.Contains(string(text), "resume"))
}
