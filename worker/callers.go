package main

import (
	"cmp"
	"context"
	"strings"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/interceptor"

	"edgefleet/internal/quota"
	"edgefleet/workflows"
)

// callers tells the lanes on whose behalf an activity calls AWS: with which of Temporal's priorities,
// and for which fleet, so that fleets share the quotas evenly.
type callers struct {
	interceptor.WorkerInterceptorBase
}

func (*callers) InterceptActivity(_ context.Context, next interceptor.ActivityInboundInterceptor) interceptor.ActivityInboundInterceptor {
	return &callersInbound{interceptor.ActivityInboundInterceptorBase{Next: next}}
}

type callersInbound struct {
	interceptor.ActivityInboundInterceptorBase
}

func (c *callersInbound) ExecuteActivity(ctx context.Context, in *interceptor.ExecuteActivityInput) (any, error) {
	return c.Next.ExecuteActivity(quota.WithCaller(ctx, callerOf(activity.GetInfo(ctx))), in)
}

func callerOf(info activity.Info) quota.Caller {
	caller := quota.Caller{Priority: cmp.Or(info.Priority.PriorityKey, workflows.DefaultPriority)}
	if info.IsLocalActivity { // it carries no priority; only runs of an onboarding have local activities
		caller.Priority = workflows.OnboardingPriority
	}
	if parts := strings.Split(info.WorkflowExecution.ID, "/"); len(parts) > 1 {
		caller.Key = parts[1] // KIND/FLEET/…
	}
	return caller
}
