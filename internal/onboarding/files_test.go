package onboarding

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"

	"edgefleet/activities"
	"edgefleet/internal/fleet"
	"edgefleet/internal/localaws"
	"edgefleet/internal/report"
	"edgefleet/workflows"
)

const bucket = "edge-bucket"

// newStore is an S3 of the test's own.
func newStore(t *testing.T) *s3.Client {
	t.Helper()
	server, err := localaws.Start(localaws.Config{Address: "127.0.0.1:0", CredentialsAddress: "127.0.0.1:0", Buckets: []string{bucket}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	return activities.NewS3(aws.Config{
		Region: "us-east-1", BaseEndpoint: aws.String(server.URL()), Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
		Retryer: func() aws.Retryer { return aws.NopRetryer{} },
	})
}

func testSpec() fleet.Spec {
	return fleet.Spec{
		Name: "cameras", Registry: fleet.IoTCore, RoleARN: "arn:aws:iam::123456789012:role/EdgeFleetRole", ThingType: "smart-camera",
		Bundles: fleet.S3URI{Bucket: bucket, Prefix: "authorization-files"}, Keys: fleet.KeysCSR,
	}
}

func device(n int) fleet.Device {
	name := fmt.Sprintf("cam-%04d", n)
	return fleet.Device{Name: name, Thing: name, Attributes: map[string]string{"row": fmt.Sprint(n)}}
}

func outcome(line int, state report.State) report.Outcome {
	return report.Outcome{Line: line, Device: device(line).Name, State: state, WorkflowID: "device/cameras/" + device(line).Name}
}

func manifest(lines int) []byte {
	var b bytes.Buffer
	b.WriteString("device,attr:row\n")
	for n := range lines {
		fmt.Fprintf(&b, "%s,%d\n", device(n).Name, n)
	}
	return b.Bytes()
}

var day = time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)

func TestFiles(t *testing.T) {
	store, spec := newStore(t), testSpec()
	at := workflows.OnboardingFiles(spec, "first", day)
	require.Equal(t, "s3://edge-bucket/authorization-files/cameras/_onboarding/first/20260102T000000.000Z", at.String())
	files := NewFiles(store, at, "")
	lines := []Line{{2, device(0)}, {3, fleet.Device{Name: "d", Thing: "<thing> & co", CSR: "-----BEGIN…\n"}}, {7, device(5)}}
	require.NoError(t, files.PutPage(t.Context(), 0, lines))
	got, err := files.Page(t.Context(), 0)
	require.NoError(t, err)
	require.Equal(t, lines, got)
	_, err = files.Page(t.Context(), 1)
	require.ErrorIs(t, err, errMissing)
	pages, err := files.CountPages(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, pages)

	told, version, err := files.Part(t.Context(), 0)
	require.NoError(t, err)
	require.Empty(t, told)
	require.Empty(t, version)
	outcomes := []report.Outcome{outcome(2, report.Provisioned), outcome(7, report.Held)}
	version, err = files.PutPart(t.Context(), 0, outcomes, "")
	require.NoError(t, err)
	told, read, err := files.Part(t.Context(), 0)
	require.NoError(t, err)
	require.Equal(t, outcomes, told)
	require.Equal(t, version, read)

	latest, err := Latest(t.Context(), store, spec, "first")
	require.NoError(t, err)
	require.Equal(t, at, latest)
	later := NewFiles(store, workflows.OnboardingFiles(spec, "first", day.Add(time.Millisecond)), "")
	require.NoError(t, later.PutPage(t.Context(), 0, lines))
	latest, err = Latest(t.Context(), store, spec, "first")
	require.NoError(t, err)
	require.Equal(t, later.at, latest)
	_, err = Latest(t.Context(), store, spec, "fir")
	require.ErrorContains(t, err, `no onboarding "fir" of fleet "cameras"`)
}

// An attempt that was given up, and goes on without knowing it, undoes nothing of what its successor wrote.
func TestPartsOfTwoAttempts(t *testing.T) {
	files := NewFiles(newStore(t), workflows.OnboardingFiles(testSpec(), "first", day), "")
	one, two := []report.Outcome{outcome(1, report.Provisioned)}, []report.Outcome{outcome(1, report.Provisioned), outcome(2, report.Provisioned)}
	first, err := files.PutPart(t.Context(), 0, one, "")
	require.NoError(t, err)
	_, err = files.PutPart(t.Context(), 0, one, "")
	require.ErrorContains(t, err, "another attempt has written it")
	_, err = files.PutPart(t.Context(), 0, two, first)
	require.NoError(t, err)
	_, err = files.PutPart(t.Context(), 0, one, first)
	require.ErrorContains(t, err, "another attempt has written it")
	told, _, err := files.Part(t.Context(), 0)
	require.NoError(t, err)
	require.Equal(t, two, told)
}

// Each line of the manifest has an outcome, also where no part tells of it.
func TestReport(t *testing.T) {
	files := NewFiles(newStore(t), workflows.OnboardingFiles(testSpec(), "first", day), "")
	number := 2
	for page, n := range []int{pageLines, pageLines, 10} {
		var lines []Line
		for range n {
			lines = append(lines, Line{number, device(number)})
			number++
		}
		require.NoError(t, files.PutPage(t.Context(), page, lines))
	}
	// The first page's lines have ended but for the third; of the second only one, and the third was not begun.
	var first []report.Outcome
	for line := 2; line < 2+pageLines; line++ {
		if line != 4 {
			first = append(first, outcome(line, report.Provisioned))
		}
	}
	_, err := files.PutPart(t.Context(), 0, first, "")
	require.NoError(t, err)
	_, err = files.PutPart(t.Context(), 1, []report.Outcome{outcome(2+pageLines+5, report.RolledBack)}, "")
	require.NoError(t, err)
	r := NewReport(files, "cameras", 3, workflows.Place{Page: 1, Line: 8})
	for range 2 {
		states := map[report.State]int{}
		line := 2
		for o, err := range r.Outcomes(t.Context()) {
			require.NoError(t, err)
			require.Equal(t, line, o.Line, "in the order of the lines")
			require.Equal(t, device(line).Name, o.Device)
			states[o.State]++
			line++
		}
		require.Equal(t, map[report.State]int{report.Provisioned: pageLines - 1, report.RolledBack: 1, report.Running: 8, report.NotStarted: pageLines + 2}, states)
	}
}

func TestSourceCopies(t *testing.T) {
	store, spec := newStore(t), testSpec()
	text := manifest(2*pageLines + 1)
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, err := w.Write(text)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	path := filepath.Join(t.TempDir(), "cameras.csv")
	require.NoError(t, os.WriteFile(path, text, 0o600))
	_, err = store.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String("cameras.csv.gz"), Body: bytes.NewReader(packed.Bytes())})
	require.NoError(t, err)
	for i, name := range []string{path, "s3://" + bucket + "/cameras.csv.gz"} {
		source := NewSource(name, store)
		checked, err := source.Check(t.Context(), spec)
		require.NoError(t, err)
		require.Equal(t, 2*pageLines+1, checked.Devices)
		files := NewFiles(store, workflows.OnboardingFiles(spec, "first", day.Add(time.Duration(i)*time.Hour)), "")
		pages, err := source.Copy(t.Context(), spec, checked, files)
		require.NoError(t, err)
		require.Equal(t, 3, pages)
		last, err := files.Page(t.Context(), 2)
		require.NoError(t, err)
		require.Equal(t, []Line{{2*pageLines + 2, device(2 * pageLines)}}, last)
	}
}

// What is started is what was checked.
func TestSourceChanges(t *testing.T) {
	store, spec, folder := newStore(t), testSpec(), t.TempDir()
	for name, put := range map[string]func(name string, text []byte) string{
		"file": func(name string, text []byte) string {
			path := filepath.Join(folder, name)
			require.NoError(t, os.WriteFile(path, text, 0o600))
			return path
		},
		"object": func(name string, text []byte) string {
			_, err := store.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucket), Key: &name, Body: bytes.NewReader(text)})
			require.NoError(t, err)
			return "s3://" + bucket + "/" + name
		},
	} {
		for how, later := range map[string][]byte{
			"longer":             manifest(4),
			"of the same length": bytes.Replace(manifest(3), []byte("0002,2"), []byte("0002,7"), 1),
			"bad":                []byte("device\na_b\n"),
		} {
			t.Run(name+" "+how, func(t *testing.T) {
				source := NewSource(put(name+".csv", manifest(3)), store)
				checked, err := source.Check(t.Context(), spec)
				require.NoError(t, err)
				put(name+".csv", later)
				_, err = source.Copy(t.Context(), spec, checked, NewFiles(store, workflows.OnboardingFiles(spec, "first", day), ""))
				var invalid fleet.InvalidInput
				if errors.As(err, &invalid) {
					require.Equal(t, "bad", how)
					return
				}
				require.ErrorContains(t, err, "has changed since it was checked")
			})
		}
	}
}

// A certificate request beside a manifest in S3 is an object; a file of this machine is never read for it.
func TestSourceRequests(t *testing.T) {
	store := newStore(t)
	spec := testSpec()
	spec.Keys = fleet.KeysDevice
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("do not read"), 0o600))
	for _, ref := range []string{secret, "../../.." + secret, "../secret", "beside.csr"} {
		key := "folder/" + strings.ReplaceAll(filepath.Base(ref), ".", "-") + ".csv"
		_, err := store.PutObject(t.Context(), &s3.PutObjectInput{
			Bucket: aws.String(bucket), Key: &key, Body: strings.NewReader("device,csr\ncam-01," + ref + "\n"),
		})
		require.NoError(t, err)
		_, err = NewSource("s3://"+bucket+"/"+key, store).Check(t.Context(), spec)
		var invalid fleet.InvalidInput
		require.ErrorAs(t, err, &invalid)
		require.Len(t, invalid, 1)
		require.Equal(t, 2, invalid[0].Line)
		require.Equal(t, "csr", invalid[0].Field)
		require.NotContains(t, invalid[0].Reason, "do not read")
	}
}
