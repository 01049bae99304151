package activities

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/stretchr/testify/require"

	"edgefleet/internal/fleet"
)

// step is an activity with the input that the workflows give it; what it returns is kept in the
// account for the steps that follow.
type step struct {
	name string
	do   func(a *account, run string) (any, error)
}

// kept runs the next attempt and keeps its result.
func kept[R any](a *account, keep *R, fn any, args ...any) (any, error) {
	a.Helper()
	result, err := again[R](a, fn, args...)
	if err == nil && keep != nil {
		*keep = result
	}
	return result, err
}

// steps are those of a fleet and of a device, in the workflows' order.
var steps = []step{
	{"CreateThingType", func(a *account, _ string) (any, error) {
		return kept[Resource](a, nil, a.CreateThingType, a.spec.ThingType)
	}},
	{"CreateDeviceFleet", func(a *account, _ string) (any, error) {
		return kept[Resource](a, nil, a.CreateDeviceFleet, a.spec)
	}},
	{"FindRoleAlias", func(a *account, _ string) (any, error) {
		return kept(a, &a.roleAlias, a.FindRoleAlias, a.spec)
	}},
	{"CreatePolicy", func(a *account, _ string) (any, error) {
		return kept[Resource](a, nil, a.CreatePolicy, PolicyInput{a.spec.PolicyName(), a.roleAlias.ARN})
	}},
	{"DescribeEndpoint", func(a *account, _ string) (any, error) {
		return kept(a, &a.endpoint, a.DescribeEndpoint)
	}},
	{"FetchRootCA", func(a *account, _ string) (any, error) {
		return kept(a, &a.ca, a.FetchRootCA, FleetBundle(a.spec))
	}},
	{"CreateThing", func(a *account, run string) (any, error) {
		return kept(a, &a.thing, a.CreateThing, a.thingInput(run))
	}},
	{"RegisterDevice", func(a *account, run string) (any, error) {
		return kept[Resource](a, nil, a.RegisterDevice, a.registerInput(run))
	}},
	{"IssueCertificate", func(a *account, run string) (any, error) {
		return kept(a, &a.certificate, a.IssueCertificate, a.issueInput(run))
	}},
	{"AttachThing", func(a *account, _ string) (any, error) {
		return kept[Resource](a, nil, a.AttachThing, a.thingAttachment())
	}},
	{"AttachPolicy", func(a *account, _ string) (any, error) {
		return kept[Resource](a, nil, a.AttachPolicy, a.policyAttachment())
	}},
	{"ActivateCertificate", func(a *account, _ string) (any, error) {
		return kept[Resource](a, nil, a.ActivateCertificate, a.certificate)
	}},
	{"ProveDevice", func(a *account, run string) (any, error) {
		return kept[Proof](a, nil, a.ProveDevice, a.proveInput(run))
	}},
}

func (a *account) thingInput(run string) ThingInput {
	in := ThingInput{Thing: a.device.Thing, ThingType: a.spec.ThingType, Attributes: a.device.Attributes, Fleet: a.spec.Name, Run: run}
	if a.spec.Registry == fleet.IoTCore {
		in.Group = a.spec.ThingGroupName()
	}
	return in
}

func (a *account) registerInput(run string) RegisterInput {
	return RegisterInput{a.spec.Registry, a.spec.Name, a.device.Name, a.thing, run}
}

func (a *account) issueInput(run string) CertificateInput {
	return CertificateInput{
		Device: a.device.Name, Thing: a.device.Thing, Policy: a.spec.PolicyName(), Bundle: a.bundle(),
		Keys: a.spec.Keys, KeyType: a.spec.KeyType, CSR: a.csr, RootCA: a.ca, Since: a.begun, Run: run,
	}
}

func (a *account) thingAttachment() ThingAttachment {
	return ThingAttachment{a.device.Thing, a.certificate}
}

func (a *account) policyAttachment() PolicyAttachment {
	return PolicyAttachment{a.spec.PolicyName(), a.certificate}
}

func (a *account) proveInput(run string) ProveInput {
	return ProveInput{a.bundle(), a.ca, Record{
		Fleet: a.spec.Name, Registry: a.spec.Registry, Device: a.device.Name, Thing: a.device.Thing, ThingType: a.spec.ThingType,
		CertificateID: a.certificate.ID, CertificateARN: a.certificate.ARN, Keys: a.spec.Keys, Policy: a.spec.PolicyName(),
		RoleAlias: a.roleAlias.Name, CredentialsURL: CredentialsURL(a.endpoint, a.roleAlias.Name),
	}, run}
}

func (a *account) bundle() Bundle { return DeviceBundle(a.spec, a.device.Name) }

// do runs a step as a new activity.
func (a *account) do(s step, run string) (any, error) {
	a.Helper()
	a.heartbeat = nil
	return s.do(a, run)
}

// upTo runs the steps before the one of that name, all of them if there is none.
func (a *account) upTo(name, run string) *account {
	a.Helper()
	for _, s := range steps {
		if s.name == name {
			break
		}
		_, err := a.do(s, run)
		require.NoError(a, err, s.name)
	}
	return a
}

func stepNamed(name string) step {
	return steps[slices.IndexFunc(steps, func(s step) bool { return s.name == name })]
}

var (
	certificateIDs = regexp.MustCompile(`\b[0-9a-f]{64}\b`)
	times          = regexp.MustCompile(`\d{4}-\d\d-\d\dT[\d:.]+Z`)
)

// same is what a value says, less what differs between accounts: compare it with another's.
func (a *account) same(value any) string {
	a.Helper()
	text, err := json.MarshalIndent(value, "", " ")
	require.NoError(a, err)
	id := a.region[strings.LastIndex(a.region, "-")+1:]
	s := strings.ReplaceAll(string(text), a.region, "REGION")
	s = strings.NewReplacer("cameras-"+id, "FLEET", "cam-"+id, "DEVICE", "thing:"+id, "THING", "edge-bucket-"+id, "BUCKET").Replace(s)
	return times.ReplaceAllString(certificateIDs.ReplaceAllString(s, "CERTIFICATE"), "TIME")
}

// must is the answer of a call that has to succeed.
func must[In, Out, Option any](a *account, call func(context.Context, *In, ...Option) (*Out, error), in *In) *Out {
	a.Helper()
	out, err := call(a.Context(), in)
	require.NoError(a, err)
	return out
}

// inventory is all that the account holds.
func (a *account) inventory() []string {
	a.Helper()
	var all []string
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	things := must(a, a.iot.ListThings, &iot.ListThingsInput{})
	for _, t := range things.Things {
		add("thing %s type %s attributes %v", *t.ThingName, aws.ToString(t.ThingTypeName), t.Attributes)
		for _, p := range must(a, a.iot.ListThingPrincipals, &iot.ListThingPrincipalsInput{ThingName: t.ThingName}).Principals {
			add("thing %s has %s", *t.ThingName, p)
		}
	}
	for _, t := range must(a, a.iot.ListThingTypes, &iot.ListThingTypesInput{}).ThingTypes {
		add("thing type %s", *t.ThingTypeName)
	}
	for _, g := range must(a, a.iot.ListThingGroups, &iot.ListThingGroupsInput{}).ThingGroups {
		members := must(a, a.iot.ListThingsInThingGroup, &iot.ListThingsInThingGroupInput{ThingGroupName: g.GroupName}).Things
		add("thing group %s of %v", *g.GroupName, members)
	}
	for _, p := range must(a, a.iot.ListPolicies, &iot.ListPoliciesInput{}).Policies {
		add("policy %s: %s", *p.PolicyName, *must(a, a.iot.GetPolicy, &iot.GetPolicyInput{PolicyName: p.PolicyName}).PolicyDocument)
	}
	for _, alias := range must(a, a.iot.ListRoleAliases, &iot.ListRoleAliasesInput{}).RoleAliases {
		add("role alias %s for %s", alias, *must(a, a.iot.DescribeRoleAlias, &iot.DescribeRoleAliasInput{RoleAlias: &alias}).RoleAliasDescription.RoleArn)
	}
	for _, c := range must(a, a.iot.ListCertificates, &iot.ListCertificatesInput{}).Certificates {
		policies := must(a, a.iot.ListAttachedPolicies, &iot.ListAttachedPoliciesInput{Target: c.CertificateArn}).Policies
		add("certificate %s %s with %d policies", *c.CertificateId, c.Status, len(policies))
	}
	for _, f := range must(a, a.sagemaker.ListDeviceFleets, &sagemaker.ListDeviceFleetsInput{}).DeviceFleetSummaries {
		d := must(a, a.sagemaker.DescribeDeviceFleet, &sagemaker.DescribeDeviceFleetInput{DeviceFleetName: f.DeviceFleetName})
		add("device fleet %s role %s output %s alias %s", *f.DeviceFleetName, *d.RoleArn, *d.OutputConfig.S3OutputLocation, aws.ToString(d.IotRoleAlias))
	}
	for _, d := range must(a, a.sagemaker.ListDevices, &sagemaker.ListDevicesInput{}).DeviceSummaries {
		add("device %s in %s is %s", *d.DeviceName, *d.DeviceFleetName, *d.IotThingName)
	}
	for _, o := range must(a, a.s3.ListObjectsV2, &s3.ListObjectsV2Input{Bucket: &a.spec.Bundles.Bucket}).Contents {
		add("object %s", *o.Key)
	}
	return all
}

// requireHolds wants the account to hold what another did, as soon as AWS's lists have caught up.
func (a *account) requireHolds(want string) {
	a.Helper()
	got := ""
	a.await(func() bool {
		got = a.same(a.inventory())
		return got == want
	})
	require.Equal(a, want, got)
}

// provisioned is what an account holds in the end, for a thing of the registry.
func provisioned(registry fleet.Registry, keys fleet.Keys) []string {
	const alias = "arn:aws:iot:REGION:123456789012:rolealias/"
	arn := alias + "edgefleet-FLEET"
	enrolled := []string{"thing group FLEET of [THING]"}
	if registry == fleet.SageMakerEdge {
		arn, enrolled = alias+"SageMakerEdge-FLEET", nil
	}
	_, name, _ := strings.Cut(arn, "rolealias/")
	all := []string{
		"thing THING type smart-camera attributes map[edgefleet-fleet:FLEET edgefleet-run:" + thisRun + " site:osaka]",
		"thing THING has arn:aws:iot:REGION:123456789012:cert/CERTIFICATE",
		"thing type smart-camera",
	}
	all = append(all, enrolled...)
	all = append(all,
		`policy edgefleet-FLEET: {"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:AssumeRoleWithCertificate","Resource":"`+arn+`"}}`,
		"role alias "+name+" for "+testRole,
		"certificate CERTIFICATE ACTIVE with 1 policies",
	)
	if registry == fleet.SageMakerEdge {
		all = append(all,
			"device fleet FLEET role "+testRole+" output s3://BUCKET/output alias "+arn,
			"device DEVICE in FLEET is THING")
	}
	all = append(all,
		"object files/FLEET/AmazonRootCA1.pem",
		"object files/FLEET/DEVICE/AmazonRootCA1.pem",
		"object files/FLEET/DEVICE/device.json",
		"object files/FLEET/DEVICE/device.pem.crt")
	if keys != fleet.KeysDevice {
		all = append(all, "object files/FLEET/DEVICE/private.pem.key")
	}
	return all
}

// Each step on a fresh account says what it created; the same run again finds its own, another
// run adopts; nothing is doubled.
func TestStepsCreateFindAndAdopt(t *testing.T) {
	for _, registry := range []fleet.Registry{fleet.SageMakerEdge, fleet.IoTCore} {
		for _, keys := range allKeys {
			t.Run(fmt.Sprintf("%s/%s", registry, keys.name), func(t *testing.T) {
				a := newAccount(t, registry)
				keys.use(a)
				want, err := json.MarshalIndent(provisioned(registry, a.spec.Keys), "", " ")
				require.NoError(t, err)

				actions := map[string]Action{}
				for _, s := range steps {
					result, err := a.do(s, thisRun)
					if s.name == "ProveDevice" && a.spec.Keys == fleet.KeysDevice && err != nil {
						requireType(t, err, NotYetEffective) // it asks AWS's lists, which lag
						a.awaitAttachments("")
						result, err = s.do(a, thisRun)
					}
					require.NoError(t, err, s.name)
					actions[s.name] = actionOf(result)
				}
				for name, action := range actions {
					want := Created
					switch {
					case name == "FindRoleAlias" && registry == fleet.SageMakerEdge: // SageMaker makes it
						want = Adopted
					case name == "DescribeEndpoint", name == "FetchRootCA":
						want = ""
					}
					require.Equal(t, want, action, name)
				}
				a.requireHolds(string(want))
				first, record := a.certificate, a.object(RecordFile)
				require.Equal(t, Certificate{ID: first.ID, ARN: first.ARN, Action: Created}, first)

				for _, s := range steps {
					result, err := a.do(s, thisRun)
					require.NoError(t, err, s.name)
					switch s.name {
					case "CreateThing", "RegisterDevice", "IssueCertificate", "AttachThing", "AttachPolicy", "ActivateCertificate", "ProveDevice":
						require.Equal(t, Created, actionOf(result), "%s again, by the same run", s.name)
					}
				}
				require.Equal(t, first, a.certificate)

				for _, s := range steps {
					result, err := a.do(s, otherRun)
					require.NoError(t, err, s.name)
					if actions[s.name] != "" {
						require.Equal(t, Adopted, actionOf(result), "%s, by another run", s.name)
					}
				}
				require.Equal(t, registry == fleet.IoTCore, a.thing.InGroup)
				require.Equal(t, Certificate{first.ID, first.ARN, Adopted, true, true, true}, a.certificate)
				require.Equal(t, record, a.object(RecordFile), "another run's record is not written again")
				a.requireHolds(string(want))
			})
		}
	}
}

func actionOf(result any) Action {
	switch r := result.(type) {
	case Resource:
		return r.Action
	case Thing:
		return r.Action
	case Certificate:
		return r.Action
	case Proof:
		return r.Record
	}
	return ""
}
