package report

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func csvOf(t *testing.T, outcomes iter.Seq2[Outcome, error]) (text string, rows [][]string) {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, WriteCSV(&b, outcomes))
	rows, err := csv.NewReader(bytes.NewReader(b.Bytes())).ReadAll()
	require.NoError(t, err)
	return b.String(), rows
}

func TestCSV(t *testing.T) {
	at := time.Date(2026, 11, 23, 14, 3, 5, 250e6, time.UTC)
	text, rows := csvOf(t, listed(
		Outcome{
			Line: 7, Device: "cam-7", Thing: "thing-7", State: Held, Step: "AttachPolicy", ErrorType: "AccessDenied", Error: "says \"no\", twice;\nagain", RetrySafe: true,
			CertificateID: "c", WorkflowID: "w", RunID: "r", StartedAt: at, EndedAt: at.Add(time.Second), DurationMS: 1000,
			Steps: []StepTime{{"CreateThing", 41}, {"AttachPolicy", 900}},
		},
		Outcome{Line: 8, Device: "cam-8", State: NotStarted}))
	require.Equal(t, [][]string{
		{"line", "device", "thing", "state", "step", "errorType", "error", "retrySafe", "certificateId", "workflowId", "runId", "startedAt", "endedAt", "durationMs", "steps"},
		{"7", "cam-7", "thing-7", "held", "AttachPolicy", "AccessDenied", "says \"no\", twice;\nagain", "true", "c", "w", "r",
			"2026-11-23T14:03:05.25Z", "2026-11-23T14:03:06.25Z", "1000", "CreateThing=41;AttachPolicy=900"},
		{"8", "cam-8", "", "not-started", "", "", "", "false", "", "", "", "", "", "", ""},
	}, rows)
	require.Equal(t, strings.Count(text, "\n"), strings.Count(text, "\r\n"), "RFC 4180 ends lines with CRLF")
}

func TestCSVNamesItsColumnsAsJSONDoes(t *testing.T) {
	text, err := json.Marshal(collect(t, sample(200))[150])
	require.NoError(t, err)
	var fields map[string]any
	require.NoError(t, json.Unmarshal(text, &fields))
	for field := range fields {
		require.Contains(t, columns, field)
	}
}

func TestCSVHasNoFormulas(t *testing.T) {
	for value, want := range map[string]string{
		"=cmd|' /C calc'!A0": "'=cmd|' /C calc'!A0", "+1": "'+1", "-1": "'-1", "@SUM(A1)": "'@SUM(A1)", "\t=1": "'\t=1", "\r=1": "'\r=1", "\n=1": "'\n=1",
		"a=b": "a=b", " =1": " =1", "'=1": "'=1", "é": "é", "": "",
	} {
		text, rows := csvOf(t, listed(Outcome{Line: 1, Device: "cam-1", State: Failed, Error: value, ErrorType: value, Thing: value}))
		if strings.ContainsAny(value, "\r\n") { // a reader of CSV makes them LF
			require.Contains(t, text, `"'`)
			continue
		}
		for _, column := range []int{2, 5, 6} {
			require.Equal(t, want, rows[1][column])
		}
	}
}

func TestJSON(t *testing.T) {
	outcomes := collect(t, sample(500))
	outcomes[3].Error = "a <tag> & \"quotes\""
	s := summarize(t, outcomes...)
	var b bytes.Buffer
	require.NoError(t, WriteJSON(&b, heading(500), s, listed(outcomes...)))
	var document struct {
		Onboarding Onboarding
		Summary    Summary
		Devices    []Outcome
	}
	decoder := json.NewDecoder(bytes.NewReader(b.Bytes()))
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(&document))
	require.Equal(t, heading(500), document.Onboarding)
	require.Equal(t, s, document.Summary)
	require.Equal(t, outcomes, document.Devices)
	_, err := decoder.Token()
	require.ErrorIs(t, err, io.EOF, "there is more than one document")
	require.Contains(t, b.String(), "a <tag> & ", "it is escaped for no reason")
	require.Contains(t, b.String(), "\n    {\"line\":500,", "a device has a line of its own")
}

func TestJSONOfNothing(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, WriteJSON(&b, Onboarding{Name: "empty"}, summarize(t), listed()))
	var document map[string]any
	require.NoError(t, json.Unmarshal(b.Bytes(), &document))
	require.Equal(t, []any{}, document["devices"])
	require.Equal(t, []any{}, document["summary"].(map[string]any)["causes"])
}

func TestWritersReturnErrors(t *testing.T) {
	writers := map[string]func(io.Writer, iter.Seq2[Outcome, error]) error{
		"csv":  WriteCSV,
		"json": func(w io.Writer, o iter.Seq2[Outcome, error]) error { return WriteJSON(w, heading(1), Summary{}, o) },
		"html": func(w io.Writer, o iter.Seq2[Outcome, error]) error { return WriteHTML(w, heading(1), Summary{}, o) },
	}
	for name, write := range writers {
		t.Run(name, func(t *testing.T) {
			gone, full := errors.New("part 3 is gone"), errors.New("disk full")
			require.ErrorIs(t, write(io.Discard, broken(gone)), gone)
			err := write(brokenWriter{full}, sample(2000))
			require.ErrorIs(t, err, full)
			require.ErrorContains(t, err, "writing the report")
		})
	}
}
