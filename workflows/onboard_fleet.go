package workflows

import (
	"errors"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"edgefleet/activities"
	"edgefleet/internal/fleet"
)

// OnboardInput is a manifest's devices to provision in a fleet.
type OnboardInput struct {
	Fleet    fleet.Spec  `json:"fleet"`
	Name     string      `json:"name"`
	Manifest string      `json:"manifest"` // where it came from
	SHA256   string      `json:"sha256"`   // of it, as it was read
	Files    fleet.S3URI `json:"files"`    // where its pages are, and the report goes
	Pages    int         `json:"pages"`
	Devices  int         `json:"devices"`
	InFlight int         `json:"inFlight,omitempty"` // how many runs may be under way; 0: as the quotas ask for
	Stop     StopRule    `json:"stop"`
	// OnFailure says what becomes of a device's run that cannot go on.
	OnFailure OnFailure `json:"onFailure"`
	// Canary is how many devices, the first, must be provisioned before any other is launched: when one of them
	// is not, the line stops. 0: none.
	Canary int `json:"canary,omitempty"`
	// Unattended is an onboarding that ends, when its line has stopped, and waits for nobody.
	Unattended bool `json:"unattended,omitempty"`

	// Carried from run to run.
	Began    time.Time      `json:"began,omitzero"`
	Prepared *PreparedFleet `json:"prepared,omitempty"`
	Progress Progress       `json:"progress"`
	State    State          `json:"state,omitempty"`
	Why      string         `json:"why,omitempty"`
}

// StopRule says when an onboarding stops launching: when the same permanent error, at the same step,
// has come InARow times, or for Percent of the last 100 devices. 0: never.
type StopRule struct {
	InARow  int `json:"inARow"`
	Percent int `json:"percent"`
}

// DefaultStopRule is what holds where nothing else is said.
var DefaultStopRule = StopRule{InARow: 5, Percent: 20}

// Place is a line of the manifest: Line counts from 0 within the Page, which counts from 0.
type Place struct {
	Page int `json:"page"`
	Line int `json:"line"`
}

// Counts are an onboarding's devices by what became of them.
type Counts struct {
	Provisioned int `json:"provisioned"`
	Already     int `json:"already"` // provisioned before
	Held        int `json:"held"`
	Failed      int `json:"failed"` // rolled back, or ended otherwise
}

// Ended is how many devices the onboarding is done with; held ones wait for an operator.
func (c Counts) Ended() int { return c.Provisioned + c.Already + c.Held + c.Failed }

// Progress is where an onboarding stands. It is in the heartbeats of LaunchDevices and in its result.
type Progress struct {
	Next    Place   `json:"next"`           // the first line that was not launched
	Open    []Place `json:"open,omitempty"` // launched, and not ended when last seen
	Counts  Counts  `json:"counts"`
	Ceiling float64 `json:"ceiling,omitempty"` // devices a second that the quotas allow; 0: any
	// Recent are the errors, "" for none, that the last devices ended with, the latest last.
	Recent  []string `json:"recent,omitempty"`
	Stopped string   `json:"stopped,omitempty"` // why the line stopped
	// Unheard: a shift, or an attempt of one, ended without a word, so lines from Next on may have been launched.
	Unheard bool `json:"unheard,omitempty"`
}

// The states of an onboarding.
const (
	Running   State = "running"
	Paused    State = "paused"    // by an operator
	Stopped   State = "stopped"   // by the stop rule, or by what concerns every device
	Canceled  State = "canceled"  // nothing more is launched
	Completed State = "completed" // every line was dealt with
)

// OnboardStatus is an onboarding as its memo, and its result, tell it.
type OnboardStatus struct {
	State    State          `json:"state"`
	Why      string         `json:"why,omitempty"`
	Fleet    string         `json:"fleet"`
	Registry fleet.Registry `json:"registry"`
	Name     string         `json:"name"`
	Manifest string         `json:"manifest"`
	SHA256   string         `json:"sha256"`
	Files    fleet.S3URI    `json:"files"`
	Pages    int            `json:"pages"`
	Devices  int            `json:"devices"`
	Next     Place          `json:"next"` // the first line that was not launched
	Counts   Counts         `json:"counts"`
	InFlight int            `json:"inFlight"`
	Ceiling  float64        `json:"ceiling,omitempty"` // devices a second; 0: any
	Began    time.Time      `json:"began,omitzero"`
	// Stuck: what is under way is not watched, until somebody decides.
	Stuck bool `json:"stuck,omitempty"`
}

// OnboardMemo is the memo's field that holds an OnboardStatus.
const OnboardMemo = "onboarding"

// LaunchInput is what the activity LaunchDevices needs. It launches devices from Progress.Next on and
// watches those that are open, for as long as For, or until there are no more. With Drain it
// launches none.
type LaunchInput struct {
	Onboarding OnboardInput  `json:"onboarding"` // with Prepared and Progress
	Drain      bool          `json:"drain,omitempty"`
	For        time.Duration `json:"for"`
}

// The activity's times. It heartbeats every second; a worker that dies costs the timeout.
const (
	launchShift            = time.Minute
	drainShift             = 5 * time.Minute // a run may wait for its end for days, and each shift is history
	launchHeartbeatTimeout = 5 * time.Second
	launchTimeout          = 10 * time.Minute
)

// onboarding is the state of one OnboardFleet.
type onboarding struct {
	in        OnboardInput
	interrupt func() // ends the shift or the preparation that runs, for what was decided
	shifting  bool   // a shift runs: only its end tells what has become of the devices
	stuck     bool   // the last shift failed; another waits for a decision
}

// OnboardFleet provisions a manifest's devices: it has LaunchDevices launch their runs, a shift at a time,
// and decides between the shifts what an operator, the stop rule or a cancellation asks for. The
// devices' runs are no children: they outlive it, and it costs Temporal less.
func OnboardFleet(ctx workflow.Context, in OnboardInput) (OnboardStatus, error) {
	o := &onboarding{in: in, interrupt: func() {}}
	if o.in.State == "" {
		o.in.State, o.in.Began = Running, workflow.Now(ctx)
	}
	detached, _ := workflow.NewDisconnectedContext(ctx) // a cancellation is a decision, as by the update
	takeSignals, err := o.listen(ctx, detached)
	if err != nil {
		return OnboardStatus{}, err
	}
	for {
		switch {
		case o.in.State == Running && o.in.Prepared == nil:
			o.prepare(detached)
		case !o.stuck && (o.in.State == Running && o.in.Progress.Next.Page < in.Pages || len(o.in.Progress.Open) > 0 || o.unheard(ctx)):
			o.shift(detached)
		case o.in.State == Running:
			o.set(detached, Completed, "")
			return o.status(), nil
		case o.in.State == Canceled:
			if ctx.Err() != nil {
				return OnboardStatus{}, temporal.NewCanceledError(o.status())
			}
			return o.status(), nil
		case o.in.State == Stopped && in.Unattended:
			return o.status(), nil
		default:
			state := o.in.State
			if err := workflow.Await(detached, func() bool { return o.in.State != state }); err != nil {
				return OnboardStatus{}, err
			}
		}
		if workflow.GetInfo(ctx).GetContinueAsNewSuggested() && workflow.AllHandlersFinished(ctx) && ctx.Err() == nil {
			takeSignals() // the next run would not get them
			return OnboardStatus{}, workflow.NewContinueAsNewError(ctx, OnboardFleet, o.in)
		}
	}
}

// unheard tells whether an onboarding that launches nothing has yet to look for what it may have launched.
func (o *onboarding) unheard(ctx workflow.Context) bool {
	return o.in.State != Running && o.in.Progress.Unheard && o.in.Prepared != nil &&
		workflow.GetVersion(ctx, "DrainUnheard", workflow.DefaultVersion, 1) != workflow.DefaultVersion
}

// prepare makes what the devices share. What goes wrong there concerns them all: the line stops.
func (o *onboarding) prepare(ctx workflow.Context) {
	childCtx, interrupt := workflow.WithCancel(ctx)
	o.interrupt = interrupt
	childCtx = workflow.WithChildOptions(childCtx, workflow.ChildWorkflowOptions{
		WorkflowID:            preparationID(o.in.Fleet.Name, "onboarding/"+o.in.Name),
		TypedSearchAttributes: SearchAttributes(o.in.Fleet.Name),
		StaticSummary:         PrepareSummary(o.in.Fleet),
		StaticDetails:         PrepareDetails(o.in.Fleet),
		Priority:              temporal.Priority{PriorityKey: DefaultPriority},
		WaitForCancellation:   true,
	})
	var prepared PreparedFleet
	err := workflow.ExecuteChildWorkflow(childCtx, PrepareFleet, o.in.Fleet).Get(childCtx, &prepared)
	o.interrupt = func() {}
	switch {
	case err != nil && childCtx.Err() != nil: // it was interrupted
		return
	case err != nil:
		_, message := explain(err)
		o.stop(ctx, message)
		return
	}
	prepared.Resources = nil // the devices' runs need not tell them
	o.in.Prepared = &prepared
	o.tell(ctx)
}

// shift launches and watches devices for a while.
func (o *onboarding) shift(ctx workflow.Context) {
	shiftCtx, interrupt := workflow.WithCancel(ctx)
	o.interrupt = interrupt
	options := stepOptions(o.summary())
	options.StartToCloseTimeout, options.ScheduleToCloseTimeout = launchTimeout, 0
	options.HeartbeatTimeout = launchHeartbeatTimeout
	options.RetryPolicy.MaximumInterval = 10 * time.Second
	options.Priority = temporal.Priority{PriorityKey: DefaultPriority}
	in := LaunchInput{Onboarding: o.in, For: launchShift}
	if o.in.State != Running {
		in.Drain, in.For = true, drainShift
	}
	o.shifting = true
	progress, err := call[Progress](shiftCtx, options, "LaunchDevices", in)
	o.interrupt, o.shifting = func() {}, false
	if err != nil {
		if told := toldBy(err); told != nil {
			o.in.Progress = *told
		}
		o.in.Progress.Unheard = true
	}
	switch {
	case err != nil && shiftCtx.Err() != nil: // it was interrupted before it began, or its worker died then
		o.tell(ctx)
	case err != nil:
		_, message := explain(err)
		o.stuck = true
		o.stop(ctx, message)
	default:
		o.in.Progress = progress
		if progress.Stopped != "" {
			o.stop(ctx, progress.Stopped)
			return
		}
		o.tell(ctx)
	}
}

// toldBy is how far a shift had come that failed, as it said with its failure or in its last heartbeat; nil when
// it said nothing.
func toldBy(err error) (progress *Progress) {
	var timeout *temporal.TimeoutError
	var failed *temporal.ApplicationError
	switch {
	case errors.As(err, &timeout) && timeout.HasLastHeartbeatDetails() && timeout.LastHeartbeatDetails(&progress) == nil:
		return progress
	case errors.As(err, &failed) && failed.HasDetails() && failed.Details(&activities.ErrorDetails{}, &progress) == nil:
		return progress
	}
	return nil
}

// stop stops the line, unless it has stopped already, for whatever reason.
func (o *onboarding) stop(ctx workflow.Context, why string) {
	o.in.Progress.Stopped, o.in.Progress.Recent = "", nil
	if o.in.State == Running {
		o.set(ctx, Stopped, why)
	} else {
		o.tell(ctx)
	}
}

func (o *onboarding) set(ctx workflow.Context, state State, why string) {
	o.in.State, o.in.Why = state, why
	if state != Stopped {
		o.stuck = false
	}
	o.interrupt()
	if !o.shifting { // or it is told, with the shift's last counts, when that has ended
		o.tell(ctx)
	}
}

// tell brings the memo, and what the Temporal UI shows, up to date.
func (o *onboarding) tell(ctx workflow.Context) {
	status := o.status()
	workflow.SetCurrentDetails(ctx, onboardingDetails(status))
	if err := workflow.UpsertMemo(ctx, map[string]any{OnboardMemo: status}); err != nil {
		workflow.GetLogger(ctx).Error("the onboarding's memo could not be brought up to date", "error", err)
	}
}

func (o *onboarding) status() OnboardStatus {
	s := InitialStatus(o.in)
	p := o.in.Progress
	s.State, s.Why, s.Counts, s.Next, s.InFlight, s.Ceiling = o.in.State, o.in.Why, p.Counts, p.Next, len(p.Open), p.Ceiling
	s.Stuck = o.stuck
	return s
}

// InitialStatus is the status of an onboarding that is to begin.
func InitialStatus(in OnboardInput) OnboardStatus {
	return OnboardStatus{
		State: Running, Fleet: in.Fleet.Name, Registry: in.Fleet.Registry, Name: in.Name, Manifest: in.Manifest, SHA256: in.SHA256,
		Files: in.Files, Pages: in.Pages, Devices: in.Devices, Began: in.Began,
	}
}
