// Package report holds what became of each device of an onboarding, and shows it as CSV, JSON and HTML.
// It knows neither AWS nor Temporal: others write the outcomes, one JSON object a line.
package report

import (
	"fmt"
	"slices"
	"time"
)

// State is what became of a line of a manifest.
type State string

const (
	// Provisioned: by this onboarding; the device has proven that it can fetch AWS credentials.
	Provisioned State = "provisioned"
	// AlreadyProvisioned: it was, before this onboarding came to it.
	AlreadyProvisioned State = "already-provisioned"
	// Held: the run waits for an operator.
	Held State = "held"
	// RolledBack: what the run created is gone.
	RolledBack State = "rolled-back"
	// RollbackIncomplete: something could not be undone.
	RollbackIncomplete State = "rollback-incomplete"
	// Failed: the run ended with an error and says nothing of a rollback.
	Failed State = "failed"
	// Canceled: somebody cancelled the run; it rolled back.
	Canceled State = "canceled"
	// Terminated: somebody ended the run at once; nothing was undone.
	Terminated State = "terminated"
	// TimedOut: Temporal ended the run at its timeout; nothing was undone.
	TimedOut State = "timed-out"
	// Unproven: all is in place, and an operator skipped the proof.
	Unproven State = "unproven"
	// Running: launched, and not at its end.
	Running State = "running"
	// NotStarted: not launched, for the onboarding has not come to it or never will.
	NotStarted State = "not-started"
)

// States are all there are, the good ones first.
var States = []State{Provisioned, AlreadyProvisioned, Held, RolledBack, RollbackIncomplete, Failed, Canceled, Terminated, TimedOut, Unproven, Running, NotStarted}

// failures are the states that a run ended in without a provisioned device.
var failures = []State{RolledBack, RollbackIncomplete, Failed, Canceled, Terminated, TimedOut, Unproven}

// Outcome is what became of one line of a manifest.
type Outcome struct {
	Line      int    `json:"line"` // in the manifest, counted from 1
	Device    string `json:"device"`
	Thing     string `json:"thing,omitempty"`
	State     State  `json:"state"`
	Step      string `json:"step,omitempty"`      // where the run is held or failed
	ErrorType string `json:"errorType,omitempty"` // of the error it is held by or ended with
	Error     string `json:"error,omitempty"`     // its message
	// RetrySafe tells whether provisioning the device again is safe as things stand.
	RetrySafe     bool      `json:"retrySafe"`
	CertificateID string    `json:"certificateId,omitempty"`
	WorkflowID    string    `json:"workflowId,omitempty"`
	RunID         string    `json:"runId,omitempty"`
	StartedAt     time.Time `json:"startedAt,omitzero"`
	// EndedAt is when the run ended or, of one that is held, when the hold began.
	EndedAt    time.Time  `json:"endedAt,omitzero"`
	DurationMS int64      `json:"durationMs,omitempty"`
	Steps      []StepTime `json:"steps,omitempty"` // in the order that they ran
}

// StepTime is how long a step took, its retries included, in milliseconds.
type StepTime struct {
	Step string `json:"step"`
	MS   int64  `json:"ms"`
}

// check says what makes an outcome one that no report can place.
func (o Outcome) check() error {
	switch {
	case o.Line < 1:
		return fmt.Errorf("line %d of the manifest cannot be: lines are counted from 1", o.Line)
	case o.Device == "":
		return fmt.Errorf("the device of line %d has no name", o.Line)
	case !slices.Contains(States, o.State):
		return fmt.Errorf("the state %q of device %s is none of %q", o.State, o.Device, States)
	}
	return nil
}

// took is how long the run took, or 0 where nothing tells.
func (o Outcome) took() time.Duration {
	if o.DurationMS > 0 {
		return time.Duration(o.DurationMS) * time.Millisecond
	}
	if o.StartedAt.IsZero() || o.EndedAt.Before(o.StartedAt) {
		return 0
	}
	return o.EndedAt.Sub(o.StartedAt)
}

// Onboarding is the heading of a report.
type Onboarding struct {
	Name     string `json:"name"`
	Fleet    string `json:"fleet"`
	Registry string `json:"registry"`
	Manifest string `json:"manifest"`      // where it came from
	State    string `json:"state"`         // running, paused, stopped, canceled or completed
	Why      string `json:"why,omitempty"` // it stopped
	Devices  int    `json:"devices"`       // lines of the manifest
	// StartedAt and EndedAt; the HTML shows all times in the time zone of StartedAt.
	StartedAt time.Time `json:"startedAt,omitzero"`
	EndedAt   time.Time `json:"endedAt,omitzero"`
	// CeilingPerSecond is how many devices per second the quotas allow; 0: no limit.
	CeilingPerSecond float64 `json:"ceilingPerSecond"`
}
