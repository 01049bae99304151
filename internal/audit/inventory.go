package audit

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"golang.org/x/sync/errgroup"

	"edgefleet/activities"
	"edgefleet/internal/fleet"
)

// parallel is how many objects or attachments are read at a time; the quotas set the pace.
const parallel = 16

// inventory is all that there is of a fleet.
type inventory struct {
	devices      map[string]*device           // by name: those that have a bundle
	things       map[string]*thing            // by name: those of the bundles, and those that runs created for the fleet
	registered   map[string]string            // device → thing
	certificates map[string]types.Certificate // by id: all of the account
	byARN        map[string]types.Certificate
	withPolicy   map[string]bool // ARNs that the fleet's policy is attached to
	lost         []lostCertificate
	lostRecords  []lostRecord
	retired      bool // the registry is no more: nothing is registered, and nothing need be
}

// device is a bundle.
type device struct {
	name          string
	files         []string // their names
	location      string
	record        *activities.Record // nil without one that can be read
	certificateID string
	thingName     string // without a record: as far as AWS tells
}

func (d *device) thing() string {
	if d.record != nil {
		return d.record.Thing
	}
	return cmp.Or(d.thingName, d.name)
}

type thing struct{ principals []string }

func (a *Auditor) takeInventory(ctx context.Context) (*inventory, error) {
	in := &inventory{
		devices: map[string]*device{}, things: map[string]*thing{}, registered: map[string]string{},
		certificates: map[string]types.Certificate{}, byARN: map[string]types.Certificate{}, withPolicy: map[string]bool{},
	}
	// Bundles first, then what they should account for: what comes into being meanwhile is then
	// told as lacking nothing.
	for _, take := range []func(context.Context, *inventory) error{
		a.readBundles, a.listCertificates, a.listPolicyTargets, a.listRegistrations, a.listThings, a.listPrincipals, a.findThings, a.findLost,
	} {
		if err := take(ctx, in); err != nil {
			return nil, err
		}
	}
	return in, nil
}

func (a *Auditor) readBundles(ctx context.Context, in *inventory) error {
	location := activities.FleetBundle(a.spec).Location
	prefix := location.Key("")
	pages := s3.NewListObjectsV2Paginator(a.s3, &s3.ListObjectsV2Input{Bucket: &location.Bucket, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if missing := (*s3types.NoSuchBucket)(nil); errors.As(err, &missing) {
			return nil
		}
		if err != nil {
			return activities.AWSError("listing the bundles in "+location.String(), err)
		}
		for _, o := range page.Contents {
			name, file, inFolder := strings.Cut(strings.TrimPrefix(aws.ToString(o.Key), prefix), "/")
			switch {
			case !inFolder: // the fleet's root CA
			case name == activities.LostFolder:
				in.lostRecords = append(in.lostRecords, lostRecord{key: aws.ToString(o.Key)})
			case fleet.DeviceName.Check(name) == nil && !strings.Contains(file, "/"):
				if in.devices[name] == nil {
					in.devices[name] = &device{name: name, location: location.String() + "/" + name}
				}
				in.devices[name].files = append(in.devices[name].files, file)
			}
		}
	}
	var mu sync.Mutex
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, d := range in.devices {
		group.Go(func() error { return a.readRecord(groupCtx, d) })
	}
	var kept []lostRecord
	for _, r := range in.lostRecords {
		group.Go(func() error {
			err := a.readJSON(groupCtx, r.key, &r.LostCertificate)
			if err == nil {
				mu.Lock()
				kept = append(kept, r)
				mu.Unlock()
			}
			return ignoreMissing(err)
		})
	}
	err := group.Wait()
	in.lostRecords = kept
	return err
}

func (a *Auditor) readRecord(ctx context.Context, d *device) error {
	var record activities.Record
	err := a.readJSON(ctx, activities.DeviceBundle(a.spec, d.name).Location.Key(activities.RecordFile), &record)
	switch {
	case err == nil:
		d.record, d.certificateID = &record, record.CertificateID
	case errors.Is(err, errMissing) || errors.Is(err, errNoJSON):
		d.certificateID, err = a.storedCertificate(ctx, d)
	}
	return err
}

// storedCertificate is the id of the certificate in a bundle; empty when it holds none.
func (a *Auditor) storedCertificate(ctx context.Context, d *device) (string, error) {
	text, err := a.read(ctx, activities.DeviceBundle(a.spec, d.name).Location.Key(activities.CertificateFile))
	if err != nil {
		return "", ignoreMissing(err)
	}
	return activities.CertificateID(text), nil
}

var (
	errMissing = errors.New("missing")    // an object went while the audit ran, or never was
	errNoJSON  = errors.New("is no JSON") // of what it should hold
)

func ignoreMissing(err error) error {
	if errors.Is(err, errMissing) {
		return nil
	}
	return err
}

func (a *Auditor) readJSON(ctx context.Context, key string, v any) error {
	body, err := a.read(ctx, key)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("s3://%s/%s %w: %w", a.spec.Bundles.Bucket, key, errNoJSON, err)
	}
	return nil
}

func (a *Auditor) read(ctx context.Context, key string) ([]byte, error) {
	bucket := a.spec.Bundles.Bucket
	doing := "reading s3://" + bucket + "/" + key
	out, err := a.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if missing := (*s3types.NoSuchKey)(nil); errors.As(err, &missing) {
		return nil, errMissing
	}
	if err != nil {
		return nil, activities.AWSError(doing, err)
	}
	defer out.Body.Close()
	body, err := io.ReadAll(out.Body)
	return body, activities.AWSError(doing, err)
}

func (a *Auditor) listCertificates(ctx context.Context, in *inventory) error {
	pages := iot.NewListCertificatesPaginator(a.iot, &iot.ListCertificatesInput{PageSize: aws.Int32(250)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return activities.AWSError("listing certificates", err)
		}
		for _, c := range page.Certificates {
			in.certificates[aws.ToString(c.CertificateId)] = c
			in.byARN[aws.ToString(c.CertificateArn)] = c
		}
	}
	return nil
}

func (a *Auditor) listPolicyTargets(ctx context.Context, in *inventory) error {
	policy := a.spec.PolicyName()
	pages := iot.NewListTargetsForPolicyPaginator(a.iot, &iot.ListTargetsForPolicyInput{PolicyName: &policy, PageSize: aws.Int32(250)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if missing := (*types.ResourceNotFoundException)(nil); errors.As(err, &missing) {
			return nil // the fleet was never prepared
		}
		if err != nil {
			return activities.AWSError("listing what policy "+policy+" is attached to", err)
		}
		for _, arn := range page.Targets {
			in.withPolicy[arn] = true
		}
	}
	return nil
}

func (a *Auditor) listRegistrations(ctx context.Context, in *inventory) error {
	if a.spec.Registry == fleet.IoTCore {
		return a.listGroup(ctx, in)
	}
	name := a.spec.Name
	pages := sagemaker.NewListDevicesPaginator(a.sagemaker, &sagemaker.ListDevicesInput{DeviceFleetName: &name, MaxResults: aws.Int32(100)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if activities.IsMissing(err) {
			return nil
		}
		if activities.IsRetired(err) {
			in.retired = true
			return nil
		}
		if err != nil {
			return activities.AWSError("listing the devices of fleet "+name, err)
		}
		for _, d := range page.DeviceSummaries {
			in.registered[aws.ToString(d.DeviceName)] = aws.ToString(d.IotThingName)
		}
	}
	return nil
}

// listGroup lists the things in the fleet's group. They are registered as the devices that have
// them, and where there is none, under their own names.
func (a *Auditor) listGroup(ctx context.Context, in *inventory) error {
	deviceOf := map[string]string{}
	for _, d := range in.devices {
		deviceOf[d.thing()] = d.name
	}
	group := a.spec.ThingGroupName()
	pages := iot.NewListThingsInThingGroupPaginator(a.iot, &iot.ListThingsInThingGroupInput{ThingGroupName: &group, MaxResults: aws.Int32(250)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if missing := (*types.ResourceNotFoundException)(nil); errors.As(err, &missing) {
			return nil
		}
		if err != nil {
			return activities.AWSError("listing the things of group "+group, err)
		}
		for _, name := range page.Things {
			if device, has := deviceOf[name]; has {
				in.registered[device] = name
			} else {
				in.registered[name] = name
			}
		}
	}
	return nil
}

// listThings lists the things that runs created for the fleet, and looks for the others that
// bundles name.
func (a *Auditor) listThings(ctx context.Context, in *inventory) error {
	pages := iot.NewListThingsPaginator(a.iot, &iot.ListThingsInput{
		// Not by attribute: AWS searches only those that the thing type declares, three at most.
		ThingTypeName: &a.spec.ThingType, MaxResults: aws.Int32(250)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return activities.AWSError("listing the things of fleet "+a.spec.Name, err)
		}
		for _, t := range page.Things {
			if t.Attributes[fleet.FleetMark] == a.spec.Name {
				in.things[aws.ToString(t.ThingName)] = &thing{}
			}
		}
	}
	for _, d := range in.devices {
		name := d.thing()
		if in.things[name] != nil {
			continue
		}
		_, err := a.iot.DescribeThing(ctx, &iot.DescribeThingInput{ThingName: &name})
		if missing := (*types.ResourceNotFoundException)(nil); errors.As(err, &missing) {
			continue
		}
		if err != nil {
			return activities.AWSError(fmt.Sprintf("describing thing %q", name), err)
		}
		in.things[name] = &thing{}
	}
	return nil
}

func (a *Auditor) listPrincipals(ctx context.Context, in *inventory) error {
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for name, t := range in.things {
		group.Go(func() error {
			pages := iot.NewListThingPrincipalsPaginator(a.iot, &iot.ListThingPrincipalsInput{ThingName: &name})
			for pages.HasMorePages() {
				page, err := pages.NextPage(groupCtx)
				if missing := (*types.ResourceNotFoundException)(nil); errors.As(err, &missing) {
					return nil
				}
				if err != nil {
					return activities.AWSError(fmt.Sprintf("listing the certificates of thing %q", name), err)
				}
				t.principals = append(t.principals, page.Principals...)
			}
			return nil
		})
	}
	return group.Wait()
}

// findThings finds the things of the bundles without a record: that which the device is registered
// with, or that which has its certificate.
func (a *Auditor) findThings(_ context.Context, in *inventory) error {
	for _, d := range in.devices {
		if d.record != nil {
			continue
		}
		if name, registered := in.registered[d.name]; registered {
			d.thingName = name
			continue
		}
		arn := aws.ToString(in.certificates[d.certificateID].CertificateArn)
		for name, t := range in.things {
			if arn == "" || !slices.Contains(t.principals, arn) {
				continue
			}
			d.thingName = name
			if in.registered[name] == name { // a group knows things only
				delete(in.registered, name)
				in.registered[d.name] = name
			}
		}
	}
	return nil
}

// lostRecord is an object that says when a certificate may have been lost.
type lostRecord struct {
	activities.LostCertificate
	key string
}

// lostCertificate is a certificate that is there because its answer was lost.
type lostCertificate struct {
	id       string
	made     time.Time
	lost     activities.LostCertificate
	doubtful bool // there are more such certificates than lost answers
}
