package onboarding

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"edgefleet/activities"
	"edgefleet/internal/quota"
	"edgefleet/internal/report"
	"edgefleet/workflows"
)

// Launcher has the activity that launches and watches the devices' runs of an onboarding.
type Launcher struct {
	Temporal   client.Client
	S3         *s3.Client
	Activities *activities.Activities
	Lanes      *quota.Lanes
}

const (
	beatInterval = time.Second     // of heartbeats, well below the activity's heartbeat timeout
	holdInterval = 2 * time.Second // of looks for runs that are held
)

// LaunchDevices launches the onboarding's devices, as many at a time as its window has room for, and
// watches their runs, for the time of a shift or until there are no more. It returns early, with
// where it stands, when it is cancelled, its worker stops, or the line must stop. One that is killed goes on
// from its last heartbeat: a device that was launched since is found running, or provisioned.
func (l *Launcher) LaunchDevices(ctx context.Context, in workflows.LaunchInput) (workflows.Progress, error) {
	info := activity.GetInfo(ctx)
	progress := in.Onboarding.Progress
	if activity.HasHeartbeatDetails(ctx) {
		if err := activity.GetHeartbeatDetails(ctx, &progress); err != nil {
			return progress, err
		}
	}
	// Its own calls end with the shift; what a device's run does goes on without it.
	watching, stopWatching := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWatching()
	progress.Unheard = progress.Unheard || info.Attempt > 1
	s := &shift{
		Launcher: l, in: in.Onboarding, drain: in.Drain, progress: progress,
		files: NewFiles(l.S3, in.Onboarding.Files, in.Onboarding.Fleet.KMSKeyID), ctx: watching,
		pages: map[int]*page{}, open: map[workflows.Place]*watched{}, ended: make(chan ended),
	}
	s.told.Store(&progress)
	s.progress.Ceiling = s.ceiling()
	if progress.Unheard {
		s.doubtful = 2 * s.mostAhead()
	}
	go s.beat(watching, ctx)
	if err := s.takeUp(ctx); err != nil {
		if ctx.Err() != nil {
			err = nil // as told, nothing has changed
		}
		return progress, telling(err, progress)
	}
	if err := s.run(ctx, activity.GetWorkerStopChannel(ctx), in.For); err != nil && ctx.Err() == nil {
		return *s.told.Load(), telling(err, *s.told.Load())
	}
	err := s.flush(context.WithoutCancel(ctx))
	return *s.told.Load(), telling(err, *s.told.Load())
}

// telling adds to an error how far the shift had come: a failure has no result.
func telling(err error, progress workflows.Progress) error {
	var failed *temporal.ApplicationError
	if !errors.As(err, &failed) {
		return err
	}
	var details activities.ErrorDetails
	_ = failed.Details(&details) // without them its message says what there is to say
	return temporal.NewApplicationErrorWithOptions(failed.Message(), failed.Type(), temporal.ApplicationErrorOptions{
		NonRetryable: failed.NonRetryable(), Details: []any{details, progress},
	})
}

// beat tells how far the shift has come, until it ends: also while S3 is slow to answer.
func (s *shift) beat(watching, ctx context.Context) {
	ticker := time.NewTicker(beatInterval)
	defer ticker.Stop()
	for {
		select {
		case <-watching.Done():
			return
		case <-ticker.C:
			activity.RecordHeartbeat(ctx, *s.told.Load())
		}
	}
}

// shift is the state of one LaunchDevices. Only its own goroutine touches it, but for what is told;
// each watched device has another, which says on ended what became of it.
type shift struct {
	*Launcher
	in       workflows.OnboardInput
	drain    bool
	progress workflows.Progress
	told     atomic.Pointer[workflows.Progress] // as far as the report's parts say it too
	files    Files
	ctx      context.Context // of the watching
	doubtful int             // so many of the next lines may have been launched already

	pages map[int]*page // those with lines that are open, or to launch
	open  map[workflows.Place]*watched
	ended chan ended
}

// page is a page of the manifest and what became of its lines.
type page struct {
	lines    []Line
	outcomes map[int]report.Outcome // by the line's place in the page
	version  string                 // of the part that they are in
	dirty    bool
}

// watched is a device whose run is watched.
type watched struct {
	line  Line
	since time.Time
	stop  context.CancelFunc
}

type ended struct {
	at      workflows.Place
	outcome report.Outcome
	err     error // of the watching; nothing is known of the run
}

// ceiling is how many devices a second the quotas allow.
func (s *shift) ceiling() float64 { return s.Lanes.Slowest(workflows.DeviceAPIs(s.in.Fleet)...) }

// window is how many runs may be under way: enough to keep the slowest API busy while a device is at
// any of its steps.
func (s *shift) window() int {
	if s.in.InFlight > 0 {
		return s.in.InFlight
	}
	const least, unlimited, seconds = 16, 48, 4
	if s.progress.Ceiling == 0 {
		return unlimited
	}
	return max(least, min(mostAsked, int(s.progress.Ceiling*seconds)))
}

// mostAsked is the largest window that quotas ask for.
const mostAsked = 256

// mostAhead is how many runs may be under way whatever the quotas were when they were launched.
func (s *shift) mostAhead() int { return max(s.in.InFlight, mostAsked) }

func (s *shift) run(ctx context.Context, workerStops <-chan struct{}, lasts time.Duration) error {
	beat, holds := time.NewTicker(beatInterval), time.NewTicker(holdInterval)
	defer beat.Stop()
	defer holds.Stop()
	over := time.NewTimer(lasts)
	defer over.Stop()
	blind := 0
	for {
		for s.mayLaunch() {
			if err := s.launchNext(ctx); err != nil {
				return err
			}
		}
		if s.progress.Stopped != "" || len(s.open) == 0 && (s.drain || s.launchedAll()) {
			return nil
		}
		select {
		case e := <-s.ended:
			if err := s.note(e); err != nil {
				return err
			}
		case <-beat.C:
			s.progress.Ceiling = s.ceiling() // the quotas may have changed
			if err := s.flush(ctx); err != nil {
				return err
			}
		case <-holds.C:
			switch err := s.findHeld(ctx); {
			case err == nil:
				blind = 0
			case blind == mostBlind:
				return err
			default:
				blind++
			}
		case <-ctx.Done():
			return nil
		case <-workerStops:
			return nil
		case <-over.C:
			return nil
		}
	}
}

func (s *shift) launchedAll() bool { return s.progress.Next.Page >= s.in.Pages }

func (s *shift) mayLaunch() bool {
	if s.canaries() && s.progress.Counts.Ended()+len(s.open) >= s.in.Canary {
		return false // those that are under way decide
	}
	return !s.drain && s.progress.Stopped == "" && !s.launchedAll() && len(s.open) < s.window()
}

// canaries tells whether only the onboarding's canaries are launched yet.
func (s *shift) canaries() bool { return s.progress.Counts.Ended() < s.in.Canary }

// launchNext launches the next line and moves on.
func (s *shift) launchNext(ctx context.Context) error {
	at := s.progress.Next
	p, err := s.page(ctx, at.Page)
	if err != nil {
		return err
	}
	if at.Line >= len(p.lines) {
		s.progress.Next = workflows.Place{Page: at.Page + 1}
		return nil
	}
	s.progress.Next.Line++
	again := s.progress.Unheard
	if again {
		s.doubtful--
		s.progress.Unheard = s.doubtful > 0
	}
	return s.launch(ctx, at, again)
}

func (s *shift) page(ctx context.Context, n int) (*page, error) {
	if p := s.pages[n]; p != nil {
		return p, nil
	}
	var lines []Line
	var told []report.Outcome
	var version string
	err := lasting(ctx, func(int) (err error) {
		if lines, err = s.files.Page(ctx, n); err == nil {
			told, version, err = s.files.Part(ctx, n)
		}
		return err
	})
	if errors.Is(err, errMissing) {
		message := err.Error() + ". What to do: somebody has removed the onboarding's files; cancel it, and run the manifest again"
		return nil, temporal.NewNonRetryableApplicationError(message, activities.NotFound, nil, activities.ErrorDetails{})
	}
	if err != nil {
		return nil, err
	}
	p := &page{lines: lines, outcomes: map[int]report.Outcome{}, version: version}
	for i, line := range lines { // both are in the same order
		if len(told) > 0 && told[0].Device == line.Name {
			p.outcomes[i], told = told[0], told[1:]
		}
	}
	s.pages[n] = p
	return p, nil
}

// launch launches a line's device, or takes up its run again, and has it watched.
func (s *shift) launch(ctx context.Context, at workflows.Place, again bool) error {
	p, err := s.page(ctx, at.Page)
	if err != nil {
		return err
	}
	watching, stop := context.WithCancel(s.ctx)
	w := &watched{line: p.lines[at.Line], since: time.Now(), stop: stop}
	s.open[at] = w
	known, told := p.outcomes[at.Line]
	go func() {
		outcome, err := known, error(nil)
		if !told {
			err = lasting(watching, func(try int) (err error) {
				outcome, err = s.provision(watching, w.line, again || try > 1)
				return err
			})
		}
		select {
		case s.ended <- ended{at, outcome, err}:
		case <-watching.Done():
		}
	}()
	return nil
}

// What passes fails the shift, and with it the watching of all devices, only when it lasts.
const (
	mostTries  = 4
	firstPause = 500 * time.Millisecond
	mostBlind  = 5 // looks for held runs, one after the other, that failed
)

// lasting tries again what failed with an error of AWS or Temporal that passes; the tries count from 1.
func lasting(ctx context.Context, do func(try int) error) error {
	for try, wait := 1, firstPause; ; try, wait = try+1, 2*wait {
		err := do(try)
		if err == nil || try == mostTries || !passes(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
		}
	}
}

func passes(err error) bool {
	var aws *temporal.ApplicationError
	var said serviceerror.ServiceError
	return errors.As(err, &aws) && !aws.NonRetryable() || errors.As(err, &said)
}

// note takes in what became of a device.
func (s *shift) note(e ended) error {
	w, open := s.open[e.at]
	if !open {
		return nil // it was held
	}
	if e.err != nil {
		return e.err
	}
	w.stop()
	delete(s.open, e.at)
	s.count(e.outcome)
	p := s.pages[e.at.Page]
	p.outcomes[e.at.Line], p.dirty = e.outcome, true
	return nil
}

func (s *shift) places() []workflows.Place {
	return slices.SortedFunc(maps.Keys(s.open), func(a, b workflows.Place) int {
		return cmp.Or(cmp.Compare(a.Page, b.Page), cmp.Compare(a.Line, b.Line))
	})
}

// flush writes the parts of the report that have changed, and forgets the pages that are done. After
// it, the progress can be told: whoever goes on from there finds the report as complete.
func (s *shift) flush(ctx context.Context) error {
	inUse := map[int]bool{s.progress.Next.Page: true}
	for at := range s.open {
		inUse[at.Page] = true
	}
	for n, p := range s.pages {
		if p.dirty {
			outcomes := make([]report.Outcome, 0, len(p.outcomes))
			for _, i := range slices.Sorted(maps.Keys(p.outcomes)) {
				outcomes = append(outcomes, p.outcomes[i])
			}
			err := lasting(ctx, func(int) (err error) {
				version, err := s.files.PutPart(ctx, n, outcomes, p.version)
				if err == nil {
					p.version, p.dirty = version, false
				}
				return err
			})
			if err != nil {
				return err
			}
		}
		if !inUse[n] {
			delete(s.pages, n)
		}
	}
	s.progress.Open = s.places()
	told := s.progress
	told.Recent = slices.Clone(s.progress.Recent)
	s.told.Store(&told)
	return nil
}
