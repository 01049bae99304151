package activities

import (
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
	"github.com/stretchr/testify/require"

	"edgefleet/internal/fleet"
)

// registryCalls are the steps that ask SageMaker, and what the first of them asks for.
var registryCalls = map[string]string{
	"CreateDeviceFleet": "sagemaker:DescribeDeviceFleet",
	"FindRoleAlias":     "sagemaker:DescribeDeviceFleet",
	"RegisterDevice":    "sagemaker:RegisterDevices",
}

// However SageMaker says that Edge Manager is gone, the error names the way out and is final.
func TestRegistryIsRetired(t *testing.T) {
	for _, says := range []fault{
		{Code: "UnknownOperationException", Status: 400, Message: "The requested operation is not recognized."},
		{Code: "UnknownOperationException", Status: 404},
		{Code: "ValidationException", Status: 400, Message: "Amazon SageMaker Edge Manager was discontinued on April 26th, 2024."},
		{Code: "ValidationException", Status: 400, Message: "This operation is no longer available"},
		{Code: "ValidationException", Status: 400, Message: "Unknown operation CreateDeviceFleet"},
		{Code: "AccessDeniedException", Status: 400, Message: "SageMaker Edge Manager has reached End of Life."},
		{Code: "AccessDeniedException", Status: 403, Message: "The service is deprecated"},
	} {
		for name, operation := range registryCalls {
			t.Run(says.Code+": "+says.Message+"/"+name, func(t *testing.T) {
				a := newAccount(t, fleet.SageMakerEdge).upTo(name, thisRun)
				says.Operation, says.Kind = operation, "error"
				a.arm(says)
				_, err := a.do(stepNamed(name), thisRun)
				final := requireType(t, err, RegistryRetired)
				require.Contains(t, final.Message(), "registry: iot-core")
				require.Contains(t, final.Message(), a.spec.Name)
				require.Contains(t, final.Message(), says.Code)
			})
		}
	}
}

// Other refusals under the same codes are what they are.
func TestRegistryIsNotRetired(t *testing.T) {
	for _, c := range []struct {
		says fault
		want string
	}{
		{fault{Code: "AccessDeniedException", Status: 400, Message: "User: arn:aws:iam::123456789012:user/x is not authorized to perform: sagemaker:CreateDeviceFleet"}, AccessDenied},
		{fault{Code: "ValidationException", Status: 400, Message: "1 validation error detected: Value at 'deviceFleetName' failed to satisfy constraint"}, InvalidInput},
		{fault{Code: "ResourceLimitExceeded", Status: 400, Message: "The account-level service limit is 2."}, QuotaExceeded},
	} {
		for name, operation := range registryCalls {
			t.Run(c.says.Code+"/"+name, func(t *testing.T) {
				a := newAccount(t, fleet.SageMakerEdge).upTo(name, thisRun)
				c.says.Operation, c.says.Kind = operation, "error"
				a.arm(c.says)
				_, err := a.do(stepNamed(name), thisRun)
				requireType(t, err, c.want)
			})
		}
	}
}

func TestUnknownRegistry(t *testing.T) {
	a := newAccount(t, "greengrass")
	_, err := run[Resource](a, a.CreateDeviceFleet, a.spec)
	require.Contains(t, requireType(t, err, InvalidInput).Message(), `"greengrass" is none`)
	_, err = run[Resource](a, a.FindRoleAlias, a.spec)
	requireType(t, err, InvalidInput)
	_, err = run[Resource](a, a.RegisterDevice, a.registerInput(thisRun))
	requireType(t, err, InvalidInput)
}

// The role alias of a device fleet is documented as an ARN; a bare name is taken as well.
func TestRoleAliasOfDeviceFleet(t *testing.T) {
	alias := func(a *account, value string) {
		a.answerTo("DescribeDeviceFleet", func() *http.Response {
			return answer(200, nil, `{"DeviceFleetName":"`+a.spec.Name+`","IotRoleAlias":"`+value+`"}`)
		})
	}
	for name, value := range map[string]string{
		"ARN":             "arn:aws:iot:eu-west-1:123456789012:rolealias/edge-alias",
		"other partition": "arn:aws-cn:iot:cn-north-1:123456789012:rolealias/edge-alias",
		"bare name":       "edge-alias",
	} {
		t.Run(name, func(t *testing.T) {
			a := newAccount(t, fleet.SageMakerEdge)
			alias(a, value)
			_, err := run[Resource](a, a.FindRoleAlias, a.spec)
			require.Contains(t, requireType(t, err, NotFound).Message(), `it names "edge-alias", and AWS IoT has no such role alias`)

			must(a, a.iot.CreateRoleAlias, &iot.CreateRoleAliasInput{RoleAlias: aws.String("edge-alias"), RoleArn: aws.String(testRole)})
			r, err := run[Resource](a, a.FindRoleAlias, a.spec)
			require.NoError(t, err)
			require.Equal(t, Resource{"iot:RoleAlias", "edge-alias", "arn:aws:iot:" + a.region + ":123456789012:rolealias/edge-alias", Adopted}, r)
		})
	}
	for _, value := range []string{"", "arn:aws:iot:eu-west-1:123456789012:rolealias/"} {
		a := newAccount(t, fleet.SageMakerEdge)
		alias(a, value)
		_, err := run[Resource](a, a.FindRoleAlias, a.spec)
		final := requireType(t, err, StateConflict)
		require.Contains(t, final.Message(), `device fleet "`+a.spec.Name+`": the fleet was created without one`)
	}
	a := newAccount(t, fleet.SageMakerEdge)
	_, err := run[Resource](a, a.FindRoleAlias, a.spec)
	require.Contains(t, requireType(t, err, NotFound).Message(), "the fleet does not exist")
}

// RegisterDevices says ValidationException whatever is missing.
func TestRegisterWithoutFleetOrThing(t *testing.T) {
	for _, registry := range []fleet.Registry{fleet.SageMakerEdge, fleet.IoTCore} {
		a := newAccount(t, registry)
		a.thing = Thing{Resource: Resource{Name: a.device.Thing, Action: Created}}
		_, err := run[Resource](a, a.RegisterDevice, a.registerInput(thisRun))
		requireType(t, err, NotFound)
		_, err = a.do(stepNamed("CreateDeviceFleet"), thisRun)
		require.NoError(t, err)
		_, err = run[Resource](a, a.RegisterDevice, a.registerInput(thisRun))
		require.Contains(t, requireType(t, err, NotFound).Message(), a.device.Thing)
	}
}

// SageMaker answers for a missing fleet or device with an error of its own, or with a text.
func TestMissingInWords(t *testing.T) {
	for _, text := range []string{"DeviceFleet with name cameras does not exist", "Fleet not found", "Could not find fleet cameras"} {
		a := newAccount(t, fleet.SageMakerEdge)
		a.arm(fault{Operation: "sagemaker:DescribeDeviceFleet", Kind: "error", Code: "ValidationException", Status: 400, Message: text})
		r, err := run[Resource](a, a.CreateDeviceFleet, a.spec)
		require.NoError(t, err)
		require.Equal(t, Created, r.Action)
	}
}

// A fleet that AWS does not show yet after making it is looked for again.
func TestFleetIsNotShownYet(t *testing.T) {
	a := newAccount(t, fleet.SageMakerEdge)
	for range 2 {
		a.arm(fault{Operation: "sagemaker:DescribeDeviceFleet", Kind: "error", Code: "ResourceNotFound", Status: 400})
	}
	_, err := run[Resource](a, a.CreateDeviceFleet, a.spec)
	requireType(t, err, Unavailable)
	r, err := again[Resource](a, a.CreateDeviceFleet, a.spec)
	require.NoError(t, err)
	require.Equal(t, Created, r.Action)
}

// Another run's create between the look and ours is adopted.
func TestAnotherRunIsFaster(t *testing.T) {
	for operation, name := range map[string]string{
		"sagemaker:DescribeDeviceFleet": "CreateDeviceFleet",
		"iot:GetPolicy":                 "CreatePolicy",
	} {
		a := newAccount(t, fleet.SageMakerEdge).upTo("", otherRun)
		code := "ResourceNotFoundException"
		if name == "CreateDeviceFleet" {
			code = "ResourceNotFound"
		}
		a.arm(fault{Operation: operation, Kind: "error", Code: code})
		r, err := a.do(stepNamed(name), thisRun)
		require.NoError(t, err, name)
		require.Equal(t, Adopted, actionOf(r), name)
	}
}

// A quota of counts is final, and says so.
func TestQuotaOfFleets(t *testing.T) {
	a := newAccount(t, fleet.SageMakerEdge)
	must(a, a.sagemaker.CreateDeviceFleet, &sagemaker.CreateDeviceFleetInput{DeviceFleetName: aws.String("other"),
		OutputConfig: &types.EdgeOutputConfig{S3OutputLocation: aws.String("s3://other")}})
	a.control("PUT", "quotas", `{"sagemaker:DeviceFleets":1}`)
	t.Cleanup(func() { a.control("PUT", "quotas", `{"sagemaker:DeviceFleets":0}`) })
	_, err := run[Resource](a, a.CreateDeviceFleet, a.spec)
	requireType(t, err, QuotaExceeded)
}
