package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	sagemakertypes "github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"edgefleet/internal/localaws"
)

func TestTheLoopProvisionsDevicesAndCountsThoseThatFail(t *testing.T) {
	server, err := localaws.Start(localaws.Config{
		Address: "127.0.0.1:0", CredentialsAddress: "127.0.0.1:0", Buckets: []string{bucket}, KeyPool: 1,
	})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Close()) })
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": server.URL(), "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local",
		"EDGEFLEET_ROOT_CA_URL": server.URL() + "/_localaws/AmazonRootCA1.pem",
	} {
		t.Setenv(name, value)
	}
	in := loopInput{
		Fleet: benchFleet, ThingType: "bench-camera", Policy: "edgefleet-bench", RoleAlias: "SageMakerEdge-bench", Bucket: bucket,
		Devices: []string{"cam-1", "cam-2", "cam-3"},
	}
	l, err := newLoop(t.Context(), in)
	require.NoError(t, err)
	_, err = l.iot.CreateThingType(t.Context(), &iot.CreateThingTypeInput{ThingTypeName: &in.ThingType})
	require.NoError(t, err)
	_, err = l.sagemaker.CreateDeviceFleet(t.Context(), &sagemaker.CreateDeviceFleetInput{
		DeviceFleetName: &in.Fleet, RoleArn: aws.String("arn:aws:iam::123456789012:role/EdgeFleetRole"), EnableIotRoleAlias: aws.Bool(true),
		OutputConfig: &sagemakertypes.EdgeOutputConfig{S3OutputLocation: aws.String("s3://" + bucket + "/device_output")},
	})
	require.NoError(t, err)
	_, err = l.iot.CreatePolicy(t.Context(), &iot.CreatePolicyInput{PolicyName: &in.Policy, PolicyDocument: aws.String(
		`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:AssumeRoleWithCertificate","Resource":"*"}}`)})
	require.NoError(t, err)
	res, err := http.Post(server.URL()+"/_localaws/faults", "application/json", strings.NewReader(
		`{"operation":"iot:CreateThing","kind":"error","code":"AccessDeniedException","status":403,"match":"cam-2"}`))
	require.NoError(t, err)
	defer res.Body.Close()
	require.Equal(t, http.StatusCreated, res.StatusCode)

	out := l.run(t.Context())
	assert.Len(t, out.Ended, 2)
	assert.Len(t, out.TookMS, 2)
	assert.Equal(t, map[string]int{"CreateThing: AccessDeniedException": 1}, out.Failed)
}
