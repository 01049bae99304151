package test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"edgefleet/internal/devstack"
)

// hookSecret is what the workers of all stacks here sign for hooks with.
const hookSecret = "a secret of the tests"

func init() {
	if err := os.Setenv("EDGEFLEET_HOOK_SECRET", hookSecret); err != nil {
		panic(err)
	}
}

// scheduled is what `starter schedule describe -o json` says.
type scheduled struct {
	Name, Fleet, Note, Cron, Every, Overlap, TimeZone string
	CatchupWindow                                     string
	Paused                                            bool
	Next                                              []time.Time
	Added, Started, Missed, Skipped                   int
	Runs                                              []scheduledRun
}

type scheduledRun struct {
	State, Why, Onboarding, WorkflowID                  string
	Added, Skipped, Held, Failed, Left, Taken, SetAside int
	StartedAt                                           time.Time
	ClosedAt                                            *time.Time
	Manifests                                           []struct{ Reason, Report string }
}

func (s *stack) describe(t *testing.T, name string) (view scheduled) {
	t.Helper()
	o := s.starter(t, "schedule", "describe", name, "-o", "json")
	o.exits(t, 0)
	o.decode(t, &view)
	return view
}

// until waits until the schedule is as it is to be.
func (s *stack) until(t *testing.T, name, what string, is func(scheduled) error) (view scheduled) {
	t.Helper()
	eventually(t, what, func() error {
		view = s.describe(t, name)
		if err := is(view); err != nil {
			return fmt.Errorf("%w\n%+v", err, view)
		}
		return nil
	})
	return view
}

func hasAdded(n int) func(scheduled) error {
	return func(view scheduled) error { return differ(n, view.Added) }
}

func (s *stack) drop(t *testing.T, key, text string) {
	t.Helper()
	_, err := s.s3.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucket), Key: &key, Body: strings.NewReader(text)})
	require.NoError(t, err)
}

func csvOf(devices ...string) string { return "device\n" + strings.Join(devices, "\n") + "\n" }

func names(prefix string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("%s-%02d", prefix, i+1)
	}
	return all
}

// scheduleSpec is a specification of a fleet whose keys cost little.
func scheduleSpec(t *testing.T, name, more string) string {
	t.Helper()
	return writeFile(t, "fleet.yaml", specText(name, iotCore)+"keys: csr\nkeyType: ec-p256\n"+more)
}

// principals is how many certificates a device's thing has; 0 where there is no thing.
func (s *stack) principals(t *testing.T, thing string) int {
	t.Helper()
	out, err := s.iot.ListThingPrincipals(t.Context(), &iot.ListThingPrincipalsInput{ThingName: &thing})
	if err != nil {
		require.ErrorContains(t, err, "ResourceNotFoundException")
		return 0
	}
	return len(out.Principals)
}

// assertOne checks that each device has one certificate. AWS's lists, and the local AWS's, show it after a while.
func (s *stack) assertOne(t *testing.T, devices ...string) {
	t.Helper()
	eventually(t, "one certificate for each device", func() error {
		var others []string
		for _, device := range devices {
			if n := s.principals(t, device); n != 1 {
				others = append(others, fmt.Sprintf("%s has %d", device, n))
			}
		}
		return differ([]string(nil), others)
	})
}

// scheduling is a stack of the test's own: faults are for it alone, and its Temporal has a file.
func scheduling(t *testing.T) *stack {
	t.Helper()
	t.Parallel() // they wait more than they work
	s, err := startStack(devstack.Config{TemporalDB: filepath.Join(t.TempDir(), "temporal.db")})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.stop()) })
	return s
}

// TestScheduleTakesManifests: manifests are dropped in over time, some twice, some invalid, one replaced
// while it is read; each valid device is provisioned exactly once, and people are told.
func TestScheduleTakesManifests(t *testing.T) {
	s := scheduling(t)
	const fleet, dir = "grows", "drops/grows/"
	hook := newHook(t)
	file := scheduleSpec(t, fleet, "hook: {url: "+hook.URL+"}\n")
	s.drop(t, dir+"one.csv", csvOf(names("one", 3)...))
	created := s.starter(t, "schedule", "create", "grows", "-f", file, "--manifests", "s3://"+bucket+"/"+dir, "--every", "5s", "--note", "every batch")
	created.exits(t, 0)
	assert.Contains(t, created.stdout, "Next:")
	assert.Contains(t, created.stdout, "every batch")
	view := s.until(t, "grows", "the first batch", hasAdded(3))
	assert.Len(t, view.Next, 10)
	assert.Equal(t, []string{"5s", "buffer-one", "UTC"}, []string{view.Every, view.Overlap, view.TimeZone})

	s.drop(t, dir+"deeper/two.jsonl", `{"device":"two-01"}`+"\n"+`{"device":"one-02"}`+"\n") // one-02 is known
	s.drop(t, dir+"again.csv", csvOf(names("one", 3)...))                                    // all are
	s.drop(t, dir+"bad.csv", csvOf("fine-01", "not a name"))
	s.until(t, "grows", "the second batch", func(v scheduled) error {
		aside, skipped := 0, 0
		for _, r := range v.Runs {
			aside, skipped = aside+r.SetAside, skipped+r.Skipped
		}
		return differ([]int{4, 1, 4}, []int{v.Added, aside, skipped})
	})
	var problems struct{ Problems []struct{ Line int } }
	s.read(t, dir+"bad.csv.errors.json", &problems)
	require.Len(t, problems.Problems, 1)
	assert.Equal(t, 3, problems.Problems[0].Line)
	assert.Zero(t, s.principals(t, "fine-01"), "nothing of an invalid manifest is taken")

	// Replaced while it is read: whole in one version, whichever.
	s.fault(t, fault{Operation: "s3:GetObject", Kind: "delay", DelayMS: 3000, Match: dir + "live.csv", Times: 1})
	s.drop(t, dir+"live.csv", csvOf("old-01", "both-01", "old-02"))
	eventually(t, "the reading", func() error { return differ(0, len(s.pendingFaults(t))) })
	s.drop(t, dir+"live.csv", csvOf("both-01", "new-01"))
	s.drop(t, dir+"bad.csv", csvOf("fine-01", "fine-02")) // mended
	s.assertOne(t, append(names("one", 3), "two-01", "both-01", "new-01", "fine-01", "fine-02")...)
	s.until(t, "grows", "the end of the runs", func(v scheduled) error {
		old := 0
		for _, device := range []string{"old-01", "old-02"} {
			if len(s.objects(t, "authorization-files/grows/"+device+"/")) > 0 {
				old++
			}
		}
		if old == 1 {
			t.Error("half of a version was taken")
		}
		return differ(8+old, v.Added)
	})
	_, err := s.s3.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String(bucket), Key: aws.String(dir + "bad.csv.errors.json")})
	require.Error(t, err, "the report of what was mended is gone")
	s.starter(t, "audit", "-f", file).exits(t, 0)

	view = s.describe(t, "grows")
	var first scheduledRun
	for _, r := range view.Runs {
		if r.Added == 3 {
			first = r
		}
	}
	report := s.starter(t, "report", first.Onboarding, "-o", "csv")
	report.exits(t, 0)
	assert.Equal(t, 4, strings.Count(report.stdout, "\n"), report)
	hook.tells(t, fleet, first.WorkflowID)
	s.steerSchedule(t, view)
}

// steerSchedule goes through what else can be done to a schedule.
func (s *stack) steerSchedule(t *testing.T, view scheduled) {
	t.Helper()
	s.starter(t, "schedule", "pause", view.Name, "--note", "stock-taking").exits(t, 0)
	paused := s.describe(t, view.Name)
	assert.True(t, paused.Paused)
	assert.Equal(t, "stock-taking", paused.Note)
	s.starter(t, "schedule", "update", view.Name, "--cron", "30 2 * * MON", "--time-zone", "Asia/Tokyo", "--overlap", "skip", "--catchup-window", "1h").exits(t, 0)
	updated := s.describe(t, view.Name)
	assert.Equal(t, []string{"30 2 * * MON", "Asia/Tokyo", "skip", "1h", "", "stock-taking"},
		[]string{updated.Cron, updated.TimeZone, updated.Overlap, updated.CatchupWindow, updated.Every, updated.Note})
	require.Len(t, updated.Next, 10)
	tokyo, err := time.LoadLocation("Asia/Tokyo")
	require.NoError(t, err)
	assert.Equal(t, "Mon 02:30", updated.Next[0].In(tokyo).Format("Mon 15:04"))
	runs := func() int {
		all, err := s.executions(t.Context(), "default", "TemporalScheduledById = '"+view.Name+"'")
		require.NoError(t, err)
		return len(all)
	}
	s.until(t, view.Name, "the last run's end", func(v scheduled) error {
		if v.Runs[0].ClosedAt == nil {
			return errors.New("a run is under way")
		}
		return nil
	})
	before := runs()
	s.starter(t, "schedule", "trigger", view.Name).exits(t, 0)
	eventually(t, "the run that was triggered", func() error { return differ(before+1, runs()) })
	s.starter(t, "schedule", "backfill", view.Name, "--from", "2026-01-01", "--to", "2026-01-15", "--overlap", "buffer-all").exits(t, 0)
	eventually(t, "two Mondays", func() error { return differ(before+3, runs()) })
	list := s.starter(t, "schedule", "list", "--fleet", view.Fleet)
	list.exits(t, 0)
	assert.Contains(t, list.stdout, "stock-taking")
	s.starter(t, "schedule", "unpause", view.Name).exits(t, 0)
	assert.False(t, s.describe(t, view.Name).Paused)
	s.starter(t, "schedule", "delete", view.Name).exits(t, 0)
	s.starter(t, "schedule", "describe", view.Name).exits(t, 1, "no schedule", view.Name)
}

func (s *stack) read(t *testing.T, key string, into any) {
	t.Helper()
	out, err := s.s3.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(bucket), Key: &key})
	require.NoError(t, err)
	defer out.Body.Close()
	require.NoError(t, json.NewDecoder(out.Body).Decode(into))
}

// hook is somebody who is told, and refuses the first time.
type hook struct {
	*httptest.Server
	mu     sync.Mutex
	bodies []map[string]any
	wrong  []string
	calls  int
}

func newHook(t *testing.T) *hook {
	h := &hook{}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.calls++; h.calls == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		var said map[string]any
		err = errors.Join(err, json.Unmarshal(body, &said))
		seconds, signature, _ := strings.Cut(strings.TrimPrefix(r.Header.Get("X-Edgefleet-Signature"), "t="), ",v1=")
		mac := hmac.New(sha256.New, []byte(hookSecret))
		mac.Write([]byte(seconds + "." + string(body)))
		if err != nil || signature != hex.EncodeToString(mac.Sum(nil)) || r.Header.Get("X-Edgefleet-Delivery") == "" || strings.Contains(string(body), hookSecret) {
			h.wrong = append(h.wrong, fmt.Sprint(err, r.Header, string(body)))
		}
		h.bodies = append(h.bodies, said)
	}))
	t.Cleanup(h.Close)
	return h
}

// tells checks that the hook was told of a run, and rightly.
func (h *hook) tells(t *testing.T, fleet, run string) {
	t.Helper()
	eventually(t, "the hook", func() error {
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, body := range h.bodies {
			if body["workflowId"] == run {
				assert.Equal(t, fleet, body["fleet"])
				assert.EqualValues(t, 3, body["added"])
				assert.Equal(t, "completed", body["state"])
				assert.Contains(t, body["report"], "s3://")
				assert.Empty(t, h.wrong)
				return nil
			}
		}
		return fmt.Errorf("%d calls, none of %s", h.calls, run)
	})
}
