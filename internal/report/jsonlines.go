package report

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"iter"
)

// maxLine is the longest line that is read, in bytes: far above an outcome with the longest error.
const maxLine = 1 << 20

// Writer writes outcomes as JSON Lines.
type Writer struct{ lines *json.Encoder }

// NewWriter writes to w, each outcome in one call.
func NewWriter(w io.Writer) *Writer {
	lines := json.NewEncoder(w)
	lines.SetEscapeHTML(false)
	return &Writer{lines}
}

// Write appends an outcome. It refuses one without a line, a device or a known state.
func (w *Writer) Write(o Outcome) error {
	if err := o.check(); err != nil {
		return fmt.Errorf("writing an outcome: %w", err)
	}
	if err := w.lines.Encode(o); err != nil {
		return fmt.Errorf("writing the outcome of device %s: %w", o.Device, err)
	}
	return nil
}

// Read yields the outcomes that r holds as JSON Lines, once, in their order. It ends with the first
// error, which names the source and the line in it.
func Read(source string, r io.Reader) iter.Seq2[Outcome, error] {
	return func(yield func(Outcome, error) bool) {
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, maxLine)
		n := 0
		for lines.Scan() {
			n++
			var o Outcome
			err := json.Unmarshal(lines.Bytes(), &o)
			if err == nil {
				err = o.check()
			}
			if err != nil {
				yield(Outcome{}, fmt.Errorf("%s, line %d: not an outcome: %w", source, n, err))
				return
			}
			if !yield(o, nil) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(Outcome{}, fmt.Errorf("%s, line %d: cannot be read: %w", source, n+1, err))
		}
	}
}
