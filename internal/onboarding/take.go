package onboarding

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"go.temporal.io/sdk/activity"
	"golang.org/x/sync/errgroup"

	"edgefleet/activities"
	"edgefleet/internal/fleet"
	"edgefleet/workflows"
)

const (
	// takeTries is how often a manifest is begun that is replaced each time while it is read.
	takeTries = 3
	// takeBeat is the interval of heartbeats, well below the heartbeat timeout.
	takeBeat = 5 * time.Second
)

// TakeManifest reads a manifest, whole and in one version, and adds its devices that are not provisioned to the
// onboarding's pages. Of one that is invalid nothing is taken; its errors are told beside it.
func (x *Expander) TakeManifest(ctx context.Context, in workflows.TakeInput) (workflows.TakenManifest, error) {
	stop := beat(ctx)
	defer stop()
	at := fleet.Manifests{Bucket: in.Bucket, Prefix: in.Manifest.Key}
	for range takeTries {
		taken, err := x.take(ctx, in, at)
		var invalid fleet.InvalidInput
		switch {
		case errors.Is(err, errReplaced):
			if in.Manifest, err = x.latest(ctx, at, in.Manifest); err != nil {
				return taken, err
			}
			continue
		case errors.As(err, &invalid):
			now, err := x.latest(ctx, at, in.Manifest)
			switch {
			case activities.IsType(err, activities.NotFound):
				return workflows.TakenManifest{Manifest: in.Manifest, Later: true, Reason: "it is no longer there"}, nil
			case err != nil:
				return taken, err
			case now.ETag != in.Manifest.ETag:
				in.Manifest = now
				continue
			}
			return x.setAside(ctx, in, at, invalid)
		case err == nil && in.Manifest.Reported:
			x.removeReport(ctx, at)
		}
		return taken, err
	}
	return workflows.TakenManifest{Manifest: in.Manifest, Later: true, Reason: "it was replaced each time while it was read"}, nil
}

// beat heartbeats until it is stopped.
func beat(ctx context.Context) (stop func()) {
	ctx, stop = context.WithCancel(ctx)
	go func() {
		for ticker := time.NewTicker(takeBeat); ; {
			select {
			case <-ctx.Done():
				ticker.Stop()
				return
			case <-ticker.C:
				activity.RecordHeartbeat(ctx)
			}
		}
	}()
	return stop
}

// latest is the manifest's version of now.
func (x *Expander) latest(ctx context.Context, at fleet.Manifests, was workflows.ManifestVersion) (workflows.ManifestVersion, error) {
	head, err := x.S3.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &at.Bucket, Key: &at.Prefix})
	if err != nil {
		return was, activities.AWSError("looking at "+at.String(), err)
	}
	was.ETag, was.Modified = aws.ToString(head.ETag), aws.ToTime(head.LastModified).UTC()
	return was, nil
}

// errRoom ends the reading of a manifest when the run may add no more devices.
var errRoom = errors.New("no more room")

// take takes a manifest in the version that was found. The error is errReplaced when there is another.
func (x *Expander) take(ctx context.Context, in workflows.TakeInput, at fleet.Manifests) (workflows.TakenManifest, error) {
	t := workflows.TakenManifest{Manifest: in.Manifest}
	source := &Source{Name: at.String(), s3: x.S3, etag: in.Manifest.ETag}
	checked, err := source.Check(ctx, in.Fleet)
	if err != nil {
		return t, err
	}
	t.Devices = checked.Devices
	files := NewFiles(x.S3, in.Files, in.Fleet.KMSKeyID)
	seen, err := namesIn(ctx, files, in.Pages)
	if err != nil {
		return t, err
	}
	add := &adder{x: x, spec: in.Fleet, files: files, page: in.Pages, room: in.Room, seen: seen}
	_, err = source.read(ctx, in.Fleet, func(number int, d fleet.Device) error {
		return add.line(ctx, Line{number, d})
	})
	if err == nil {
		err = add.look(ctx)
	}
	if err == nil || errors.Is(err, errRoom) {
		err = add.put(ctx)
	}
	t.New, t.Skipped, t.Pages = add.added, add.skipped, add.page-in.Pages
	t.Left = t.Devices - t.New - t.Skipped
	return t, err
}

// namesIn are the devices that the onboarding has already.
func namesIn(ctx context.Context, files Files, pages int) (map[string]bool, error) {
	names := map[string]bool{}
	for n := range pages {
		lines, err := files.Page(ctx, n)
		if err != nil {
			return nil, err
		}
		for _, line := range lines {
			names[line.Name] = true
		}
	}
	return names, nil
}

// adder adds devices to an onboarding's pages, unless they are provisioned or there already.
type adder struct {
	x              *Expander
	spec           fleet.Spec
	files          Files
	seen           map[string]bool
	batch, lines   []Line // to be looked at; to be put into the page
	page           int    // that is filled next
	room           int
	added, skipped int
}

// line takes in a line of the manifest.
func (a *adder) line(ctx context.Context, line Line) error {
	if a.batch = append(a.batch, line); len(a.batch) < pageLines {
		return nil
	}
	return a.look(ctx)
}

// parallelRecords is how many devices are looked at at a time.
const parallelRecords = 32

// look finds out which devices of the batch are to be added. The error is errRoom when there are more than may be.
func (a *adder) look(ctx context.Context) error {
	known := make([]bool, len(a.batch))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(parallelRecords)
	for i, line := range a.batch {
		if a.seen[line.Name] {
			known[i] = true
			continue
		}
		group.Go(func() error {
			return lasting(groupCtx, func(int) error {
				certificate, err := provisioned(groupCtx, a.x.Activities, a.spec, line.Device)
				known[i] = certificate != ""
				return err
			})
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, line := range a.batch {
		switch {
		case known[i]:
			a.skipped++
		case a.added == a.room:
			return errRoom
		default:
			a.added++
			if a.lines = append(a.lines, line); len(a.lines) == pageLines {
				if err := a.put(ctx); err != nil {
					return err
				}
			}
		}
	}
	a.batch = a.batch[:0]
	return nil
}

// put writes the lines that there are into a page.
func (a *adder) put(ctx context.Context) error {
	if len(a.lines) == 0 {
		return nil
	}
	err := a.files.PutPage(ctx, a.page, a.lines)
	a.page, a.lines = a.page+1, nil
	return err
}

// manifestErrors is the report of what is wrong with a manifest.
type manifestErrors struct {
	Manifest  string             `json:"manifest"`
	ETag      string             `json:"etag"`
	Schedule  string             `json:"schedule"`
	CheckedAt time.Time          `json:"checkedAt"`
	Problems  fleet.InvalidInput `json:"problems"`
	Advice    string             `json:"advice"`
}

// setAside writes what is wrong with a manifest into a report beside it.
func (x *Expander) setAside(ctx context.Context, in workflows.TakeInput, at fleet.Manifests, problems fleet.InvalidInput) (workflows.TakenManifest, error) {
	t := workflows.TakenManifest{Manifest: in.Manifest, Problems: len(problems), Reason: problems[0].String()}
	text, err := json.MarshalIndent(manifestErrors{
		Manifest: at.String(), ETag: in.Manifest.ETag, Schedule: in.Schedule, CheckedAt: time.Now().UTC(), Problems: problems,
		Advice: "Correct the manifest and put it in its place again: the schedule's next run takes it. No device of it was provisioned.",
	}, "", "  ")
	if err != nil {
		return t, err
	}
	_, err = x.S3.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &at.Bucket, Key: aws.String(at.Prefix + errorsSuffix), Body: bytes.NewReader(text), ContentType: aws.String("application/json"),
	})
	err = activities.AWSError("writing what is wrong with "+at.String()+" beside it", err)
	if activities.IsType(err, activities.AccessDenied) {
		t.Reason += " (no report of it: " + messageOf(err) + ")"
		return t, nil
	}
	t.Report = at.String() + errorsSuffix
	return t, err
}

// removeReport removes the report of an earlier version's errors. It may stay where that is not allowed.
func (x *Expander) removeReport(ctx context.Context, at fleet.Manifests) {
	_, err := x.S3.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &at.Bucket, Key: aws.String(at.Prefix + errorsSuffix)})
	if err != nil {
		activity.GetLogger(ctx).Warn("the report of errors that were mended could not be removed", "manifest", at.String(), "error", err)
	}
}
