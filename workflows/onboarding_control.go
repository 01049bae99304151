package workflows

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"edgefleet/internal/fleet"
)

// The updates, and signals of the same names, by which an operator steers an onboarding; each takes a
// Steering.
const (
	PauseOnboarding  = "pause"
	ResumeOnboarding = "resume"
	CancelOnboarding = "cancel"
)

// Steering is what an operator says with a decision about an onboarding.
type Steering struct {
	Reason string `json:"reason,omitempty"`
}

// steerings are the decisions: from which states each leads, and where to. Signals that came together are taken
// in this order, since nobody tells theirs: the most careful has the last word.
var steerings = []struct {
	name, description string
	from              []State
	to                State
}{
	{ResumeOnboarding, "Go on launching devices, after a pause or when the line has stopped and its cause is mended.", []State{Paused, Stopped}, Running},
	{PauseOnboarding, "Launch no more devices until resume; those under way come to their end.", []State{Running}, Paused},
	{CancelOnboarding, "Launch no more devices, for good; those under way come to their end.", []State{Running, Paused, Stopped}, Canceled},
}

// listen takes decisions: by update, which answers at once, by signal, and a cancellation. What it
// returns takes the signals that have come; a run that goes on as new calls it first.
func (o *onboarding) listen(ctx, detached workflow.Context) (takeSignals func(), err error) {
	var takes []func()
	var waiting []func() bool
	for _, s := range steerings {
		refuse := func(Steering) error {
			for _, from := range s.from {
				if o.in.State == from {
					return nil
				}
			}
			return temporal.NewNonRetryableApplicationError("the onboarding is "+string(o.in.State)+", so there is nothing to "+s.name, "Refused", nil)
		}
		err := workflow.SetUpdateHandlerWithOptions(ctx, s.name, func(ctx workflow.Context, said Steering) (OnboardStatus, error) {
			o.set(detached, s.to, said.Reason)
			return o.status(), nil
		}, workflow.UpdateHandlerOptions{Validator: refuse, Description: s.description})
		if err != nil {
			return nil, err
		}
		signals := workflow.GetSignalChannelWithOptions(detached, s.name, workflow.SignalChannelOptions{Description: s.description})
		take := func() {
			for said := (Steering{}); signals.ReceiveAsync(&said); said = (Steering{}) {
				if refuse(said) == nil {
					o.set(detached, s.to, said.Reason)
				}
			}
		}
		takes = append(takes, take)
		waiting = append(waiting, func() bool { return signals.Len() > 0 })
	}
	takeSignals = func() {
		for _, take := range takes {
			take()
		}
	}
	workflow.GoNamed(detached, "signals", func(detached workflow.Context) {
		some := func() bool { return slices.ContainsFunc(waiting, func(has func() bool) bool { return has() }) }
		for workflow.Await(detached, some) == nil {
			takeSignals()
		}
	})
	workflow.GoNamed(ctx, "cancellation", func(ctx workflow.Context) {
		ctx.Done().Receive(ctx, nil)
		if o.in.State != Canceled && o.in.State != Completed {
			o.set(detached, Canceled, "canceled through Temporal")
		}
	})
	return takeSignals, nil
}

// OnboardingSummary is the line that stands for an onboarding in the Temporal UI.
func OnboardingSummary(in OnboardInput) string {
	return "Onboard " + strconv.Itoa(in.Devices) + " devices into fleet " + in.Fleet.Name + " (" + string(in.Fleet.Registry) + ")"
}

// OnboardingDetails says in the Temporal UI, in Markdown, what the onboarding will do.
func OnboardingDetails(in OnboardInput) string {
	return "Provisions every device of `" + in.Manifest + "` that is not yet, each by a run of its own, `" + DeviceWorkflowID(in.Fleet.Name, "DEVICE") +
		"`, at the pace of AWS's quotas.\n\nReport: `starter report " + in.Name + "`, as JSON Lines in `" + in.Files.String() + "/report/`"
}

// summary stands beside a shift in the Temporal UI.
func (o *onboarding) summary() string {
	next := o.in.Progress.Next
	if o.in.State != Running {
		return "watches the " + strconv.Itoa(len(o.in.Progress.Open)) + " runs that are under way"
	}
	return "from page " + strconv.Itoa(next.Page+1) + " of " + strconv.Itoa(o.in.Pages) + ", line " + strconv.Itoa(next.Line+1)
}

// onboardingDetails are an onboarding's current details in the Temporal UI, in Markdown.
func onboardingDetails(s OnboardStatus) string {
	var b strings.Builder
	b.WriteString("**" + strconv.Itoa(s.Counts.Ended()) + " of " + strconv.Itoa(s.Devices) + " devices done**: " + string(s.State))
	if s.Why != "" {
		b.WriteString("\n\n" + s.Why)
	}
	switch s.State {
	case Stopped, Paused:
		b.WriteString("\n\nWhat to do: " + OnboardingAdvice(s))
	}
	for _, c := range []struct {
		what string
		n    int
	}{
		{"provisioned", s.Counts.Provisioned}, {"provisioned before", s.Counts.Already}, {"held", s.Counts.Held},
		{"failed", s.Counts.Failed}, {"under way", s.InFlight},
	} {
		b.WriteString("\n- " + c.what + ": " + strconv.Itoa(c.n))
	}
	b.WriteString("\n\nBetween two looks of a minute the newest count is in the heartbeat of the pending activity.")
	return b.String()
}

// OnboardingAdvice says what to do about an onboarding that launches nothing.
func OnboardingAdvice(s OnboardStatus) string {
	name := s.Name + " --fleet " + s.Fleet
	if s.State == Paused {
		return "`starter onboarding resume " + name + "` goes on, `starter onboarding cancel " + name + "` ends it."
	}
	return "mend the cause, then `starter resume --fleet " + s.Fleet + " --all --reason …` has the devices that are held and the onboarding go on. " +
		"`starter onboarding resume " + name + "`, or the update `resume`, goes on with the lines that are left only, and `starter onboarding cancel " + name +
		"` ends it. Devices that failed are done by running the same manifest again: what is provisioned is skipped."
}

// OnboardingWorkflowID is the workflow id of an onboarding.
func OnboardingWorkflowID(fleetName, name string) string {
	return "onboarding/" + fleetName + "/" + name
}

// DeviceSteps are the names of a device's steps, in their order.
func DeviceSteps() []string {
	names := make([]string, len(procedure))
	for i, s := range procedure {
		names[i] = s.name
	}
	return names
}

// DeviceAPIs are the AWS APIs with quotas that each device of the fleet needs a call of.
func DeviceAPIs(s fleet.Spec) []string {
	apis := []string{"iot:CreateThing", "iot:AttachThingPrincipal", "iot:AttachPolicy", "iot:UpdateCertificate"}
	if s.Registry == fleet.SageMakerEdge {
		apis = append(apis, "sagemaker:RegisterDevices")
	} else {
		apis = append(apis, "iot:AddThingToThingGroup")
	}
	switch s.Keys {
	case fleet.KeysAWS:
		return append(apis, "iot:CreateKeysAndCertificate", "credentials:AssumeRoleWithCertificate")
	case fleet.KeysCSR:
		return append(apis, "iot:CreateCertificateFromCsr", "credentials:AssumeRoleWithCertificate")
	}
	return append(apis, "iot:CreateCertificateFromCsr", "iot:DescribeCertificate", "iot:ListAttachedPolicies", "iot:ListPrincipalThings")
}

// onboardingFolder is where, beside a fleet's bundles, its onboardings have their files, each in
// NAME/STARTED/. No device can be named so.
const onboardingFolder = "_onboarding"

// startedLayout gives names in the order of the times.
const startedLayout = "20060102T150405.000Z"

// OnboardingFiles is where the files of an onboarding of that name are, of all that had it the one that
// was started then.
func OnboardingFiles(spec fleet.Spec, name string, started time.Time) fleet.S3URI {
	return fleet.S3URI{Bucket: spec.Bundles.Bucket, Prefix: spec.Bundles.Key(spec.Name, onboardingFolder, name, started.UTC().Format(startedLayout))}
}

// OnboardingsOf is where the files of all onboardings of that name are, each in a folder whose name is in the
// order of their starts.
func OnboardingsOf(spec fleet.Spec, name string) fleet.S3URI {
	return fleet.S3URI{Bucket: spec.Bundles.Bucket, Prefix: spec.Bundles.Key(spec.Name, onboardingFolder, name) + "/"}
}
