package activities

import (
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
	member := Resource{Type: "iot:ThingGroupMember", Name: in.Thing}
	add := func() (string, error) {
		_, err := r.iot.AddThingToThingGroup(ctx, &iot.AddThingToThingGroupInput{ThingGroupName: &in.Fleet, ThingName: &in.Thing})
		return "", AWSError(in.doing(), err)
	}
	if in.ThingAction == Created {
		member.Action = Created
		_, err := add()
		return member, err
	}
	return ensure(ctx, member,
		func() (string, error) {
			pages := iot.NewListThingGroupsForThingPaginator(r.iot, &iot.ListThingGroupsForThingInput{ThingName: &in.Thing})
			for pages.HasMorePages() {
				page, err := pages.NextPage(ctx)
				if err != nil {
					return "", AWSError(fmt.Sprintf("listing the groups of thing %q", in.Thing), err)
				}
				for _, group := range page.ThingGroups {
					if aws.ToString(group.GroupName) == in.Fleet {
						return "", nil
					}
				}
			}
			return "", errMissing
		}, add)
}
