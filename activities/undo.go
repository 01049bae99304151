package activities

import (
	"context"
	"errors"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
)

// Removal says what became of a resource that was to go.
type Removal string

const (
	Removed Removal = "removed"
	// Gone already: by an earlier attempt, or by hand.
	Gone Removal = "gone"
	// Kept, because no run of ours created it.
	Kept Removal = "kept"
)

// settleTime is how long a detach may take to be noticed by deletes: seconds, as AWS documents it.
const settleTime = time.Minute

// Undo is what every removal is told.
type Undo struct {
	// Stuck says that something that holds this resource is there to stay, so that waiting until
	// it is let go is of no use.
	Stuck bool `json:"stuck,omitempty"`
}

// refusal is what an attempt leaves in its heartbeat: since when a delete has been refused although
// there was nothing left to detach. The time of the first attempt does not tell: AWS may have been
// down since.
type refusal struct {
	Since time.Time `json:"since"`
}

// settling is the error for a delete that AWS refuses because something is still attached: to be
// retried while a detach may still take effect, StateConflict after that. detached says that this
// attempt itself had something to detach.
func (u Undo) settling(ctx context.Context, doing string, err error, detached bool) error {
	now := time.Now()
	refused := refusal{now}
	if !detached && activity.HasHeartbeatDetails(ctx) {
		if noted := (refusal{}); activity.GetHeartbeatDetails(ctx, &noted) == nil && !noted.Since.IsZero() {
			refused = noted
		}
	}
	activity.RecordHeartbeat(ctx, refused)
	kind := NotYetEffective
	if !detached && (u.Stuck || now.Sub(refused.Since) > settleTime) {
		kind = StateConflict
	}
	_, text, details := classify(err)
	details.Doing = doing
	return newError(kind, text, details)
}

// settled tries a delete again within the attempt, for the seconds that a detach takes to be noticed.
func settled(ctx context.Context, try func() error) error {
	for pause := 100 * time.Millisecond; ; pause *= 2 {
		err := try()
		if !IsType(err, NotYetEffective) || pause > 2*time.Second {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

// IsType tells whether err is an application error of that type.
func IsType(err error, kind string) bool {
	var e *temporal.ApplicationError
	return errors.As(err, &e) && e.Type() == kind
}
