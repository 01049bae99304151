package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"
)

// isColored tells whether what is written to f may have colours.
func isColored(f *os.File) bool { return isInteractive(f) && os.Getenv("NO_COLOR") == "" }

// isInteractive tells whether f is a terminal on which what was written can be written over.
func isInteractive(f *os.File) bool {
	return term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"
}

// printJSON writes v to stdout.
func (a *app) printJSON(v any) error {
	encoder := json.NewEncoder(a.out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// printTable writes rows under a header, as wide as they need to be.
func (a *app) printTable(header table.Row, rows []table.Row) {
	t := table.NewWriter()
	t.SetOutputMirror(a.out)
	t.SetStyle(table.StyleLight)
	t.Style().Options = table.Options{SeparateHeader: true}
	t.Style().Format.Header = text.FormatDefault
	t.Style().Box.PaddingLeft, t.Style().Box.PaddingRight = "", "  "
	t.AppendHeader(header)
	t.AppendRows(rows)
	t.Render()
}

// mark is what stands before a step's line.
func (a *app) mark(state stepState) string {
	symbol, color := "✓", text.FgGreen
	switch state {
	case stepFailed:
		symbol, color = "✗", text.FgRed
	case stepRunning:
		symbol, color = "…", text.FgYellow
	}
	if !a.color {
		return symbol
	}
	return color.Sprint(symbol)
}

// duration shows a time as people compare it.
func duration(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}
