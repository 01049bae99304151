package onboarding

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"edgefleet/activities"
	"edgefleet/internal/fleet"
	"edgefleet/workflows"
)

// Expander has the activities of a schedule's runs.
type Expander struct {
	Temporal   client.Client
	S3         *s3.Client
	Activities *activities.Activities
}

// errorsSuffix ends the key of the report of an invalid manifest's errors, which lies beside it.
const errorsSuffix = ".errors.json"

// mostFound is how many manifests a run takes; the others are the next run's.
const mostFound = 500

// FindManifests finds the manifests that no run has taken yet.
func (x *Expander) FindManifests(ctx context.Context, in workflows.FindInput) (workflows.FoundManifests, error) {
	at, err := fleet.ParseManifests(in.Manifests)
	if err != nil {
		return workflows.FoundManifests{}, temporal.NewNonRetryableApplicationError(err.Error(), activities.InvalidInput, err)
	}
	all, err := ListManifests(ctx, x.S3, at)
	if err != nil {
		return workflows.FoundManifests{}, err
	}
	found := workflows.FoundManifests{Ledger: in.Ledger, New: []workflows.ManifestVersion{}}
	for _, m := range all {
		if !in.Ledger.Has(m) {
			found.New = append(found.New, m)
		}
	}
	found.Ledger.Prune(all)
	slices.SortStableFunc(found.New, func(a, b workflows.ManifestVersion) int {
		return cmp.Or(a.Modified.Compare(b.Modified), cmp.Compare(a.Key, b.Key))
	})
	if n := len(found.New); n > mostFound {
		found.New, found.More = found.New[:mostFound], n-mostFound
	}
	return found, nil
}

// ListManifests lists the objects that are taken for manifests: not the reports of errors among them, and
// not what stands for a folder.
func ListManifests(ctx context.Context, client *s3.Client, at fleet.Manifests) ([]workflows.ManifestVersion, error) {
	var all []workflows.ManifestVersion
	reported := map[string]bool{}
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: &at.Bucket, Prefix: &at.Prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, activities.AWSError("listing the manifests in "+at.String(), err)
		}
		if activity.IsActivity(ctx) {
			activity.RecordHeartbeat(ctx)
		}
		for _, o := range page.Contents {
			key := aws.ToString(o.Key)
			if of, is := strings.CutSuffix(key, errorsSuffix); is {
				reported[of] = true
			} else if !strings.HasSuffix(key, "/") && (!at.One() || key == at.Prefix) {
				all = append(all, workflows.ManifestVersion{Key: key, ETag: aws.ToString(o.ETag), Modified: aws.ToTime(o.LastModified).UTC()})
			}
		}
	}
	for i, m := range all {
		all[i].Reported = reported[m.Key]
	}
	return all, nil
}

// PauseSchedule pauses a schedule with a note. One that is gone needs no pause.
func (x *Expander) PauseSchedule(ctx context.Context, in workflows.PauseInput) error {
	err := x.Temporal.ScheduleClient().GetHandle(ctx, in.Schedule).Pause(ctx, client.SchedulePauseOptions{Note: in.Note})
	var missing *serviceerror.NotFound
	if errors.As(err, &missing) {
		return nil
	}
	return err
}

const (
	resumePatience = 20 * time.Second // for a run to go on once it was told
	resumeInterval = 200 * time.Millisecond
)

// ResumeHeld has the runs go on that an onboarding left held: whoever unpaused its schedule has mended
// the cause. It returns when they are no longer held, or again.
func (x *Expander) ResumeHeld(ctx context.Context, in workflows.ResumeInput) error {
	since := map[string]time.Time{} // of the holds, by workflow id
	err := eachHeld(ctx, x.Temporal, in.Fleet, func(info *workflow.WorkflowExecutionInfo) error {
		var by string
		payload := info.GetMemo().GetFields()[startedMemo]
		if payload == nil || converter.GetDefaultDataConverter().FromPayload(payload, &by) != nil || by != in.Onboarding.String() {
			return nil
		}
		id := info.GetExecution().GetWorkflowId()
		since[id] = heldOutcome(Line{}, info).EndedAt
		err := x.Temporal.SignalWorkflow(ctx, id, info.GetExecution().GetRunId(), string(workflows.Resume), map[string]string{"reason": in.Reason})
		if missing := (*serviceerror.NotFound)(nil); errors.As(err, &missing) {
			return nil // it has ended
		}
		return err
	})
	for deadline := time.Now().Add(resumePatience); err == nil && len(since) > 0 && time.Now().Before(deadline); {
		activity.RecordHeartbeat(ctx)
		held := 0
		err = eachHeld(ctx, x.Temporal, in.Fleet, func(info *workflow.WorkflowExecutionInfo) error {
			if was, told := since[info.GetExecution().GetWorkflowId()]; told && was.Equal(heldOutcome(Line{}, info).EndedAt) {
				held++
			}
			return nil
		})
		if held == 0 {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(resumeInterval):
		}
	}
	if err != nil {
		return fmt.Errorf("resuming what %s left held: %w", in.Onboarding, err)
	}
	return nil
}

// eachHeld calls f for each run of the fleet that is held.
func eachHeld(ctx context.Context, c client.Client, fleetName string, f func(*workflow.WorkflowExecutionInfo) error) error {
	request := &workflowservice.ListWorkflowExecutionsRequest{
		Query: fmt.Sprintf("%s = '%s' AND %s = '%s' AND ExecutionStatus = 'Running'",
			workflows.EdgeFleet.GetName(), fleetName, workflows.ProvisionState.GetName(), workflows.Held),
		PageSize: 1000,
	}
	for {
		page, err := c.ListWorkflow(ctx, request)
		if err != nil {
			return fmt.Errorf("listing the runs that are held: %w", err)
		}
		for _, info := range page.GetExecutions() {
			if err := f(info); err != nil {
				return err
			}
		}
		if request.NextPageToken = page.GetNextPageToken(); len(request.NextPageToken) == 0 {
			return nil
		}
	}
}
