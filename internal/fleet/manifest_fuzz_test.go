package fleet

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Whatever the manifest holds: no panic; a refusal names its problems in order, without bytes that
// are no text; and what is accepted is the same devices again when it is read as JSON Lines.
func FuzzReadManifest(f *testing.F) {
	for _, seed := range []string{
		"device\ncam-1\ncam-2\n",
		"\ufeffdevice,thing,csr,attr:a\r\ncam-1,t:1,,x\r\n\r\n\"cam-2\",,,\"y\"",
		"device,thing\ncam-1,a\ncam-2,a\ncam-1,b\n",
		`{"device":"cam-1","thing":"t:1","attributes":{"a":"x"}}` + "\n" + `{"device":"cam-2"}`,
		`{"device":1,"device":null,"csr":[{"a":"\ud800"}],"attributes":{"a":"x","a":{}}}`,
		`[{"device":"cam-1"}]`,
		"device,attr:a\ncam-1,\xff\nc\x00,\n\xc3\x28,\"\n",
		"\xff\xfed\x00", "\x1f\x8b\x08", "PK\x03\x04", "{", "\"", ",", "\r", " \n",
	} {
		f.Add([]byte(seed))
		f.Add([]byte(zipped(f, seed)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var devices []Device
		var lines bytes.Buffer
		encoder := json.NewEncoder(&lines)
		keep := func(_ int, d Device) error {
			devices = append(devices, d)
			return encoder.Encode(d)
		}
		stats, err := manifestFleet.ReadManifest(t.Context(), "m", bytes.NewReader(data), nil, keep)
		if err != nil {
			found := requireProblems(t, err)
			if len(found) > maxManifestProblems {
				found = found[:maxManifestProblems] // the last counts the others
			}
			require.True(t, slices.IsSortedFunc(found, func(a, b Problem) int { return a.Line - b.Line }))
			require.Equal(t, strings.ToValidUTF8(err.Error(), "?"), err.Error())
			require.LessOrEqual(t, strings.Count(err.Error(), "\n"), len(found), "a problem is one line")
			return
		}
		require.Positive(t, stats.Devices)
		require.EqualValues(t, len(data), stats.Bytes)
		names, things := map[string]bool{}, map[string]bool{}
		for _, d := range devices {
			names[d.Name], things[d.Thing] = true, true
		}
		require.Len(t, names, stats.Devices)
		require.Len(t, things, stats.Devices)

		want := devices
		devices = nil
		_, err = manifestFleet.ReadManifest(t.Context(), "again", bytes.NewReader(bytes.Clone(lines.Bytes())), nil, keep)
		require.NoError(t, err)
		require.Equal(t, want, devices)
	})
}
