package report

import (
	"encoding/csv"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"time"
)

// columns of the CSV, named as the JSON fields are.
var columns = []string{"line", "device", "thing", "state", "step", "errorType", "error", "retrySafe", "certificateId",
	"workflowId", "runId", "startedAt", "endedAt", "durationMs", "steps"}

// WriteCSV writes the outcomes with a header, as RFC 4180 has it. A value that a spreadsheet would take
// for a formula gets a leading apostrophe. Steps read NAME=MILLISECONDS, separated by semicolons.
func WriteCSV(w io.Writer, outcomes iter.Seq2[Outcome, error]) error {
	rows := csv.NewWriter(w)
	rows.UseCRLF = true
	if err := rows.Write(columns); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	for o, err := range outcomes {
		if err != nil {
			return err
		}
		row := []string{strconv.Itoa(o.Line), o.Device, o.Thing, string(o.State), o.Step, o.ErrorType, o.Error,
			strconv.FormatBool(o.RetrySafe), o.CertificateID, o.WorkflowID, o.RunID, csvTime(o.StartedAt), csvTime(o.EndedAt),
			csvDuration(o.DurationMS), csvSteps(o.Steps)}
		for i, cell := range row {
			row[i] = withoutFormula(cell)
		}
		if err := rows.Write(row); err != nil {
			return fmt.Errorf("writing the report: %w", err)
		}
	}
	rows.Flush()
	if err := rows.Error(); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}

// withoutFormula keeps spreadsheets from running a cell. They strip a leading tab or line break first.
func withoutFormula(cell string) string {
	if cell != "" && strings.ContainsRune("=+-@\t\r\n", rune(cell[0])) {
		return "'" + cell
	}
	return cell
}

func csvTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}

func csvDuration(ms int64) string {
	if ms == 0 {
		return ""
	}
	return strconv.FormatInt(ms, 10)
}

func csvSteps(steps []StepTime) string {
	texts := make([]string, len(steps))
	for i, s := range steps {
		texts[i] = s.Step + "=" + strconv.FormatInt(s.MS, 10)
	}
	return strings.Join(texts, ";")
}
