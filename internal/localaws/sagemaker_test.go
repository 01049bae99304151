package localaws

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func fleetOf(name string, role *string, alias *bool) *sagemaker.CreateDeviceFleetInput {
	return &sagemaker.CreateDeviceFleetInput{
		DeviceFleetName: &name, RoleArn: role, EnableIotRoleAlias: alias,
		OutputConfig: &types.EdgeOutputConfig{S3OutputLocation: aws.String("s3://edge-bucket/device_output")},
	}
}

func (l *local) register(fleet, device, thing string) error {
	_, err := l.sm.RegisterDevices(l.Context(), &sagemaker.RegisterDevicesInput{DeviceFleetName: &fleet, Devices: []types.Device{{DeviceName: &device, IotThingName: &thing}}})
	return err
}

func TestFleetRoleAlias(t *testing.T) {
	l := newLocal(t)
	ctx := t.Context()
	role := aws.String(testRole)
	for name, c := range map[string]struct {
		in    *sagemaker.CreateDeviceFleetInput
		alias bool
	}{
		"asked":    {fleetOf("asked", role, aws.Bool(true)), true},
		"left-out": {fleetOf("left-out", role, nil), true},
		"refused":  {fleetOf("refused", role, aws.Bool(false)), false},
		"no-role":  {fleetOf("no-role", nil, nil), false},
	} {
		_, err := l.sm.CreateDeviceFleet(ctx, c.in)
		require.NoError(t, err, name)
		fleet, err := l.sm.DescribeDeviceFleet(ctx, &sagemaker.DescribeDeviceFleetInput{DeviceFleetName: &name})
		require.NoError(t, err, name)
		_, err = l.iot.DescribeRoleAlias(ctx, &iot.DescribeRoleAliasInput{RoleAlias: aws.String("SageMakerEdge-" + name)})
		if c.alias {
			require.NoError(t, err, name)
			assert.Equal(t, "arn:aws:iot:eu-west-1:123456789012:rolealias/SageMakerEdge-"+name, *fleet.IotRoleAlias)
		} else {
			refused(t, err, "ResourceNotFoundException", 404)
			assert.Nil(t, fleet.IotRoleAlias, name)
		}
	}
	_, err := l.sm.CreateDeviceFleet(ctx, fleetOf("roleless", nil, aws.Bool(true)))
	refused(t, err, "ValidationException", 400)
}

func TestFleetsAndDevices(t *testing.T) {
	l := newLocal(t)
	ctx := t.Context()
	name := aws.String("cameras")
	in := fleetOf("cameras", aws.String(testRole), nil)
	_, err := l.sm.CreateDeviceFleet(ctx, in)
	require.NoError(t, err)
	_, err = l.sm.CreateDeviceFleet(ctx, in)
	refused(t, err, "ResourceInUse", 400)
	_, err = l.sm.CreateDeviceFleet(ctx, fleetOf("bad_name", nil, nil))
	refused(t, err, "ValidationException", 400)
	_, err = l.sm.DescribeDeviceFleet(ctx, &sagemaker.DescribeDeviceFleetInput{DeviceFleetName: aws.String("ghost")})
	refused(t, err, "ResourceNotFound", 400)

	l.provision("thing-a")
	assert.Contains(t, refused(t, l.register("ghost", "a", "thing-a"), "ValidationException", 400), "does not exist")
	assert.Contains(t, refused(t, l.register("cameras", "a", "ghost"), "ValidationException", 400), "does not exist")
	require.NoError(t, l.register("cameras", "a", "thing-a"))
	assert.Contains(t, refused(t, l.register("cameras", "a", "thing-a"), "ValidationException", 400), "already exists")

	_, err = l.sm.UpdateDevices(ctx, &sagemaker.UpdateDevicesInput{DeviceFleetName: name, Devices: []types.Device{{DeviceName: aws.String("a"), Description: aws.String("door")}}})
	require.NoError(t, err)
	device, err := l.sm.DescribeDevice(ctx, &sagemaker.DescribeDeviceInput{DeviceFleetName: name, DeviceName: aws.String("a")})
	require.NoError(t, err)
	assert.Equal(t, "thing-a", *device.IotThingName)
	assert.Equal(t, "door", *device.Description)
	_, err = l.sm.AddTags(ctx, &sagemaker.AddTagsInput{ResourceArn: device.DeviceArn, Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}})
	require.NoError(t, err)
	tags, err := l.sm.ListTags(ctx, &sagemaker.ListTagsInput{ResourceArn: device.DeviceArn})
	require.NoError(t, err)
	assert.Equal(t, "v", *tags.Tags[0].Value)
	listed, err := l.sm.ListDevices(ctx, &sagemaker.ListDevicesInput{DeviceFleetName: name})
	require.NoError(t, err)
	assert.Len(t, listed.DeviceSummaries, 1)

	_, err = l.sm.DeleteDeviceFleet(ctx, &sagemaker.DeleteDeviceFleetInput{DeviceFleetName: name})
	refused(t, err, "ResourceInUse", 400)
	for range 2 {
		_, err = l.sm.DeregisterDevices(ctx, &sagemaker.DeregisterDevicesInput{DeviceFleetName: name, DeviceNames: []string{"a"}})
		require.NoError(t, err)
	}
	_, err = l.sm.DescribeDevice(ctx, &sagemaker.DescribeDeviceInput{DeviceFleetName: name, DeviceName: aws.String("a")})
	refused(t, err, "ResourceNotFound", 400)
	_, err = l.sm.DeleteDeviceFleet(ctx, &sagemaker.DeleteDeviceFleetInput{DeviceFleetName: name})
	require.NoError(t, err)
	_, err = l.sm.CreateDeviceFleet(ctx, in)
	require.NoError(t, err, "the role alias of the deleted fleet is taken over")
}

func TestResourceLimits(t *testing.T) {
	l := newLocal(t)
	l.control("PUT", "quotas", `{"sagemaker:DeviceFleets":1,"sagemaker:Devices":2}`, 200)
	_, err := l.sm.CreateDeviceFleet(t.Context(), fleetOf("one", nil, nil))
	require.NoError(t, err)
	_, err = l.sm.CreateDeviceFleet(t.Context(), fleetOf("two", nil, nil))
	refused(t, err, "ResourceLimitExceeded", 400)
	require.NoError(t, l.register("one", "a", ""))
	require.NoError(t, l.register("one", "b", ""))
	refused(t, l.register("one", "c", ""), "ResourceLimitExceeded", 400)
}
