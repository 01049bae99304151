package localaws

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The kinds of fault.
const (
	faultError      = "error"       // answers with a code, without doing the work
	faultThrottle   = "throttle"    // answers as if the quota were exceeded
	faultDelay      = "delay"       // waits, then does the work
	faultDropBefore = "drop-before" // cuts the connection, without doing the work
	faultDropAfter  = "drop-after"  // does the work, then cuts the connection without an answer
	faultHang       = "hang"        // never answers
)

var faultKinds = []string{faultError, faultThrottle, faultDelay, faultDropBefore, faultDropAfter, faultHang}

// fault is a failure to come, as POST /_localaws/faults takes it.
type fault struct {
	ID          int      `json:"id"`
	Operation   string   `json:"operation"`             // "iot:CreateThing", "iot:*" or "*"
	Kind        string   `json:"kind"`                  // one of faultKinds
	Code        string   `json:"code,omitempty"`        // of kind error
	Status      int      `json:"status,omitempty"`      // of kind error
	Message     string   `json:"message,omitempty"`     // of kind error
	DelayMs     int      `json:"delayMs,omitempty"`     // of kind delay, in milliseconds
	Match       string   `json:"match,omitempty"`       // substring of a resource name in the request
	Times       *int     `json:"times,omitempty"`       // how often it strikes yet; 1 if absent, -1 for ever
	Probability *float64 `json:"probability,omitempty"` // of striking a call that fits; 1 if absent

	removed <-chan struct{} // closed by DELETE /_localaws/faults
}

func (f *fault) validate() error {
	if !slices.Contains(faultKinds, f.Kind) {
		return fmt.Errorf("kind %q: want one of %s", f.Kind, strings.Join(faultKinds, ", "))
	}
	if !slices.ContainsFunc(allOperations(), func(name string) bool { return covers(f.Operation, name) }) {
		return fmt.Errorf("operation %q: no such operation", f.Operation)
	}
	switch {
	case f.ID != 0:
		return errors.New("id: given by the local AWS")
	case f.Times != nil && (*f.Times == 0 || *f.Times < -1):
		return fmt.Errorf("times %d: want a positive number, or -1 for ever", *f.Times)
	case f.Probability != nil && (*f.Probability <= 0 || *f.Probability > 1):
		return fmt.Errorf("probability %v: want more than 0 and at most 1", *f.Probability)
	case f.DelayMs < 0, f.Kind == faultDelay && f.DelayMs == 0:
		return fmt.Errorf("delayMs %d: want a positive number", f.DelayMs)
	case f.Status != 0 && (f.Status < 400 || f.Status > 599):
		return fmt.Errorf("status %d: want an HTTP error status, 400 to 599", f.Status)
	}
	return nil
}

// answer is the error that a fault of kind error gives, in words of the protocol where the fault has none.
func (f *fault) answer(p *protocol) *apiError {
	e := *p.broken
	if f.Code != "" {
		e = apiError{code: f.Code, status: statusOf(f.Code), message: "Injected fault: " + f.Code}
	}
	if f.Status != 0 {
		e.status = f.Status
	}
	if f.Message != "" {
		e.message = f.Message
	}
	return &e
}

// wait returns when the client gives up, the fault is removed, the server closes or the timer fires.
func (f *fault) wait(r *http.Request, closing <-chan struct{}, timer <-chan time.Time) {
	select {
	case <-r.Context().Done():
	case <-f.removed:
	case <-closing:
	case <-timer:
	}
}

// faultList holds the faults to come. The first one that fits a call has it.
type faultList struct {
	mu      sync.Mutex
	faults  []*fault
	lastID  int
	removed chan struct{} // closed with the removal of all faults, also of the used up ones that still hang
	armed   atomic.Int32  // len(faults), so that calls without any faults around take no lock
}

func (l *faultList) add(f *fault) (fault, error) {
	if err := f.validate(); err != nil {
		return fault{}, err
	}
	if f.Times == nil {
		f.Times = new(1)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.removed == nil {
		l.removed = make(chan struct{})
	}
	f.removed = l.removed
	l.lastID++
	f.ID = l.lastID
	l.faults = append(l.faults, f)
	l.armed.Store(int32(len(l.faults)))
	return f.copy(), nil
}

// strike returns the fault that hits a call, if any, and uses it up by one.
func (l *faultList) strike(operation string, names func() string) *fault {
	if l.armed.Load() == 0 {
		return nil
	}
	l.mu.Lock()
	fitting := slices.ContainsFunc(l.faults, func(f *fault) bool { return f.Match != "" && covers(f.Operation, operation) })
	l.mu.Unlock()
	var haystack string
	if fitting {
		haystack = names() // outside the lock: it may look into the state of a region
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	for i, f := range l.faults {
		if !covers(f.Operation, operation) || !strings.Contains(haystack, f.Match) {
			continue
		}
		if f.Probability != nil && rand.Float64() >= *f.Probability {
			continue
		}
		if *f.Times > 0 {
			if *f.Times--; *f.Times == 0 {
				l.faults = slices.Delete(l.faults, i, i+1)
				l.armed.Store(int32(len(l.faults)))
			}
		}
		hit := f.copy()
		return &hit
	}
	return nil
}

func (l *faultList) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.removed != nil {
		close(l.removed)
		l.removed = nil
	}
	l.faults = nil
	l.armed.Store(0)
}

func (l *faultList) snapshot() []fault {
	l.mu.Lock()
	defer l.mu.Unlock()
	faults := make([]fault, 0, len(l.faults))
	for _, f := range l.faults {
		faults = append(faults, f.copy())
	}
	return faults
}

// copy is safe to read after the list's lock is released.
func (f *fault) copy() fault {
	c := *f
	c.Times = new(*f.Times)
	return c
}
