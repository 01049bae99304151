package report

import (
	"cmp"
	"iter"
	"math"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Summary is what many outcomes come to. Durations are in milliseconds and right to 0.1%.
type Summary struct {
	Devices int           `json:"devices"` // outcomes that were counted
	States  map[State]int `json:"states"`  // without those that no device is in
	// RunningMS is how long devices were being provisioned: time in which none was, because the
	// onboarding had stopped or waited for an operator, is not counted.
	RunningMS int64 `json:"runningMs"`
	// DevicesPerSecond is how many were provisioned in that time.
	DevicesPerSecond float64   `json:"devicesPerSecond"`
	Total            Latency   `json:"total"` // of the whole runs
	Steps            []Latency `json:"steps"` // in the order that they ran
	Causes           []Cause   `json:"causes"`
	Progress         Progress  `json:"progress"`
}

// Count is how many devices are in one of the states.
func (s Summary) Count(states ...State) int {
	n := 0
	for _, state := range states {
		n += s.States[state]
	}
	return n
}

// Latency is how long provisioned devices took for a step, or for the whole run.
type Latency struct {
	Step    string `json:"step,omitempty"`
	Devices int    `json:"devices"`
	P50MS   int64  `json:"p50Ms"`
	P95MS   int64  `json:"p95Ms"`
	P99MS   int64  `json:"p99Ms"`
	MaxMS   int64  `json:"maxMs"`
}

// Cause is what devices are held by or failed with: the error's type, or the state where there is no
// error, and the step. The most frequent cause comes first.
type Cause struct {
	Step      string `json:"step,omitempty"`
	ErrorType string `json:"errorType"`
	Devices   int    `json:"devices"` // held and failed
	Held      int    `json:"held"`
	Example   string `json:"example"` // the first of the devices
	Error     string `json:"error"`   // its error's message
}

// Summarize reads the outcomes once and sums them up, in memory that does not grow with their number.
// It returns the first error that they hold.
func Summarize(outcomes iter.Seq2[Outcome, error]) (Summary, error) {
	var (
		sum      = Summary{States: map[State]int{}, Steps: []Latency{}, Causes: []Cause{}}
		total    = newLatencies("")
		steps    []*latencies
		byStep   = map[string]*latencies{}
		causes   = map[[2]string]*Cause{}
		running  spans
		timeline = newTimeline()
	)
	for o, err := range outcomes {
		if err != nil {
			return Summary{}, err
		}
		sum.Devices++
		sum.States[o.State]++
		timeline.add(o)
		if o.State == Held || slices.Contains(failures, o.State) {
			count(causes, o)
		}
		if o.State != AlreadyProvisioned { // it takes nothing of the quotas
			running.addRun(o)
		}
		if o.State != Provisioned {
			continue
		}
		total.add(o.took().Milliseconds())
		for _, s := range o.Steps {
			if byStep[s.Step] == nil {
				byStep[s.Step] = newLatencies(s.Step)
				steps = append(steps, byStep[s.Step])
			}
			byStep[s.Step].add(s.MS)
		}
	}
	sum.Total = total.latency()
	for _, s := range steps {
		sum.Steps = append(sum.Steps, s.latency())
	}
	for _, c := range causes {
		sum.Causes = append(sum.Causes, *c)
	}
	slices.SortFunc(sum.Causes, func(a, b Cause) int {
		return cmp.Or(b.Devices-a.Devices, cmp.Compare(a.Step, b.Step), cmp.Compare(a.ErrorType, b.ErrorType))
	})
	sum.Progress = timeline.progress()
	if d := running.total(); d > 0 {
		sum.RunningMS = d.Milliseconds()
		sum.DevicesPerSecond = math.Round(1000*float64(sum.States[Provisioned])/d.Seconds()) / 1000
	}
	return sum, nil
}

func count(causes map[[2]string]*Cause, o Outcome) {
	kind := cmp.Or(o.ErrorType, string(o.State))
	c := causes[[2]string{o.Step, kind}]
	if c == nil {
		c = &Cause{Step: o.Step, ErrorType: kind, Example: o.Device, Error: o.Error}
		causes[[2]string{o.Step, kind}] = c
	}
	c.Devices++
	if o.State == Held {
		c.Held++
	}
}

// maxLatency is the longest that is told from longer ones: a hold may last days.
const maxLatency = 60 * 24 * time.Hour

// latencies counts durations in buckets that grow with them, 200 KB for any number of them.
type latencies struct {
	step      string
	longest   int64
	histogram *hdrhistogram.Histogram
}

func newLatencies(step string) *latencies {
	return &latencies{step: step, histogram: hdrhistogram.New(1, maxLatency.Milliseconds(), 3)}
}

func (l *latencies) add(ms int64) {
	ms = min(max(ms, 0), maxLatency.Milliseconds())
	l.longest = max(l.longest, ms)
	_ = l.histogram.RecordValue(ms) // which fails for what is out of bounds, and nothing is
}

func (l *latencies) latency() Latency {
	at := func(percentile float64) int64 { return min(l.histogram.ValueAtPercentile(percentile), l.longest) }
	return Latency{
		Step: l.step, Devices: int(l.histogram.TotalCount()),
		P50MS: at(50), P95MS: at(95), P99MS: at(99), MaxMS: l.longest,
	}
}
