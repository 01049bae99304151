package main

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/worker"

	"edgefleet/internal/quota"
)

// reservation is a poll that asks for a slot.
type reservation struct {
	worker.SlotReservationInfo
	kind enums.TaskQueueKind
}

func (r reservation) TaskQueueKind() enums.TaskQueueKind { return r.kind }

// A worker whose calls wait for AWS takes no new runs, but goes on with those that it has.
func TestCrowdedLanesKeepNewRunsAway(t *testing.T) {
	rates, err := quota.LoadRates(t.Context(), `{"iot:CreateThing": 1}`)
	require.NoError(t, err)
	lanes := quota.NewLanes(rates, quota.Whole)
	slots, err := worker.NewFixedSizeSlotSupplier(10)
	require.NoError(t, err)
	p := &patientSlots{SlotSupplier: slots, crowded: lanes.Crowded, last: time.Now().Add(time.Hour)}
	done, err := lanes.Turn(t.Context(), "iot:CreateThing")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	for range 2 { // more than a second's worth
		go lanes.Turn(ctx, "iot:CreateThing") //nolint:errcheck // it ends with the test
	}
	require.Eventually(t, lanes.Crowded, time.Minute, time.Millisecond)

	_, err = p.ReserveSlot(t.Context(), reservation{kind: enums.TASK_QUEUE_KIND_STICKY})
	require.NoError(t, err)
	brief, cancel := context.WithTimeout(t.Context(), 5*crowdInterval)
	defer cancel()
	_, err = p.ReserveSlot(brief, reservation{kind: enums.TASK_QUEUE_KIND_NORMAL})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	p.last = time.Time{}
	_, err = p.ReserveSlot(t.Context(), reservation{kind: enums.TASK_QUEUE_KIND_NORMAL})
	require.NoError(t, err, "one goes now and then, however long the crowd lasts")
	require.False(t, p.pass(p.last.Add(passInterval-1)))

	done()
	stop() // those that wait go away
	_, err = p.ReserveSlot(t.Context(), reservation{kind: enums.TASK_QUEUE_KIND_NORMAL})
	require.NoError(t, err)
}
