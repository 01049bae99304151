package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.uber.org/zap"

	"edgefleet/internal/quota"
	"edgefleet/workflows"
)

// shares keeps the worker's share of AWS's quotas while its calls need one.
type shares struct {
	client client.Client
	lanes  *quota.Lanes
	region string
	worker string
	log    *zap.Logger
}

func newShares(c client.Client, lanes *quota.Lanes, region string, log *zap.Logger) *shares {
	host, _ := os.Hostname() // only tells workers apart, with the time of their start
	return &shares{c, lanes, region, fmt.Sprintf("%d@%s/%d", os.Getpid(), host, time.Now().UnixNano()), log}
}

// keep takes and renews leases, as calls want them, until ctx is done.
func (s *shares) keep(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.lanes.Wanted():
		}
		for ctx.Err() == nil {
			busy := s.lanes.Short()
			share, err := s.lease(ctx, busy)
			pause := 250 * time.Millisecond // others give up their parts when they renew
			if err != nil && ctx.Err() == nil {
				s.log.Warn("no share of AWS's quotas could be had; calls that need one wait", zap.Error(err))
				pause = time.Second
			}
			if share.To > share.From {
				s.lanes.SetShare(share, busy)
				break
			}
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
	}
}

// lease asks for a share. It is good from before it was asked for: so not longer than it was given for.
func (s *shares) lease(ctx context.Context, busy bool) (quota.Share, error) {
	ctx, cancel := context.WithTimeout(ctx, workflows.LeaseTime)
	defer cancel()
	asked := time.Now()
	handle, err := s.client.UpdateWithStartWorkflow(ctx, client.UpdateWithStartWorkflowOptions{
		StartWorkflowOperation: s.client.NewWithStartWorkflowOperation(client.StartWorkflowOptions{
			ID:                       workflows.QuotaSharesID(s.region),
			TaskQueue:                workflows.ShareTaskQueue,
			WorkflowIDConflictPolicy: enums.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
			StaticSummary:            "Shares AWS's quotas in " + s.region + " among the workers",
		}, "QuotaShares", []workflows.Member(nil)),
		UpdateOptions: client.UpdateWorkflowOptions{
			UpdateName:   workflows.LeaseUpdate,
			Args:         []any{workflows.LeaseRequest{Worker: s.worker, Busy: busy}},
			WaitForStage: client.WorkflowUpdateStageCompleted,
		},
	})
	var lease workflows.Lease
	if err == nil {
		err = handle.Get(ctx, &lease)
	}
	return quota.Share{From: lease.From, To: lease.To, Until: asked.Add(workflows.LeaseTime)}, err
}
