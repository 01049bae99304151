package workflows

import (
	"go.temporal.io/sdk/workflow"

	"edgefleet/activities"
	"edgefleet/internal/fleet"
)

// ProvisionInput is one device of a fleet. A fleet that is not Prepared is prepared by the run itself.
type ProvisionInput struct {
	Fleet    fleet.Spec     `json:"fleet"`
	Device   fleet.Device   `json:"device"`
	Prepared *PreparedFleet `json:"prepared,omitempty"`
}

// ProvisionResult is what a device's run came to. It names every resource and what became of it.
type ProvisionResult struct {
	State          string           `json:"state"` // provisioned
	Fleet          string           `json:"fleet"`
	Registry       fleet.Registry   `json:"registry"`
	Device         string           `json:"device"`
	Thing          string           `json:"thing"`
	CertificateID  string           `json:"certificateId"`
	CertificateARN string           `json:"certificateArn"`
	Policy         string           `json:"policy"`
	RoleAlias      string           `json:"roleAlias"`
	CredentialsURL string           `json:"credentialsUrl"`
	Bundle         fleet.S3URI      `json:"bundle"`
	Proof          activities.Proof `json:"proof"`
	Resources      []StepResource   `json:"resources"`      // the device's own
	FleetResources []StepResource   `json:"fleetResources"` // shared by the fleet's devices
}

// StateProvisioned is the state of a device that has proven that it can fetch AWS credentials.
const StateProvisioned = "provisioned"

// procedure is what is done for each device, in this order.
var procedure = []struct {
	name string
	do   func(*deviceRun, workflow.Context) (activities.Resource, error)
}{
	{"CreateThing", (*deviceRun).createThing},
	{"RegisterDevice", (*deviceRun).registerDevice},
	{"IssueCertificate", (*deviceRun).issueCertificate},
	{"AttachThing", (*deviceRun).attachThing},
	{"AttachPolicy", (*deviceRun).attachPolicy},
	{"ActivateCertificate", (*deviceRun).activateCertificate},
	{"ProveDevice", (*deviceRun).proveDevice},
}

// deviceRun is the state of one ProvisionDevice.
type deviceRun struct {
	in          ProvisionInput
	fleet       PreparedFleet
	id          string // the mark on what this run creates
	bundle      activities.Bundle
	thing       activities.Resource
	certificate activities.Certificate
	proof       activities.Proof
}

// ProvisionDevice takes a device through the documented procedure until its own certificate has
// fetched AWS credentials over mutual TLS.
func ProvisionDevice(ctx workflow.Context, in ProvisionInput) (ProvisionResult, error) {
	run := &deviceRun{
		in: in,
		// A reset gives a run another id, not another mark.
		id:     workflow.GetInfo(ctx).OriginalRunID,
		bundle: activities.DeviceBundle(in.Fleet, in.Device.Name),
	}
	if err := run.prepareFleet(ctx); err != nil {
		return ProvisionResult{}, err
	}
	var resources []StepResource
	for _, step := range procedure {
		resource, err := step.do(run, ctx)
		if err != nil {
			return ProvisionResult{}, err
		}
		resources = append(resources, StepResource{step.name, resource})
		workflow.SetCurrentDetails(ctx, progress(resources, len(procedure)))
	}
	return run.result(resources), nil
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
	})
	return workflow.ExecuteChildWorkflow(ctx, PrepareFleet, r.in.Fleet).Get(ctx, &r.fleet)
}

func (r *deviceRun) createThing(ctx workflow.Context) (thing activities.Resource, err error) {
	r.thing, err = call[activities.Resource](ctx, stepOptions("thing "+r.in.Device.Thing+" of type "+r.in.Fleet.ThingType), do.CreateThing, activities.ThingInput{
		Thing: r.in.Device.Thing, ThingType: r.in.Fleet.ThingType, Attributes: r.in.Device.Attributes, Run: r.id,
	})
	return r.thing, err
}

func (r *deviceRun) registerDevice(ctx workflow.Context) (activities.Resource, error) {
	return call[activities.Resource](ctx, stepOptions("device "+r.in.Device.Name+" in fleet "+r.in.Fleet.Name), do.RegisterDevice, activities.RegisterInput{
		Registry: r.in.Fleet.Registry, Fleet: r.in.Fleet.Name, Device: r.in.Device.Name,
		Thing: r.in.Device.Thing, ThingAction: r.thing.Action, Run: r.id,
	})
}

func (r *deviceRun) issueCertificate(ctx workflow.Context) (activities.Resource, error) {
	options := stepOptions("INACTIVE, with its files into " + r.bundle.Location.String())
	options.StartToCloseTimeout = issueAttemptTimeout
	c, err := call[activities.Certificate](ctx, options, do.IssueCertificate, activities.IssueCertificateInput{
		Device: r.in.Device.Name, Bundle: r.bundle, Keys: r.in.Fleet.Keys, RootCA: r.fleet.RootCA, Run: r.id,
	})
	r.certificate = c
	return activities.Resource{Type: "iot:Certificate", Name: c.ID, ARN: c.ARN, Action: c.Action}, err
}

func (r *deviceRun) attachThing(ctx workflow.Context) (activities.Resource, error) {
	return call[activities.Resource](ctx, stepOptions("certificate "+short(r.certificate.ID)+" to thing "+r.in.Device.Thing), do.AttachThing,
		activities.AttachThingInput{Thing: r.in.Device.Thing, Certificate: r.certificate})
}

func (r *deviceRun) attachPolicy(ctx workflow.Context) (activities.Resource, error) {
	return call[activities.Resource](ctx, stepOptions("policy "+r.fleet.Policy+" to certificate "+short(r.certificate.ID)), do.AttachPolicy,
		activities.AttachPolicyInput{Policy: r.fleet.Policy, Certificate: r.certificate})
}

func (r *deviceRun) activateCertificate(ctx workflow.Context) (activities.Resource, error) {
	return call[activities.Resource](ctx, stepOptions("certificate "+short(r.certificate.ID)), do.ActivateCertificate, r.certificate)
}

func (r *deviceRun) proveDevice(ctx workflow.Context) (activities.Resource, error) {
	options := stepOptions("fetches credentials from " + r.fleet.CredentialsURL)
	options.ScheduleToCloseTimeout = proofLimit
	proof, err := call[activities.Proof](ctx, options, do.ProveDevice, activities.ProveInput{
		Bundle: r.bundle, RootCA: r.fleet.RootCA, Run: r.id,
		Record: activities.Record{
			Fleet: r.in.Fleet.Name, Registry: r.in.Fleet.Registry,
			Device: r.in.Device.Name, Thing: r.in.Device.Thing, ThingType: r.in.Fleet.ThingType,
			CertificateID: r.certificate.ID, CertificateARN: r.certificate.ARN,
			Policy: r.fleet.Policy, RoleAlias: r.fleet.RoleAlias, CredentialsURL: r.fleet.CredentialsURL,
		},
	})
	r.proof = proof
	return activities.Resource{Type: "s3:Object", Name: r.bundle.Location.String() + "/device.json", Action: activities.Created}, err
}

func (r *deviceRun) result(resources []StepResource) ProvisionResult {
	return ProvisionResult{
		State: StateProvisioned,
		Fleet: r.in.Fleet.Name, Registry: r.in.Fleet.Registry,
		Device: r.in.Device.Name, Thing: r.in.Device.Thing,
		CertificateID: r.certificate.ID, CertificateARN: r.certificate.ARN,
		Policy: r.fleet.Policy, RoleAlias: r.fleet.RoleAlias, CredentialsURL: r.fleet.CredentialsURL,
		Bundle: r.bundle.Location, Proof: r.proof,
		Resources: resources, FleetResources: r.fleet.Resources,
	}
}

// short is a certificate's id as people tell it from another.
func short(id string) string { return id[:min(len(id), 8)] }
