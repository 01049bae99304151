// Package audit compares what a fleet's bundles say with what is in AWS, both ways, and sweeps what
// is provably ours and provably unused.
package audit

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"

	"edgefleet/activities"
	"edgefleet/internal/fleet"
	"edgefleet/internal/quota"
)

// Kind is what does not fit.
type Kind string

const (
	OrphanedCertificate       Kind = "orphaned-certificate"        // in no bundle, and ours
	UnprovenDevice            Kind = "unproven-device"             // a bundle without proof
	TwoActiveCertificates     Kind = "two-active-certificates"     // on one device's thing
	BundleIncomplete          Kind = "bundle-incomplete"           // a file is missing
	BundleWithoutThing        Kind = "bundle-without-thing"        //
	ThingWithoutBundle        Kind = "thing-without-bundle"        //
	BundleWithoutCertificate  Kind = "bundle-without-certificate"  // AWS IoT does not know it
	CertificateNotActive      Kind = "certificate-not-active"      //
	CertificateNotAttached    Kind = "certificate-not-attached"    // to the device's thing
	PolicyNotAttached         Kind = "policy-not-attached"         // to the device's certificate
	DeviceNotRegistered       Kind = "device-not-registered"       //
	RegistrationWithoutBundle Kind = "registration-without-bundle" //
)

// Finding is one thing that does not fit.
type Finding struct {
	Kind     Kind   `json:"kind"`
	Device   string `json:"device,omitempty"`
	Resource string `json:"resource"`
	Detail   string `json:"detail"`
}

// share of each quota that an audit takes: a fleet may be onboarding at the same time.
var share = quota.Share{From: 0, To: 0.5}

// Auditor reads a fleet's resources.
type Auditor struct {
	iot       *iot.Client
	sagemaker *sagemaker.Client
	s3        *s3.Client
	spec      fleet.Spec

	now   func() time.Time
	pause func(context.Context, time.Duration) error
}

// New makes an auditor of the fleet, in the account and region of cfg, which takes half of the rates.
func New(cfg aws.Config, spec fleet.Spec, rates *quota.Rates) *Auditor {
	return newAuditor(quota.NewLanes(rates, share).Limit(cfg), spec)
}

func newAuditor(cfg aws.Config, spec fleet.Spec) *Auditor {
	return &Auditor{
		iot:       iot.NewFromConfig(cfg),
		sagemaker: sagemaker.NewFromConfig(cfg),
		s3:        activities.NewS3(cfg),
		spec:      spec,
		now:       time.Now,
		pause:     pause,
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// settleTime is how long AWS's lists may be stale after a change (seconds, as AWS documents it).
const settleTime = 3 * time.Second

// Audit returns what does not fit. AWS's lists can be stale for seconds after a change, so what is
// found is looked at twice: only what is there both times is told.
func (a *Auditor) Audit(ctx context.Context) ([]Finding, error) {
	first, err := a.once(ctx)
	if err != nil || len(first) == 0 {
		return first, err
	}
	if err := a.pause(ctx, settleTime); err != nil {
		return nil, err
	}
	second, err := a.once(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(second, func(f Finding) bool {
		return !slices.ContainsFunc(first, func(g Finding) bool { return f.Kind == g.Kind && f.Resource == g.Resource })
	}), nil
}

func (a *Auditor) once(ctx context.Context) ([]Finding, error) {
	in, err := a.takeInventory(ctx)
	if err != nil {
		return nil, err
	}
	var found []Finding
	for _, d := range in.devices {
		found = append(found, in.checkDevice(a.spec, d)...)
	}
	found = append(found, in.checkOthers(a.spec)...)
	slices.SortFunc(found, func(x, y Finding) int {
		return cmp.Or(cmp.Compare(x.Device, y.Device), cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.Resource, y.Resource))
	})
	return found, nil
}

// checkDevice compares a bundle with AWS.
func (in *inventory) checkDevice(spec fleet.Spec, d *device) []Finding {
	var found []Finding
	add := func(kind Kind, resource, format string, args ...any) {
		found = append(found, Finding{kind, d.name, resource, fmt.Sprintf(format, args...)})
	}
	if d.record == nil {
		add(UnprovenDevice, d.location, "the bundle has no device.json that can be read: a run is not done, or was ended from outside. `starter decommission` clears it, `starter provision` finishes it")
		return found // of what else it should have, only the record tells
	}
	switch {
	case !d.record.RetractedAt.IsZero():
		add(UnprovenDevice, d.location, "a decommission began at %s and has not come to its end. `starter decommission` finishes it", d.record.RetractedAt.Format(time.RFC3339))
	case d.record.ProvenAt.IsZero() && d.record.Keys != fleet.KeysDevice:
		add(UnprovenDevice, d.location, "device.json names no proof")
	}
	for _, file := range activities.BundleFiles(d.record.Keys) {
		if !slices.Contains(d.files, file) {
			add(BundleIncomplete, d.location+"/"+file, "the file is missing")
		}
	}
	thing, isThing := in.things[d.thing()]
	if !isThing {
		add(BundleWithoutThing, d.thing(), "AWS IoT has no such thing")
	}
	switch thing, registered := in.registered[d.name]; {
	case in.retired:
	case !registered:
		add(DeviceNotRegistered, d.name, "it is not registered in fleet %s", spec.Name)
	case thing != d.thing():
		add(DeviceNotRegistered, d.name, "it is registered with the thing %s, not %s", thing, d.thing())
	}
	certificate, known := in.certificates[d.certificateID]
	switch {
	case !known:
		add(BundleWithoutCertificate, d.certificateID, "AWS IoT does not know the certificate")
		return found
	case certificate.Status != types.CertificateStatusActive:
		add(CertificateNotActive, d.certificateID, "it is %s", certificate.Status)
	}
	arn := aws.ToString(certificate.CertificateArn)
	if isThing && !slices.Contains(thing.principals, arn) {
		add(CertificateNotAttached, d.certificateID, "it is not attached to thing %s", d.thing())
	}
	if !in.withPolicy[arn] {
		add(PolicyNotAttached, d.certificateID, "policy %s is not attached to it", spec.PolicyName())
	}
	return found
}

// checkOthers looks for what no bundle accounts for.
func (in *inventory) checkOthers(spec fleet.Spec) []Finding {
	var found []Finding
	bundled := map[string]bool{}     // certificate ids
	deviceOf := map[string]*device{} // by thing
	for _, d := range in.devices {
		bundled[d.certificateID] = true
		deviceOf[d.thing()] = d
	}
	for name, t := range in.things {
		d := deviceOf[name]
		if d == nil {
			found = append(found, Finding{ThingWithoutBundle, "", name, "a run created it for this fleet, and no bundle names it"})
			continue
		}
		active := 0
		for _, arn := range t.principals {
			if c, known := in.byARN[arn]; known && c.Status == types.CertificateStatusActive && in.withPolicy[arn] {
				active++
			}
		}
		if active > 1 {
			found = append(found, Finding{TwoActiveCertificates, d.name, name, fmt.Sprintf("%d ACTIVE certificates with policy %s are attached to the thing", active, spec.PolicyName())})
		}
	}
	for name := range in.registered {
		if in.devices[name] == nil {
			found = append(found, Finding{RegistrationWithoutBundle, name, name, "it is registered in the fleet, and has no bundle"})
		}
	}
	for arn := range in.withPolicy {
		if c, known := in.byARN[arn]; known && !bundled[aws.ToString(c.CertificateId)] {
			found = append(found, Finding{OrphanedCertificate, "", aws.ToString(c.CertificateId), fmt.Sprintf("%s, has policy %s, and is in no bundle", c.Status, spec.PolicyName())})
		}
	}
	for _, c := range in.lost {
		advice := "`starter sweep --delete` removes it"
		if c.doubtful {
			advice = "there are more such certificates than lost answers, so look whose it is"
		}
		found = append(found, Finding{OrphanedCertificate, c.lost.Device, c.id,
			fmt.Sprintf("INACTIVE, attached to nothing, in no bundle: made at %s, when AWS's answer to run %s was lost; %s", c.made.UTC().Format(time.RFC3339), c.lost.Run, advice)})
	}
	return found
}
