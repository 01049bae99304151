package fleet

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

var manifestFleet = Spec{Name: "cameras", Keys: KeysAWS, Attributes: map[string]string{"site": "osaka"}}

// readDevices reads a manifest of the fleet, and the devices that were handed on with their lines.
func readDevices(t *testing.T, text string) (devices []Device, lines []int, err error) {
	t.Helper()
	stats, err := manifestFleet.ReadManifest(t.Context(), "m", strings.NewReader(text), nil, func(line int, d Device) error {
		devices, lines = append(devices, d), append(lines, line)
		return nil
	})
	if err == nil {
		require.Equal(t, len(devices), stats.Devices)
		require.EqualValues(t, len(text), stats.Bytes)
		sum := sha256.Sum256([]byte(text))
		require.Equal(t, hex.EncodeToString(sum[:]), stats.SHA256)
	} else {
		require.Zero(t, stats)
	}
	return devices, lines, err
}

func zipped(t testing.TB, text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write([]byte(text))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.String()
}

func TestReadManifest(t *testing.T) {
	plain := func(name, thing string, attributes ...string) Device {
		d := Device{Name: name, Thing: thing, Attributes: map[string]string{"site": "osaka"}}
		for i := 0; i < len(attributes); i += 2 {
			d.Attributes[attributes[i]] = attributes[i+1]
		}
		return d
	}
	two := []Device{plain("cam-1", "cam-1"), plain("cam-2", "cam-2")}
	for name, c := range map[string]struct {
		text  string
		want  []Device
		lines []int
	}{
		"csv":               {"device\ncam-1\ncam-2\n", two, []int{2, 3}},
		"csv, no last end":  {"device\ncam-1\ncam-2", two, []int{2, 3}},
		"csv, CR LF":        {"device\r\ncam-1\r\ncam-2\r\n", two, []int{2, 3}},
		"csv, blank lines":  {"\n \r\ndevice\n\ncam-1\n\t\n\ncam-2\n\n", two, []int{5, 8}},
		"csv, marked":       {"\ufeffdevice\ncam-1\ncam-2\n", two, []int{2, 3}},
		"csv, quoted":       {"\"device\"\n\"cam-1\"\n\"cam-2\"\n", two, []int{2, 3}},
		"csv, gzip":         {zipped(t, "device\ncam-1\ncam-2\n"), two, []int{2, 3}},
		"csv, gzip of two":  {zipped(t, "device\nca") + zipped(t, "m-1\ncam-2\n"), two, []int{2, 3}},
		"csv, gzip, marked": {zipped(t, "\ufeffdevice\r\ncam-1\r\ncam-2"), two, []int{2, 3}},
		"csv, all columns": {"attr:rack,thing,csr,device,attr:site,attr:pos\n007,t:1,,cam-1,kyoto,\n,,,cam-2,,\"[1,2]\"\n",
			[]Device{plain("cam-1", "t:1", "rack", "007", "site", "kyoto"), plain("cam-2", "cam-2", "pos", "[1,2]")}, []int{2, 3}},
		"json":              {`{"device":"cam-1"}` + "\n" + `{"device":"cam-2"}` + "\n", two, []int{1, 2}},
		"json, no last end": {`{"device":"cam-1"}` + "\n" + `{"device":"cam-2"}`, two, []int{1, 2}},
		"json, blanks":      {"\ufeff\r\n" + ` { "device" : "cam-1" } ` + "\r\n\n" + `{"device":"cam-2","attributes":{},"thing":"","csr":""}`, two, []int{2, 4}},
		"json, gzip":        {zipped(t, `{"device":"cam-1"}`+"\n"+`{"device":"cam-2"}`), two, []int{1, 2}},
		"json, all fields": {`{"attributes":{"rack":"007","site":"ky\u006fto"},"thing":"t:1","device":"cam-1"}`,
			[]Device{plain("cam-1", "t:1", "rack", "007", "site", "kyoto")}, []int{1}},
		"things crossed": {"device,thing\ncam-1,cam-2\ncam-2,cam-1\n", []Device{plain("cam-1", "cam-2"), plain("cam-2", "cam-1")}, []int{2, 3}},
	} {
		t.Run(name, func(t *testing.T) {
			got, lines, err := readDevices(t, c.text)
			require.NoError(t, err)
			require.Equal(t, c.want, got)
			require.Equal(t, c.lines, lines)
		})
	}
}

// What is wrong stands in the error as it is told; what is right was handed on.
func TestReadManifestRefuses(t *testing.T) {
	long := strings.Repeat("x", maxManifestLine)
	big := zipped(t, "device\ncam-1\n"+strings.Repeat("cam-2\ncam-3\n", 100))
	damaged := []byte(zipped(t, "device\ncam-1\n"))
	damaged[len(damaged)-6] ^= 1 // of the checksum
	for name, c := range map[string]struct {
		text  string
		want  []string
		right int
	}{
		"empty":               {"", []string{"m: holds no devices"}, 0},
		"empty, marked":       {"\ufeff", []string{"m: holds no devices"}, 0},
		"empty gzip":          {zipped(t, ""), []string{"m: holds no devices"}, 0},
		"blank lines":         {"\n \r\n\t\n", []string{"m: holds no devices"}, 0},
		"header only":         {"device,thing\n", []string{"m: holds no devices"}, 0},
		"header, blank lines": {"device,thing\n\n\n", []string{"m: holds no devices"}, 0},

		"columns": {"device,color,device,attr:,attr:a b,attr:edgefleet-run,Thing,attr:a,attr:a,attributes.b\ncam-1,,,,,,,1,,\n-,,,,,,,1,,\n", []string{
			`m:1: color: "color" is no column of a manifest; the columns are device, thing, csr, and attr:NAME for an attribute`,
			`m:1: device: the column "device" stands twice in the header`,
			`m:1: attr:: the attribute name is missing`,
			`m:1: attr:a b: "a b" is no attribute name: it must match [a-zA-Z0-9_.,@/:#-]+, 1 to 128 characters`,
			`m:1: attr:edgefleet-run: the name is reserved: it marks which run created a thing, for which fleet`,
			`m:1: Thing: "Thing" is no column of a manifest; the columns are device, thing, csr, and attr:NAME for an attribute`,
			`m:1: attr:a: the column "attr:a" stands twice in the header`,
			`m:1: attributes.b: "attributes.b" is no column of a manifest; the columns are device, thing, csr, and attr:NAME for an attribute`,
			`m:3: device: "-" is no device name: it must match [a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}, 1 to 63 characters`,
		}, 1},
		"no device column": {"\nthing\ncam-1\n", []string{"m:2: device: the column is missing: the first line of a manifest in CSV names the columns"}, 0},
		"no header": {"cam-1\ncam-2\n", []string{
			`m:1: cam-1: "cam-1" is no column of a manifest; the columns are device, thing, csr, and attr:NAME for an attribute`,
			"m:1: device: the column is missing: the first line of a manifest in CSV names the columns",
		}, 0},
		"semicolons": {"device;thing\ncam-1;\n", []string{
			`m:1: device;thing: "device;thing" is no column: commas must stand between the columns`,
			"m:1: device: the column is missing: the first line of a manifest in CSV names the columns",
		}, 0},
		"bare quote in header": {"device,a\"b\ncam-1,\n", []string{`m:1:9: a quote (") stands in a cell that does not begin with one`}, 0},
		"cells": {"device,thing\ncam-1\ncam-2,,\ncam-3,\ncam-4,x\"y\ncam-5,\"x\ncam-6,\"x\"y\ncam-7,\n", []string{
			"m:2: the number of cells is 1, but the header has 2 columns",
			"m:3: the number of cells is 3, but the header has 2 columns",
			`m:5:8: a quote (") stands in a cell that does not begin with one`,
			`m:6:9: a quoted cell does not end as it must: a quote (") within it is doubled, and it ends on its line`,
			`m:7:9: a quoted cell does not end as it must: a quote (") within it is doubled, and it ends on its line`,
		}, 2},
		"values": {"device,thing,attr:site,csr\n,,,\ncam_1,a b,new york,x.csr\ncam-2,,,\n", []string{
			"m:2: device: the device name is missing",
			`m:3: device: "cam_1" is no device name: it must match [a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}, 1 to 63 characters`,
			`m:3: thing: "a b" is no thing name: it must match [a-zA-Z0-9:_-]+, 1 to 128 characters`,
			`m:3: attr:site: "new york" is no attribute value: it must match [a-zA-Z0-9_.,@/:#=\[\]-]+, 1 to 800 characters`,
		}, 1},
		"csr of another's keys": {"device,csr\ncam-1,x.csr\ncam-2,\n", []string{"m:2: csr: goes with keys: device; the fleet's keys are aws"}, 1},
		"header again":          {"device,thing\ncam-1,\ndevice,thing\ncam-2,\n", []string{"m:3: the line repeats the header"}, 2},
		"old Mac":               {"device\rcam-1\r", []string{"m:1:7: the line holds a carriage return; lines must end with LF or CR LF"}, 0},

		"fields": {`{"Device":"cam-1"}` + "\n" + `{"device":"cam-2","color":{"a":[1]},"attributes":{"a b":"x","n":7}}` + "\n" + `{"device":"cam-3"}`, []string{
			"m:1: Device: is no field of a manifest; the fields are device, thing, csr and attributes",
			"m:1: device: the device name is missing",
			"m:2: color: is no field of a manifest; the fields are device, thing, csr and attributes",
			"m:2: attributes.n: must be a text, but is a number",
			`m:2: attributes.a b: "a b" is no attribute name: it must match [a-zA-Z0-9_.,@/:#-]+, 1 to 128 characters`,
		}, 1},
		"types": {`{"device":1,"thing":null,"csr":[],"attributes":"x"}` + "\n" + `{"device":{},"thing":true}` + "\n" + `{"device":"cam-1","attributes":[]}`, []string{
			"m:1: device: must be a text, but is a number",
			"m:1: thing: must be a text, but is null; a field that is not set is left out",
			"m:1: csr: must be a text, but is a list",
			"m:1: attributes: must be an object, but is a text",
			"m:2: device: must be a text, but is an object",
			"m:2: thing: must be a text, but is true or false",
			"m:3: attributes: must be an object, but is a list",
		}, 0},
		"keys twice": {`{"device":"cam-1","device":"cam-2"}` + "\n" + `{"device":"cam-3","attributes":{"a":"1","\u0061":"1"}}`, []string{
			"m:1: device: stands twice in the object",
			"m:2: attributes.a: stands twice in the object",
		}, 0},
		"no objects": {`{"device":"cam-1"} {"device":"cam-2"}` + "\n" + `["cam-1"]` + "\n7\nnull\n" + `{"device":"cam-3",}` + "\n" + `{"device":"cam-4"` + "\n" + `{"device":"cam-5"}`, []string{
			"m:1:20: the line is no JSON object: invalid character '{' after top-level value",
			"m:2: the line must be a JSON object, but is a list",
			"m:3: the line must be a JSON object, but is a number",
			"m:4: the line must be a JSON object, but is null",
			"m:5:19: the line is no JSON object: invalid character '}' looking for beginning of object key string",
			"m:6:17: the line is no JSON object: unexpected end of JSON input",
		}, 1},
		"an array": {"[\n" + `{"device":"cam-1"}` + "\n]\n", []string{"m:1: is a JSON array: a manifest has one JSON object a line, without brackets and commas around them"}, 0},

		"Latin-1": {"device,attr:site\ncam-1,k\xf6ln\nc\xe4m-2,\ncam-3,\n", []string{
			"m:2:8: attr:site: is not UTF-8, in which a manifest must be saved (it may be Latin-1 or Windows-1252)",
			"m:3:2: device: is not UTF-8, in which a manifest must be saved (it may be Latin-1 or Windows-1252)",
		}, 1},
		"Latin-1 header": {"device,attr:gr\xf6sse\ncam-1,\n", []string{
			"m:1:15: the header is not UTF-8, in which a manifest must be saved (it may be Latin-1 or Windows-1252)"}, 1},
		"Latin-1 in JSON": {`{"device":"cam-1","attributes":{"site":"k` + "\xf6" + `ln"}}` + "\n" + `{"device":"cam-2","attributes":{"gr` + "\xf6" + `sse":"1"}}`, []string{
			"m:1:42: attributes.site: is not UTF-8, in which a manifest must be saved (it may be Latin-1 or Windows-1252)",
			"m:2:36: attributes: the name of a field is not UTF-8, in which a manifest must be saved (it may be Latin-1 or Windows-1252)",
		}, 0},
		"UTF-16":           {"\xff\xfed\x00e\x00v\x00i\x00c\x00e\x00\n\x00", []string{"m: is UTF-16: save it as UTF-8"}, 0},
		"UTF-16, unmarked": {"d\x00e\x00v\x00i\x00c\x00e\x00\n\x00c\x00", []string{"m:1:2: the line holds a NUL byte: a manifest is CSV or JSON Lines, in UTF-8"}, 0},
		"a NUL":            {"device\ncam-1\ncam\x002\ncam-3\n", []string{"m:3:4: the line holds a NUL byte: a manifest is CSV or JSON Lines, in UTF-8"}, 2},
		"a workbook":       {"PK\x03\x04\x14\x00", []string{"m: is a ZIP archive or a workbook: save it as CSV in UTF-8"}, 0},
		"gzip of gzip":     {zipped(t, zipped(t, "device\ncam-1\n")), []string{"m: is compressed twice"}, 0},

		"gzip header cut":      {big[:7], []string{"m: the gzip data is cut short, in its first line"}, 0},
		"gzip cut at once":     {big[:12], []string{"m: the gzip data is cut short, in its first line"}, 0},
		"gzip cut":             {zipped(t, "device\ncam-1\ncam_2\n") + zipped(t, "cam-3\n")[:12], []string{`m:3: device: "cam_2" is no device name: it must match [a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}, 1 to 63 characters`, "m:3: the gzip data is cut short, after line 3 (or something else follows it)"}, 1},
		"gzip damaged":         {string(damaged), []string{"m:2: the gzip data is damaged, after line 2: gzip: invalid checksum"}, 1},
		"gzip, something else": {zipped(t, "device\ncam-1\n") + "etc", []string{"m:2: the gzip data is cut short, after line 2 (or something else follows it)"}, 1},

		"long lines": {"device\ncam-1\n" + long + "\n" + long + "x\r\ncam-2\n" + long + long, []string{
			`m:3: device: "` + long[:80] + `"… is no device name: it has 262144 characters, at most 63 are allowed`,
			"m:4: the line has more than 262144 bytes",
			"m:6: the line has more than 262144 bytes",
		}, 2},
		"long header": {long + "x", []string{"m:1: the line has more than 262144 bytes"}, 0},
		"a private key": {"device\ncam_0\n-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n", []string{
			`m:2: device: "cam_0" is no device name: it must match [a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}, 1 to 63 characters`,
			"m:3: the line holds a private key, which belongs in no manifest; nothing after it was read"}, 0},
		"a field that drowns": {`{"device":"cam-1","` + long[:9999] + `":1}` + "\n" + `{"device":"cam-2","a\nb":1}`, []string{
			`m:1: "` + long[:80] + `"…: is no field of a manifest; the fields are device, thing, csr and attributes`,
			`m:2: "a\nb": is no field of a manifest; the fields are device, thing, csr and attributes`}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			got, _, err := readDevices(t, c.text)
			requireProblems(t, err)
			require.Equal(t, c.want, strings.Split(err.Error(), "\n"))
			require.Len(t, got, c.right)
		})
	}
}

// The first problems are told in the order of the lines, wherever they were found, and the rest counted.
func TestReadManifestTellsTheFirstProblems(t *testing.T) {
	manifest := func(bad int) string {
		var b strings.Builder
		b.WriteString("device\ncam-1\ncam-1\n") // the duplicate is found last and told first
		for i := range bad - 1 {
			fmt.Fprintf(&b, "cam_%d\n", i)
		}
		return b.String()
	}
	for bad, last := range map[int]string{99: "m:101", 100: "m:102", 101: "m: and 1 more problem", 5000: "m: and 4900 more problems"} {
		_, _, err := readDevices(t, manifest(bad))
		problems := requireProblems(t, err)
		require.Len(t, problems, min(bad, 101))
		require.Equal(t, `m:3: device: the device "cam-1" stands on line 2 already`, problems[0].String())
		require.True(t, strings.HasPrefix(problems[len(problems)-1].String(), last), problems[len(problems)-1])
		for i, p := range problems[:min(bad, 100)] {
			require.Equal(t, i+3, p.Line)
		}
	}
}

// What is no fault of the input comes back as it is, or wrapped.
func TestReadManifestStops(t *testing.T) {
	const text = "device\ncam_1\ncam-2\ncam-3\n"
	read := func(ctx context.Context, in io.Reader, each func(int, Device) error) error {
		stats, err := manifestFleet.ReadManifest(ctx, "m", in, nil, each)
		require.Zero(t, stats)
		return err
	}
	for _, mine := range []error{errors.New("mine"), io.EOF, InvalidInput{{Source: "mine"}}} {
		calls := 0
		err := read(t.Context(), strings.NewReader(text), func(int, Device) error { calls++; return mine })
		require.Equal(t, mine, err)
		require.Equal(t, 1, calls)
	}

	for _, mine := range []error{errors.New("reset"), io.ErrUnexpectedEOF} {
		for _, begin := range []string{"", text, zipped(t, text), zipped(t, text)[:5], zipped(t, text)[:20]} {
			err := read(t.Context(), io.MultiReader(strings.NewReader(begin), iotest.ErrReader(mine)), nil)
			require.ErrorIs(t, err, mine)
			require.ErrorContains(t, err, "reading m, after line")
			require.False(t, errors.As(err, new(InvalidInput)))
		}
	}

	ctx, cancel := context.WithCancel(t.Context())
	err := read(ctx, strings.NewReader("device\ncam-2\ncam-3\n"), func(int, Device) error { cancel(); return nil })
	require.Equal(t, context.Canceled, err)
	require.Equal(t, context.Canceled, read(ctx, strings.NewReader(text), nil))
	require.Equal(t, context.Canceled, read(ctx, iotest.ErrReader(errors.New("reset")), nil))

	// also within a line without an end
	ctx, cancel = context.WithCancel(t.Context())
	given := 0
	endless := readerFunc(func(p []byte) (int, error) {
		if given += len(p); given > 2*maxManifestLine {
			cancel()
		}
		return copy(p, bytes.Repeat([]byte("x"), len(p))), nil
	})
	require.Equal(t, context.Canceled, read(ctx, endless, nil))
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// A reader that hands out single bytes makes no difference.
func TestReadManifestInPieces(t *testing.T) {
	text := zipped(t, "\ufeffdevice,thing\r\ncam-1,t1\r\n") + zipped(t, "cam-2,t2")
	stats, err := manifestFleet.ReadManifest(t.Context(), "m", iotest.DataErrReader(iotest.OneByteReader(strings.NewReader(text))), nil, nil)
	require.NoError(t, err)
	sum := sha256.Sum256([]byte(text))
	require.Equal(t, ManifestStats{2, int64(len(text)), hex.EncodeToString(sum[:])}, stats)
}

// Memory does not grow with the lines, nor with the length of one; and lines that are far apart
// are compared all the same.
func TestReadManifestInBoundedMemory(t *testing.T) {
	const lines, most = 300_000, 32 << 20
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, sampled := heap(), 0
	part := strings.Repeat("x", 1<<20)
	line := 0
	in := &generated{next: func() string {
		switch line++; {
		case line == 1:
			return "device,thing,attr:serial\n"
		case line <= lines: // in no order, and each once: the modulus is a prime
			return fmt.Sprintf("camera-%d,thing-%d,%064d\n", line*7919%1_000_003, line, line)
		case line <= lines+100: // one line of 100 MB
			return part
		case line == lines+101:
			return fmt.Sprintf("\ncamera-%d,,\ncamera-new,thing-3,\n", 2*7919)
		}
		return ""
	}}
	_, err := manifestFleet.ReadManifest(t.Context(), "m", in, nil, func(n int, _ Device) error {
		if n%50_000 == 0 {
			sampled++
			if now := heap(); now > before {
				require.Less(t, now-before, uint64(most), "on line %d", n)
			}
		}
		return nil
	})
	require.Equal(t, lines/50_000, sampled)
	require.Equal(t, []string{
		"m:300001: the line has more than 262144 bytes",
		`m:300002: device: the device "camera-15838" stands on line 2 already`,
		`m:300003: thing: the thing "thing-3" is that of the device "camera-23757", on line 3, already`,
	}, strings.Split(err.Error(), "\n"))
}

// generated reads texts that are made as they are asked for, until one is empty.
type generated struct {
	next func() string
	rest string
}

func (g *generated) Read(p []byte) (int, error) {
	if g.rest == "" {
		if g.rest = g.next(); g.rest == "" {
			return 0, io.EOF
		}
	}
	n := copy(p, g.rest)
	g.rest = g.rest[n:]
	return n, nil
}

func TestExampleManifest(t *testing.T) {
	examples := filepath.Join("..", "..", "examples")
	spec, err := ReadSpec(filepath.Join(examples, "fleet.yaml"))
	require.NoError(t, err)
	file, err := os.Open(filepath.Join(examples, "cameras.csv"))
	require.NoError(t, err)
	defer file.Close()
	var devices []Device
	stats, err := spec.ReadManifest(t.Context(), file.Name(), file, nil, func(_ int, d Device) error {
		devices = append(devices, d)
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, 10, stats.Devices)
	require.Equal(t, Device{Name: "cam-101", Thing: "cam-101", Attributes: map[string]string{"site": "osaka", "lens": "wide"}}, devices[0])
	require.Equal(t, map[string]string{"site": "kyoto", "lens": "fisheye"}, devices[9].Attributes)
}

// A Device in JSON is a line of a manifest.
func TestDeviceIsALineOfJSON(t *testing.T) {
	d, err := manifestFleet.NewDevice("cam-1", "t:1", map[string]string{"a": "[1]"})
	require.NoError(t, err)
	line, err := json.Marshal(d)
	require.NoError(t, err)
	got, _, err := readDevices(t, string(line))
	require.NoError(t, err)
	require.Equal(t, []Device{d}, got)
}
