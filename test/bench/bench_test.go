package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"edgefleet/internal/fleet"
	"edgefleet/internal/quota"
)

func TestPercentiles(t *testing.T) {
	var hundred []float64
	for n := 100; n >= 1; n-- {
		hundred = append(hundred, float64(n))
	}
	assert.Equal(t, percentiles{50, 95, 99}, percentilesOf(hundred))
	assert.Equal(t, percentiles{7, 7, 7}, percentilesOf([]float64{7}))
	assert.Equal(t, percentiles{}, percentilesOf(nil))
}

func TestMedian(t *testing.T) {
	assert.Equal(t, 2.0, median([]float64{9, 1, 2}))
	assert.Equal(t, 1.5, median([]float64{2, 1}))
	assert.Equal(t, 0.0, median(nil))
}

// every gives n times, so far apart, the first a while after the beginning.
func every(n int, apart, from time.Duration) []time.Time {
	var times []time.Time
	for i := range n {
		times = append(times, time.Unix(0, 0).Add(from+time.Duration(i)*apart))
	}
	return times
}

func TestRate(t *testing.T) {
	assert.InDelta(t, 10, rate(every(600, 100*time.Millisecond, time.Hour)), 1e-9)
	assert.Zero(t, rate(every(1, time.Second, 0)))
	assert.Zero(t, rate(nil))
}

func TestDriftComparesTheEndWithTheBeginning(t *testing.T) {
	assert.InDelta(t, 1, drift(every(8000, time.Millisecond, 0)), 1e-9)
	slower := append(every(1000, time.Millisecond, 0), every(1000, 2*time.Millisecond, time.Second)...)
	assert.InDelta(t, 0.5, drift(slower), 1e-9)
	assert.Zero(t, drift(every(3, time.Second, 0)), "too few to compare")
}

func TestCeilingIsTheLowestRateThatADeviceNeeds(t *testing.T) {
	inForce := quota.Published()
	inForce["sagemaker:RegisterDevices"], inForce["s3:PutObject"] = quota.Assumed, 0
	assert.Equal(t, 10.0, ceiling("aws", quotasOf(defaultQuotas, inForce)))
	assert.Equal(t, 10.0, ceiling("csr", quotasOf(defaultQuotas, inForce)))
	assert.Equal(t, 100.0, ceiling("aws", quotasOf(quotas100, inForce)))
	assert.Equal(t, 0.0, ceiling("aws", quotasOf(liftedQuotas, inForce)))
	assert.Zero(t, quotasOf(quotas100, inForce)["s3:PutObject"], "what has no limit keeps none")
}

func TestChoose(t *testing.T) {
	all, err := choose("")
	require.NoError(t, err)
	assert.Equal(t, matrix, all)
	some, err := choose("*-loop,lifted-sqlite-csr")
	require.NoError(t, err)
	var names []string
	for _, c := range some {
		names = append(names, c.Name)
	}
	assert.Equal(t, []string{"default-loop", "100-loop", "lifted-sqlite-csr", "lifted-loop"}, names)
	_, err = choose("lifted-*,nothing")
	assert.ErrorContains(t, err, "nothing")
}

func TestSpecificationsAreValid(t *testing.T) {
	for _, keys := range []string{"aws", "csr"} {
		_, err := fleet.ParseSpec("fleet.yaml", []byte(fleetText(keys)))
		assert.NoError(t, err)
	}
}

const reportText = `{"summary": {"devices": 2}, "devices": [
 {"line": 2, "device": "cam-1", "state": "provisioned", "startedAt": "2026-01-01T00:00:01Z", "endedAt": "2026-01-01T00:00:02Z", "durationMs": 1000,
  "steps": [{"step": "CreateThing", "ms": 40}, {"step": "ProveDevice", "ms": 60}]},
 {"line": 3, "device": "cam-2", "state": "STATE", "startedAt": "2026-01-01T00:00:02Z", "endedAt": "2026-01-01T00:00:04Z", "durationMs": 2000,
  "steps": [{"step": "CreateThing", "ms": 20}]}]}`

func TestReadsTheReportOfAnOnboarding(t *testing.T) {
	var r onboardingReport
	require.NoError(t, json.Unmarshal([]byte(strings.Replace(reportText, "STATE", "provisioned", 1)), &r))
	var m measured
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	require.NoError(t, m.read(r, began, 2))
	assert.Equal(t, 2, m.Provisioned)
	assert.Equal(t, time.Second, m.First)
	assert.InDelta(t, 0.5, m.Rate, 1e-9)
	assert.Equal(t, percentiles{1000, 2000, 2000}, m.Total)
	assert.Equal(t, percentiles{20, 40, 40}, m.Steps["CreateThing"])
	assert.Equal(t, percentiles{60, 60, 60}, m.Steps["ProveDevice"])
	assert.Equal(t, []string{"CreateThing", "ProveDevice"}, m.StepNames)
}

func TestAnOnboardingThatIsNotCompleteIsNoFigure(t *testing.T) {
	var r onboardingReport
	require.NoError(t, json.Unmarshal([]byte(strings.Replace(reportText, "STATE", "held", 1)), &r))
	err := new(measured).read(r, time.Time{}, 2)
	assert.ErrorContains(t, err, "held:1")
}

func TestSummaryTakesMediansAndTheWorst(t *testing.T) {
	run := func(rate float64, throttled int, peak int64) measured {
		return measured{Provisioned: 10, Rate: rate, WorkerPeak: peak, Findings: -1, Total: percentiles{P50: rate},
			Calls: map[string]calls{"iot:CreateThing": {Calls: 10, Throttled: throttled, MaxPerSecond: throttled}}}
	}
	first := run(30, 0, 100)
	first.Findings = 0
	f := summarize(configuration{Name: "x", Devices: 10}, []measured{first, run(10, 7, 300), run(20, 1, 200)})
	assert.Equal(t, 20.0, f.Rate)
	assert.Equal(t, 20.0, f.Total.P50)
	assert.Equal(t, calls{10, 7, 7}, f.Calls["iot:CreateThing"])
	assert.Equal(t, int64(300), f.WorkerPeak)
	assert.Equal(t, 0, f.Findings, "the audit of one run counts")
	assert.Equal(t, calls{10, 0, 0}, first.Calls["iot:CreateThing"], "the runs stay as they were")
}

func TestDocumentKeepsWhatIsWrittenByHand(t *testing.T) {
	old := "# Title\n" + documentBegin + "\nold figures\n" + documentEnd + "\nby hand\n"
	written, err := between(old, "new figures\n")
	require.NoError(t, err)
	assert.Equal(t, "# Title\n"+documentBegin+"\n\nnew figures\n\n"+documentEnd+"\nby hand\n", written)
	again, err := between(written, "new figures\n")
	require.NoError(t, err)
	assert.Equal(t, written, again)
	_, err = between("# Title\n", "new figures")
	assert.ErrorContains(t, err, documentBegin)
}

func TestTheDocumentHasItsMarkers(t *testing.T) {
	file := t.TempDir() + "/performance.md"
	assert.Error(t, writeDocument(file, "text"), "there is none")
	assert.FileExists(t, "../../"+documentFile)
}

func TestDocumentHasAllTables(t *testing.T) {
	onboarding := figures{
		configuration{Name: "lifted-sqlite-aws", Quotas: liftedQuotas, Devices: 1000, Runs: 3},
		measured{Provisioned: 1000, Rate: 40, Events: 56, Activities: 7, StoreBytes: 64 << 10, Single: time.Second, WorkerPeak: 100 << 20,
			StepNames: []string{"CreateThing"}, Steps: map[string]percentiles{"CreateThing": {1, 2, 3}},
			Calls: map[string]calls{"iot:CreateThing": {1000, 0, 45}, "s3:PutObject": {4000, 0, 180}}},
	}
	loop := figures{
		configuration{Name: "default-loop", Loop: true, Devices: 600, Runs: 1},
		measured{Provisioned: 400, Failed: 200, HalfDone: 150, Rate: 5, Ceiling: 10, Findings: -1,
			Calls: map[string]calls{"iot:CreateThing": {900, 300, 120}}},
	}
	text := document([][2]string{{"processors", "2"}}, 2, []figures{onboarding, loop})
	for _, want := range []string{
		"| `lifted-sqlite-aws` | 3 | 1000 | 1000 | **40.0** | none | – |",
		"| `default-loop` | 1 | 600 | 400 | **5.0** | 10/s | 50% |",
		"| `lifted-sqlite-aws` | 56.0 | 7.0 | 0 | 64.0 KiB | 100 MiB | – |",
		"| `lifted-sqlite-aws` | 1 / 2 / 3 |",
		"| `default-loop` | 200 | 150 | – |",
		"| `default-loop` | iot:CreateThing | 900 | 120 | 300 |",
		"| `lifted-sqlite-aws` | 56 million | 61 GiB | 4.0 million | 27.8 h | 2.8 h | 6.9 h |",
	} {
		assert.Contains(t, text, want)
	}
	assert.NotContains(t, text, "s3:PutObject | ", "S3 has no quota to keep")
}
