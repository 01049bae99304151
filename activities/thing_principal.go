package activities

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/iot"
)

// ThingAttachment is a device's certificate on its thing.
type ThingAttachment struct {
	Thing       string      `json:"thing"`
	Certificate Certificate `json:"certificate"`
}

// AttachThing attaches the device's certificate to its thing, which thing policy variables and
// x-amzn-iot-thingname expect. It succeeds when it is attached.
func (a *Activities) AttachThing(ctx context.Context, in ThingAttachment) (Resource, error) {
	attached := Resource{Type: "iot:ThingPrincipal", Name: in.Thing, ARN: in.Certificate.ARN, Action: Created}
	if in.Certificate.HasThing {
		attached.Action = Adopted
		return attached, nil
	}
	_, err := a.iot.AttachThingPrincipal(ctx, &iot.AttachThingPrincipalInput{ThingName: &in.Thing, Principal: &in.Certificate.ARN})
	return attached, AWSError(fmt.Sprintf("attaching certificate %s to thing %q", in.Certificate.ID, in.Thing), err)
}

// DetachThing takes the certificate from the thing. A missing one is no error.
func (a *Activities) DetachThing(ctx context.Context, in ThingAttachment) error {
	_, err := a.iot.DetachThingPrincipal(ctx, &iot.DetachThingPrincipalInput{ThingName: &in.Thing, Principal: &in.Certificate.ARN})
	if hasCode(err, "ResourceNotFoundException") {
		return nil
	}
	return AWSError(fmt.Sprintf("detaching certificate %s from thing %q", in.Certificate.ID, in.Thing), err)
}

// thingsOf lists the things that a certificate is attached to.
func (a *Activities) thingsOf(ctx context.Context, certificateARN string) ([]string, error) {
	var names []string
	pages := iot.NewListPrincipalThingsPaginator(a.iot, &iot.ListPrincipalThingsInput{Principal: &certificateARN})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, AWSError("listing the things of "+certificateARN, err)
		}
		names = append(names, page.Things...)
	}
	return names, nil
}

// principalsOf lists the ARNs of the certificates that are attached to a thing.
func (a *Activities) principalsOf(ctx context.Context, thing string) ([]string, error) {
	var arns []string
	pages := iot.NewListThingPrincipalsPaginator(a.iot, &iot.ListThingPrincipalsInput{ThingName: &thing})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, AWSError(fmt.Sprintf("listing the certificates of thing %q", thing), err)
		}
		arns = append(arns, page.Principals...)
	}
	return arns, nil
}
