package activities

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/stretchr/testify/require"

	"edgefleet/internal/fleet"
)

// removal is an activity that undoes a step, or takes part in a decommission.
type removal struct {
	name     string
	registry fleet.Registry
	upTo     string // the steps before it were done
	do       func(a *account, run string) (any, error)
	only     []string // operations to disturb; nil: all
}

var removals = []removal{
	{"DeleteRecord", fleet.SageMakerEdge, "", func(a *account, run string) (any, error) {
		return again[Removal](a, a.DeleteRecord, DeleteRecordInput{a.bundle(), run})
	}, nil},
	{"DeactivateCertificate", fleet.SageMakerEdge, "ProveDevice", func(a *account, _ string) (any, error) {
		return again[any](a, a.DeactivateCertificate, a.certificate)
	}, nil},
	{"DetachPolicy", fleet.SageMakerEdge, "ActivateCertificate", func(a *account, _ string) (any, error) {
		return again[any](a, a.DetachPolicy, a.policyAttachment())
	}, nil},
	{"DetachThing", fleet.SageMakerEdge, "AttachPolicy", func(a *account, _ string) (any, error) {
		return again[any](a, a.DetachThing, a.thingAttachment())
	}, nil},
	{"DiscardCertificate", fleet.SageMakerEdge, "AttachThing", (*account).discard, nil},
	{"DiscardCertificate, of a whole device", fleet.SageMakerEdge, "", (*account).discard, []string{
		"iot:UpdateCertificate", "iot:DetachPolicy", "iot:DetachThingPrincipal", "iot:DeleteCertificate"}},
	{"DeregisterDevice", fleet.SageMakerEdge, "IssueCertificate", (*account).deregister, nil},
	{"DeregisterDevice", fleet.IoTCore, "IssueCertificate", (*account).deregister, nil},
	{"DeleteThing", fleet.SageMakerEdge, "RegisterDevice", (*account).deleteThing, nil},
	{"DeleteThing, of any run", fleet.SageMakerEdge, "RegisterDevice", func(a *account, _ string) (any, error) { return a.deleteThing("") }, nil},
	{"RetireCertificate", fleet.SageMakerEdge, "AttachThing", func(a *account, _ string) (any, error) {
		return again[Removal](a, a.RetireCertificate, RetireInput{CertificateID: a.certificate.ID})
	}, nil},
	{"RemoveBundle", fleet.SageMakerEdge, "", func(a *account, _ string) (any, error) {
		archive := ArchivedBundle(a.spec, a.device.Name, thisRun)
		return again[Removal](a, a.RemoveBundle, RemoveBundleInput{a.bundle(), &archive})
	}, nil},
}

func (a *account) discard(run string) (any, error) {
	return again[Removal](a, a.DiscardCertificate, DiscardInput{CertificateInput: a.issueInput(run)})
}

func (a *account) deregister(run string) (any, error) {
	return again[Removal](a, a.DeregisterDevice, DeregisterInput{a.spec.Registry, a.spec.Name, a.device.Name, a.device.Thing, run})
}

func (a *account) deleteThing(run string) (any, error) {
	return again[Removal](a, a.DeleteThing, DeleteThingInput{Thing: a.device.Thing, Run: run, Fleet: a.spec.Name})
}

// whole runs a removal as a new activity, until an attempt ends otherwise than by waiting for a
// detach.
func (r removal) whole(a *account, run string) (any, error) {
	a.heartbeat = nil
	return r.settled(a, run)
}

func (r removal) settled(a *account, run string) (result any, err error) {
	a.await(func() bool {
		result, err = r.do(a, run)
		return !IsType(err, NotYetEffective)
	})
	return result, err
}

// named is what tells an account's call of the operation from others'.
func (a *account) named(operation string) string {
	switch {
	case strings.HasPrefix(operation, "s3:"):
		return a.spec.Bundles.Bucket
	case strings.HasPrefix(operation, "sagemaker:"):
		return a.spec.Name
	case strings.Contains(operation, "Certificate"), strings.Contains(operation, "Polic"), strings.Contains(operation, "Principal"):
		return a.certificate.ID
	}
	return a.device.Thing
}

var readOnly = regexp.MustCompile(`:(Get|Head|List|Describe)`)

// Whatever call of a removal's first attempt fails or loses its answer, the next attempt brings it
// to the same end, and once more changes nothing.
func TestFirstAttemptToRemoveFails(t *testing.T) {
	for _, r := range removals {
		detaches := strings.HasPrefix(r.name, "Detach") || r.only != nil
		lists := r.name == "DeregisterDevice" && r.registry == fleet.IoTCore // what it says it goes by AWS's lists
		prepared := func(t *testing.T) *account {
			a := newAccount(t, r.registry).upTo(r.upTo, thisRun)
			if detaches { // a state that is passed through would be taken for the last
				a.awaitAttachments(map[string]string{"AttachPolicy": "AttachThing", "ActivateCertificate": "AttachPolicy"}[r.upTo])
			}
			return a
		}
		undisturbed := prepared(t)
		var result any
		var err error
		calls := undisturbed.callsDuring(func() { result, err = r.whole(undisturbed, thisRun) })
		require.NoError(t, err, r.name)
		if detaches || lists || r.upTo == "" || r.upTo == "ProveDevice" { // what was attached shows in a moment
			undisturbed.awaitDetachments()
		}
		want := undisturbed.same(undisturbed.inventory())

		t.Run(fmt.Sprintf("%s/%s", r.registry, r.name), func(t *testing.T) {
			for operation := range maps.Keys(calls) {
				if r.only != nil && !slices.Contains(r.only, operation) {
					continue
				}
				for _, m := range mishaps {
					if m.fault.Kind == "drop-before" && readOnly.MatchString(operation) {
						continue // the same as drop-after
					}
					t.Run(m.fault.Kind+" of "+operation, func(t *testing.T) {
						t.Parallel()
						a := prepared(t)
						m.fault.Operation, m.fault.Match = operation, a.named(operation)
						a.heartbeat = nil
						a.arm(m.fault)
						_, err := r.settled(a, thisRun)
						a.requireStruck(m.fault.Match)
						if operation == "s3:HeadObject" {
							m.kind = Unavailable // an answer without a body has a status only
						}
						requireType(t, err, m.kind)
						got, err := r.settled(a, thisRun)
						require.NoError(t, err)
						if !lists && (got != Gone || m.fault.Kind != "drop-after") {
							require.Equal(t, result, got)
						}
						a.requireHolds(want)

						got, err = r.whole(a, thisRun)
						require.NoError(t, err)
						if result != nil && !lists {
							require.Equal(t, Gone, got)
						}
						a.requireHolds(want)
					})
				}
			}
		})
	}
}

// awaitDetachments waits until AWS's lists, which lag, show nothing that was detached.
func (a *account) awaitDetachments() {
	a.Helper()
	last := ""
	require.True(a, a.await(func() bool {
		before := last
		last = a.same(a.inventory())
		if before != last {
			time.Sleep(400 * time.Millisecond)
		}
		return before == last
	}))
}

// What is not there is gone: no removal fails for that.
func TestRemoveWhatIsMissing(t *testing.T) {
	for _, r := range removals {
		for what, prepared := range map[string]func() *account{
			"everything": func() *account {
				a := newAccount(t, r.registry)
				a.certificate.ID = strings.Repeat("0", 64)
				a.certificate.ARN = "arn:aws:iot:" + a.region + ":123456789012:cert/" + a.certificate.ID
				return a
			},
			"the device": func() *account {
				a := newAccount(t, r.registry).upTo("CreateThing", thisRun)
				a.certificate.ID = strings.Repeat("0", 64)
				a.certificate.ARN = "arn:aws:iot:" + a.region + ":123456789012:cert/" + a.certificate.ID
				return a
			},
		} {
			t.Run(fmt.Sprintf("%s/%s/%s", r.registry, r.name, what), func(t *testing.T) {
				a := prepared()
				before, files := a.inventory(), a.files()
				got, err := r.whole(a, thisRun)
				require.NoError(t, err)
				if got != nil {
					require.Equal(t, Gone, got)
				}
				require.Equal(t, before, a.inventory())
				require.Equal(t, files, a.files())
			})
		}
	}
	a := newAccount(t, fleet.IoTCore)
	a.spec.Bundles.Bucket = "no-such-bucket"
	got, err := run[Removal](a, a.RemoveBundle, RemoveBundleInput{Bundle: a.bundle()})
	require.NoError(t, err)
	require.Equal(t, Gone, got)
}

// What another run made stays as it was, byte for byte.
func TestRemoveWhatIsNotOurs(t *testing.T) {
	t.Parallel()
	for _, keys := range allKeys {
		for _, registry := range []fleet.Registry{fleet.SageMakerEdge, fleet.IoTCore} {
			a := newAccount(t, registry)
			keys.use(a)
			a.upTo("ProveDevice", otherRun)
			a.awaitAttachments("ActivateCertificate")
			_, err := a.do(stepNamed("ProveDevice"), otherRun)
			require.NoError(t, err)
			a.upTo("", thisRun)
			before, files := a.inventory(), a.files()
			for _, r := range removals {
				switch {
				case r.name == "DeregisterDevice" && registry == fleet.IoTCore: // the workflow knows of the group
					continue
				case r.name == "DeleteRecord", r.name == "DeleteThing", strings.HasPrefix(r.name, "Discard"), r.name == "DeregisterDevice":
					got, err := r.whole(a, thisRun)
					require.NoError(t, err, r.name)
					require.Equal(t, Kept, got, r.name)
				}
			}
			require.Equal(t, before, a.inventory())
			require.Equal(t, files, a.files())
		}
	}
}

// A thing that a run adopted, and added to the group, is taken out again although AWS's lists do not
// show yet that it is in.
func TestDeregisterAtOnce(t *testing.T) {
	a := newAccount(t, fleet.IoTCore).upTo("CreateThing", thisRun)
	must(a, a.iot.CreateThing, &iot.CreateThingInput{ThingName: &a.device.Thing, ThingTypeName: &a.spec.ThingType,
		AttributePayload: &types.AttributePayload{Attributes: a.device.Attributes}})
	before := a.same(a.inventory())
	for _, name := range []string{"CreateThing", "RegisterDevice"} {
		_, err := a.do(stepNamed(name), thisRun)
		require.NoError(t, err)
	}
	require.Equal(t, Adopted, a.thing.Action)
	require.False(t, a.thing.InGroup)
	_, err := a.deregister(thisRun)
	require.NoError(t, err)
	a.awaitDetachments()
	require.Equal(t, before, a.same(a.inventory()))
}

// A thing that no run made, or that was made for another fleet, is nobody's to delete.
func TestDeleteForeignThing(t *testing.T) {
	a := newAccount(t, fleet.IoTCore)
	for name, marks := range map[string]map[string]string{
		"by-hand":   nil,
		"other-run": {fleet.RunMark: otherRun, fleet.FleetMark: a.spec.Name},
		"other":     {fleet.RunMark: thisRun, fleet.FleetMark: "other"},
	} {
		must(a, a.iot.CreateThing, &iot.CreateThingInput{ThingName: &name, AttributePayload: &types.AttributePayload{Attributes: marks}})
		in := DeleteThingInput{Thing: name, Run: thisRun, Fleet: a.spec.Name}
		got, err := run[Removal](a, a.DeleteThing, in)
		require.NoError(t, err)
		require.Equal(t, Kept, got, name)
		in.Run = ""
		got, err = run[Removal](a, a.DeleteThing, in)
		require.NoError(t, err)
		if name == "other-run" {
			require.Equal(t, Removed, got)
			continue
		}
		require.Equal(t, Kept, got, name)
		must(a, a.iot.DescribeThing, &iot.DescribeThingInput{ThingName: &name})
	}
}

// A thing that somebody's certificate is attached to cannot be deleted: that is waited out for a
// minute, unless it is known to stay.
func TestDeleteThingWithAForeignPrincipal(t *testing.T) {
	t.Parallel()
	a := newAccount(t, fleet.IoTCore).upTo("RegisterDevice", thisRun)
	c := must(a, a.iot.CreateKeysAndCertificate, &iot.CreateKeysAndCertificateInput{SetAsActive: true})
	must(a, a.iot.AttachThingPrincipal, &iot.AttachThingPrincipalInput{ThingName: &a.device.Thing, Principal: c.CertificateArn})
	in := DeleteThingInput{Thing: a.device.Thing, Run: thisRun, Undo: Undo{Stuck: true}}
	_, err := run[Removal](a, a.DeleteThing, in)
	require.Contains(t, requireType(t, err, StateConflict).Message(), "is still attached to one or more principals")

	in.Stuck = false
	a.heartbeat = refusal{Since: time.Now().Add(-settleTime / 2)}
	_, err = again[Removal](a, a.DeleteThing, in)
	requireType(t, err, NotYetEffective)
	require.Equal(t, map[string]string{*c.CertificateId: "ACTIVE"}, a.certificates())
	a.heartbeat = refusal{Since: time.Now().Add(-settleTime - time.Second)}
	_, err = again[Removal](a, a.DeleteThing, in)
	requireType(t, err, StateConflict)

	must(a, a.iot.DetachThingPrincipal, &iot.DetachThingPrincipalInput{ThingName: &a.device.Thing, Principal: c.CertificateArn})
	got, err := run[Removal](a, a.DeleteThing, in)
	require.NoError(t, err)
	require.Equal(t, Removed, got, "once AWS notices that it is detached")
}

// AWS may refuse longer than an attempt waits: the next ones go on, and only a refusal that lasts
// when there is nothing to detach any more is final.
func TestRetireWaitsForDetaches(t *testing.T) {
	t.Parallel()
	a := newAccount(t, fleet.IoTCore).upTo("ProveDevice", thisRun)
	a.awaitAttachments("ActivateCertificate")
	refuse := fault{Operation: "iot:DeleteCertificate", Kind: "error", Code: "DeleteConflictException", Status: 409, Match: a.certificate.ID, Times: 6}
	in := RetireInput{a.certificate.ID, Undo{Stuck: true}}
	a.arm(refuse)
	a.heartbeat = refusal{Since: time.Now().Add(-time.Hour)}
	_, err := again[Removal](a, a.RetireCertificate, in)
	requireType(t, err, NotYetEffective) // this attempt detached, so it is not stuck
	a.requireStruck(refuse.Match)
	require.Equal(t, map[string]string{a.certificate.ID: "INACTIVE"}, a.certificates())

	refuse.Times = 1
	a.arm(refuse)
	_, err = again[Removal](a, a.RetireCertificate, in)
	requireType(t, err, StateConflict)
	in.Stuck = false
	a.arm(refuse)
	a.heartbeat = refusal{Since: time.Now().Add(-settleTime - time.Second)}
	_, err = again[Removal](a, a.RetireCertificate, in)
	requireType(t, err, StateConflict)

	got, err := again[Removal](a, a.RetireCertificate, in)
	require.NoError(t, err)
	require.Equal(t, Removed, got)
	require.Empty(t, a.certificates())
}

// A certificate that somebody revoked cannot be made INACTIVE, and need not be.
func TestRetireRevokedCertificate(t *testing.T) {
	a := newAccount(t, fleet.IoTCore).upTo("AttachThing", thisRun)
	must(a, a.iot.UpdateCertificate, &iot.UpdateCertificateInput{CertificateId: &a.certificate.ID, NewStatus: types.CertificateStatusRevoked})
	got, err := run[Removal](a, a.RetireCertificate, RetireInput{CertificateID: a.certificate.ID})
	require.NoError(t, err)
	require.Equal(t, Removed, got)
	require.Empty(t, a.certificates())
}

// What else is attached to a certificate of ours goes too: nothing can use it any more.
func TestRetireDetachesEverything(t *testing.T) {
	t.Parallel()
	a := newAccount(t, fleet.IoTCore).upTo("", thisRun)
	must(a, a.iot.CreateThing, &iot.CreateThingInput{ThingName: aws.String("another")})
	must(a, a.iot.AttachThingPrincipal, &iot.AttachThingPrincipalInput{ThingName: aws.String("another"), Principal: &a.certificate.ARN})
	must(a, a.iot.CreatePolicy, &iot.CreatePolicyInput{PolicyName: aws.String("another"), PolicyDocument: aws.String(policyDocument("*"))})
	must(a, a.iot.AttachPolicy, &iot.AttachPolicyInput{PolicyName: aws.String("another"), Target: &a.certificate.ARN})
	r := removal{do: func(a *account, _ string) (any, error) {
		return again[Removal](a, a.RetireCertificate, RetireInput{CertificateID: a.certificate.ID})
	}}
	got, err := r.whole(a, thisRun) // without waiting for the lists: what they do not show yet, AWS refuses for
	require.NoError(t, err)
	require.Equal(t, Removed, got)
	require.Empty(t, a.certificates())
	must(a, a.iot.DescribeThing, &iot.DescribeThingInput{ThingName: aws.String("another")})
	must(a, a.iot.GetPolicy, &iot.GetPolicyInput{PolicyName: aws.String("another")})
}
