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
	certificateFile = "device.pem.crt"
	rootCAFile      = "AmazonRootCA1.pem"
	recordFile      = "device.json"
)

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
	Policy         string         `json:"policy"`
	RoleAlias      string         `json:"roleAlias"`
	CredentialsURL string         `json:"credentialsUrl"`
	RunID          string         `json:"runId,omitempty"`       // the run that created the certificate
	CreatedAt      time.Time      `json:"createdAt,omitzero"`    // when the record was first written
	ProvenAt       time.Time      `json:"provenAt,omitzero"`     // when the certificate last fetched credentials
	ProvenByRun    string         `json:"provenByRun,omitempty"` // the run that saw it
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
	o, err := a.get(ctx, b, recordFile)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(o.body, &r); err != nil {
		return r, failed(StateConflict, "reading "+b.uri(recordFile), "it is not the record of a device: %v", err)
	}
	return r, nil
}

func (a *Activities) putRecord(ctx context.Context, b Bundle, r Record) error {
	body, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return a.put(ctx, b, recordFile, append(body, '\n'), r.ProvenByRun, false)
}
