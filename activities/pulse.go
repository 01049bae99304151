package activities

import (
	"context"
	"sync"
	"time"

	"go.temporal.io/sdk/activity"
)

// pulseInterval is well below the heartbeat timeout that goes with it (workflows/options.go).
const pulseInterval = 2 * time.Second

// pulse heartbeats while an attempt of several calls runs, so that a killed worker is noticed soon,
// and carries what the attempt noted for the next one.
type pulse struct {
	ctx  context.Context
	done chan struct{}

	mu   sync.Mutex
	note AttemptNote
}

// startPulse begins with the earlier attempt's note, which must not be lost if this one is killed
// too: the one in its heartbeat, or else the given one.
func startPulse(ctx context.Context, note AttemptNote) (*pulse, error) {
	p := &pulse{ctx: ctx, done: make(chan struct{}), note: note}
	if activity.HasHeartbeatDetails(ctx) {
		if err := activity.GetHeartbeatDetails(ctx, &p.note); err != nil {
			return nil, err
		}
	}
	go func() {
		ticker := time.NewTicker(pulseInterval)
		defer ticker.Stop()
		for {
			select {
			case <-p.done:
				return
			case <-ticker.C:
				p.mu.Lock()
				activity.RecordHeartbeat(ctx, p.note)
				p.mu.Unlock()
			}
		}
	}()
	return p, nil
}

// write notes something for the next attempt, at once.
func (p *pulse) write(note AttemptNote) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.note = note
	activity.RecordHeartbeat(p.ctx, note)
}

func (p *pulse) stop() { close(p.done) }
