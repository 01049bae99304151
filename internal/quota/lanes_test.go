package quota

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// service counts calls as AWS does: somewhere between a call's start and its answer.
type service struct {
	mu    sync.Mutex
	times []time.Time
}

func (s *service) call() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.times = append(s.times, time.Now())
}

// Processes with shares that do not overlap keep a quota together, whatever it is divided by, and
// however late calls arrive.
func TestSharesKeepTheSum(t *testing.T) {
	for _, sharers := range []int{1, 2, 3} {
		t.Run(string(rune('0'+sharers)), func(t *testing.T) {
			t.Parallel()
			const api, rate = "iot:CreateKeysAndCertificate", 10
			s := &service{}
			var group sync.WaitGroup
			for i := range sharers {
				share := Share{From: float64(i) / float64(sharers), To: float64(i+1) / float64(sharers)}
				lanes := NewLanes(rates(t, ""), share)
				for n := range 24 / sharers {
					group.Go(func() {
						done, err := lanes.Turn(t.Context(), api)
						if err != nil {
							t.Error(err)
							return
						}
						defer done()
						<-time.After(time.Duration(n%5) * 7 * time.Millisecond) // the network
						s.call()
					})
				}
			}
			group.Wait()
			require.Len(t, s.times, 24)
			require.LessOrEqual(t, (&counter{times: s.times}).mostWithin(time.Second), rate)
		})
	}
}

func TestShareOf(t *testing.T) {
	for n := 1; n <= 40; n++ {
		for rate := float64(n); rate <= 101; rate++ {
			sum := 0
			for i := range n {
				share := Share{From: float64(i) / float64(n), To: float64(i+1) / float64(n)}
				a := share.of(rate)
				require.Equal(t, time.Second, a.period.Round(time.Microsecond))
				sum += a.calls
			}
			require.InDelta(t, rate, sum, 0, "%d sharers of %g", n, rate)
		}
	}
	require.Equal(t, allowance{1, 2 * time.Second}, Whole.of(0.5))
	require.Equal(t, allowance{1, 4 * time.Second}, Share{From: 0, To: 0.25}.of(1), "fewer calls than sharers")
	for n := 1; n <= 40; n++ {
		for _, rate := range []float64{0.1, 0.5, 1, 1.5, 2, 9, 10, 15} {
			sum := 0.0
			for i := range n {
				a := Share{From: float64(i) / float64(n), To: float64(i+1) / float64(n)}.of(rate)
				sum += float64(a.calls) / a.period.Seconds()
			}
			require.LessOrEqual(t, sum, rate*1.0001, "%d sharers of %g", n, rate)
		}
	}
}

// Whoever waits with a lower priority goes first; within it fleets take turns.
func TestTurns(t *testing.T) {
	lanes := NewLanes(rates(t, `{"*": 1000}`), Share{Until: time.Now()}) // nobody goes yet
	var order []string
	var mu sync.Mutex
	var group sync.WaitGroup
	waits := func(name string, c Caller) {
		before := waiting(lanes)
		group.Go(func() {
			done, err := lanes.Turn(WithCaller(t.Context(), c), "iot:CreateThing")
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			order = append(order, name)
			mu.Unlock()
			done()
		})
		require.Eventually(t, func() bool { return waiting(lanes) > before }, time.Minute, time.Millisecond)
	}
	for _, name := range []string{"a1", "a2", "a3"} {
		waits(name, Caller{4, "a"})
	}
	waits("b1", Caller{4, "b"})
	waits("single", Caller{1, "c"})
	for range 5 { // one at a time, to see the order
		lanes.mu.Lock()
		w := lanes.lanes["iot:CreateThing"].waiting.next()
		lanes.lanes["iot:CreateThing"].underWay++
		lanes.mu.Unlock()
		n := len(order)
		close(w.turn)
		require.Eventually(t, func() bool { mu.Lock(); defer mu.Unlock(); return len(order) > n }, time.Minute, time.Millisecond)
	}
	group.Wait()
	require.Equal(t, []string{"single", "a1", "b1", "a2", "a3"}, order)
}

func waiting(l *Lanes) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lanes["iot:CreateThing"] == nil {
		return 0
	}
	return l.lanes["iot:CreateThing"].waiting.len()
}

// Without a share no limited call is made; it is wanted, and when it comes the call goes on.
func TestShareIsWanted(t *testing.T) {
	lanes := NewLanes(rates(t, ""), Share{Until: time.Now()})
	ended := make(chan error, 1)
	go func() {
		done, err := lanes.Turn(t.Context(), "iot:CreateThing")
		if err == nil {
			done()
		}
		ended <- err
	}()
	<-lanes.Wanted()
	select {
	case <-ended:
		t.Fatal("a call was made without a share")
	default:
	}
	lanes.SetShare(Share{From: 0, To: 0.5, Until: time.Now().Add(time.Hour)}, false)
	require.NoError(t, <-ended)
	require.False(t, lanes.Short())
}

// A call that does not get its turn in time says so, and whose quota it is; one that is cancelled
// leaves no trace.
func TestTurnIsGivenUp(t *testing.T) {
	lanes := NewLanes(rates(t, `{"iot:CreateThing": 1}`), Whole)
	done, err := lanes.Turn(t.Context(), "iot:CreateThing") // under way from here on
	require.NoError(t, err)
	lanes.MaxWait = time.Millisecond
	_, err = lanes.Turn(t.Context(), "iot:CreateThing")
	var busy BusyError
	require.True(t, errors.As(err, &busy))
	require.Equal(t, BusyError{"iot:CreateThing", 1, time.Millisecond, false}, busy)
	require.True(t, lanes.Short())

	lanes.MaxWait = 0
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = lanes.Turn(ctx, "iot:CreateThing")
	require.ErrorIs(t, err, context.Canceled)
	require.Zero(t, waiting(lanes))
	done()
}

// A turn that was taken before is the call's; another call waits for its own.
func TestTake(t *testing.T) {
	lanes := NewLanes(rates(t, `{"iot:CreateThing": 1}`), Whole)
	lanes.MaxWait = time.Millisecond
	ctx, giveBack, err := lanes.Take(t.Context(), "iot:CreateThing")
	require.NoError(t, err)
	defer giveBack()
	done, err := lanes.turnOrTaken(ctx, "iot:CreateThing")
	require.NoError(t, err)
	_, err = lanes.turnOrTaken(ctx, "iot:CreateThing")
	require.Error(t, err, "it is used")
	done()
}

func TestRates(t *testing.T) {
	r := rates(t, `{"iot:CreateThing": 7, "*": 0}`)
	require.InDelta(t, 7, r.Of("iot:CreateThing"), 0)
	require.Zero(t, r.Of("iot:AttachPolicy"))
	require.InDelta(t, 7, r.Slowest("iot:AttachPolicy", "iot:CreateThing"), 0)
	require.Zero(t, r.Slowest("iot:AttachPolicy"))
	r = rates(t, "")
	require.InDelta(t, 10, r.Slowest("iot:CreateThing", "iot:UpdateCertificate", "s3:PutObject"), 0)
	require.InDelta(t, Assumed, r.Of("sagemaker:RegisterDevices"), 0)
	require.Zero(t, r.Of("s3:PutObject"))

	for source, why := range map[string]string{
		`{"iot:CreateThing": -1, "CreateThing": 1}`: `"CreateThing" is no API: SERVICE:Operation, as in iot:CreateThing; iot:CreateThing: -1 calls a second`,
		`{"iot:CreateThing": "many"}`:               "must be a JSON object",
		"/no/such/file":                             "no such file",
	} {
		_, err := LoadRates(t.Context(), source)
		require.ErrorContains(t, err, why)
		require.ErrorContains(t, err, RatesVariable)
	}
}

// Rates that are kept elsewhere follow what is written there; what cannot be read changes nothing.
func TestRatesAreWatched(t *testing.T) {
	file := filepath.Join(t.TempDir(), "quotas.json")
	require.NoError(t, os.WriteFile(file, []byte(`{"iot:CreateThing": 5}`), 0o600))
	var served atomic.Pointer[string]
	text := `{"iot:CreateThing": 5}`
	served.Store(&text)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(*served.Load())) }))
	defer server.Close()
	for source, write := range map[string]func(string){
		file:       func(text string) { require.NoError(t, os.WriteFile(file, []byte(text), 0o600)) },
		server.URL: func(text string) { served.Store(&text) },
	} {
		r := rates(t, source)
		failures := make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			r.Watch(ctx, time.Millisecond, func(err error) { failures <- err })
			close(ended)
		}()
		write(`{"iot:CreateThing": 6}`)
		require.Eventually(t, func() bool { return r.Of("iot:CreateThing") == 6 }, time.Minute, time.Millisecond)
		write(`nonsense`)
		require.Error(t, <-failures)
		require.InDelta(t, 6, r.Of("iot:CreateThing"), 0)
		cancel()
		<-ended
	}
}
