package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/worker"

	"edgefleet/internal/quota"
)

// How much the worker takes on at a time. What it does not take waits on Temporal's task queue, where
// another worker can have it and urgent runs come first.
const (
	workflowSlots      = 64
	activitySlots      = 1000
	localActivitySlots = 1000
)

// pollers is how many polls wait for tasks, of each kind: an onboarding has a hundred tasks a second, and
// the SDK's two would each have to bring fifty.
var pollers = worker.NewPollerBehaviorAutoscaling(worker.PollerBehaviorAutoscalingOptions{MinimumNumberOfPollers: 2, InitialNumberOfPollers: 8, MaximumNumberOfPollers: 16})

// newTuner makes a worker take no new runs while those that it has wait for AWS's quotas: of two
// workers, each with its share, one would otherwise come to have more than it may do, and the other less.
func newTuner(lanes *quota.Lanes) (worker.WorkerTuner, error) {
	fixed := func(slots int) (worker.SlotSupplier, error) { return worker.NewFixedSizeSlotSupplier(slots) }
	workflows, err := fixed(workflowSlots)
	if err != nil {
		return nil, fmt.Errorf("sizing the worker: %w", err)
	}
	options := worker.CompositeTunerOptions{WorkflowSlotSupplier: &patientSlots{SlotSupplier: workflows, crowded: lanes.Crowded}}
	for supplier, slots := range map[*worker.SlotSupplier]int{
		&options.ActivitySlotSupplier: activitySlots, &options.LocalActivitySlotSupplier: localActivitySlots,
		&options.NexusSlotSupplier: 1, &options.SessionActivitySlotSupplier: 1,
	} {
		if *supplier, err = fixed(slots); err != nil {
			return nil, fmt.Errorf("sizing the worker: %w", err)
		}
	}
	return worker.NewCompositeTuner(options)
}

// patientSlots are slots for workflow tasks that wait while the lanes are crowded, save those for runs
// that the worker has already.
type patientSlots struct {
	worker.SlotSupplier
	crowded func() bool

	mu   sync.Mutex
	last time.Time // when one went in spite of the crowd
}

const (
	crowdInterval = 20 * time.Millisecond // of looks at lanes that are crowded
	// passInterval is how often one goes all the same: the most urgent, since that comes first on Temporal's queue.
	// A crowd may last as long as it takes to resume thousands of held runs.
	passInterval = time.Second / 2
)

// pass lets one go now and then.
func (p *patientSlots) pass(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.last) < passInterval {
		return false
	}
	p.last = now
	return true
}

// ReserveSlot waits for a slot before a poll.
func (p *patientSlots) ReserveSlot(ctx context.Context, info worker.SlotReservationInfo) (*worker.SlotPermit, error) {
	for info.TaskQueueKind() != enums.TASK_QUEUE_KIND_STICKY && p.crowded() && !p.pass(time.Now()) {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(crowdInterval):
		}
	}
	return p.SlotSupplier.ReserveSlot(ctx, info)
}
