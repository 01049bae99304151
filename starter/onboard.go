package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"edgefleet/activities"
	"edgefleet/internal/fleet"
	"edgefleet/internal/onboarding"
	"edgefleet/workflows"
)

// onboardFlags are what `starter onboard` is told beside the manifest.
type onboardFlags struct {
	file, name string
	onFailure  string
	inFlight   int
	stop       workflows.StopRule
	noWait     bool
}

func (a *app) onboardCommand() *cobra.Command {
	f := onboardFlags{stop: workflows.DefaultStopRule}
	cmd := &cobra.Command{
		Use:   "onboard -f FILE MANIFEST",
		Short: "Provision every device of a manifest that is not yet, at the pace of AWS's quotas",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.onboard(cmd.Context(), args[0], f)
		},
	}
	specFlag(cmd, &f.file)
	flags := cmd.Flags()
	flags.StringVar(&f.name, "name", "", "of the onboarding (default: the manifest's name and the time)")
	onFailureFlag(cmd, &f.onFailure)
	flags.IntVar(&f.inFlight, "in-flight", 0, "how many devices may be under way at a time (default: what the quotas ask for)")
	flags.IntVar(&f.stop.InARow, "stop-in-a-row", f.stop.InARow, "stop launching when so many devices in a row end with the same permanent error; 0: never")
	flags.IntVar(&f.stop.Percent, "stop-percent", f.stop.Percent, "stop launching when so many of the last 100 devices ended with the same permanent error; 0: never")
	flags.BoolVar(&f.noWait, "no-wait", false, "start the onboarding and return")
	return cmd
}

// check tells what is wrong with the flags.
func (f onboardFlags) check() error {
	bad := checkOnFailure(f.onFailure)
	if f.name != "" {
		if err := fleet.OnboardingName.Check(f.name); err != nil {
			bad = append(bad, fleet.Problem{Source: "--name", Reason: err.Error()})
		}
	}
	if f.inFlight < 0 || f.inFlight > maxInFlight {
		bad = append(bad, fleet.Problem{Source: "--in-flight", Reason: fmt.Sprintf("%d: from 1 to %d devices, or 0 for what the quotas ask for", f.inFlight, maxInFlight)})
	}
	if f.stop.InARow < 0 || f.stop.InARow > 100 {
		bad = append(bad, fleet.Problem{Source: "--stop-in-a-row", Reason: fmt.Sprintf("%d: from 1 to 100 devices, or 0 for never", f.stop.InARow)})
	}
	if f.stop.Percent < 0 || f.stop.Percent > 100 {
		bad = append(bad, fleet.Problem{Source: "--stop-percent", Reason: fmt.Sprintf("%d: from 1 to 100, or 0 for never", f.stop.Percent)})
	}
	if len(bad) > 0 {
		return bad
	}
	return nil
}

// maxInFlight keeps an onboarding's heartbeat, which names what is in flight, small, and stays below the 1,200
// requests that a Temporal server lets a namespace have waiting (frontend.namespaceCount): each run that is
// watched is one.
const maxInFlight = 1000

func (a *app) onboard(ctx context.Context, manifest string, f onboardFlags) error {
	spec, err := fleet.ReadSpec(f.file)
	if err := allProblems(err, f.check()); err != nil {
		return err
	}
	cfg, err := awsConfig(ctx)
	if err != nil {
		return err
	}
	s3 := activities.NewS3(cfg)
	source := onboarding.NewSource(manifest, s3)
	checked, err := source.Check(ctx, spec)
	if err != nil {
		return nothingStarted(err)
	}
	now := time.Now()
	name := f.name
	if name == "" {
		name = nameOf(manifest, now)
	}
	t, err := a.connectToWorkers(ctx)
	if err != nil {
		return err
	}
	defer t.Close()
	if err := t.requireSearchAttributes(ctx); err != nil {
		return err
	}
	id := workflows.OnboardingWorkflowID(spec.Name, name)
	if run, err := t.runningOnboarding(ctx, id, checked.SHA256); err != nil {
		return err
	} else if run != nil {
		return a.watchOnboarding(ctx, t, run, true, f.noWait)
	}
	at := workflows.OnboardingFiles(spec, name, now)
	pages, err := source.Copy(ctx, spec, checked, onboarding.NewFiles(s3, at, spec.KMSKeyID))
	if err != nil {
		return nothingStarted(err)
	}
	in := workflows.OnboardInput{
		Fleet: spec, Name: name, Manifest: manifest, SHA256: checked.SHA256, Files: at,
		Pages: pages, Devices: checked.Devices, InFlight: f.inFlight, Stop: f.stop, OnFailure: workflows.OnFailure(f.onFailure),
	}
	run, joined, err := t.start(ctx, client.StartWorkflowOptions{
		ID:                    id,
		TypedSearchAttributes: workflows.SearchAttributes(spec.Name),
		StaticSummary:         workflows.OnboardingSummary(in),
		StaticDetails:         workflows.OnboardingDetails(in),
		Memo:                  map[string]any{workflows.OnboardMemo: workflows.InitialStatus(in)},
	}, "OnboardFleet", in)
	if err != nil {
		return err
	}
	return a.watchOnboarding(ctx, t, run, joined, f.noWait)
}

// nothingStarted says so where AWS refused, or the manifest changed, before the onboarding was started.
func nothingStarted(err error) error {
	if errors.As(err, &fleet.InvalidInput{}) {
		return err // is told with that
	}
	return fmt.Errorf("%w. Nothing was started", ownCall(err))
}

var notInNames = regexp.MustCompile(`[^a-zA-Z0-9]+`)

// nameOf names an onboarding after its manifest and the time.
func nameOf(manifest string, now time.Time) string {
	base := filepath.Base(manifest)
	base, _, _ = strings.Cut(base, ".")
	base = strings.Trim(notInNames.ReplaceAllString(base, "-"), "-")
	if base = base[:min(len(base), 40)]; base == "" {
		base = "manifest"
	}
	return base + now.Format("-20060102-150405")
}

// runningOnboarding is the onboarding of that id that runs already, nil when none does. With another
// manifest it is in the way.
func (t *temporal) runningOnboarding(ctx context.Context, id, sha256 string) (client.WorkflowRun, error) {
	described, err := t.DescribeWorkflowExecution(ctx, id, "")
	var missing *serviceerror.NotFound
	if errors.As(err, &missing) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("describing %s: %w", id, err)
	}
	info := described.GetWorkflowExecutionInfo()
	if info.GetStatus() != enums.WORKFLOW_EXECUTION_STATUS_RUNNING {
		return nil, nil
	}
	if status := statusOf(info); status.SHA256 != sha256 {
		return nil, fmt.Errorf("%s is running with another manifest, %s. Nothing was started: choose another --name, or wait (`starter status onboarding %s`)", id, status.Manifest, status.Name)
	}
	return t.GetWorkflow(ctx, id, ""), nil
}
