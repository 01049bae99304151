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
	Run        string            `json:"run"` // the run's mark, which the thing carries
}

// CreateThing makes the device's IoT thing. A thing that exists is adopted when its type is the
// same and it has our attributes; others that it has are left alone. It fails with Conflict when
// the thing differs.
func (a *Activities) CreateThing(ctx context.Context, in ThingInput) (Resource, error) {
	doing := fmt.Sprintf("creating thing %q", in.Thing)
	attributes := maps.Clone(in.Attributes)
	if attributes == nil {
		attributes = map[string]string{}
	}
	attributes[fleet.RunMark] = in.Run
	out, err := a.iot.CreateThing(ctx, &iot.CreateThingInput{
		ThingName:        &in.Thing,
		ThingTypeName:    &in.ThingType,
		AttributePayload: &types.AttributePayload{Attributes: attributes},
	})
	thing := Resource{Type: "iot:Thing", Name: in.Thing, Action: Created}
	var exists *types.ResourceAlreadyExistsException
	switch {
	case err == nil: // also our own earlier attempt: the same name and configuration succeed
		thing.ARN = aws.ToString(out.ThingArn)
		return thing, nil
	case !errors.As(err, &exists):
		return Resource{}, AWSError(doing, err)
	}
	found, err := a.iot.DescribeThing(ctx, &iot.DescribeThingInput{ThingName: &in.Thing})
	if err != nil {
		return Resource{}, AWSError(fmt.Sprintf("describing thing %q, which exists", in.Thing), err)
	}
	if got := aws.ToString(found.ThingTypeName); got != in.ThingType {
		return Resource{}, failed(Conflict, doing, "it exists and has the thing type %q, not %q", got, in.ThingType)
	}
	for name, want := range in.Attributes {
		if got, has := found.Attributes[name]; !has || got != want {
			return Resource{}, failed(Conflict, doing, "it exists and its attribute %s is %q, not %q", name, got, want)
		}
	}
	thing.ARN = aws.ToString(found.ThingArn)
	if found.Attributes[fleet.RunMark] != in.Run {
		thing.Action = Adopted
	}
	return thing, nil
}
