package activities

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"edgefleet/internal/fleet"
)

// ThingInput is what CreateThing needs.
type ThingInput struct {
	Thing      string            `json:"thing"`
	ThingType  string            `json:"thingType"`
	Attributes map[string]string `json:"attributes,omitempty"`
	Fleet      string            `json:"fleet"`
	Group      string            `json:"group,omitempty"` // the thing group that is the fleet, where it is one
	Run        string            `json:"run"`             // the run's mark, which the thing carries
}

// Thing is a device's IoT thing. Of an adopted one it says what the run found, before it changed
// anything: so undo knows what to leave.
type Thing struct {
	Resource
	InGroup bool `json:"inGroup,omitempty"` // it was in the fleet's thing group already
}

// CreateThing makes the device's IoT thing. A thing that exists is adopted when its type is the
// same and it has our attributes; others that it has are left alone. It fails with Conflict when
// the thing differs.
func (a *Activities) CreateThing(ctx context.Context, in ThingInput) (Thing, error) {
	doing := fmt.Sprintf("creating thing %q", in.Thing)
	attributes := maps.Clone(in.Attributes)
	if attributes == nil {
		attributes = map[string]string{}
	}
	attributes[fleet.RunMark], attributes[fleet.FleetMark] = in.Run, in.Fleet
	out, err := a.iot.CreateThing(ctx, &iot.CreateThingInput{
		ThingName:        &in.Thing,
		ThingTypeName:    &in.ThingType,
		AttributePayload: &types.AttributePayload{Attributes: attributes},
	})
	thing := Thing{Resource: Resource{Type: "iot:Thing", Name: in.Thing, Action: Created}}
	var exists *types.ResourceAlreadyExistsException
	switch {
	case err == nil: // also our own earlier attempt: the same name and configuration succeed
		thing.ARN = aws.ToString(out.ThingArn)
		return thing, nil
	case !errors.As(err, &exists):
		return Thing{}, AWSError(doing, err)
	}
	found, err := a.iot.DescribeThing(ctx, &iot.DescribeThingInput{ThingName: &in.Thing})
	if err != nil {
		return Thing{}, AWSError(fmt.Sprintf("describing thing %q, which exists", in.Thing), err)
	}
	if got := aws.ToString(found.ThingTypeName); got != in.ThingType {
		return Thing{}, failed(Conflict, doing, "it exists and has the thing type %q, not %q", got, in.ThingType)
	}
	for name, want := range in.Attributes {
		if got, has := found.Attributes[name]; !has || got != want {
			return Thing{}, failed(Conflict, doing, "it exists and its attribute %s is %q, not %q", name, got, want)
		}
	}
	thing.ARN = aws.ToString(found.ThingArn)
	if found.Attributes[fleet.RunMark] != in.Run {
		thing.Action = Adopted
		thing.InGroup, err = a.isInGroup(ctx, in.Thing, in.Group)
	}
	return thing, err
}

func (a *Activities) isInGroup(ctx context.Context, thing, group string) (bool, error) {
	if group == "" {
		return false, nil
	}
	pages := iot.NewListThingGroupsForThingPaginator(a.iot, &iot.ListThingGroupsForThingInput{ThingName: &thing})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return false, AWSError(fmt.Sprintf("listing the groups of thing %q", thing), err)
		}
		for _, g := range page.ThingGroups {
			if aws.ToString(g.GroupName) == group {
				return true, nil
			}
		}
	}
	return false, nil
}

// DeleteThingInput is what DeleteThing needs.
type DeleteThingInput struct {
	Thing string `json:"thing"`
	Run   string `json:"run,omitempty"`   // only a thing of this run; empty: of any run
	Fleet string `json:"fleet,omitempty"` // only a thing made for this fleet; empty: for any
	Undo
}

// DeleteThing deletes the device's thing if a run created it, and says what became of it. A thing
// that carries no run's mark was there before edgefleet, and stays.
func (a *Activities) DeleteThing(ctx context.Context, in DeleteThingInput) (Removal, error) {
	doing := fmt.Sprintf("deleting thing %q", in.Thing)
	found, err := a.iot.DescribeThing(ctx, &iot.DescribeThingInput{ThingName: &in.Thing})
	if hasCode(err, "ResourceNotFoundException") {
		return Gone, nil
	}
	if err != nil {
		return "", AWSError(fmt.Sprintf("describing thing %q", in.Thing), err)
	}
	mark, madeFor := found.Attributes[fleet.RunMark], found.Attributes[fleet.FleetMark]
	if mark == "" || in.Run != "" && mark != in.Run || in.Fleet != "" && madeFor != in.Fleet {
		return Kept, nil
	}
	err = settled(ctx, func() error {
		_, err := a.iot.DeleteThing(ctx, &iot.DeleteThingInput{ThingName: &in.Thing})
		if hasCode(err, "InvalidRequestException") { // a principal is still attached (AWS documents it so)
			return in.settling(ctx, doing, err, false)
		}
		return AWSError(doing, err)
	})
	if err != nil {
		return "", err
	}
	return Removed, nil
}
