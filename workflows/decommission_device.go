package workflows

import (
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"edgefleet/activities"
	"edgefleet/internal/fleet"
)

// DecommissionInput is a device to take out of its fleet.
type DecommissionInput struct {
	Fleet      fleet.Spec `json:"fleet"`
	Device     string     `json:"device"`
	KeepBundle bool       `json:"keepBundle,omitempty"` // archive the device's files, but for the private key
}

// DecommissionResult is what a decommission came to.
type DecommissionResult struct {
	State    State       `json:"state"`
	Fleet    string      `json:"fleet"`
	Device   string      `json:"device"`
	Removals []Removed   `json:"removals"`
	Archive  fleet.S3URI `json:"archive,omitzero"`
	Left     []Leftover  `json:"left,omitempty"` // what could not be removed
}

// Removed is a resource and what became of it.
type Removed struct {
	Step   string             `json:"step"`
	Type   string             `json:"type"`
	Name   string             `json:"name"`
	Result activities.Removal `json:"result"`
}

// decommission is the state of one DecommissionDevice.
type decommission struct {
	in     DecommissionInput
	bundle activities.Bundle
	device activities.FoundDevice
	result DecommissionResult
}

// DecommissionDevice removes all that is there of a device: registration, certificates, thing,
// bundle. It works from the bundle and from AWS, so it finishes a device that is half gone, and one
// that a rollback could not finish. It goes on past what AWS refuses for good, and lists that.
func DecommissionDevice(ctx workflow.Context, in DecommissionInput) (DecommissionResult, error) {
	d := &decommission{
		in:     in,
		bundle: activities.DeviceBundle(in.Fleet, in.Device),
		result: DecommissionResult{Fleet: in.Fleet.Name, Device: in.Device},
	}
	var err error
	d.device, err = call[activities.FoundDevice](ctx, removalOptions("device "+in.Device, issueAttemptTimeout), do.FindDevice, activities.FindInput{
		Registry: in.Fleet.Registry, Fleet: in.Fleet.Name, Device: in.Device, Policy: in.Fleet.PolicyName(), Bundle: d.bundle,
	})
	if err != nil {
		return DecommissionResult{}, err
	}
	for _, remove := range []func(workflow.Context) error{d.retractRecord, d.deregister, d.retireCertificates, d.deleteThing, d.removeBundle} {
		if err := remove(ctx); err != nil { // a cancellation: what is gone stays gone
			return DecommissionResult{}, err
		}
	}
	if len(d.result.Left) > 0 {
		d.result.State = DecommissionIncomplete
		return DecommissionResult{}, temporal.NewApplicationErrorWithOptions(summaryOf(d.result.Left, decommissioned), activities.StateConflict,
			temporal.ApplicationErrorOptions{NonRetryable: true, Details: []any{d.result}})
	}
	d.result.State = Decommissioned
	return d.result, nil
}

// removalOptions are those of a step here: retried as long as an undo. An attempt is given the time
// for its calls, and little more, since it is what a killed worker costs.
func removalOptions(summary string, attempt time.Duration) workflow.ActivityOptions {
	options := stepOptions(summary)
	options.ScheduleToCloseTimeout = undoLimit
	options.StartToCloseTimeout = attempt
	return options
}

// remove runs an activity that removes a resource, and notes what became of it. Its error is a
// cancellation; a refusal is noted.
func (d *decommission) remove(ctx workflow.Context, step, kind, name string, attempt time.Duration, activity, input any) error {
	result, err := call[activities.Removal](ctx, removalOptions(kind+" "+name, attempt), activity, input)
	switch {
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		_, why := explain(err)
		d.result.Left = append(d.result.Left, Leftover{step, kind, name, why})
	default:
		d.result.Removals = append(d.result.Removals, Removed{step, kind, name, result})
	}
	return nil
}

// retractRecord comes first: what is half gone must not pass for provisioned.
func (d *decommission) retractRecord(ctx workflow.Context) error {
	if workflow.GetVersion(ctx, "RetractRecord", workflow.DefaultVersion, 1) == workflow.DefaultVersion {
		return nil
	}
	_, err := call[struct{}](ctx, removalOptions("record of "+d.in.Device, attemptTimeout), do.RetractRecord, activities.RetractInput{Bundle: d.bundle})
	switch {
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		_, why := explain(err)
		d.result.Left = append(d.result.Left, Leftover{"RetractRecord", "record", d.bundle.Location.String(), why})
	}
	return nil
}

func (d *decommission) deregister(ctx workflow.Context) error {
	return d.remove(ctx, "DeregisterDevice", "registration", d.in.Device, attemptTimeout, do.DeregisterDevice, activities.DeregisterInput{
		Registry: d.in.Fleet.Registry, Fleet: d.in.Fleet.Name, Device: d.in.Device, Thing: d.device.Thing,
	})
}

func (d *decommission) retireCertificates(ctx workflow.Context) error {
	for _, id := range d.device.Certificates {
		err := d.remove(ctx, "RetireCertificate", "certificate", id, issueAttemptTimeout, do.RetireCertificate, activities.RetireInput{CertificateID: id})
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *decommission) deleteThing(ctx workflow.Context) error {
	return d.remove(ctx, "DeleteThing", "thing", d.device.Thing, attemptTimeout, do.DeleteThing, activities.DeleteThingInput{
		Thing: d.device.Thing, Fleet: d.in.Fleet.Name, Undo: stuckOn(d.result.Left, "RetireCertificate"),
	})
}

// removeBundle removes the files, unless something is left: they say what that is.
func (d *decommission) removeBundle(ctx workflow.Context) error {
	if len(d.result.Left) > 0 {
		d.result.Left = append(d.result.Left, Leftover{"RemoveBundle", "bundle", d.bundle.Location.String(), errKept.Error()})
		return nil
	}
	in := activities.RemoveBundleInput{Bundle: d.bundle}
	if d.in.KeepBundle {
		archive := activities.ArchivedBundle(d.in.Fleet, d.in.Device, workflow.GetInfo(ctx).OriginalRunID)
		in.Archive, d.result.Archive = &archive, archive.Location
	}
	return d.remove(ctx, "RemoveBundle", "bundle", d.bundle.Location.String(), issueAttemptTimeout, do.RemoveBundle, in)
}
