package activities

import (
	"cmp"
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"

	"edgefleet/internal/fleet"
)

// iotCore is the registry without SageMaker: the fleet is a thing group, its role alias is our own.
type iotCore struct{ *Activities }

func (r iotCore) createFleet(ctx context.Context, spec fleet.Spec) (Resource, error) {
	group := spec.ThingGroupName()
	return ensure(ctx, Resource{Type: "iot:ThingGroup", Name: group},
		func() (string, error) {
			found, err := r.iot.DescribeThingGroup(ctx, &iot.DescribeThingGroupInput{ThingGroupName: &group})
			if hasCode(err, "ResourceNotFoundException") {
				return "", errMissing
			}
			if err != nil {
				return "", AWSError(fmt.Sprintf("describing thing group %q", group), err)
			}
			if query := aws.ToString(found.QueryString); query != "" {
				return "", failed(Conflict, fmt.Sprintf("creating thing group %q", group),
					"it exists and is a dynamic group (%s): things cannot be added to it", query)
			}
			return aws.ToString(found.ThingGroupArn), nil
		},
		func() (string, error) {
			made, err := r.iot.CreateThingGroup(ctx, &iot.CreateThingGroupInput{ThingGroupName: &group})
			if err != nil {
				return "", existsOr(fmt.Sprintf("creating thing group %q", group), err)
			}
			return aws.ToString(made.ThingGroupArn), nil
		})
}

func (r iotCore) findRoleAlias(ctx context.Context, spec fleet.Spec) (Resource, error) {
	alias := spec.RoleAliasName()
	return ensure(ctx, Resource{Type: "iot:RoleAlias", Name: alias},
		func() (string, error) { return r.describeRoleAlias(ctx, alias, spec.RoleARN) },
		func() (string, error) {
			made, err := r.iot.CreateRoleAlias(ctx, &iot.CreateRoleAliasInput{RoleAlias: &alias, RoleArn: &spec.RoleARN})
			if err != nil {
				return "", existsOr(fmt.Sprintf("creating role alias %q for role %q", alias, spec.RoleARN), err)
			}
			return aws.ToString(made.RoleAliasArn), nil
		})
}

func (r iotCore) register(ctx context.Context, in RegisterInput) (Resource, error) {
	member := Resource{Type: "iot:ThingGroupMember", Name: in.Thing.Name, Action: Created}
	if in.Thing.InGroup {
		member.Action = Adopted
		return member, nil
	}
	_, err := r.iot.AddThingToThingGroup(ctx, &iot.AddThingToThingGroupInput{ThingGroupName: &in.Fleet, ThingName: &in.Thing.Name})
	return member, AWSError(in.doing(), err)
}

// deregister does not go by what the thing's list of groups says, which may not show yet what was
// just added: that only tells Removed from Gone.
func (r iotCore) deregister(ctx context.Context, in DeregisterInput) (Removal, error) {
	in.Thing = cmp.Or(in.Thing, in.Device)
	listed, err := r.isInGroup(ctx, in.Thing, in.Fleet)
	if IsType(err, NotFound) {
		return Gone, nil
	}
	if err != nil {
		return "", err
	}
	_, err = r.iot.RemoveThingFromThingGroup(ctx, &iot.RemoveThingFromThingGroupInput{ThingGroupName: &in.Fleet, ThingName: &in.Thing})
	if err != nil && !hasCode(err, "ResourceNotFoundException") {
		return "", AWSError(in.doing(), err)
	}
	if !listed {
		return Gone, nil
	}
	return Removed, nil
}
