package activities

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"

	"edgefleet/internal/fleet"
)

// sageMakerEdge is the documented registry: a SageMaker device fleet and its devices.
type sageMakerEdge struct{ *Activities }

func (r sageMakerEdge) createFleet(ctx context.Context, spec fleet.Spec) (Resource, error) {
	doing := fmt.Sprintf("creating device fleet %q", spec.Name)
	return ensure(ctx, Resource{Type: "sagemaker:DeviceFleet", Name: spec.Name},
		func() (string, error) {
			found, err := r.describeFleet(ctx, spec.Name)
			if err != nil {
				return "", err
			}
			if got := aws.ToString(found.RoleArn); got != spec.RoleARN {
				return "", failed(Conflict, doing, "it exists and its role is %q, not %q", got, spec.RoleARN)
			}
			if c := found.OutputConfig; c == nil || strings.TrimSuffix(aws.ToString(c.S3OutputLocation), "/") != spec.Output.String() {
				got := ""
				if c != nil {
					got = aws.ToString(c.S3OutputLocation)
				}
				return "", failed(Conflict, doing, "it exists and its output is %q, not %q", got, spec.Output)
			}
			return aws.ToString(found.DeviceFleetArn), nil
		},
		func() (string, error) {
			_, err := r.sagemaker.CreateDeviceFleet(ctx, &sagemaker.CreateDeviceFleetInput{
				DeviceFleetName:    &spec.Name,
				RoleArn:            &spec.RoleARN,
				EnableIotRoleAlias: aws.Bool(true),
				OutputConfig:       &types.EdgeOutputConfig{S3OutputLocation: aws.String(spec.Output.String())},
			})
			if hasCode(err, "ResourceInUse") {
				return "", errExists
			}
			if err != nil {
				return "", sageMakerError(doing, err)
			}
			found, err := r.describeFleet(ctx, spec.Name) // the create's answer is empty
			if err != nil {
				return "", err
			}
			return aws.ToString(found.DeviceFleetArn), nil
		})
}

func (r sageMakerEdge) describeFleet(ctx context.Context, name string) (*sagemaker.DescribeDeviceFleetOutput, error) {
	found, err := r.sagemaker.DescribeDeviceFleet(ctx, &sagemaker.DescribeDeviceFleetInput{DeviceFleetName: &name})
	if IsMissing(err) {
		return nil, errMissing
	}
	if err != nil {
		return nil, sageMakerError(fmt.Sprintf("describing device fleet %q", name), err)
	}
	return found, nil
}

func (r sageMakerEdge) findRoleAlias(ctx context.Context, spec fleet.Spec) (Resource, error) {
	doing := fmt.Sprintf("finding the role alias of device fleet %q", spec.Name)
	found, err := r.describeFleet(ctx, spec.Name)
	if err == errMissing {
		return Resource{}, failed(NotFound, doing, "the fleet does not exist")
	}
	if err != nil {
		return Resource{}, err
	}
	alias := aws.ToString(found.IotRoleAlias)
	// An ARN as documented, …:rolealias/NAME; a bare name is accepted too.
	if _, name, isARN := strings.Cut(alias, "rolealias/"); isARN {
		alias = name
	}
	if alias == "" {
		return Resource{}, failed(StateConflict, doing,
			"the fleet was created without one (EnableIotRoleAlias); enable it with `aws sagemaker update-device-fleet --enable-iot-role-alias`")
	}
	arn, err := r.describeRoleAlias(ctx, alias, spec.RoleARN)
	if err == errMissing {
		return Resource{}, failed(NotFound, doing, "it names %q, and AWS IoT has no such role alias", alias)
	}
	if err != nil {
		return Resource{}, err
	}
	// SageMaker makes it with the fleet: whose it is, is told there.
	return Resource{Type: "iot:RoleAlias", Name: alias, ARN: arn, Action: Adopted}, nil
}

// describeRoleAlias returns the alias's ARN, errMissing, or Conflict when it is another role's.
func (a *Activities) describeRoleAlias(ctx context.Context, alias, roleARN string) (string, error) {
	found, err := a.iot.DescribeRoleAlias(ctx, &iot.DescribeRoleAliasInput{RoleAlias: &alias})
	if hasCode(err, "ResourceNotFoundException") {
		return "", errMissing
	}
	doing := fmt.Sprintf("describing role alias %q", alias)
	if err != nil {
		return "", AWSError(doing, err)
	}
	description := found.RoleAliasDescription
	if description == nil {
		return "", failed(Unavailable, doing, "AWS's answer was empty")
	}
	if got := aws.ToString(description.RoleArn); got != roleARN {
		return "", failed(Conflict, doing, "it is for the role %q, not %q", got, roleARN)
	}
	return aws.ToString(description.RoleAliasArn), nil
}

// register names the run in the device's description, which DescribeDevice returns: so a retry
// knows its own earlier attempt.
func (r sageMakerEdge) register(ctx context.Context, in RegisterInput) (Resource, error) {
	mark := registrationMark(in.Run)
	device := Resource{Type: "sagemaker:Device", Name: in.Device, Action: Created}
	_, err := r.sagemaker.RegisterDevices(ctx, &sagemaker.RegisterDevicesInput{
		DeviceFleetName: &in.Fleet,
		Devices:         []types.Device{{DeviceName: &in.Device, IotThingName: &in.Thing.Name, Description: &mark}},
	})
	if err == nil {
		return device, nil
	}
	if !hasCode(err, "ValidationException", "ResourceInUse") {
		return Resource{}, sageMakerError(in.doing(), err)
	}
	// RegisterDevices has no error of its own for a device that exists: look whether that is it.
	found, lookErr := r.sagemaker.DescribeDevice(ctx, &sagemaker.DescribeDeviceInput{DeviceFleetName: &in.Fleet, DeviceName: &in.Device})
	if IsMissing(lookErr) {
		return Resource{}, sageMakerError(in.doing(), err)
	}
	if lookErr != nil {
		return Resource{}, sageMakerError(fmt.Sprintf("describing device %q of fleet %q", in.Device, in.Fleet), lookErr)
	}
	if got := aws.ToString(found.IotThingName); got != in.Thing.Name {
		return Resource{}, failed(Conflict, in.doing(), "it is registered with the thing %q, not %q", got, in.Thing.Name)
	}
	if aws.ToString(found.Description) != mark {
		device.Action = Adopted
	}
	return device, nil
}

// registrationMark names the run in a device's description, which may have 40 characters: with a
// run id it has exactly these.
func registrationMark(run string) string { return "run " + run }

func (r sageMakerEdge) deregister(ctx context.Context, in DeregisterInput) (Removal, error) {
	found, err := r.sagemaker.DescribeDevice(ctx, &sagemaker.DescribeDeviceInput{DeviceFleetName: &in.Fleet, DeviceName: &in.Device})
	switch {
	case IsMissing(err), IsRetired(err): // AWS deleted fleets and devices when it ended SageMaker Edge Manager
		return Gone, nil
	case err != nil:
		return "", sageMakerError(fmt.Sprintf("describing device %q of fleet %q", in.Device, in.Fleet), err)
	case in.Run != "" && aws.ToString(found.Description) != registrationMark(in.Run):
		return Kept, nil
	}
	_, err = r.sagemaker.DeregisterDevices(ctx, &sagemaker.DeregisterDevicesInput{DeviceFleetName: &in.Fleet, DeviceNames: []string{in.Device}})
	if err != nil && !IsMissing(err) {
		return "", sageMakerError(in.doing(), err)
	}
	return Removed, nil
}

// IsMissing tells a SageMaker resource that does not exist: the API models no error for it, and
// answers with a code of its own or a ValidationException whose text says so.
func IsMissing(err error) bool {
	return hasCode(err, "ResourceNotFound", "ResourceNotFoundException") ||
		hasCode(err, "ValidationException") && said(err, "not exist", "not found", "no such", "could not find", "cannot find")
}

// sageMakerError is AWSError, save that it knows what SageMaker says only in words: that a
// resource is missing, and that the operation is gone (AWS ended SageMaker Edge Manager, and every
// SDK still has its operations).
func sageMakerError(doing string, err error) error {
	kind := ""
	switch {
	case IsRetired(err):
		kind = RegistryRetired
	case IsMissing(err):
		kind = NotFound
	default:
		return AWSError(doing, err)
	}
	_, text, details := classify(err)
	details.Doing = doing
	return newError(kind, text, details)
}

// IsRetired tells that SageMaker no longer has the operation.
func IsRetired(err error) bool {
	return hasCode(err, "UnknownOperationException", "UnknownOperation", "InvalidAction") ||
		hasCode(err, "ValidationException", "AccessDeniedException") &&
			said(err, "retired", "discontinued", "end of life", "end of support", "deprecated", "no longer",
				"unknown operation", "not supported", "edge manager")
}
