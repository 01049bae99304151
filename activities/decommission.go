package activities

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"

	"edgefleet/internal/fleet"
)

// FindInput is what FindDevice needs.
type FindInput struct {
	Registry fleet.Registry `json:"registry"`
	Fleet    string         `json:"fleet"`
	Device   string         `json:"device"`
	Policy   string         `json:"policy"`
	Bundle   Bundle         `json:"bundle"`
}

// FoundDevice is what is there of a device.
type FoundDevice struct {
	Thing        string   `json:"thing"` // its thing's name, whether that exists or not
	Certificates []string `json:"certificates,omitempty"`
}

// FindDevice finds what is there of a device, from its bundle and from AWS: any part of it may have
// gone by hand. Its certificates are those that its bundle names and, on a thing that a run of ours
// created, those with the fleet's policy.
func (a *Activities) FindDevice(ctx context.Context, in FindInput) (FoundDevice, error) {
	var found FoundDevice
	add := func(id string) {
		if id != "" && !slices.Contains(found.Certificates, id) {
			found.Certificates = append(found.Certificates, id)
		}
	}
	record, err := a.getRecord(ctx, in.Bundle)
	if err != nil && !errors.Is(err, errMissing) && !IsType(err, StateConflict) { // a record that cannot be read goes too
		return found, err
	}
	found.Thing = record.Thing
	add(record.CertificateID)
	stored, err := a.get(ctx, in.Bundle, CertificateFile)
	if err != nil && !errors.Is(err, errMissing) {
		return found, err
	}
	if parsed, err := parseCertificate(stored.body); err == nil {
		add(certificateID(parsed))
	} else if id, err := a.certificateOfKey(ctx, in.Bundle, in.Device); err == nil {
		add(id)
	} else if !errors.Is(err, errMissing) {
		return found, err
	}
	if found.Thing == "" {
		if found.Thing, err = a.registeredThing(ctx, in); err != nil {
			return found, err
		}
	}
	ids, err := a.certificatesOfThing(ctx, found.Thing, in.Policy)
	for _, id := range ids {
		add(id)
	}
	return found, err
}

// certificateOfKey is the id of a certificate that was made for the bundle's key and has not come to
// be stored there. errMissing when there is none.
func (a *Activities) certificateOfKey(ctx context.Context, b Bundle, device string) (string, error) {
	key, err := a.get(ctx, b, privateKeyFile)
	if err != nil {
		return "", err
	}
	request, err := newCSR(key.body, device)
	if err != nil { // it is no key, and goes with the other files
		return "", errMissing
	}
	c, _, err := a.findByRequest(ctx, request, key.modified)
	return c.ID, err
}

// registeredThing is the thing that the device is registered with; its own name where nothing says
// otherwise.
func (a *Activities) registeredThing(ctx context.Context, in FindInput) (string, error) {
	if in.Registry != fleet.SageMakerEdge {
		return in.Device, nil
	}
	found, err := a.sagemaker.DescribeDevice(ctx, &sagemaker.DescribeDeviceInput{DeviceFleetName: &in.Fleet, DeviceName: &in.Device})
	if IsMissing(err) || IsRetired(err) {
		return in.Device, nil
	}
	if err != nil {
		return "", sageMakerError(fmt.Sprintf("describing device %q of fleet %q", in.Device, in.Fleet), err)
	}
	if thing := aws.ToString(found.IotThingName); thing != "" {
		return thing, nil
	}
	return in.Device, nil
}

// certificatesOfThing are the certificates, with the fleet's policy, of a thing that a run of ours
// created.
func (a *Activities) certificatesOfThing(ctx context.Context, thing, policy string) ([]string, error) {
	described, err := a.iot.DescribeThing(ctx, &iot.DescribeThingInput{ThingName: &thing})
	if hasCode(err, "ResourceNotFoundException") {
		return nil, nil
	}
	if err != nil {
		return nil, AWSError(fmt.Sprintf("describing thing %q", thing), err)
	}
	if described.Attributes[fleet.RunMark] == "" {
		return nil, nil
	}
	arns, err := a.principalsOf(ctx, thing)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, arn := range arns {
		_, id, isCertificate := strings.Cut(arn, ":cert/")
		if !isCertificate {
			continue
		}
		policies, err := a.policiesOf(ctx, arn)
		if err != nil {
			return nil, err
		}
		if slices.Contains(policies, policy) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// RetractInput is what RetractRecord needs.
type RetractInput struct {
	Bundle Bundle `json:"bundle"`
}

// RetractRecord has a device's record say that the device is no longer provisioned, before anything else of it goes.
// The record itself goes last, since it says what there is.
func (a *Activities) RetractRecord(ctx context.Context, in RetractInput) error {
	record, err := a.getRecord(ctx, in.Bundle)
	if errors.Is(err, errMissing) || IsType(err, StateConflict) || err == nil && !record.RetractedAt.IsZero() {
		return nil // it proves nothing
	}
	if err != nil {
		return err
	}
	record.RetractedAt = time.Now().UTC().Truncate(time.Millisecond)
	return a.putRecord(ctx, in.Bundle, record)
}

// RemoveBundleInput is what RemoveBundle needs.
type RemoveBundleInput struct {
	Bundle  Bundle  `json:"bundle"`
	Archive *Bundle `json:"archive,omitempty"` // where to keep the files, but for the private key
}

// RemoveBundle removes a device's files, with all their versions.
func (a *Activities) RemoveBundle(ctx context.Context, in RemoveBundleInput) (Removal, error) {
	if in.Archive != nil {
		for _, name := range []string{CertificateFile, rootCAFile, RecordFile} {
			err := a.copyObject(ctx, in.Bundle, *in.Archive, name)
			if err != nil && !errors.Is(err, errMissing) {
				return "", err
			}
		}
	}
	return a.erase(ctx, in.Bundle, "", "")
}

// ArchivedBundle is where the files of a decommissioned device are kept. No device can be named so.
func ArchivedBundle(spec fleet.Spec, device, run string) Bundle {
	b := FleetBundle(spec)
	b.Location.Prefix += "/_archive/" + device + "/" + run
	return b
}

func (a *Activities) copyObject(ctx context.Context, from, to Bundle, name string) error {
	o, err := a.get(ctx, from, name)
	if err != nil {
		return err
	}
	return a.put(ctx, to, name, o.body, o.run, false)
}
