package activities

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
)

// CreateThingType makes the thing type of the fleet's things, or adopts the one of that name. It
// fails with StateConflict when that one is deprecated: no thing can be made of it.
func (a *Activities) CreateThingType(ctx context.Context, name string) (Resource, error) {
	doing := fmt.Sprintf("creating thing type %q", name)
	return ensure(ctx, Resource{Type: "iot:ThingType", Name: name},
		func() (string, error) {
			found, err := a.iot.DescribeThingType(ctx, &iot.DescribeThingTypeInput{ThingTypeName: &name})
			if missing := (*types.ResourceNotFoundException)(nil); errors.As(err, &missing) {
				return "", errMissing
			}
			if err != nil {
				return "", AWSError(fmt.Sprintf("describing thing type %q", name), err)
			}
			if m := found.ThingTypeMetadata; m != nil && m.Deprecated {
				return "", failed(StateConflict, doing, "it exists and is deprecated, so no thing can have it")
			}
			return aws.ToString(found.ThingTypeArn), nil
		},
		func() (string, error) {
			made, err := a.iot.CreateThingType(ctx, &iot.CreateThingTypeInput{ThingTypeName: &name})
			if err != nil {
				return "", existsOr(doing, err)
			}
			return aws.ToString(made.ThingTypeArn), nil
		})
}
