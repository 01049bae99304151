package localaws

import (
	"sync"
	"time"
)

// callCounter counts calls per operation.
type callCounter struct {
	mu     sync.Mutex
	counts map[string]*callCount
}

// callCount is what GET /_localaws/calls tells of an operation.
type callCount struct {
	Calls        int `json:"calls"`        // all, also those throttled or hit by a fault
	Throttled    int `json:"throttled"`    // by a quota or a fault
	MaxPerSecond int `json:"maxPerSecond"` // most calls within any one second

	last window
}

func (c *callCounter) note(operation string, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	count := c.count(operation)
	count.Calls++
	count.MaxPerSecond = max(count.MaxPerSecond, count.last.add(now, time.Second))
}

func (c *callCounter) noteThrottled(operation string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count(operation).Throttled++
}

func (c *callCounter) count(operation string) *callCount {
	count, ok := c.counts[operation]
	if !ok {
		count = &callCount{}
		c.counts[operation] = count
	}
	return count
}

func (c *callCounter) snapshot() map[string]callCount {
	c.mu.Lock()
	defer c.mu.Unlock()
	counts := make(map[string]callCount, len(c.counts))
	for operation, count := range c.counts {
		counts[operation] = callCount{Calls: count.Calls, Throttled: count.Throttled, MaxPerSecond: count.MaxPerSecond}
	}
	return counts
}

func (c *callCounter) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.counts)
}

// window holds the times of the calls of the last while, oldest first.
type window struct {
	times []time.Time
	start int
}

// add notes a call and returns how many fell within the period that ends with it.
func (w *window) add(now time.Time, period time.Duration) int {
	w.forget(now, period)
	if w.start > 32 && w.start > len(w.times)/2 {
		w.times = w.times[:copy(w.times, w.times[w.start:])]
		w.start = 0
	}
	w.times = append(w.times, now)
	return len(w.times) - w.start
}

// forget drops the calls before the period that ends now and returns how many are left.
func (w *window) forget(now time.Time, period time.Duration) int {
	for w.start < len(w.times) && now.Sub(w.times[w.start]) >= period {
		w.start++
	}
	return len(w.times) - w.start
}
