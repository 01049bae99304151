package workflows

import (
	"cmp"
	"errors"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"edgefleet/activities"
	"edgefleet/internal/fleet"
)

// stepOptions are the options of a step: those of every activity, within the run's deadline.
func (r *deviceRun) stepOptions(ctx workflow.Context, summary string) workflow.ActivityOptions {
	options := stepOptions(summary)
	options.ScheduleToCloseTimeout = min(options.ScheduleToCloseTimeout, r.timeLeft(ctx))
	return options
}

// timeLeft is what is left until the run's deadline; once that is over, little enough to fail.
func (r *deviceRun) timeLeft(ctx workflow.Context) time.Duration {
	return max(r.deadline.Sub(workflow.Now(ctx)), time.Second)
}

func (r *deviceRun) createThing(ctx workflow.Context) (_ activities.Resource, err error) {
	in := activities.ThingInput{
		Thing: r.in.Device.Thing, ThingType: r.in.Fleet.ThingType, Attributes: r.in.Device.Attributes, Fleet: r.in.Fleet.Name, Run: r.id,
	}
	if r.in.Fleet.Registry == fleet.IoTCore {
		in.Group = r.in.Fleet.ThingGroupName()
	}
	r.thing, err = attempt[activities.Thing](ctx, r, r.stepOptions(ctx, "thing "+in.Thing+" of type "+in.ThingType), do.CreateThing, in)
	return r.thing.Resource, err
}

func (r *deviceRun) deleteThing(ctx workflow.Context) (activities.Resource, error) {
	thing := activities.Resource{Type: "iot:Thing", Name: r.in.Device.Thing}
	if r.thing.Action == activities.Adopted {
		return thing, nil
	}
	_, err := call[activities.Removal](ctx, undoOptions("thing "+thing.Name), do.DeleteThing,
		activities.DeleteThingInput{Thing: thing.Name, Run: r.id, Undo: stuckOn(r.left, "IssueCertificate", "AttachThing")})
	return thing, err
}

func (r *deviceRun) registerDevice(ctx workflow.Context) (_ activities.Resource, err error) {
	r.registered, err = attempt[activities.Resource](ctx, r, r.stepOptions(ctx, "device "+r.in.Device.Name+" in fleet "+r.in.Fleet.Name), do.RegisterDevice,
		activities.RegisterInput{
			Registry: r.in.Fleet.Registry, Fleet: r.in.Fleet.Name, Device: r.in.Device.Name, Thing: r.thing, Run: r.id,
		})
	return r.registered, err
}

func (r *deviceRun) deregisterDevice(ctx workflow.Context) (activities.Resource, error) {
	registration := activities.Resource{Type: "registration in " + string(r.in.Fleet.Registry), Name: r.in.Device.Name}
	if r.registered.Action == activities.Adopted || r.thing.InGroup {
		return registration, nil
	}
	_, err := call[activities.Removal](ctx, undoOptions("device "+r.in.Device.Name+" from fleet "+r.in.Fleet.Name), do.DeregisterDevice,
		activities.DeregisterInput{
			Registry: r.in.Fleet.Registry, Fleet: r.in.Fleet.Name, Device: r.in.Device.Name, Thing: r.in.Device.Thing, Run: r.id,
		})
	return registration, err
}

func (r *deviceRun) certificateInput() activities.CertificateInput {
	return activities.CertificateInput{
		Device: r.in.Device.Name, Thing: r.in.Device.Thing, Policy: r.fleet.Policy, Bundle: r.bundle,
		Keys: r.in.Fleet.Keys, KeyType: r.in.Fleet.KeyType, CSR: r.in.Device.CSR,
		RootCA: r.fleet.RootCA, Since: r.started, Again: r.again, Run: r.id,
	}
}

func (r *deviceRun) issueCertificate(ctx workflow.Context) (_ activities.Resource, err error) {
	for pause := time.Second; ; pause = min(2*pause, 2*time.Minute) {
		options := r.stepOptions(ctx, "INACTIVE, into the device's bundle")
		options.StartToCloseTimeout, options.HeartbeatTimeout = issueAttemptTimeout, issueHeartbeatTimeout
		in := r.certificateInput()
		in.Note = r.note
		if in.Keys == fleet.KeysCSR { // a certificate that a dead worker obtained is found by its key
			r.certificate, err = attempt[activities.Certificate](ctx, r, options, do.IssueCertificate, in)
		} else {
			r.certificate, err = call[activities.Certificate](ctx, options, do.IssueCertificate, in)
		}
		r.again = true // whatever follows, a resume too, is no first attempt
		left := unfinished(err)
		r.note = left.Note
		// An attempt that left something is retried here, where a cancellation finds its note.
		if !left.Retry || r.timeLeft(ctx) <= pause || workflow.Sleep(ctx, pause) != nil {
			break
		}
	}
	return activities.Resource{Type: "iot:Certificate", Name: r.certificate.ID, ARN: r.certificate.ARN, Action: r.certificate.Action}, err
}

func (r *deviceRun) discardCertificate(ctx workflow.Context) (activities.Resource, error) {
	certificate := activities.Resource{
		Type: "iot:Certificate", Name: cmp.Or(r.certificate.ID, r.note.CertificateID, "of device "+r.in.Device.Name), ARN: r.certificate.ARN,
	}
	if r.certificate.Action == activities.Adopted {
		return certificate, nil
	}
	options := undoOptions("certificate " + short(r.certificate.ID) + " and " + r.bundle.Location.String())
	options.StartToCloseTimeout = issueAttemptTimeout
	_, err := call[activities.Removal](ctx, options, do.DiscardCertificate,
		activities.DiscardInput{CertificateInput: r.certificateInput(), Note: r.note})
	if err == nil {
		return certificate, nil
	}
	if !unfinished(err).FilesOnly {
		_, why := explain(err)
		r.left = append(r.left, Leftover{"IssueCertificate", certificate.Type, certificate.Name, why})
		err = errKept
	}
	return activities.Resource{Type: "bundle", Name: r.bundle.Location.String()}, err
}

// errKept says why a bundle is left, where its certificate is.
var errKept = errors.New("kept, because it names what is left")

// unfinished is what an error of IssueCertificate or DiscardCertificate says that there is yet.
func unfinished(err error) (left activities.Unfinished) {
	var failed *temporal.ApplicationError
	var timeout *temporal.TimeoutError
	switch { // errors without such details leave nothing
	case errors.As(err, &timeout) && timeout.HasLastHeartbeatDetails():
		_ = timeout.LastHeartbeatDetails(&left.Note)
	case errors.As(err, &failed) && failed.HasDetails():
		_ = failed.Details(new(activities.ErrorDetails), &left)
	}
	return left
}

func (r *deviceRun) thingAttachment() activities.ThingAttachment {
	return activities.ThingAttachment{Thing: r.in.Device.Thing, Certificate: r.certificate}
}

func (r *deviceRun) attachThing(ctx workflow.Context) (activities.Resource, error) {
	return attempt[activities.Resource](ctx, r, r.stepOptions(ctx, "certificate "+short(r.certificate.ID)+" to thing "+r.in.Device.Thing), do.AttachThing, r.thingAttachment())
}

// What is on a certificate that the run created goes with it, in discardCertificate: from here on
// undo is for an adopted one, which must be left as it was.
func (r *deviceRun) adopted() bool { return r.certificate.Action == activities.Adopted }

func (r *deviceRun) detachThing(ctx workflow.Context) (activities.Resource, error) {
	attachment := activities.Resource{Type: "iot:ThingPrincipal", Name: r.in.Device.Thing, ARN: r.certificate.ARN}
	if !r.adopted() || r.certificate.HasThing {
		return attachment, nil
	}
	return attachment, run(ctx, undoOptions("certificate "+short(r.certificate.ID)+" from thing "+r.in.Device.Thing), do.DetachThing, r.thingAttachment())
}

func (r *deviceRun) policyAttachment() activities.PolicyAttachment {
	return activities.PolicyAttachment{Policy: r.fleet.Policy, Certificate: r.certificate}
}

func (r *deviceRun) attachPolicy(ctx workflow.Context) (activities.Resource, error) {
	return attempt[activities.Resource](ctx, r, r.stepOptions(ctx, "policy "+r.fleet.Policy+" to certificate "+short(r.certificate.ID)), do.AttachPolicy, r.policyAttachment())
}

func (r *deviceRun) detachPolicy(ctx workflow.Context) (activities.Resource, error) {
	attachment := activities.Resource{Type: "iot:AttachedPolicy", Name: r.fleet.Policy, ARN: r.certificate.ARN}
	if !r.adopted() || r.certificate.HasPolicy {
		return attachment, nil
	}
	return attachment, run(ctx, undoOptions("policy "+r.fleet.Policy+" from certificate "+short(r.certificate.ID)), do.DetachPolicy, r.policyAttachment())
}

func (r *deviceRun) activateCertificate(ctx workflow.Context) (activities.Resource, error) {
	return attempt[activities.Resource](ctx, r, r.stepOptions(ctx, "certificate "+short(r.certificate.ID)), do.ActivateCertificate, r.certificate)
}

func (r *deviceRun) deactivateCertificate(ctx workflow.Context) (activities.Resource, error) {
	status := activities.Resource{Type: "iot:CertificateStatus", Name: "ACTIVE", ARN: r.certificate.ARN}
	if !r.adopted() || r.certificate.Active {
		return status, nil
	}
	return status, run(ctx, undoOptions("certificate "+short(r.certificate.ID)), do.DeactivateCertificate, r.certificate)
}

func (r *deviceRun) recordResource(action activities.Action) activities.Resource {
	return activities.Resource{Type: "s3:Object", Name: r.bundle.Location.String() + "/device.json", Action: action}
}

func (r *deviceRun) proveDevice(ctx workflow.Context) (activities.Resource, error) {
	options := r.stepOptions(ctx, "fetches credentials from "+r.fleet.CredentialsURL)
	options.ScheduleToCloseTimeout = min(options.ScheduleToCloseTimeout, proofLimit)
	proof, err := attempt[activities.Proof](ctx, r, options, do.ProveDevice, activities.ProveInput{
		Bundle: r.bundle, RootCA: r.fleet.RootCA, Run: r.id,
		Record: activities.Record{
			Fleet: r.in.Fleet.Name, Registry: r.in.Fleet.Registry,
			Device: r.in.Device.Name, Thing: r.in.Device.Thing, ThingType: r.in.Fleet.ThingType,
			CertificateID: r.certificate.ID, CertificateARN: r.certificate.ARN, Keys: r.in.Fleet.Keys,
			Policy: r.fleet.Policy, RoleAlias: r.fleet.RoleAlias, CredentialsURL: r.fleet.CredentialsURL,
		},
	})
	if err != nil {
		return activities.Resource{}, err
	}
	r.proof = &proof
	return r.recordResource(proof.Record), nil
}

func (r *deviceRun) deleteRecord(ctx workflow.Context) (activities.Resource, error) {
	record := r.recordResource("")
	if !r.adopted() {
		return record, nil
	}
	_, err := call[activities.Removal](ctx, undoOptions(record.Name), do.DeleteRecord, activities.DeleteRecordInput{Bundle: r.bundle, Run: r.id})
	return record, err
}

// short is a certificate's id as people tell it from another.
func short(id string) string { return id[:min(len(id), 8)] }
