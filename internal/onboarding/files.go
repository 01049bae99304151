// Package onboarding does an onboarding's work: it keeps its files in the bundles' bucket, launches the
// devices' runs and watches them, and tells what became of each.
package onboarding

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"edgefleet/activities"
	"edgefleet/internal/fleet"
	"edgefleet/internal/report"
	"edgefleet/workflows"
)

// pageLines is how many lines a page of a manifest has, and so how many outcomes a part of the report.
const pageLines = 1000

// Files are an onboarding's files: the manifest as it was checked, in pages, and the report, in a
// part for each page. Both are JSON Lines.
type Files struct {
	s3  *s3.Client
	at  fleet.S3URI
	kms string
}

// NewFiles are the files of an onboarding at a location that workflows.OnboardingFiles made.
func NewFiles(client *s3.Client, at fleet.S3URI, kmsKeyID string) Files {
	return Files{client, at, kmsKeyID}
}

// Line is a device of a manifest and the line that it stands on, counted from 1.
type Line struct {
	Number int `json:"line"`
	fleet.Device
}

func pageName(n int) string { return fmt.Sprintf("manifest/%06d.jsonl", n+1) }
func partName(n int) string { return fmt.Sprintf("report/%06d.jsonl", n+1) }

// PutPage writes a page of the manifest.
func (f Files) PutPage(ctx context.Context, n int, lines []Line) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	for _, line := range lines {
		if err := encoder.Encode(line); err != nil {
			return err
		}
	}
	_, err := f.s3.PutObject(ctx, f.object(pageName(n), text.Bytes()))
	return activities.AWSError("writing "+f.uri(pageName(n)), err)
}

// Page reads a page of the manifest.
func (f Files) Page(ctx context.Context, n int) ([]Line, error) {
	text, _, err := f.get(ctx, pageName(n))
	if err != nil {
		return nil, err
	}
	var lines []Line
	decoder := json.NewDecoder(bytes.NewReader(text))
	for decoder.More() {
		var line Line
		if err := decoder.Decode(&line); err != nil {
			return nil, fmt.Errorf("reading %s: %w", f.uri(pageName(n)), err)
		}
		lines = append(lines, line)
	}
	return lines, nil
}

// PutPart writes what became of the lines of a page, in their order, in the place of the part of that
// version ("": of none), and returns the new one's. It fails when there is another meanwhile: an attempt
// that was given up and does not know it must not undo what its successor wrote.
func (f Files) PutPart(ctx context.Context, n int, outcomes []report.Outcome, version string) (string, error) {
	var text bytes.Buffer
	w := report.NewWriter(&text)
	for _, o := range outcomes {
		if err := w.Write(o); err != nil {
			return "", err
		}
	}
	in := f.object(partName(n), text.Bytes())
	if version == "" {
		in.IfNoneMatch = aws.String("*")
	} else {
		in.IfMatch = &version
	}
	out, err := f.s3.PutObject(ctx, in)
	if hasCode(err, "PreconditionFailed", "ConditionalRequestConflict") {
		return "", fmt.Errorf("writing %s: another attempt has written it since this one read it", f.uri(partName(n)))
	}
	if err != nil {
		return "", activities.AWSError("writing "+f.uri(partName(n)), err)
	}
	return aws.ToString(out.ETag), nil
}

// Part reads what became of the lines of a page, and its version; none before there is a part.
func (f Files) Part(ctx context.Context, n int) (outcomes []report.Outcome, version string, err error) {
	text, version, err := f.get(ctx, partName(n))
	if errors.Is(err, errMissing) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	for o, err := range report.Read(f.uri(partName(n)), bytes.NewReader(text)) {
		if err != nil {
			return nil, "", err
		}
		outcomes = append(outcomes, o)
	}
	return outcomes, version, nil
}

func hasCode(err error, codes ...string) bool {
	var said smithy.APIError
	return errors.As(err, &said) && slices.Contains(codes, said.ErrorCode())
}

var errMissing = errors.New("there is no such object")

func (f Files) uri(name string) string { return f.at.String() + "/" + name }

func (f Files) object(name string, text []byte) *s3.PutObjectInput {
	in := &s3.PutObjectInput{Bucket: &f.at.Bucket, Key: aws.String(f.at.Key(name)), Body: bytes.NewReader(text)}
	if f.kms != "" {
		in.ServerSideEncryption, in.SSEKMSKeyId = types.ServerSideEncryptionAwsKms, &f.kms
	}
	return in
}

// get reads an object, and its version.
func (f Files) get(ctx context.Context, name string) (text []byte, version string, err error) {
	doing := "reading " + f.uri(name)
	out, err := f.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: &f.at.Bucket, Key: aws.String(f.at.Key(name))})
	if missing := (*types.NoSuchKey)(nil); errors.As(err, &missing) {
		return nil, "", fmt.Errorf("%s: %w", doing, errMissing)
	}
	if err != nil {
		return nil, "", activities.AWSError(doing, err)
	}
	defer out.Body.Close()
	text, err = io.ReadAll(out.Body)
	return text, aws.ToString(out.ETag), activities.AWSError(doing, err)
}

// Latest finds the files of the latest onboarding of that name, where Temporal no longer knows it.
func Latest(ctx context.Context, client *s3.Client, spec fleet.Spec, name string) (fleet.S3URI, error) {
	all := workflows.OnboardingsOf(spec, name)
	prefix := all.Prefix
	var started []string
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: &all.Bucket, Prefix: &prefix, Delimiter: aws.String("/")})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return fleet.S3URI{}, activities.AWSError("listing the onboardings in "+all.String(), err)
		}
		for _, p := range page.CommonPrefixes {
			started = append(started, strings.TrimSuffix(strings.TrimPrefix(aws.ToString(p.Prefix), prefix), "/"))
		}
	}
	if len(started) == 0 {
		return fleet.S3URI{}, fmt.Errorf("no onboarding %q of fleet %q has files in %s", name, spec.Name, strings.TrimSuffix(all.String(), "/"))
	}
	return fleet.S3URI{Bucket: all.Bucket, Prefix: prefix + slices.Max(started)}, nil
}
