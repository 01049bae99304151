package onboarding

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sync/errgroup"

	"edgefleet/activities"
	"edgefleet/internal/fleet"
)

// Source is where a manifest comes from: a file, or an object in S3.
type Source struct {
	Name string // the file's path or the object's URI

	s3   *s3.Client
	etag string // of the object as it was first read: that one is read again
}

// NewSource is a manifest at a path or s3:// URI. client is for S3, and for certificate requests that the
// manifest has there.
func NewSource(name string, client *s3.Client) *Source { return &Source{Name: name, s3: client} }

// isS3 tells whether a manifest's name is that of an object.
func isS3(name string) bool { return strings.HasPrefix(name, "s3://") }

// open opens the manifest. The error is an InvalidInput where there is none to be had; that AWS
// refuses is none of the input's faults.
func (s *Source) open(ctx context.Context) (io.ReadCloser, error) {
	if !isS3(s.Name) {
		return openFile(s.Name)
	}
	at, err := objectAt(s.Name)
	if err != nil {
		return nil, fleet.InvalidInput{{Source: s.Name, Reason: err.Error()}}
	}
	in := &s3.GetObjectInput{Bucket: &at.Bucket, Key: &at.Prefix}
	if s.etag != "" {
		in.IfMatch = &s.etag
	}
	out, err := s.s3.GetObject(ctx, in)
	if hasCode(err, "PreconditionFailed") {
		return nil, errReplaced
	}
	if err != nil {
		err = activities.AWSError("reading "+s.Name, err)
		if activities.IsType(err, activities.NotFound) {
			return nil, fleet.InvalidInput{{Source: s.Name, Reason: "there is no such object: " + messageOf(err)}}
		}
		return nil, err
	}
	if s.etag != "" && s.etag != aws.ToString(out.ETag) { // not every store knows If-Match
		return nil, errors.Join(errReplaced, out.Body.Close())
	}
	s.etag = aws.ToString(out.ETag)
	return out.Body, nil
}

// errReplaced says that the object is no longer the one that was read first.
var errReplaced = errors.New("the manifest was replaced while it was read")

func openFile(path string) (io.ReadCloser, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, fleet.InvalidInput{{Source: path, Reason: "there is no such file; MANIFEST is a list of devices, CSV or JSON Lines (examples/cameras.csv shows one), or its s3:// URI"}}
	case err != nil:
		return nil, fleet.InvalidInput{{Source: path, Reason: "cannot be read: " + err.Error()}}
	case info.IsDir():
		return nil, fleet.InvalidInput{{Source: path, Reason: "is a directory; MANIFEST is a list of devices, CSV or JSON Lines"}}
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, fleet.InvalidInput{{Source: path, Reason: "cannot be read: " + err.Error()}}
	}
	return file, nil
}

// objectAt reads the URI of an object: s3://BUCKET/KEY.
func objectAt(uri string) (fleet.S3URI, error) {
	at, err := fleet.ParseS3URI(uri)
	if err == nil && (at.Prefix == "" || strings.HasSuffix(uri, "/")) {
		err = fmt.Errorf("%q names no object: it must read s3://BUCKET/KEY", uri)
	}
	return at, err
}

// csr reads a certificate request that the manifest points at: a path beside it, or an object.
func (s *Source) csr(ctx context.Context) func(ref string) (string, error) {
	beside := fleet.CSRsBeside(s.Name)
	return func(ref string) (string, error) {
		switch {
		case isS3(ref):
		case isS3(s.Name): // never a file of this machine
			ref = s.Name[:strings.LastIndex(s.Name, "/")+1] + ref
		default:
			return beside(ref)
		}
		body, err := NewSource(ref, s.s3).open(ctx)
		if err != nil {
			return "", err
		}
		defer body.Close()
		text, err := io.ReadAll(io.LimitReader(body, fleet.MaxCSRBytes+1))
		return string(text), activities.AWSError("reading "+ref, err)
	}
}

func messageOf(err error) string {
	text, _, _ := strings.Cut(err.Error(), ". What to do")
	return text
}

// Check reads the whole manifest. What is wrong with it is one InvalidInput.
func (s *Source) Check(ctx context.Context, spec fleet.Spec) (fleet.ManifestStats, error) {
	return s.read(ctx, spec, nil)
}

func (s *Source) read(ctx context.Context, spec fleet.Spec, each func(int, fleet.Device) error) (fleet.ManifestStats, error) {
	in, err := s.open(ctx)
	if err != nil {
		return fleet.ManifestStats{}, err
	}
	defer in.Close()
	return spec.ReadManifest(ctx, s.Name, in, s.csr(ctx), each)
}

// parallelPages is how many pages are written at a time.
const parallelPages = 8

// Copy puts the manifest, which was checked, into an onboarding's files, page by page, and returns how
// many pages it has. It fails when the manifest is no longer the one that was checked.
func (s *Source) Copy(ctx context.Context, spec fleet.Spec, checked fleet.ManifestStats, files Files) (pages int, err error) {
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(parallelPages)
	var lines []Line
	put := func() {
		n, full := pages, lines
		pages, lines = pages+1, nil
		group.Go(func() error { return files.PutPage(groupCtx, n, full) })
	}
	stats, err := s.read(groupCtx, spec, func(number int, d fleet.Device) error {
		if lines = append(lines, Line{number, d}); len(lines) == pageLines {
			put()
		}
		return nil
	})
	if len(lines) > 0 {
		put()
	}
	if putErr := group.Wait(); putErr != nil {
		return 0, putErr // it ended the reading, too
	}
	if err != nil && !errors.Is(err, errReplaced) {
		return 0, err
	}
	if err != nil || stats != checked {
		return 0, s.changed()
	}
	return pages, nil
}

func (s *Source) changed() error {
	return fmt.Errorf("%s has changed since it was checked: repeat the command when nobody writes it", s.Name)
}
