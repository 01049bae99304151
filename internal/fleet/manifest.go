package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxManifestLine is the most bytes of a line: several times what a device has with 48
	// attributes of full length and a certificate request.
	maxManifestLine = 256 << 10
	// maxManifestProblems is how many problems are told; of the others, how many there are.
	maxManifestProblems = 100
	// maxReference is the most bytes of the path or URI of a certificate request.
	maxReference = 4096
)

// ManifestStats is what a manifest turned out to be.
type ManifestStats struct {
	Devices int    `json:"devices"`
	Bytes   int64  `json:"bytes"`  // of the input as it was read: where it is gzip, compressed
	SHA256  string `json:"sha256"` // of the same bytes, in hexadecimal
}

// ReadManifest reads a list of devices of the fleet, in UTF-8 and possibly compressed with gzip:
//
//   - CSV: a header with the column device and, in any order, thing, csr and attr:NAME; then a line
//     per device. An empty cell sets nothing. A cell may be quoted, but does not go on in the next line.
//   - JSON Lines: {"device":…,"thing":…,"csr":…,"attributes":{NAME:VALUE}}, an object per line. This
//     is a Device in JSON, too.
//
// Only device is needed; a thing is named as its device unless it says otherwise; attributes are
// added to the fleet's and win over them. A csr goes with keys: device. It is PEM, or what the
// function csr makes PEM of: a path beside the manifest, or an s3:// URI. Where an error of csr is
// an InvalidInput, the line is at fault; any other ends the reading and is returned. csr may be nil
// where there is only PEM. Blank lines are skipped; a line has at most 256 KiB.
//
// ReadManifest calls each for every device that is right, in the order of the lines; each may be
// nil. What is wrong further down is not known then: who must start nothing of a bad manifest makes
// one pass to check and one to use. Memory does not grow with the number of lines; from 32,768
// devices on, names go to a temporary file to find duplicates.
//
// Everything that is wrong with the input is in one InvalidInput, in the order of the lines: the first
// 100 problems, and how many more there are. source names the input there. An error of each is
// returned as it is, and so is the context's; an error of in is wrapped.
func (s Spec) ReadManifest(ctx context.Context, source string, in io.Reader,
	csr func(ref string) (string, error), each func(line int, d Device) error) (ManifestStats, error) {
	m := manifestReader{
		problems: problems{source: source, most: maxManifestProblems},
		spec:     s, csr: csr, each: each,
		row:   manifestRow{attributes: map[string]string{}},
		names: seenNames{chunkLen: seenNamesChunk},
	}
	defer m.names.close()
	raw := newRawInput(in)
	err := m.read(ctx, raw)
	if err == nil {
		err = m.names.duplicates(ctx, m.duplicate)
	}
	if err != nil {
		return ManifestStats{}, err
	}
	if m.total == 0 && m.devices == 0 {
		m.add(0, 0, "", "holds no devices")
	}
	if err := m.err(); err != nil {
		return ManifestStats{}, err
	}
	return ManifestStats{Devices: m.devices, Bytes: raw.bytes, SHA256: raw.hex()}, nil
}

// manifestReader goes through the lines of one manifest.
type manifestReader struct {
	problems
	spec    Spec
	csr     func(ref string) (string, error)
	each    func(line int, d Device) error
	format  manifestFormat // nil until a line tells
	line    int            // where the reader stands
	row     manifestRow    // of this line
	names   seenNames
	devices int
}

// manifestFormat is CSV or JSON Lines.
type manifestFormat interface {
	// parse reads a line into the row and reports what is wrong with it; false when there is no
	// more to check in it.
	parse(m *manifestReader, text []byte) bool
	// attribute is the field of the thing attribute of that name.
	attribute(name string) string
}

// manifestRow is what a line says, before it is checked.
type manifestRow struct {
	device, thing, csr string
	attributes         map[string]string
	failed             []string // fields, as NewDevice calls them, that were reported already
}

// fail reports a field of this line; whatever else is wrong with it follows from that.
func (m *manifestReader) fail(column int, field, format string, args ...any) {
	m.row.failed = append(m.row.failed, field)
	m.add(m.line, column, m.fieldName(field), format, args...)
}

// fieldName is what the manifest calls a field of a device.
func (m *manifestReader) fieldName(field string) string {
	if name, ok := strings.CutPrefix(field, "attributes."); ok {
		field = m.format.attribute(name)
	}
	return shownField(field)
}

// shownField is a field's name, quoted if it would drown a message or break its line.
func shownField(field string) string {
	if quoted := quote(field); quoted[1:len(quoted)-1] != field {
		return quoted
	}
	return field
}

// read takes all lines. What is wrong with the input is in m; the error is of something else.
func (m *manifestReader) read(ctx context.Context, raw *rawInput) error {
	lines, err := openManifest(raw)
	for err == nil {
		if err := ctx.Err(); err != nil {
			return err
		}
		var line manifestLine
		if line, err = lines.next(ctx); err != nil {
			break
		}
		m.line = lines.number
		if more, err := m.takeLine(line); err != nil || !more {
			return err
		}
	}
	if err == io.EOF {
		return nil
	}
	if refused, ok := errors.AsType[unreadableInput](err); ok {
		m.add(m.line, 0, "", "%s", refused)
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("reading %s, after line %d: %w", m.source, m.line, err)
}

// takeLine checks a line and hands its device on; false when what follows cannot be made sense of.
func (m *manifestReader) takeLine(line manifestLine) (more bool, err error) {
	if line.tooLong {
		m.add(m.line, 0, "", "the line has more than %d bytes", maxManifestLine)
		return m.format != nil, nil // the first may have been the header
	}
	start := bytes.TrimSpace(line.text)
	if len(start) == 0 {
		return true, nil
	}
	// Nothing that follows a key is read: the lines of it would be quoted as bad names.
	if bytes.Contains(line.text, []byte("PRIVATE KEY")) {
		m.add(m.line, 0, "", "the line holds a private key, which belongs in no manifest; nothing after it was read")
		return false, nil
	}
	if i := bytes.IndexByte(line.text, 0); i >= 0 {
		m.add(m.line, columnAt(line.text, i), "", "the line holds a NUL byte: a manifest is CSV or JSON Lines, in UTF-8")
		return m.format != nil, nil
	}
	if m.format == nil {
		switch start[0] {
		case '{':
			m.format = jsonManifest{}
		case '[':
			m.add(m.line, 0, "", "is a JSON array: a manifest has one JSON object a line, without brackets and commas around them")
			return false, nil
		default:
			format, ok := readCSVHeader(m, line.text)
			m.format = format
			return ok, nil
		}
	}
	return true, m.takeDevice(line.text)
}

// takeDevice reads a device from a line and hands it on if nothing is wrong with it.
func (m *manifestReader) takeDevice(text []byte) error {
	before := m.total
	clear(m.row.attributes)
	m.row = manifestRow{attributes: m.row.attributes, failed: m.row.failed[:0]}
	if !m.format.parse(m, text) {
		return nil
	}
	d, err := m.device()
	if err != nil || m.total > before {
		return err
	}
	m.devices++
	if m.each == nil {
		return nil
	}
	return m.each(m.line, d)
}

// device makes the row a device, and reports what is wrong with it.
func (m *manifestReader) device() (Device, error) {
	row := &m.row
	d, err := m.spec.NewDevice(row.device, row.thing, row.attributes)
	found, _ := errors.AsType[InvalidInput](err)
	reported := row.failed
	for _, p := range found {
		if !slices.Contains(reported, p.Field) {
			m.fail(0, p.Field, "%s", p.Reason)
		}
	}
	failed := func(field string) bool { return slices.Contains(row.failed, field) }
	if failed("device") {
		return d, nil
	}
	if err := m.names.add(seenDevice, d.Name, "", m.line); err != nil {
		return d, err
	}
	if !failed("thing") {
		if err := m.names.add(seenThing, d.Thing, d.Name, m.line); err != nil {
			return d, err
		}
	}
	switch {
	case failed("csr"):
	case m.spec.Keys != KeysDevice:
		if row.csr != "" {
			m.fail(0, "csr", "goes with keys: %s; the fleet's keys are %s", KeysDevice, m.spec.Keys)
		}
	case row.csr == "":
		m.fail(0, "csr", "is missing: with keys: %s each device has its certificate request", KeysDevice)
	default:
		d.CSR, err = m.request(row.csr, d.Name)
		return d, err
	}
	return d, nil
}

// request is the certificate request that a csr field holds or points at; what is wrong with it is
// reported. No message shows text that could be a key's.
func (m *manifestReader) request(csr, device string) (string, error) {
	at := ""
	if !strings.Contains(csr, "-----BEGIN") {
		if len(csr) > maxReference || strings.ContainsFunc(csr, func(r rune) bool { return !unicode.IsGraphic(r) }) {
			m.fail(0, "csr", "is neither a certificate request in PEM nor the path of one")
			return "", nil
		}
		if m.csr == nil {
			m.fail(0, "csr", "points at a certificate request that cannot be had from here; put its PEM text in its place")
			return "", nil
		}
		text, err := m.csr(csr)
		if found, ok := errors.AsType[InvalidInput](err); ok {
			for _, p := range found {
				m.fail(0, "csr", "%s: %s", p.Source, p.Reason)
			}
			return "", nil
		}
		if err != nil {
			return "", err
		}
		at, csr = csr+": ", text
	}
	clean, err := cleanCSR(csr, device)
	if err != nil {
		m.fail(0, "csr", "%s%s", at, err)
	}
	return clean, nil
}

// duplicate reports a name that an earlier line has already.
func (m *manifestReader) duplicate(first, again seenName) {
	name := quote(string(again.name))
	if again.kind == seenDevice {
		m.add(again.line, 0, "device", "the device %s stands on line %d already", name, first.line)
	} else if !bytes.Equal(first.owner, again.owner) { // else the device was reported
		m.add(again.line, 0, "thing", "the thing %s is that of the device %s, on line %d, already", name, quote(string(first.owner)), first.line)
	}
}

// columnAt is the column, counted in characters from 1, of the byte at that offset.
func columnAt(text []byte, offset int) int {
	return utf8.RuneCount(text[:max(0, min(offset, len(text)))]) + 1
}

// notUTF8 is the column of the first byte that is not UTF-8.
func notUTF8(text []byte) int {
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && size == 1 {
			return columnAt(text, i)
		}
		i += size
	}
	return 0
}

const notUTF8Reason = "is not UTF-8, in which a manifest must be saved (it may be Latin-1 or Windows-1252)"
