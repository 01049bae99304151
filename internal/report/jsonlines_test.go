package report

import (
	"bytes"
	"errors"
	"io"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// listed are outcomes as the functions take them.
func listed(outcomes ...Outcome) iter.Seq2[Outcome, error] {
	return func(yield func(Outcome, error) bool) {
		for _, o := range outcomes {
			if !yield(o, nil) {
				return
			}
		}
	}
}

// broken yields one outcome and then an error.
func broken(err error) iter.Seq2[Outcome, error] {
	return func(yield func(Outcome, error) bool) {
		_ = yield(Outcome{Line: 1, Device: "cam-1", State: Held}, nil) && yield(Outcome{}, err)
	}
}

func collect(t *testing.T, outcomes iter.Seq2[Outcome, error]) (all []Outcome) {
	t.Helper()
	for o, err := range outcomes {
		require.NoError(t, err)
		all = append(all, o)
	}
	return all
}

// lines is what a Writer makes of the outcomes.
func lines(t *testing.T, outcomes iter.Seq2[Outcome, error]) string {
	t.Helper()
	var b bytes.Buffer
	w := NewWriter(&b)
	for o, err := range outcomes {
		require.NoError(t, err)
		require.NoError(t, w.Write(o))
	}
	return b.String()
}

func TestJSONLinesGiveBackWhatWasWritten(t *testing.T) {
	want := collect(t, sample(300))
	want[7].Error = "two\nlines, \"quotes\", <tags> & \u2028"
	text := lines(t, listed(want...))
	require.Equal(t, 300, strings.Count(text, "\n"))
	require.Equal(t, want, collect(t, Read("outcomes", strings.NewReader(text))))
}

func TestJSONLinesNames(t *testing.T) {
	at := time.Date(2026, 11, 23, 14, 3, 5, 250e6, time.UTC)
	full := Outcome{
		Line: 7, Device: "cam-7", Thing: "thing-7", State: Held, Step: "AttachPolicy", ErrorType: "AccessDenied", Error: "a < b", RetrySafe: true,
		CertificateID: "c", WorkflowID: "w", RunID: "r", StartedAt: at, EndedAt: at.Add(time.Second), DurationMS: 1000, Steps: []StepTime{{"CreateThing", 41}},
	}
	require.Equal(t, `{"line":7,"device":"cam-7","thing":"thing-7","state":"held","step":"AttachPolicy","errorType":"AccessDenied","error":"a < b",`+
		`"retrySafe":true,"certificateId":"c","workflowId":"w","runId":"r","startedAt":"2026-11-23T14:03:05.25Z","endedAt":"2026-11-23T14:03:06.25Z",`+
		`"durationMs":1000,"steps":[{"step":"CreateThing","ms":41}]}`+"\n", lines(t, listed(full)))
	require.Equal(t, `{"line":8,"device":"cam-8","state":"not-started","retrySafe":false}`+"\n",
		lines(t, listed(Outcome{Line: 8, Device: "cam-8", State: NotStarted})))
}

func TestReadNamesTheLineThatIsWrong(t *testing.T) {
	const good = `{"line":1,"device":"cam-1","state":"held","retrySafe":true}` + "\n"
	for name, c := range map[string]struct{ text, says string }{
		"truncated":     {good + good[:30], "part-3, line 2: not an outcome: unexpected end of JSON input"},
		"empty line":    {good + "\n" + good, "part-3, line 2: not an outcome: unexpected end"},
		"two on a line": {good + strings.TrimSpace(good) + good, "part-3, line 2: not an outcome: invalid character '{' after top-level value"},
		"not an object": {"[]\n", "part-3, line 1: not an outcome: json: cannot unmarshal array"},
		"unknown state": {good + strings.Replace(good, "held", "lost", 1), `part-3, line 2: not an outcome: the state "lost" of device cam-1 is none of`},
		"no device":     {strings.Replace(good, "cam-1", "", 1), "part-3, line 1: not an outcome: the device of line 1 has no name"},
		"no line":       {strings.Replace(good, ":1,", ":0,", 1), "part-3, line 1: not an outcome: line 0 of the manifest cannot be"},
		"endless line":  {good + strings.Repeat("x", maxLine+1), "part-3, line 2: cannot be read: bufio.Scanner: token too long"},
	} {
		t.Run(name, func(t *testing.T) {
			var last error
			whole := 0
			for _, err := range Read("part-3", strings.NewReader(c.text)) {
				require.NoError(t, last, "it goes on after an error")
				if last = err; err == nil {
					whole++
				}
			}
			require.ErrorContains(t, last, c.says)
			require.Equal(t, strings.HasPrefix(c.text, good), whole == 1)
		})
	}
}

func TestReadStopsWhenNobodyListens(t *testing.T) {
	text := lines(t, sample(10))
	seen := 0
	for range Read("outcomes", strings.NewReader(text)) {
		if seen++; seen == 3 {
			break
		}
	}
	require.Equal(t, 3, seen)
}

func TestReadTellsThatTheSourceBroke(t *testing.T) {
	gone := errors.New("connection reset")
	source := io.MultiReader(strings.NewReader(lines(t, sample(2))), brokenReader{gone})
	var last error
	for _, err := range Read("part-3", source) {
		last = err
	}
	require.ErrorIs(t, last, gone)
	require.ErrorContains(t, last, "part-3, line 3")
}

type brokenReader struct{ err error }

func (r brokenReader) Read([]byte) (int, error) { return 0, r.err }

type brokenWriter struct{ err error }

func (w brokenWriter) Write([]byte) (int, error) { return 0, w.err }

func TestWriterRefusesWhatNoReportCanPlace(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b)
	require.ErrorContains(t, w.Write(Outcome{Line: 1, Device: "cam-1"}), `the state "" of device cam-1`)
	require.ErrorContains(t, w.Write(Outcome{Line: 1, State: Held}), "the device of line 1 has no name")
	require.ErrorContains(t, w.Write(Outcome{Device: "cam-1", State: Held}), "lines are counted from 1")
	require.Empty(t, b.String())

	full := errors.New("disk full")
	err := NewWriter(brokenWriter{full}).Write(Outcome{Line: 1, Device: "cam-1", State: Held})
	require.ErrorIs(t, err, full)
	require.ErrorContains(t, err, "cam-1")
}
