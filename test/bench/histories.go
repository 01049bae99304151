package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
)

// sampledHistories is of how many devices the activities are counted.
const sampledHistories = 20

// visibilityPatience is how long a run that is over may take to be listed.
const visibilityPatience = time.Minute

// histories looks at what the onboarding left in Temporal.
func (s *stack) histories(ctx context.Context, c configuration, m *measured) error {
	temporal, err := client.DialContext(ctx, client.Options{
		HostPort: s.TemporalAddress(),
		Logger:   log.NewStructuredLogger(slog.New(slog.DiscardHandler)),
	})
	if err != nil {
		return err
	}
	defer temporal.Close()
	ofDevices := "ExecutionStatus = 'Completed' AND WorkflowId STARTS_WITH 'device/" + benchFleet + "/cam-'"
	var devices []*workflow.WorkflowExecutionInfo
	for deadline := time.Now().Add(visibilityPatience); len(devices) < c.Devices; {
		if devices, err = executions(ctx, temporal, ofDevices); err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("there are %d completed runs of %d devices in Temporal's list", len(devices), c.Devices)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
	var events int64
	for _, run := range devices {
		events += run.GetHistoryLength()
	}
	m.Events = float64(events) / float64(len(devices))
	sample := devices[:min(sampledHistories, len(devices))]
	activities := 0
	for _, run := range sample {
		n, err := countActivities(ctx, temporal, run)
		if err != nil {
			return err
		}
		activities += n
	}
	m.Activities = float64(activities) / float64(len(sample))
	runs, err := executions(ctx, temporal, "WorkflowId STARTS_WITH 'onboarding/"+benchFleet+"/'")
	if err != nil {
		return err
	}
	if len(runs) == 0 {
		return errors.New("there is no run of an onboarding in Temporal's list")
	}
	for _, run := range runs {
		m.Longest = max(m.Longest, int(run.GetHistoryLength()))
	}
	return nil
}

// executions lists the runs that match the query.
func executions(ctx context.Context, temporal client.Client, query string) ([]*workflow.WorkflowExecutionInfo, error) {
	var all []*workflow.WorkflowExecutionInfo
	request := &workflowservice.ListWorkflowExecutionsRequest{Query: query, PageSize: 1000}
	for {
		page, err := temporal.ListWorkflow(ctx, request)
		if err != nil {
			return nil, fmt.Errorf("listing runs: %w", err)
		}
		all = append(all, page.GetExecutions()...)
		if request.NextPageToken = page.GetNextPageToken(); len(request.NextPageToken) == 0 {
			return all, nil
		}
	}
}

// countActivities counts the activities of a run, local ones too.
func countActivities(ctx context.Context, temporal client.Client, run *workflow.WorkflowExecutionInfo) (int, error) {
	events := temporal.GetWorkflowHistory(ctx, run.GetExecution().GetWorkflowId(), run.GetExecution().GetRunId(), false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	n := 0
	for events.HasNext() {
		event, err := events.Next()
		if err != nil {
			return 0, fmt.Errorf("reading the history of %s: %w", run.GetExecution().GetWorkflowId(), err)
		}
		local := event.GetMarkerRecordedEventAttributes().GetMarkerName() == "LocalActivity"
		if event.GetEventType() == enums.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED || local {
			n++
		}
	}
	return n, nil
}
