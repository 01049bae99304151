package fleet

import (
	"bytes"
	"encoding/csv"
	"errors"
	"slices"
	"strings"
	"unicode/utf8"
)

// csvManifest reads the lines that follow a header.
type csvManifest struct {
	cells  csvLine
	header []string
	fields []string // of each column, as NewDevice calls it; "" where the column was refused
}

const attributeColumn = "attr:"

// readCSVHeader reads the line that names the columns; false when lines cannot be read by it.
func readCSVHeader(m *manifestReader, text []byte) (*csvManifest, bool) {
	f := &csvManifest{}
	cells, ok := f.cells.split(m, text)
	if !ok {
		return f, false
	}
	f.header = slices.Clone(cells)
	for i, column := range f.header {
		name, isAttribute := strings.CutPrefix(column, attributeColumn)
		field := column
		if isAttribute {
			field = "attributes." + name
		}
		refuse := func(format string, args ...any) {
			field = ""
			m.add(m.line, 0, shownField(column), format, args...)
		}
		switch {
		case !utf8.ValidString(column):
			field = ""
			m.add(m.line, notUTF8(text), "", "the header %s", notUTF8Reason)
		case slices.Contains(f.header[:i], column):
			refuse("the column %s stands twice in the header", quote(column))
		case isAttribute:
			if err := checkAttributeName(name); err != nil {
				refuse("%s", err)
			}
		case column == "device" || column == "thing" || column == "csr":
		case strings.ContainsAny(column, ";\t"):
			refuse("%s is no column: commas must stand between the columns", quote(column))
		default:
			refuse("%s is no column of a manifest; the columns are device, thing, csr, and attr:NAME for an attribute", quote(column))
		}
		f.fields = append(f.fields, field)
	}
	if !slices.Contains(f.header, "device") {
		m.add(m.line, 0, "device", "the column is missing: the first line of a manifest in CSV names the columns")
		return f, false
	}
	return f, true
}

func (f *csvManifest) attribute(name string) string { return attributeColumn + name }

func (f *csvManifest) parse(m *manifestReader, text []byte) bool {
	cells, ok := f.cells.split(m, text)
	switch {
	case !ok:
		return false
	case len(cells) != len(f.header):
		m.add(m.line, 0, "", "the number of cells is %d, but the header has %d columns", len(cells), len(f.header))
		return false
	case slices.Equal(cells, f.header): // two manifests put together
		m.add(m.line, 0, "", "the line repeats the header")
		return false
	}
	for i, cell := range cells {
		field := f.fields[i]
		if field != "" && !utf8.ValidString(cell) {
			m.fail(notUTF8(text), field, "%s", notUTF8Reason)
			continue
		}
		switch field {
		case "":
		case "device":
			m.row.device = cell
		case "thing":
			m.row.thing = cell
		case "csr":
			m.row.csr = cell
		default:
			if cell != "" {
				m.row.attributes[strings.TrimPrefix(field, "attributes.")] = cell
			}
		}
	}
	return true
}

// csvLine splits single lines, with one csv.Reader for all: a new one has a buffer of 4 KB.
type csvLine struct {
	line   bytes.Reader
	reader *csv.Reader
}

// split is the cells of a line, good until the next call; what is wrong with it is reported.
func (c *csvLine) split(m *manifestReader, text []byte) ([]string, bool) {
	if i := bytes.IndexByte(text, '\r'); i >= 0 {
		m.add(m.line, columnAt(text, i), "", "the line holds a carriage return; lines must end with LF or CR LF")
		return nil, false
	}
	if c.reader == nil {
		c.reader = csv.NewReader(&c.line)
		c.reader.FieldsPerRecord = -1
		c.reader.ReuseRecord = true
	}
	c.line.Reset(text)
	cells, err := c.reader.Read()
	if err == nil {
		return cells, true
	}
	c.reader = nil
	column, reason := 0, err.Error()
	var syntax *csv.ParseError
	if errors.As(err, &syntax) {
		column, reason = columnAt(text, syntax.Column-1), syntax.Err.Error()
	}
	switch {
	case errors.Is(err, csv.ErrBareQuote):
		reason = `a quote (") stands in a cell that does not begin with one`
	case errors.Is(err, csv.ErrQuote):
		reason = `a quoted cell does not end as it must: a quote (") within it is doubled, and it ends on its line`
	}
	m.add(m.line, column, "", "%s", reason)
	return nil, false
}
