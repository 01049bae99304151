package activities

import (
	"context"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/iot"
)

// AttachThingInput is what AttachThing needs.
type AttachThingInput struct {
	Thing       string      `json:"thing"`
	Certificate Certificate `json:"certificate"`
}

// AttachThing attaches the device's certificate to its thing, which thing policy variables and
// x-amzn-iot-thingname expect. It succeeds when it is attached.
func (a *Activities) AttachThing(ctx context.Context, in AttachThingInput) (Resource, error) {
	doing := fmt.Sprintf("attaching certificate %s to thing %q", in.Certificate.ID, in.Thing)
	return attach(ctx, Resource{Type: "iot:ThingPrincipal", Name: in.Thing}, in.Certificate,
		func() (bool, error) {
			pages := iot.NewListThingPrincipalsPaginator(a.iot, &iot.ListThingPrincipalsInput{ThingName: &in.Thing})
			for pages.HasMorePages() {
				page, err := pages.NextPage(ctx)
				if err != nil {
					return false, AWSError(fmt.Sprintf("listing the certificates of thing %q", in.Thing), err)
				}
				if slices.Contains(page.Principals, in.Certificate.ARN) {
					return true, nil
				}
			}
			return false, nil
		},
		func() error {
			_, err := a.iot.AttachThingPrincipal(ctx, &iot.AttachThingPrincipalInput{ThingName: &in.Thing, Principal: &in.Certificate.ARN})
			return AWSError(doing, err)
		})
}
