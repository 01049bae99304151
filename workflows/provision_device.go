package workflows

import (
	"cmp"
	"time"

	"go.temporal.io/sdk/workflow"

	"edgefleet/activities"
	"edgefleet/internal/fleet"
)

// ProvisionInput is one device of a fleet. A fleet that is not Prepared is prepared by the run itself.
type ProvisionInput struct {
	Fleet    fleet.Spec     `json:"fleet"`
	Device   fleet.Device   `json:"device"`
	Prepared *PreparedFleet `json:"prepared,omitempty"`
	// Deadline is how much time the steps have, from the start and anew from each resume; then the run
	// does what OnFailure says. 0: DefaultDeadline.
	Deadline  time.Duration `json:"deadline,omitempty"`
	OnFailure OnFailure     `json:"onFailure,omitempty"` // empty, as in runs from before there were holds: RollbackOnFailure
	// Onboarding is the name of the onboarding that started the run. Such a run's steps are first tried
	// as local activities, which cost Temporal a fraction.
	Onboarding string `json:"onboarding,omitempty"`
}

// ProvisionResult is what a device's run came to. It names every resource and what became of it.
type ProvisionResult struct {
	State          State             `json:"state"`
	Step           string            `json:"step,omitempty"` // at which it left the happy path
	Fleet          string            `json:"fleet"`
	Registry       fleet.Registry    `json:"registry"`
	Device         string            `json:"device"`
	Thing          string            `json:"thing"`
	CertificateID  string            `json:"certificateId,omitempty"`
	CertificateARN string            `json:"certificateArn,omitempty"`
	Policy         string            `json:"policy,omitempty"`
	RoleAlias      string            `json:"roleAlias,omitempty"`
	CredentialsURL string            `json:"credentialsUrl,omitempty"`
	Bundle         fleet.S3URI       `json:"bundle"`
	Proof          *activities.Proof `json:"proof,omitempty"`
	Resources      []StepResource    `json:"resources"`           // the device's own
	FleetResources []StepResource    `json:"fleetResources"`      // shared by the fleet's devices
	Left           []Leftover        `json:"left,omitempty"`      // what a rollback could not undo
	Decisions      []Decided         `json:"decisions,omitempty"` // what operators decided when the run was held
}

// step is one step of the procedure. Its undo is safe at any time: before the step did anything,
// in the middle of it, and twice. Both return the resource that they are about.
type step struct {
	name     string
	do, undo func(*deviceRun, workflow.Context) (activities.Resource, error)
}

// procedure is what is done for each device, in this order, and undone in reverse.
var procedure = []step{
	{"CreateThing", (*deviceRun).createThing, (*deviceRun).deleteThing},
	{"RegisterDevice", (*deviceRun).registerDevice, (*deviceRun).deregisterDevice},
	{"IssueCertificate", (*deviceRun).issueCertificate, (*deviceRun).discardCertificate},
	{"AttachThing", (*deviceRun).attachThing, (*deviceRun).detachThing},
	{"AttachPolicy", (*deviceRun).attachPolicy, (*deviceRun).detachPolicy},
	{"ActivateCertificate", (*deviceRun).activateCertificate, (*deviceRun).deactivateCertificate},
	{"ProveDevice", (*deviceRun).proveDevice, (*deviceRun).deleteRecord},
}

// deviceRun is the state of one ProvisionDevice.
type deviceRun struct {
	in          ProvisionInput
	id          string // the mark on what this run creates
	started     time.Time
	deadline    time.Time
	bundle      activities.Bundle
	fleet       PreparedFleet
	thing       activities.Thing
	registered  activities.Resource
	certificate activities.Certificate
	again       bool                   // it was tried to issue the certificate, by this run or before its reset
	note        activities.AttemptNote // of an attempt to issue the certificate that ended without a word
	proof       *activities.Proof
	done        []StepResource
	begun       []step // each with its undo, in the order of their beginning
	left        []Leftover
	at          string // the step at which it left the happy path

	held      *Hold     // while the run waits for an operator
	inMemo    bool      // that it does
	ignored   string    // the latest Signal that could not be followed
	decided   *Decided  // what ended the latest hold
	decisions []Decided // what ended each
	unproven  bool      // an operator skipped the proof
}

// ProvisionDevice takes a device through the documented procedure until its own certificate has
// fetched AWS credentials over mutual TLS. What it cannot finish it holds for an operator, or undoes.
func ProvisionDevice(ctx workflow.Context, in ProvisionInput) (ProvisionResult, error) {
	run := newDeviceRun(ctx, in)
	if err := run.openDoors(ctx); err != nil {
		return ProvisionResult{}, err
	}
	if err := run.provision(ctx); err != nil {
		return ProvisionResult{}, run.rollBack(ctx, err)
	}
	if run.unproven {
		run.setState(ctx, Unproven)
		return run.result(Unproven), nil
	}
	return run.result(Provisioned), nil
}

func newDeviceRun(ctx workflow.Context, in ProvisionInput) *deviceRun {
	info := workflow.GetInfo(ctx)
	return &deviceRun{
		in: in,
		// A reset gives a run another id, not another mark.
		id:      info.OriginalRunID,
		started: info.WorkflowStartTime,
		// Not from the start: after a reset that may be long ago.
		deadline: workflow.Now(ctx).Add(cmp.Or(in.Deadline, DefaultDeadline)),
		bundle:   activities.DeviceBundle(in.Fleet, in.Device.Name),
		again:    info.WorkflowExecution.RunID != info.OriginalRunID,
	}
}

func (r *deviceRun) provision(ctx workflow.Context) error {
	if err := r.perform(ctx, prepareStep, r.prepareFleet); err != nil {
		return err
	}
	for _, step := range procedure {
		r.begun = append(r.begun, step) // before it runs: whatever becomes of it can be undone
		err := r.perform(ctx, step.name, func(ctx workflow.Context) error {
			begun := workflow.Now(ctx)
			resource, err := step.do(r, ctx)
			if err == nil {
				r.done = append(r.done, StepResource{step.name, resource, workflow.Now(ctx).Sub(begun).Milliseconds()})
			}
			return err
		})
		if err != nil {
			return err
		}
		workflow.SetCurrentDetails(ctx, r.progress())
	}
	return ctx.Err() // a cancellation during the last step is one
}

func (r *deviceRun) prepareFleet(ctx workflow.Context) error {
	if r.in.Prepared != nil {
		r.fleet = *r.in.Prepared
		return nil
	}
	ctx = workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID:            preparationID(r.in.Fleet.Name, r.in.Device.Name),
		TypedSearchAttributes: SearchAttributes(r.in.Fleet.Name),
		StaticSummary:         PrepareSummary(r.in.Fleet),
		StaticDetails:         PrepareDetails(r.in.Fleet),
		WaitForCancellation:   true,
		// Of the run's own time: what is left of it. Its steps end before, and say what was wrong.
		WorkflowExecutionTimeout: r.timeLeft(ctx) + prepareGrace,
	})
	return workflow.ExecuteChildWorkflow(ctx, PrepareFleet, r.in.Fleet).Get(ctx, &r.fleet)
}

func (r *deviceRun) result(state State) ProvisionResult {
	return ProvisionResult{
		State: state, Step: r.at,
		Fleet: r.in.Fleet.Name, Registry: r.in.Fleet.Registry,
		Device: r.in.Device.Name, Thing: r.in.Device.Thing,
		CertificateID: r.certificate.ID, CertificateARN: r.certificate.ARN,
		Policy: r.fleet.Policy, RoleAlias: r.fleet.RoleAlias, CredentialsURL: r.fleet.CredentialsURL,
		Bundle: r.bundle.Location, Proof: r.proof,
		Resources: r.done, FleetResources: r.fleet.Resources, Left: r.left, Decisions: r.decisions,
	}
}
