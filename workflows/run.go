package workflows

import (
	"go.temporal.io/sdk/temporal"

	"edgefleet/internal/fleet"
)

// TaskQueue is where the workers poll for workflows and activities.
const TaskQueue = "edgefleet"

// Temporal's priorities, 1 the most urgent: a person waits for a single device, nobody for one of thousands.
const (
	SinglePriority     = 1
	DefaultPriority    = 3 // Temporal's own
	OnboardingPriority = 4
)

// EdgeFleet is the search attribute that holds the fleet's name, set when a run starts.
var EdgeFleet = temporal.NewSearchAttributeKeyKeyword("EdgeFleet")

// SearchAttributeNames are all that runs use, each of the type Keyword.
var SearchAttributeNames = []string{EdgeFleet.GetName(), ProvisionState.GetName(), ProvisionStep.GetName(), ProvisionError.GetName()}

// SearchAttributes are those that runs of a fleet start with.
func SearchAttributes(fleetName string) temporal.SearchAttributes {
	return temporal.NewSearchAttributes(EdgeFleet.ValueSet(fleetName))
}

// DeviceWorkflowID is the workflow id of all that changes a device: one of them runs at a time.
func DeviceWorkflowID(fleetName, device string) string { return "device/" + fleetName + "/" + device }

// FleetWorkflowID is the workflow id of a fleet's preparation.
func FleetWorkflowID(fleetName string) string { return "fleet/" + fleetName }

// preparationID is the workflow id of the preparation that a device's run does for itself. It is
// the device's, not the fleet's: it must not wait for another device's, and need not, since each
// of its steps may run twice.
func preparationID(fleetName, device string) string { return FleetWorkflowID(fleetName) + "/" + device }

// PrepareSummary is the line that stands for a fleet's preparation in the Temporal UI.
func PrepareSummary(s fleet.Spec) string {
	return "Prepare fleet " + s.Name + " (" + string(s.Registry) + ")"
}

// PrepareDetails says in the Temporal UI, in Markdown, what the preparation will do.
func PrepareDetails(s fleet.Spec) string {
	return "Makes, or finds and checks, what all devices of fleet **" + s.Name + "** share: thing type `" + s.ThingType +
		"`, device fleet, role alias for `" + s.RoleARN + "`, policy `" + s.PolicyName() +
		"`, credential provider endpoint, root CA. Nothing that fits is changed."
}

// ProvisionSummary is the line that stands for a device's run in the Temporal UI.
func ProvisionSummary(s fleet.Spec, d fleet.Device) string {
	return "Provision device " + d.Name + " in fleet " + s.Name + " (" + string(s.Registry) + ")"
}

// ProvisionDetails says in the Temporal UI, in Markdown, what the run will do.
func ProvisionDetails(s fleet.Spec, d fleet.Device) string {
	return "Takes device **" + d.Name + "** through the documented procedure until its own certificate has fetched AWS credentials: thing `" +
		d.Thing + "`, registration in fleet `" + s.Name + "`, certificate, attachments, activation, proof.\n\nFiles: `" +
		s.Bundles.String() + "/" + s.Name + "/" + d.Name + "/`"
}

// DecommissionSummary is the line that stands for a decommission in the Temporal UI.
func DecommissionSummary(s fleet.Spec, device string) string {
	return "Decommission device " + device + " of fleet " + s.Name + " (" + string(s.Registry) + ")"
}

// DecommissionDetails says in the Temporal UI, in Markdown, what the decommission will do.
func DecommissionDetails(s fleet.Spec, device string) string {
	return "Removes all that is there of device **" + device + "** of fleet `" + s.Name +
		"`: registration, certificates, thing, and its files in `" + s.Bundles.String() + "/" + s.Name + "/" + device + "/`. What the fleet shares stays."
}
