package activities

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"edgefleet/internal/fleet"
)

// The objects of a bundle, named as in the documented procedure, and the device's record.
const (
	privateKeyFile  = "private.pem.key"
	CertificateFile = "device.pem.crt"
	rootCAFile      = "AmazonRootCA1.pem"
	RecordFile      = "device.json"
)

// BundleFiles are the files of a device's bundle beside its record, by who has its key.
func BundleFiles(keys fleet.Keys) []string {
	if keys == fleet.KeysDevice {
		return []string{CertificateFile, rootCAFile}
	}
	return []string{CertificateFile, rootCAFile, privateKeyFile}
}

// runMetadata names, on a bundle's objects, the run that wrote them.
const runMetadata = "edgefleet-run"

// Bundle is where a device's files are, and the key that encrypts them.
type Bundle struct {
	Location fleet.S3URI `json:"location"`
	KMSKeyID string      `json:"kmsKeyId,omitempty"` // empty: the bucket's default
}

// FleetBundle is the place of what a fleet's bundles share.
func FleetBundle(spec fleet.Spec) Bundle {
	return Bundle{fleet.S3URI{Bucket: spec.Bundles.Bucket, Prefix: spec.Bundles.Key(spec.Name)}, spec.KMSKeyID}
}

// DeviceBundle is a device's bundle. The documented flat prefix is per fleet and device here:
// there, the second device would overwrite the first.
func DeviceBundle(spec fleet.Spec, device string) Bundle {
	return Bundle{fleet.S3URI{Bucket: spec.Bundles.Bucket, Prefix: spec.Bundles.Key(spec.Name, device)}, spec.KMSKeyID}
}

// LostFolder is where, beside a fleet's bundles, lost answers are written down.
const LostFolder = "_lost"

// lostBundle is where a fleet keeps what it knows of certificates whose answer was lost. No device
// can be named so.
func lostBundle(fleetBundle Bundle) Bundle {
	fleetBundle.Location.Prefix += "/" + LostFolder
	return fleetBundle
}

func (b Bundle) uri(name string) string { return b.Location.String() + "/" + name }

// Record is device.json: what is needed to know a device without Temporal's history, which
// expires. It holds no secret.
type Record struct {
	Fleet          string         `json:"fleet"`
	Registry       fleet.Registry `json:"registry"`
	Device         string         `json:"device"`
	Thing          string         `json:"thing"`
	ThingType      string         `json:"thingType"`
	CertificateID  string         `json:"certificateId"`
	CertificateARN string         `json:"certificateArn"`
	Keys           fleet.Keys     `json:"keys"`
	Policy         string         `json:"policy"`
	RoleAlias      string         `json:"roleAlias"`
	CredentialsURL string         `json:"credentialsUrl"`
	RunID          string         `json:"runId,omitempty"`    // the run that wrote the record
	CreatedAt      time.Time      `json:"createdAt,omitzero"` // when it did
	ProvenAt       time.Time      `json:"provenAt,omitzero"`  // when the certificate fetched credentials; with keys: device only the device can
	// RetractedAt is when a decommission began, of which there is no end: the device is not provisioned.
	RetractedAt time.Time `json:"retractedAt,omitzero"`
}

// object is what a bundle holds under one name.
type object struct {
	body     []byte
	run      string    // that wrote it
	modified time.Time // by S3's clock
}

// maxObjectBytes is more than any file of a bundle has.
const maxObjectBytes = 1 << 20

// get reads an object of the bundle; errMissing when it is not there.
func (a *Activities) get(ctx context.Context, b Bundle, name string) (object, error) {
	doing := "reading " + b.uri(name)
	out, err := a.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.Location.Bucket, Key: aws.String(b.Location.Key(name))})
	if missing := (*types.NoSuchKey)(nil); errors.As(err, &missing) {
		return object{}, errMissing
	}
	if err != nil {
		return object{}, AWSError(doing, err)
	}
	defer out.Body.Close()
	body, err := io.ReadAll(io.LimitReader(out.Body, maxObjectBytes))
	if err != nil {
		return object{}, AWSError(doing, err)
	}
	return object{body, out.Metadata[runMetadata], aws.ToTime(out.LastModified)}, nil
}

// put writes an object of the bundle. ifAbsent makes it fail with errExists instead of replacing one.
func (a *Activities) put(ctx context.Context, b Bundle, name string, body []byte, run string, ifAbsent bool) error {
	in := &s3.PutObjectInput{
		Bucket:   &b.Location.Bucket,
		Key:      aws.String(b.Location.Key(name)),
		Body:     bytes.NewReader(body),
		Metadata: map[string]string{runMetadata: run},
	}
	if b.KMSKeyID != "" {
		in.ServerSideEncryption, in.SSEKMSKeyId = types.ServerSideEncryptionAwsKms, &b.KMSKeyID
	}
	if ifAbsent {
		in.IfNoneMatch = aws.String("*")
	}
	_, err := a.s3.PutObject(ctx, in)
	if ifAbsent && hasCode(err, "PreconditionFailed", "ConditionalRequestConflict") {
		return errExists
	}
	return AWSError("writing "+b.uri(name), err)
}

func (a *Activities) getRecord(ctx context.Context, b Bundle) (Record, error) {
	var r Record
	o, err := a.get(ctx, b, RecordFile)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(o.body, &r); err != nil {
		return r, failed(StateConflict, "reading "+b.uri(RecordFile), "it is not the record of a device: %v", err)
	}
	return r, nil
}

// ProvenRecord reads the record of a device's bundle, which is there once the device is provisioned. The
// error is one that IsNotThere tells when it is not, or no longer.
func (a *Activities) ProvenRecord(ctx context.Context, b Bundle) (Record, error) {
	r, err := a.getRecord(ctx, b)
	if err == nil && !r.RetractedAt.IsZero() {
		return Record{}, errMissing
	}
	return r, err
}

// IsNotThere tells the error of reading what is not there.
func IsNotThere(err error) bool { return errors.Is(err, errMissing) }

func (a *Activities) putRecord(ctx context.Context, b Bundle, r Record) error {
	body, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return a.put(ctx, b, RecordFile, append(body, '\n'), r.RunID, false)
}

// erase removes the bundle's objects, each with all its versions: an older version of a key is a
// key as well. Given a name, only that object goes; given a run, only what that run wrote. The
// certificate goes last, for it says whose the bundle is.
func (a *Activities) erase(ctx context.Context, b Bundle, name, run string) (Removal, error) {
	doing := "removing " + b.Location.String()
	prefix := b.Location.Key(name)
	var objects, markers []types.ObjectIdentifier
	foreign := map[string]bool{} // keys with versions of other runs
	pages := s3.NewListObjectVersionsPaginator(a.s3, &s3.ListObjectVersionsInput{Bucket: &b.Location.Bucket, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if hasCode(err, "NoSuchBucket") {
			return Gone, nil
		}
		if err != nil {
			return "", AWSError(doing, err)
		}
		for _, v := range page.Versions {
			ours, err := a.isOf(ctx, b.Location.Bucket, v, run)
			if err != nil {
				return "", err
			}
			if ours {
				objects = append(objects, types.ObjectIdentifier{Key: v.Key, VersionId: v.VersionId})
			} else {
				foreign[aws.ToString(v.Key)] = true
			}
		}
		for _, m := range page.DeleteMarkers {
			markers = append(markers, types.ObjectIdentifier{Key: m.Key, VersionId: m.VersionId})
		}
	}
	for _, m := range markers {
		if !foreign[aws.ToString(m.Key)] { // without its marker, another run's object would be back
			objects = append(objects, m)
		}
	}
	if len(objects) == 0 && len(foreign) > 0 {
		return Kept, nil
	}
	if len(objects) == 0 {
		return Gone, nil
	}
	var first, last []types.ObjectIdentifier
	for _, id := range objects {
		if aws.ToString(id.Key) == b.Location.Key(CertificateFile) {
			last = append(last, id)
		} else {
			first = append(first, id)
		}
	}
	for _, id := range append(first, last...) {
		_, err := a.s3.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.Location.Bucket, Key: id.Key, VersionId: id.VersionId})
		if err != nil {
			return "", AWSError("removing s3://"+b.Location.Bucket+"/"+aws.ToString(id.Key), err)
		}
	}
	return Removed, nil
}

// isOf tells whether the run wrote that version of an object; an empty run wrote all.
func (a *Activities) isOf(ctx context.Context, bucket string, v types.ObjectVersion, run string) (bool, error) {
	if run == "" {
		return true, nil
	}
	head, err := a.s3.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &bucket, Key: v.Key, VersionId: v.VersionId})
	if hasCode(err, "NotFound", "NoSuchKey", "NoSuchVersion") {
		return false, nil
	}
	if err != nil {
		return false, AWSError("looking at s3://"+bucket+"/"+aws.ToString(v.Key), err)
	}
	return head.Metadata[runMetadata] == run, nil
}

// DeleteRecordInput is what DeleteRecord needs.
type DeleteRecordInput struct {
	Bundle Bundle `json:"bundle"`
	Run    string `json:"run"`
}

// DeleteRecord removes the device's record if the run wrote it.
func (a *Activities) DeleteRecord(ctx context.Context, in DeleteRecordInput) (Removal, error) {
	o, err := a.get(ctx, in.Bundle, RecordFile)
	switch {
	case errors.Is(err, errMissing):
		return Gone, nil
	case err != nil:
		return "", err
	case o.run != in.Run:
		return Kept, nil
	}
	return a.erase(ctx, in.Bundle, RecordFile, in.Run)
}
