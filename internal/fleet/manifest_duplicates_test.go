package fleet

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReadManifestFindsDuplicates(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"devices": {"device\ncam-1\ncam-2\ncam-1\nCam-1\ncam-1\n", []string{
			`m:4: device: the device "cam-1" stands on line 2 already`,
			`m:6: device: the device "cam-1" stands on line 2 already`}},
		"devices with other things": {"device,thing\ncam-1,a\ncam-1,b\n", []string{
			`m:3: device: the device "cam-1" stands on line 2 already`}},
		"things": {"device,thing\ncam-2,a\ncam-1,a\n", []string{
			`m:3: thing: the thing "a" is that of the device "cam-2", on line 2, already`}},
		"a thing named as another device is": {"device,thing\ncam-1,cam-2\ncam-2,\n", []string{
			`m:3: thing: the thing "cam-2" is that of the device "cam-1", on line 2, already`}},
		"both": {"device,thing\ncam-1,a\ncam-2,a\ncam-2,a\n", []string{
			`m:3: thing: the thing "a" is that of the device "cam-1", on line 2, already`,
			`m:4: device: the device "cam-2" stands on line 3 already`,
			`m:4: thing: the thing "a" is that of the device "cam-1", on line 2, already`}},
		"on a line that is wrong elsewhere": {"device,thing\ncam-1,a b\ncam-1,x\n", []string{
			`m:2: thing: "a b" is no thing name: it must match [a-zA-Z0-9:_-]+, 1 to 128 characters`,
			`m:3: device: the device "cam-1" stands on line 2 already`}},
		"names that are wrong are told for that": {"device\n-\n-\n", []string{
			`m:2: device: "-" is no device name: it must match [a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}, 1 to 63 characters`,
			`m:3: device: "-" is no device name: it must match [a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}, 1 to 63 characters`}},
		"in JSON": {`{"device":"cam-1"}` + "\n\n" + `{"device":"c\u0061m-1"}`, []string{
			`m:3: device: the device "cam-1" stands on line 1 already`}},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := readDevices(t, c.text)
			require.Equal(t, c.want, strings.Split(fmt.Sprint(err), "\n"))
		})
	}
}

// However many chunks there are, what is found is what a map finds.
func TestSeenNames(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, count := range []int{0, 1, 6, 7, 8, 14, 500} {
		for _, different := range []int{1, 5, 300, 1_000_000} {
			names := seenNames{chunkLen: 7}
			first := map[string]int{}
			var want, got []string
			for line := 1; line <= count; line++ {
				kind := []byte{seenDevice, seenThing}[random.IntN(2)]
				name := fmt.Sprint("n", random.IntN(different))
				require.NoError(t, names.add(kind, name, fmt.Sprint("owner", line), line))
				key := fmt.Sprintf("%c %s", kind, name)
				if at := first[key]; at > 0 {
					want = append(want, fmt.Sprintf("%s owner%d %d, owner%d %d", key, at, at, line, line))
				} else {
					first[key] = line
				}
			}
			require.NoError(t, names.duplicates(t.Context(), func(first, again seenName) {
				got = append(got, fmt.Sprintf("%c %s %s %d, %s %d", again.kind, again.name, first.owner, first.line, again.owner, again.line))
				require.Equal(t, first.name, again.name)
			}))
			slices.Sort(want)
			slices.Sort(got)
			require.Equal(t, want, got)
			require.Equal(t, max(0, (count-1)/7), len(names.ends))
			names.close()
		}
	}
}

func TestSeenNamesLeaveNoFile(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	names := seenNames{chunkLen: 1}
	for line := range 3 {
		require.NoError(t, names.add(seenDevice, "a", "", line))
	}
	require.NotNil(t, names.file)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left, "not even while it is in use: the process may be killed")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Equal(t, context.Canceled, names.duplicates(ctx, func(_, _ seenName) {}))
	names.close()
	require.ErrorIs(t, names.duplicates(t.Context(), func(_, _ seenName) {}), os.ErrClosed)
	require.ErrorIs(t, names.add(seenDevice, "b", "", 4), os.ErrClosed)

	t.Setenv("TMPDIR", dir+"/missing")
	names = seenNames{chunkLen: 1}
	require.NoError(t, names.add(seenDevice, "a", "", 1))
	require.ErrorIs(t, names.add(seenDevice, "a", "", 2), os.ErrNotExist)
	names.close()
}
