package report

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"iter"
)

// WriteJSON writes one document, {"onboarding": …, "summary": …, "devices": […]}, one device a line.
func WriteJSON(w io.Writer, heading Onboarding, summary Summary, outcomes iter.Seq2[Outcome, error]) error {
	out := bufio.NewWriter(w)
	onboarding, err := encode(heading, "  ")
	if err != nil {
		return err
	}
	sums, err := encode(summary, "  ")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "{\n  \"onboarding\": %s,\n  \"summary\": %s,\n  \"devices\": [", onboarding, sums)
	separator := ""
	for o, err := range outcomes {
		if err != nil {
			return err
		}
		device, err := encode(o, "")
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s\n    %s", separator, device)
		separator = ","
	}
	fmt.Fprint(out, "\n  ]\n}\n")
	if err := out.Flush(); err != nil { // holds the first error of all the writing
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}

// encode makes JSON that reads as text does, <, > and & included; indented, as a member of an object, if
// indent is given.
func encode(v any, indent string) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent(indent, indent)
	if err := encoder.Encode(v); err != nil {
		return nil, fmt.Errorf("writing the report: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
