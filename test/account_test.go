package test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/stretchr/testify/require"
)

// settled is the account once its lists have caught up with what was changed: when they have said the
// same for longer than the local AWS's are stale.
func (s *stack) settled(t *testing.T) map[string]string {
	t.Helper()
	const stale = 300 * time.Millisecond
	account, since := s.account(t), time.Now()
	eventually(t, "the lists have settled", func() error {
		read := time.Now()
		if is := s.account(t); !maps.Equal(is, account) {
			account, since = is, read
		}
		if time.Since(since) <= 2*stale {
			return errors.New("they may be stale yet")
		}
		return nil
	})
	return account
}

// account is all that there is in AWS, by name, each as AWS's answer about it in JSON.
func (s *stack) account(t *testing.T) map[string]string {
	t.Helper()
	all := dump{t: t, entries: map[string]string{}}
	call(all, "thing types", s.iot.ListThingTypes, &iot.ListThingTypesInput{})
	call(all, "role aliases", s.iot.ListRoleAliases, &iot.ListRoleAliasesInput{})
	for _, p := range call(all, "policies", s.iot.ListPolicies, &iot.ListPoliciesInput{}).Policies {
		call(all, "policy "+*p.PolicyName, s.iot.GetPolicy, &iot.GetPolicyInput{PolicyName: p.PolicyName})
		call(all, "targets of policy "+*p.PolicyName, s.iot.ListTargetsForPolicy, &iot.ListTargetsForPolicyInput{PolicyName: p.PolicyName})
	}
	for _, thing := range call(all, "things", s.iot.ListThings, &iot.ListThingsInput{}).Things {
		call(all, "thing "+*thing.ThingName, s.iot.DescribeThing, &iot.DescribeThingInput{ThingName: thing.ThingName})
		call(all, "principals of thing "+*thing.ThingName, s.iot.ListThingPrincipals, &iot.ListThingPrincipalsInput{ThingName: thing.ThingName})
	}
	for _, g := range call(all, "groups", s.iot.ListThingGroups, &iot.ListThingGroupsInput{}).ThingGroups {
		call(all, "group "+*g.GroupName, s.iot.DescribeThingGroup, &iot.DescribeThingGroupInput{ThingGroupName: g.GroupName})
		call(all, "things of group "+*g.GroupName, s.iot.ListThingsInThingGroup, &iot.ListThingsInThingGroupInput{ThingGroupName: g.GroupName})
	}
	for _, c := range call(all, "certificates", s.iot.ListCertificates, &iot.ListCertificatesInput{}).Certificates {
		call(all, "certificate "+*c.CertificateId, s.iot.DescribeCertificate, &iot.DescribeCertificateInput{CertificateId: c.CertificateId})
		call(all, "policies of certificate "+*c.CertificateId, s.iot.ListAttachedPolicies, &iot.ListAttachedPoliciesInput{Target: c.CertificateArn})
	}
	for _, f := range call(all, "fleets", s.sagemaker.ListDeviceFleets, &sagemaker.ListDeviceFleetsInput{}).DeviceFleetSummaries {
		call(all, "fleet "+*f.DeviceFleetName, s.sagemaker.DescribeDeviceFleet, &sagemaker.DescribeDeviceFleetInput{DeviceFleetName: f.DeviceFleetName})
		devices := call(all, "devices of fleet "+*f.DeviceFleetName, s.sagemaker.ListDevices, &sagemaker.ListDevicesInput{DeviceFleetName: f.DeviceFleetName})
		for _, d := range devices.DeviceSummaries {
			call(all, "device "+*d.DeviceName, s.sagemaker.DescribeDevice, &sagemaker.DescribeDeviceInput{DeviceFleetName: f.DeviceFleetName, DeviceName: d.DeviceName})
		}
	}
	for _, v := range call(all, "objects", s.s3.ListObjectVersions, &s3.ListObjectVersionsInput{Bucket: new(bucket)}).Versions {
		head := call(all, "object "+*v.Key, s.s3.HeadObject, &s3.HeadObjectInput{Bucket: new(bucket), Key: v.Key})
		text, err := s.object(t.Context(), *v.Key)
		require.NoError(t, err)
		all.add("text of object "+*v.Key, map[string]any{"text": text, "metadata": head.Metadata})
	}
	return all.entries
}

type dump struct {
	t       *testing.T
	entries map[string]string
}

// add keeps what AWS said, less what is of the call itself.
func (d dump) add(what string, said any) {
	text, err := json.Marshal(said)
	require.NoError(d.t, err)
	var fields map[string]any
	require.NoError(d.t, json.Unmarshal(text, &fields))
	delete(fields, "ResultMetadata")
	text, err = json.Marshal(fields)
	require.NoError(d.t, err)
	d.entries[what] = string(text)
}

func call[In, Out, Option any](d dump, what string, operation func(context.Context, *In, ...Option) (*Out, error), in *In) *Out {
	d.t.Helper()
	out, err := operation(d.t.Context(), in)
	require.NoError(d.t, err, what)
	d.add(what, out)
	return out
}
