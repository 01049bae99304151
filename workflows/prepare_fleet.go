package workflows

import (
	"time"

	"go.temporal.io/sdk/workflow"

	"edgefleet/activities"
	"edgefleet/internal/fleet"
)

// PreparedFleet is what a fleet's devices share, as it is handed to each device's run.
type PreparedFleet struct {
	RoleAlias      string            `json:"roleAlias"`
	Policy         string            `json:"policy"`
	CredentialsURL string            `json:"credentialsUrl"`
	RootCA         activities.RootCA `json:"rootCa"`
	Resources      []StepResource    `json:"resources"` // each with the step that made or found it
}

// StepResource is a resource and the step that made or found it.
type StepResource struct {
	Step string `json:"step"`
	activities.Resource
	TookMS int64 `json:"tookMs,omitempty"` // of a device's step
}

// fleetRun is the state of one PrepareFleet.
type fleetRun struct {
	spec      fleet.Spec
	roleAlias activities.Resource
	result    PreparedFleet
}

// preparation is what is done once for a fleet, in this order.
var preparation = []struct {
	name string
	do   func(*fleetRun, workflow.Context) (activities.Resource, error)
}{
	{"CreateThingType", (*fleetRun).createThingType},
	{"CreateDeviceFleet", (*fleetRun).createDeviceFleet},
	{"FindRoleAlias", (*fleetRun).findRoleAlias},
	{"CreatePolicy", (*fleetRun).createPolicy},
	{"DescribeEndpoint", (*fleetRun).describeEndpoint},
	{"FetchRootCA", (*fleetRun).fetchRootCA},
}

// PrepareFleet makes, or finds and checks, what all devices of a fleet share. Nothing of it is
// ever undone by a device's run.
func PrepareFleet(ctx workflow.Context, spec fleet.Spec) (PreparedFleet, error) {
	run := &fleetRun{spec: spec}
	for _, step := range preparation {
		resource, err := step.do(run, ctx)
		if err != nil {
			return PreparedFleet{}, err
		}
		run.result.Resources = append(run.result.Resources, StepResource{Step: step.name, Resource: resource})
		workflow.SetCurrentDetails(ctx, progress(run.result.Resources, len(preparation)))
	}
	return run.result, nil
}

// stepOptionsOf are the options of a step, within the time of the run that has the fleet prepared.
func stepOptionsOf(ctx workflow.Context, summary string) workflow.ActivityOptions {
	options := stepOptions(summary)
	if info := workflow.GetInfo(ctx); info.WorkflowExecutionTimeout > 0 {
		end := info.WorkflowStartTime.Add(info.WorkflowExecutionTimeout - prepareGrace)
		options.ScheduleToCloseTimeout = min(options.ScheduleToCloseTimeout, max(end.Sub(workflow.Now(ctx)), time.Second))
	}
	return options
}

// do names the activities; only its methods' names are used.
var do *activities.Activities

func (r *fleetRun) createThingType(ctx workflow.Context) (activities.Resource, error) {
	return call[activities.Resource](ctx, stepOptionsOf(ctx, "thing type "+r.spec.ThingType), do.CreateThingType, r.spec.ThingType)
}

func (r *fleetRun) createDeviceFleet(ctx workflow.Context) (activities.Resource, error) {
	return call[activities.Resource](ctx, stepOptionsOf(ctx, "fleet "+r.spec.Name), do.CreateDeviceFleet, r.spec)
}

func (r *fleetRun) findRoleAlias(ctx workflow.Context) (activities.Resource, error) {
	alias, err := call[activities.Resource](ctx, stepOptionsOf(ctx, "for "+r.spec.RoleARN), do.FindRoleAlias, r.spec)
	r.roleAlias, r.result.RoleAlias = alias, alias.Name
	return alias, err
}

func (r *fleetRun) createPolicy(ctx workflow.Context) (activities.Resource, error) {
	r.result.Policy = r.spec.PolicyName()
	return call[activities.Resource](ctx, stepOptionsOf(ctx, "policy "+r.result.Policy), do.CreatePolicy,
		activities.PolicyInput{Policy: r.result.Policy, RoleAliasARN: r.roleAlias.ARN})
}

func (r *fleetRun) describeEndpoint(ctx workflow.Context) (activities.Resource, error) {
	host, err := call[string](ctx, stepOptionsOf(ctx, "iot:CredentialProvider"), do.DescribeEndpoint)
	r.result.CredentialsURL = activities.CredentialsURL(host, r.result.RoleAlias)
	return activities.Resource{Type: "iot:Endpoint", Name: host, Action: activities.Adopted}, err
}

func (r *fleetRun) fetchRootCA(ctx workflow.Context) (activities.Resource, error) {
	ca, err := call[activities.RootCA](ctx, stepOptionsOf(ctx, "kept in "+r.spec.Bundles.String()), do.FetchRootCA, activities.FleetBundle(r.spec))
	r.result.RootCA = ca
	return activities.Resource{Type: "x509:RootCA", Name: ca.SHA256, Action: activities.Adopted}, err
}
