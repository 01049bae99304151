package main

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"
)

// measured is what one run came to. Figures that do not apply to it are 0.
type measured struct {
	Provisioned int
	Failed      int           // the loop's, after its retries
	HalfDone    int           // certificates that the loop left without a provisioned device
	Took        time.Duration // of the command, from its start to its end
	First       time.Duration // from the command's start to the first device's
	Rate        float64       // devices a second, from the first that was done to the last
	Drift       float64       // the rate at the end over that at the beginning
	Ceiling     float64       // devices a second that the quotas allow; 0: no limit
	Calls       map[string]calls
	StepNames   []string               // in the order that devices take them
	Steps       map[string]percentiles // in ms
	Total       percentiles            // of a device's run, in ms
	Events      float64                // of a device's history
	Activities  float64                // of a device
	Longest     int                    // history of the onboarding, in events
	WorkerPeak  int64                  // bytes, of the worker that needed most
	ClientPeak  int64                  // bytes, of the starter or the loop
	StoreBytes  float64                // by which a device makes the store grow
	Single      time.Duration          // of a `starter provision` in the middle
	Report      time.Duration          // of `starter report`
	Findings    int                    // of `starter audit`; -1: not audited
}

// calls is what the local AWS counted of an API; those that it throttled are among all.
type calls struct {
	Calls        int `json:"calls"`
	Throttled    int `json:"throttled"`
	MaxPerSecond int `json:"maxPerSecond"`
}

// figures are those of a configuration: medians of its runs, but the worst of what must not happen.
type figures struct {
	configuration
	measured
}

func summarize(c configuration, runs []measured) figures {
	f := figures{c, runs[0]}
	of := func(get func(measured) float64) float64 { return medianOf(runs, get) }
	f.Took = time.Duration(of(func(m measured) float64 { return float64(m.Took) }))
	f.First = time.Duration(of(func(m measured) float64 { return float64(m.First) }))
	f.Rate = of(func(m measured) float64 { return m.Rate })
	f.Drift = of(func(m measured) float64 { return m.Drift })
	f.Total = medianPercentiles(runs, func(m measured) percentiles { return m.Total })
	f.Steps = map[string]percentiles{}
	for step := range runs[0].Steps {
		f.Steps[step] = medianPercentiles(runs, func(m measured) percentiles { return m.Steps[step] })
	}
	f.Events = of(func(m measured) float64 { return m.Events })
	f.Activities = of(func(m measured) float64 { return m.Activities })
	f.StoreBytes = of(func(m measured) float64 { return m.StoreBytes })
	f.Calls = maps.Clone(runs[0].Calls)
	for _, m := range runs[1:] {
		f.Provisioned = min(f.Provisioned, m.Provisioned)
		f.Failed = max(f.Failed, m.Failed)
		f.HalfDone = max(f.HalfDone, m.HalfDone)
		f.Longest = max(f.Longest, m.Longest)
		f.WorkerPeak = max(f.WorkerPeak, m.WorkerPeak)
		f.ClientPeak = max(f.ClientPeak, m.ClientPeak)
		f.Single = max(f.Single, m.Single)
		f.Report = max(f.Report, m.Report)
		f.Findings = max(f.Findings, m.Findings)
		for api, n := range m.Calls {
			worst := f.Calls[api]
			f.Calls[api] = calls{max(worst.Calls, n.Calls), max(worst.Throttled, n.Throttled), max(worst.MaxPerSecond, n.MaxPerSecond)}
		}
	}
	return f
}

func medianOf(runs []measured, get func(measured) float64) float64 {
	values := make([]float64, len(runs))
	for i, m := range runs {
		values[i] = get(m)
	}
	return median(values)
}

func medianPercentiles(runs []measured, get func(measured) percentiles) percentiles {
	return percentiles{
		P50: medianOf(runs, func(m measured) float64 { return get(m).P50 }),
		P95: medianOf(runs, func(m measured) float64 { return get(m).P95 }),
		P99: medianOf(runs, func(m measured) float64 { return get(m).P99 }),
	}
}

// median of the values; the mean of the middle two when their count is even.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// percentiles of a set of times.
type percentiles struct{ P50, P95, P99 float64 }

func percentilesOf(values []float64) percentiles {
	sorted := slices.Sorted(slices.Values(values))
	at := func(share float64) float64 { // the smallest that so many are not above
		if len(sorted) == 0 {
			return 0
		}
		return sorted[int(math.Ceil(share*float64(len(sorted))))-1]
	}
	return percentiles{at(0.50), at(0.95), at(0.99)}
}

// rate is how many of the devices that ended then were done per second, from the first to the last.
func rate(ended []time.Time) float64 {
	if len(ended) < 2 {
		return 0
	}
	sorted := slices.SortedFunc(slices.Values(ended), time.Time.Compare)
	if took := sorted[len(sorted)-1].Sub(sorted[0]).Seconds(); took > 0 {
		return float64(len(sorted)-1) / took
	}
	return 0
}

// drift is the rate of the last thousand devices, or the last quarter if that is less, over that of the
// first as many.
func drift(ended []time.Time) float64 {
	sorted := slices.SortedFunc(slices.Values(ended), time.Time.Compare)
	n := min(1000, len(sorted)/4)
	first := rate(sorted[:n])
	if first == 0 {
		return 0
	}
	return rate(sorted[len(sorted)-n:]) / first
}

// byCalls are the APIs, the most called first.
func byCalls(counted map[string]calls) []string {
	return slices.SortedFunc(maps.Keys(counted), func(a, b string) int {
		return cmp.Or(cmp.Compare(counted[b].Calls, counted[a].Calls), cmp.Compare(a, b))
	})
}
