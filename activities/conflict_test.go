package activities

import (
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	sagemakertypes "github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
	"github.com/stretchr/testify/require"

	"edgefleet/internal/fleet"
)

// What exists and differs is never taken over: the error says what is there and what is wanted.
func TestExistsAndDiffers(t *testing.T) {
	fleetOf := func(role, output string) func(*account) {
		return func(a *account) {
			must(a, a.sagemaker.CreateDeviceFleet, &sagemaker.CreateDeviceFleetInput{DeviceFleetName: &a.spec.Name, RoleArn: &role,
				OutputConfig: &sagemakertypes.EdgeOutputConfig{S3OutputLocation: aws.String(output)}})
		}
	}
	thing := func(typeName string, attributes map[string]string) func(*account) {
		return func(a *account) {
			must(a, a.iot.CreateThingType, &iot.CreateThingTypeInput{ThingTypeName: &typeName})
			must(a, a.iot.CreateThing, &iot.CreateThingInput{ThingName: &a.device.Thing, ThingTypeName: &typeName,
				AttributePayload: &types.AttributePayload{Attributes: attributes}})
		}
	}
	for name, c := range map[string]struct {
		registry fleet.Registry
		step     string
		prepare  func(*account)
		kind     string
		want     string
	}{
		"thing type is deprecated": {fleet.IoTCore, "CreateThingType", func(a *account) {
			must(a, a.iot.CreateThingType, &iot.CreateThingTypeInput{ThingTypeName: &a.spec.ThingType})
			must(a, a.iot.DeprecateThingType, &iot.DeprecateThingTypeInput{ThingTypeName: &a.spec.ThingType})
		}, StateConflict, "it exists and is deprecated"},
		"fleet's role": {fleet.SageMakerEdge, "CreateDeviceFleet", func(a *account) {
			fleetOf(otherRole, a.spec.Output.String())(a)
		}, Conflict, `its role is "` + otherRole + `", not "` + testRole + `"`},
		"fleet's output": {fleet.SageMakerEdge, "CreateDeviceFleet", fleetOf(testRole, "s3://other/output"),
			Conflict, `its output is "s3://other/output", not "s3://edge-bucket`},
		"role alias's role": {fleet.IoTCore, "FindRoleAlias", func(a *account) {
			must(a, a.iot.CreateRoleAlias, &iot.CreateRoleAliasInput{RoleAlias: aws.String(a.spec.RoleAliasName()), RoleArn: aws.String(otherRole)})
		}, Conflict, `it is for the role "` + otherRole + `", not "` + testRole + `"`},
		"SageMaker's role alias's role": {fleet.SageMakerEdge, "FindRoleAlias", func(a *account) {
			must(a, a.iot.UpdateRoleAlias, &iot.UpdateRoleAliasInput{RoleAlias: aws.String("SageMakerEdge-" + a.spec.Name), RoleArn: aws.String(otherRole)})
		}, Conflict, `it is for the role "` + otherRole + `", not "` + testRole + `"`},
		"policy": {fleet.IoTCore, "CreatePolicy", func(a *account) {
			must(a, a.iot.CreatePolicy, &iot.CreatePolicyInput{PolicyName: aws.String(a.spec.PolicyName()), PolicyDocument: aws.String(policyDocument("*"))})
		}, Conflict, "it exists and its default version 1 reads"},
		"thing's type": {fleet.IoTCore, "CreateThing", thing("toaster", map[string]string{"site": "osaka"}),
			Conflict, `it exists and has the thing type "toaster", not "smart-camera"`},
		"thing's attribute": {fleet.IoTCore, "CreateThing", thing("smart-camera", map[string]string{"site": "kyoto"}),
			Conflict, `its attribute site is "kyoto", not "osaka"`},
		"thing without the attribute": {fleet.IoTCore, "CreateThing", thing("smart-camera", nil),
			Conflict, `its attribute site is "", not "osaka"`},
		"registration's thing": {fleet.SageMakerEdge, "RegisterDevice", func(a *account) {
			must(a, a.iot.CreateThing, &iot.CreateThingInput{ThingName: aws.String("another")})
			must(a, a.sagemaker.RegisterDevices, &sagemaker.RegisterDevicesInput{DeviceFleetName: &a.spec.Name,
				Devices: []sagemakertypes.Device{{DeviceName: &a.device.Name, IotThingName: aws.String("another")}}})
		}, Conflict, `it is registered with the thing "another", not "thing:`},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAccount(t, c.registry).upTo(c.step, otherRun)
			c.prepare(a)
			before := a.inventory()
			_, err := a.do(stepNamed(c.step), thisRun)
			require.Contains(t, requireType(t, err, c.kind).Message(), c.want)
			require.Equal(t, before, a.inventory())
		})
	}
}

// What exists and fits is adopted, however it was written down and whatever else it has.
func TestExistsAndFits(t *testing.T) {
	a := newAccount(t, fleet.SageMakerEdge)
	must(a, a.iot.CreateThingType, &iot.CreateThingTypeInput{ThingTypeName: &a.spec.ThingType,
		ThingTypeProperties: &types.ThingTypeProperties{ThingTypeDescription: aws.String("by hand")}})
	must(a, a.sagemaker.CreateDeviceFleet, &sagemaker.CreateDeviceFleetInput{DeviceFleetName: &a.spec.Name, RoleArn: aws.String(testRole),
		EnableIotRoleAlias: aws.Bool(true), OutputConfig: &sagemakertypes.EdgeOutputConfig{S3OutputLocation: aws.String(a.spec.Output.String() + "/")}})
	must(a, a.iot.CreatePolicy, &iot.CreatePolicyInput{PolicyName: aws.String(a.spec.PolicyName()), PolicyDocument: aws.String(
		`{ "Statement": [{"Sid":"Edge","Resource":["arn:aws:iot:` + a.region + `:123456789012:rolealias/SageMakerEdge-` + a.spec.Name +
			`"],"Action":["iot:AssumeRoleWithCertificate"],"Effect":"Allow"}], "Version":"2012-10-17" }`)})
	must(a, a.iot.CreateThing, &iot.CreateThingInput{ThingName: &a.device.Thing, ThingTypeName: &a.spec.ThingType,
		AttributePayload: &types.AttributePayload{Attributes: map[string]string{"site": "osaka", "rack": "7"}}})
	must(a, a.sagemaker.RegisterDevices, &sagemaker.RegisterDevicesInput{DeviceFleetName: &a.spec.Name,
		Devices: []sagemakertypes.Device{{DeviceName: &a.device.Name, IotThingName: &a.device.Thing}}})
	before := a.inventory()
	for _, name := range []string{"CreateThingType", "CreateDeviceFleet", "FindRoleAlias", "CreatePolicy", "CreateThing", "RegisterDevice"} {
		result, err := a.do(stepNamed(name), thisRun)
		require.NoError(t, err, name)
		require.Equal(t, Adopted, actionOf(result), name)
	}
	require.Equal(t, before, a.inventory())
}

// A fleet whose group devices cannot be added to.
func TestDynamicThingGroup(t *testing.T) {
	a := newAccount(t, fleet.IoTCore)
	a.wire.next = roundTrip(func(*http.Request) (*http.Response, error) {
		return answer(200, nil, `{"thingGroupName":"cameras","thingGroupArn":"arn","queryString":"attributes.site:osaka"}`), nil
	})
	_, err := run[Resource](a, a.CreateDeviceFleet, a.spec)
	require.Contains(t, requireType(t, err, Conflict).Message(), "is a dynamic group (attributes.site:osaka)")
}

func TestSameDocument(t *testing.T) {
	ours := policyDocument("arn:a")
	require.Equal(t, `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:AssumeRoleWithCertificate","Resource":"arn:a"}}`, ours)
	for name, document := range map[string]string{
		"itself":        ours,
		"spaces":        "{\n  \"Version\": \"2012-10-17\",\n  \"Statement\": {\"Effect\": \"Allow\", \"Action\": \"iot:AssumeRoleWithCertificate\", \"Resource\": \"arn:a\"}\n}\n",
		"order":         `{"Statement":{"Resource":"arn:a","Action":"iot:AssumeRoleWithCertificate","Effect":"Allow"},"Version":"2012-10-17"}`,
		"lists of one":  `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["iot:AssumeRoleWithCertificate"],"Resource":["arn:a"]}]}`,
		"Sid":           `{"Version":"2012-10-17","Statement":{"Sid":"Edge","Effect":"Allow","Action":"iot:AssumeRoleWithCertificate","Resource":"arn:a"}}`,
		"escaped slash": `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:AssumeRoleWithCertificate","Resource":"arn:\u0061"}}`,
	} {
		require.True(t, sameDocument(document, ours), name)
		require.True(t, sameDocument(ours, document), name)
	}
	for name, document := range map[string]string{
		"empty":             "",
		"no JSON":           "{",
		"other resource":    policyDocument("arn:b"),
		"every resource":    policyDocument("*"),
		"deny":              `{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"iot:AssumeRoleWithCertificate","Resource":"arn:a"}}`,
		"wider action":      `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:*","Resource":"arn:a"}}`,
		"another action":    `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["iot:AssumeRoleWithCertificate","iot:Publish"],"Resource":"arn:a"}}`,
		"another statement": `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:AssumeRoleWithCertificate","Resource":"arn:a"},{"Effect":"Allow","Action":"iot:Publish","Resource":"*"}]}`,
		"condition":         `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:AssumeRoleWithCertificate","Resource":"arn:a","Condition":{"Bool":{"iot:Connection.Thing.IsAttached":"true"}}}}`,
		"other version":     `{"Version":"2008-10-17","Statement":{"Effect":"Allow","Action":"iot:AssumeRoleWithCertificate","Resource":"arn:a"}}`,
		"no statement":      `{"Version":"2012-10-17","Statement":[]}`,
	} {
		require.False(t, sameDocument(document, ours), name)
	}
}
