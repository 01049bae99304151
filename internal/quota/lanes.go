package quota

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/smithy-go/middleware"
)

// Lanes make calls to AWS wait until their API's rate and this process's share of it allow them.
//
// A call counts from when it is let go until a period after its answer came. Where in between AWS
// counted it does not matter then: in no period can it have counted more than the rate, however slow or
// uneven the network or this machine is.
type Lanes struct {
	rates *Rates
	// MaxWait is how long a call waits for its turn before it fails with a BusyError; 0: for ever.
	MaxWait time.Duration

	mu     sync.Mutex
	share  Share
	busy   bool // the share was asked for as one that is needed in full
	short  bool // since then calls had to wait
	lanes  map[string]*lane
	wanted chan struct{}
}

// NewLanes keeps to a share of the rates, which SetShare changes.
func NewLanes(rates *Rates, share Share) *Lanes {
	return &Lanes{rates: rates, share: share, lanes: map[string]*lane{}, wanted: make(chan struct{}, 1)}
}

// Unlimited makes nobody wait.
func Unlimited() *Lanes {
	rates := &Rates{}
	rates.table.Store(&map[string]float64{everyAPI: 0})
	return NewLanes(rates, Whole)
}

// BusyError is a call that did not get its turn within MaxWait. It was not made.
type BusyError struct {
	API  string
	Rate float64 // calls per second
	Wait time.Duration
	// NoShare: this process had no share of the quotas; whoever gives them out could not be asked.
	NoShare bool
}

func (e BusyError) Error() string {
	if e.NoShare {
		return fmt.Sprintf("no turn within %s: this worker has no share of the quota of %g calls a second of %s, which QuotaShares on Temporal gives out", e.Wait, e.Rate, e.API)
	}
	return fmt.Sprintf("no turn within %s: others use all of the quota of %g calls a second of %s", e.Wait, e.Rate, e.API)
}

// Caller is who makes a call. Among those that wait for an API the lowest Priority goes first;
// within it the Keys take turns.
type Caller struct {
	Priority int
	Key      string
}

type callerKey struct{}

// WithCaller says who makes the calls of the context.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// Slowest is the least rate of the APIs; see Rates.Slowest.
func (l *Lanes) Slowest(apis ...string) float64 { return l.rates.Slowest(apis...) }

// SetShare changes the process's share from now on. busy says that Short was heeded.
func (l *Lanes) SetShare(s Share, busy bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.share, l.busy, l.short = s, busy, false
	now := time.Now()
	for api, lane := range l.lanes {
		l.letGo(api, lane, now)
	}
}

// Wanted tells that calls want a share: there is none, it will soon run out, or it was not asked for
// as a busy one and is too small.
func (l *Lanes) Wanted() <-chan struct{} { return l.wanted }

// Short tells whether calls had to wait since the share was set, other than for a share.
func (l *Lanes) Short() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.short
}

// Crowded tells whether the calls that wait for an API are more than two periods' worth, so that who
// comes now would wait longer than that.
func (l *Lanes) Crowded() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for api, lane := range l.lanes {
		n := lane.waiting.len()
		if n == 0 {
			continue
		}
		if rate := l.rates.Of(api); rate > 0 && (!l.share.valid(now) || n >= 2*l.share.of(rate).calls) {
			return true
		}
	}
	return false
}

// renewal is how long a share must be good for yet, or a new one is wanted.
const renewal = 3 * time.Second

// Turn waits for the turn of a call of the API. done must be called when the call has its answer.
func (l *Lanes) Turn(ctx context.Context, api string) (done func(), err error) {
	rate := l.rates.Of(api)
	if rate == 0 {
		return func() {}, nil
	}
	caller, _ := ctx.Value(callerKey{}).(Caller)
	w := &waiter{Caller: caller, turn: make(chan struct{})}
	now := time.Now()
	l.mu.Lock()
	lane := l.lane(api)
	lane.waiting.add(w)
	if !l.share.Until.IsZero() && l.share.Until.Sub(now) < renewal {
		l.want()
	}
	l.letGo(api, lane, now)
	l.mu.Unlock()

	var tooLong <-chan time.Time
	if l.MaxWait > 0 {
		timer := time.NewTimer(l.MaxWait)
		defer timer.Stop()
		tooLong = timer.C
	}
	select {
	case <-w.turn:
		return l.done(api, lane), nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-tooLong:
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		err = BusyError{api, rate, l.MaxWait, !l.share.valid(time.Now())}
	}
	if !lane.waiting.remove(w) { // its turn came at this very moment
		lane.underWay--
		l.letGo(api, lane, time.Now())
	}
	return nil, err
}

func (l *Lanes) want() {
	select {
	case l.wanted <- struct{}{}:
	default: // it is said already
	}
}

func (l *Lanes) lane(api string) *lane {
	if l.lanes[api] == nil {
		l.lanes[api] = &lane{}
	}
	return l.lanes[api]
}

func (l *Lanes) done(api string, lane *lane) func() {
	return sync.OnceFunc(func() {
		now := time.Now()
		l.mu.Lock()
		defer l.mu.Unlock()
		lane.underWay--
		lane.ended = append(lane.ended, now)
		l.letGo(api, lane, now)
	})
}

// lane is one API's calls.
type lane struct {
	underWay int
	ended    []time.Time // of the calls that count still, the oldest first
	waiting  queue
	wake     *time.Timer
}

// letGo lets as many waiting calls go as may, and sees to the lane's next look.
func (l *Lanes) letGo(api string, lane *lane, now time.Time) {
	if lane.waiting.len() == 0 {
		return
	}
	rate := l.rates.Of(api)
	if rate > 0 && !l.share.valid(now) {
		l.want()
		l.lookAgain(api, lane, time.Second) // a share calls for a look as well
		return
	}
	for lane.waiting.len() > 0 {
		if rate > 0 {
			may := l.share.of(rate)
			lane.forget(now.Add(-may.period))
			if lane.underWay+len(lane.ended) >= may.calls {
				if l.short = true; !l.busy && !l.share.Until.IsZero() {
					l.want()
				}
				pause := time.Second // a rate may have been raised meanwhile
				if len(lane.ended) > 0 {
					pause = min(pause, lane.ended[0].Add(may.period).Sub(now))
				}
				l.lookAgain(api, lane, pause)
				return
			}
		}
		lane.underWay++
		close(lane.waiting.next().turn)
	}
}

func (l *Lanes) lookAgain(api string, lane *lane, in time.Duration) {
	if lane.wake != nil {
		lane.wake.Stop()
	}
	lane.wake = time.AfterFunc(in, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.letGo(api, lane, time.Now())
	})
}

// forget drops the calls that ended then or before.
func (l *lane) forget(then time.Time) {
	n := 0
	for n < len(l.ended) && !l.ended[n].After(then) {
		n++
	}
	if n > 0 {
		l.ended = append(l.ended[:0], l.ended[n:]...)
	}
}

// taken is a turn that the next call of its API in this context uses.
type taken struct {
	mu   sync.Mutex
	api  string
	done func()
}

type takenKey struct{}

// Take waits for the turn of a call that the context's next call of the API will be. It is for
// callers to whom it matters when the call itself is made. release gives back a turn that was not used.
func (l *Lanes) Take(ctx context.Context, api string) (_ context.Context, release func(), err error) {
	done, err := l.Turn(ctx, api)
	if err != nil {
		return ctx, func() {}, err
	}
	return context.WithValue(ctx, takenKey{}, &taken{api: api, done: done}), done, nil
}

func (l *Lanes) turnOrTaken(ctx context.Context, api string) (func(), error) {
	if t, ok := ctx.Value(takenKey{}).(*taken); ok && t.api == api {
		t.mu.Lock()
		defer t.mu.Unlock()
		if done := t.done; done != nil {
			t.done = nil
			return done, nil
		}
	}
	return l.Turn(ctx, api)
}

// Limit makes every attempt of every call of the configuration's clients wait for its turn.
func (l *Lanes) Limit(cfg aws.Config) aws.Config {
	wait := middleware.FinalizeMiddlewareFunc("QuotaLane",
		func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
			api := strings.ToLower(awsmiddleware.GetServiceID(ctx)) + ":" + awsmiddleware.GetOperationName(ctx)
			done, err := l.turnOrTaken(ctx, api)
			if err != nil {
				return middleware.FinalizeOutput{}, middleware.Metadata{}, err
			}
			defer done()
			return next.HandleFinalize(ctx, in)
		})
	limited := cfg.Copy()
	limited.APIOptions = append(limited.APIOptions, func(stack *middleware.Stack) error {
		return stack.Finalize.Insert(wait, "Retry", middleware.After)
	})
	return limited
}
