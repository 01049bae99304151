package workflows

import (
	"errors"
	"strings"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"edgefleet/activities"
	"edgefleet/internal/fleet"
)

// ExpandInput is what a schedule starts ExpandFleet with.
type ExpandInput struct {
	Fleet      fleet.Spec `json:"fleet"`
	Schedule   string     `json:"schedule"`   // its name
	Manifests  string     `json:"manifests"`  // s3://BUCKET/PREFIX/, or the URI of one manifest that grows
	MaxDevices int        `json:"maxDevices"` // that one run adds at the most
	Canary     Canary     `json:"canary,omitzero"`
	Stop       StopRule   `json:"stop"`
}

// Canary is how many devices of a run, the first, must be provisioned before the others start: a number, or
// a percentage of the run's devices. Both 0: none.
type Canary struct {
	Devices int `json:"devices,omitempty"`
	Percent int `json:"percent,omitempty"`
}

// Of is how many canaries a run of so many devices has.
func (c Canary) Of(devices int) int { return min(devices, max(c.Devices, (devices*c.Percent+99)/100)) }

// ExpandStatus is what a run of a schedule did. It is in the run's memo and its result.
type ExpandStatus struct {
	State      State       `json:"state"`
	Why        string      `json:"why,omitempty"`
	Fleet      string      `json:"fleet"`
	Schedule   string      `json:"schedule"`
	Onboarding string      `json:"onboarding,omitempty"` // its name; none where there was nothing to add
	Files      fleet.S3URI `json:"files,omitzero"`       // of the onboarding, its report included
	Canaries   int         `json:"canaries,omitempty"`

	Added    int `json:"added"`    // provisioned by this run
	Skipped  int `json:"skipped"`  // provisioned before, or named by another manifest of the run as well
	Held     int `json:"held"`     // waiting for an operator
	Failed   int `json:"failed"`   // rolled back, or ended otherwise
	Left     int `json:"left"`     // for the next run: more than MaxDevices, or not launched when the line stopped
	Taken    int `json:"taken"`    // manifests that need not be looked at again
	SetAside int `json:"setAside"` // manifests that are invalid
	Waiting  int `json:"waiting"`  // manifests for the next run

	Manifests []TakenManifest `json:"manifests,omitempty"` // the first of them, each with what was found in it
	Hook      string          `json:"hook,omitempty"`      // why the hook could not be told
}

// shownManifests is how many manifests a status tells of one by one.
const shownManifests = 50

// ExpandMemo is the memo's field that holds an ExpandStatus.
const ExpandMemo = "expansion"

// ExpandResult is what a run hands to the next one, too: by its result, or by the details of its failure.
type ExpandResult struct {
	ExpandStatus
	Ledger Ledger `json:"ledger"`
}

// FindInput is what the activity FindManifests needs.
type FindInput struct {
	Manifests string `json:"manifests"`
	Ledger    Ledger `json:"ledger"`
}

// ManifestVersion is an object that holds a manifest, in one of its versions.
type ManifestVersion struct {
	Key      string    `json:"key"`
	ETag     string    `json:"etag"`
	Modified time.Time `json:"modified"`
	Reported bool      `json:"reported,omitempty"` // an earlier version was invalid: its errors lie beside it
}

// FoundManifests are the manifests that were not taken yet, the oldest first.
type FoundManifests struct {
	New    []ManifestVersion `json:"new"`
	More   int               `json:"more,omitempty"` // further ones, for the next run
	Ledger Ledger            `json:"ledger"`         // without what is no longer there
}

// TakeInput is what the activity TakeManifest needs.
type TakeInput struct {
	Fleet    fleet.Spec      `json:"fleet"`
	Schedule string          `json:"schedule"`
	Bucket   string          `json:"bucket"`
	Manifest ManifestVersion `json:"manifest"`
	Files    fleet.S3URI     `json:"files"` // of the run's onboarding
	Pages    int             `json:"pages"` // that it has yet
	Room     int             `json:"room"`  // how many devices it may add
}

// TakenManifest is what was found in a manifest.
type TakenManifest struct {
	Manifest ManifestVersion `json:"manifest"` // that was read: a later version, perhaps, than was found
	Devices  int             `json:"devices"`
	New      int             `json:"new"`             // devices to provision; those are in the onboarding's pages
	Skipped  int             `json:"skipped"`         // provisioned before, or in another manifest of the run
	Left     int             `json:"left,omitempty"`  // lines for which there was no room
	Pages    int             `json:"pages,omitempty"` // that it added
	Problems int             `json:"problems,omitempty"`
	// Reason is why nothing was taken of it: its first problem, or what reading it met with.
	Reason string `json:"reason,omitempty"`
	Report string `json:"report,omitempty"` // where all its problems are told
	Later  bool   `json:"later,omitempty"`  // it could not be read whole: the next run sees to it
}

// ResumeInput is what the activity ResumeHeld needs.
type ResumeInput struct {
	Fleet      string      `json:"fleet"`
	Onboarding fleet.S3URI `json:"onboarding"` // the files of the one that started the runs
	Reason     string      `json:"reason"`
}

// PauseInput is what the activity PauseSchedule needs.
type PauseInput struct {
	Schedule string `json:"schedule"`
	Note     string `json:"note"`
}

// HookBody is what the hook is told, in JSON.
type HookBody struct {
	ExpandStatus
	WorkflowID string    `json:"workflowId"`
	RunID      string    `json:"runId"`
	StartedAt  time.Time `json:"startedAt"`
	Paused     bool      `json:"paused"` // the run has paused its schedule
	Report     string    `json:"report,omitempty"`
}

// errStopped is the type of the error that a run ends with whose onboarding did not come to its end.
const errStopped = "OnboardingStopped"

// expansion is the state of one ExpandFleet.
type expansion struct {
	in     ExpandInput
	status ExpandStatus
	ledger Ledger
	taken  []TakenManifest // that are in the onboarding
	pages  int
	paused bool
}

// ExpandFleet is a run of a schedule: it takes the manifests that were not taken yet and has OnboardFleet
// provision their devices, first the canaries. It pauses its schedule when the onboarding does not come
// to its end, and tells the fleet's hook what it did.
func ExpandFleet(ctx workflow.Context, in ExpandInput) (ExpandResult, error) {
	e := &expansion{in: in, ledger: carried(ctx)}
	e.status = ExpandStatus{State: Running, Fleet: in.Fleet.Name, Schedule: in.Schedule}
	e.tell(ctx)
	err := e.expand(ctx)
	detached, _ := workflow.NewDisconnectedContext(ctx) // what was done is told, also when the run is cancelled
	return e.end(detached, ctx.Err() != nil, err)
}

// carried is what the run before has handed on. Without it, manifests are taken once more, and their
// devices found provisioned.
func carried(ctx workflow.Context) (ledger Ledger) {
	var before ExpandResult
	var failed *temporal.ApplicationError
	switch {
	case errors.As(workflow.GetLastError(ctx), &failed) && failed.HasDetails():
		if failed.Details(&before) == nil {
			return before.Ledger
		}
	case workflow.HasLastCompletionResult(ctx):
		if workflow.GetLastCompletionResult(ctx, &before) == nil {
			return before.Ledger
		}
	}
	return Ledger{}
}

func (e *expansion) expand(ctx workflow.Context) error {
	found, err := call[FoundManifests](ctx, stepOptions("in "+e.in.Manifests), "FindManifests", FindInput{e.in.Manifests, e.ledger})
	if err != nil {
		return err
	}
	e.ledger, e.status.Waiting = found.Ledger, found.More
	name, started := e.onboardingName(ctx), workflow.Now(ctx)
	files := OnboardingFiles(e.in.Fleet, name, started)
	devices := 0
	for _, m := range found.New {
		n, err := e.take(ctx, m, files, e.in.MaxDevices-devices)
		if err != nil {
			return err
		}
		devices += n
		workflow.SetCurrentDetails(ctx, expansionDetails(e.status)) // the memo would be an event for each
	}
	if held := e.ledger.Resume; held != (fleet.S3URI{}) {
		options := stepOptions("of the run that stopped")
		options.StartToCloseTimeout, options.HeartbeatTimeout = takeTimeout, takeHeartbeatTimeout
		err := run(ctx, options, "ResumeHeld", ResumeInput{e.in.Fleet.Name, held, "schedule " + e.in.Schedule + " goes on"})
		if err != nil {
			return err
		}
	}
	if devices > 0 {
		if err := e.onboard(ctx, name, files, devices); err != nil {
			return err
		}
	}
	e.ledger.Resume = fleet.S3URI{}
	for _, t := range e.taken {
		e.status.Left += t.Left
		if t.Left > 0 {
			e.status.Waiting++
			continue
		}
		e.ledger.take(t.Manifest)
		e.status.Taken++
	}
	return nil
}

// The limits of taking a manifest: it may be long, and each of its devices is looked at.
const (
	takeTimeout          = time.Hour
	takeHeartbeatTimeout = 30 * time.Second
)

// take has a manifest's new devices added to the onboarding's pages, and returns how many.
func (e *expansion) take(ctx workflow.Context, m ManifestVersion, files fleet.S3URI, room int) (int, error) {
	if room == 0 {
		e.status.Waiting++
		return 0, nil
	}
	at, err := fleet.ParseManifests(e.in.Manifests)
	if err != nil {
		return 0, temporal.NewNonRetryableApplicationError(err.Error(), activities.InvalidInput, err)
	}
	options := stepOptions(m.Key)
	options.StartToCloseTimeout, options.HeartbeatTimeout = takeTimeout, takeHeartbeatTimeout
	t, err := call[TakenManifest](ctx, options, "TakeManifest", TakeInput{
		Fleet: e.in.Fleet, Schedule: e.in.Schedule, Bucket: at.Bucket, Manifest: m, Files: files, Pages: e.pages, Room: room,
	})
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case err != nil: // what is wrong with one manifest's object keeps no other waiting
		_, message := explain(err)
		t = TakenManifest{Manifest: m, Reason: message, Later: true}
		e.status.Waiting++
	case t.Later:
		e.status.Waiting++
	case t.Reason != "":
		e.ledger.setAside(t.Manifest)
		e.status.SetAside++
	default:
		e.taken = append(e.taken, t)
		e.pages += t.Pages
		e.status.Skipped += t.Skipped
	}
	if len(e.status.Manifests) < shownManifests {
		e.status.Manifests = append(e.status.Manifests, t)
	}
	return t.New, nil
}

// onboard has the devices provisioned. The error is an errStopped when that did not come to its end.
func (e *expansion) onboard(ctx workflow.Context, name string, files fleet.S3URI, devices int) error {
	in := OnboardInput{
		Fleet: e.in.Fleet, Name: name, Manifest: e.source(), Files: files, Pages: e.pages, Devices: devices,
		Stop: e.in.Stop, Canary: e.in.Canary.Of(devices), Unattended: true, OnFailure: HoldOnFailure,
	}
	e.status.Onboarding, e.status.Files, e.status.Canaries = name, files, in.Canary
	e.tell(ctx)
	child := workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID:            OnboardingWorkflowID(in.Fleet.Name, name),
		TypedSearchAttributes: SearchAttributes(in.Fleet.Name),
		StaticSummary:         OnboardingSummary(in),
		StaticDetails:         OnboardingDetails(in),
		Memo:                  map[string]any{OnboardMemo: InitialStatus(in)},
		Priority:              temporal.Priority{PriorityKey: DefaultPriority},
		WaitForCancellation:   true,
		// A run that is terminated, perhaps by the one that follows, launches no more devices.
		ParentClosePolicy: enums.PARENT_CLOSE_POLICY_REQUEST_CANCEL,
	})
	var status OnboardStatus
	err := workflow.ExecuteChildWorkflow(child, OnboardFleet, in).Get(ctx, &status)
	var canceled *temporal.CanceledError
	switch {
	case errors.As(err, &canceled) && canceled.HasDetails():
		_ = canceled.Details(&status) // without them the counts are 0
	case err != nil:
		_, message := explain(err)
		status.State, status.Why = Stopped, message
	}
	c := status.Counts
	e.status.Added, e.status.Held, e.status.Failed = c.Provisioned, c.Held, c.Failed
	e.status.Skipped += c.Already
	if status.State == Completed {
		return nil
	}
	e.status.Left = devices - c.Ended()
	e.ledger.Resume = files
	why := status.Why
	if status.State == Canceled {
		why = "the onboarding was cancelled"
		if status.Why != "" {
			why += ": " + status.Why
		}
	}
	return temporal.NewNonRetryableApplicationError(why, errStopped, nil)
}

// source is what stands for the onboarding's manifest: the one, or where they lie.
func (e *expansion) source() string {
	if at, err := fleet.ParseManifests(e.in.Manifests); err == nil && len(e.taken) == 1 {
		return at.URI(e.taken[0].Manifest.Key)
	}
	return e.in.Manifests
}

// onboardingName names the run's onboarding after the schedule and the run's time, which is in its id.
func (e *expansion) onboardingName(ctx workflow.Context) string {
	info := workflow.GetInfo(ctx)
	at, err := time.Parse(time.RFC3339, strings.TrimPrefix(info.WorkflowExecution.ID, ExpansionWorkflowID(e.in.Fleet.Name, e.in.Schedule)+"-"))
	if err != nil {
		at = workflow.Now(ctx)
	}
	return e.in.Schedule + at.UTC().Format("-20060102T150405Z")
}
