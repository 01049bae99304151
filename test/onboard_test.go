package test

import (
	"bytes"
	"compress/gzip"
	"crypto/elliptic"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"edgefleet/internal/report"
	"edgefleet/workflows"
)

// onboarded is what `starter onboard -o json` and `starter status onboarding -o json` say.
type onboarded struct {
	State      workflows.State
	Why        string
	Name       string
	Devices    int
	Counts     workflows.Counts
	InFlight   int
	Ceiling    float64
	WorkflowID string
}

// fullReport is what `starter report -o json` says.
type fullReport struct {
	Summary report.Summary
	Devices []report.Outcome
}

// manifestOf lists devices NAME-0001 and so on, as CSV.
func manifestOf(t *testing.T, name string, devices int) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("device,attr:row\n")
	for i := range devices {
		fmt.Fprintf(&b, "%s-%04d,%d\n", name, i+1, i)
	}
	return writeFile(t, name+".csv", b.String())
}

func (s *stack) onboard(t *testing.T, code int, args ...string) onboarded {
	t.Helper()
	o := s.starter(t, append([]string{"onboard", "-o", "json"}, args...)...)
	o.exits(t, code)
	var got onboarded
	o.decode(t, &got)
	return got
}

func (s *stack) reportOf(t *testing.T, name string) (got fullReport) {
	t.Helper()
	o := s.starter(t, "report", name, "-o", "json")
	o.exits(t, 0)
	o.decode(t, &got)
	return got
}

// assertOnboarded checks that each line of the manifest is a provisioned device with one certificate.
func (s *stack) assertOnboarded(t *testing.T, d device, name string, devices int) {
	t.Helper()
	r := s.reportOf(t, name)
	require.Len(t, r.Devices, devices)
	certificates := map[string]bool{}
	for _, o := range r.Devices {
		assert.Contains(t, []report.State{report.Provisioned, report.AlreadyProvisioned}, o.State, "%+v", o)
		assert.True(t, o.RetrySafe)
		assert.False(t, o.StartedAt.IsZero(), "%+v", o)
		assert.False(t, o.EndedAt.Before(o.StartedAt), "%+v", o)
		certificates[o.CertificateID] = true
	}
	require.Len(t, certificates, devices, "each has one of its own")
	require.Empty(t, s.audit(t, d))
}

// A manifest is provisioned device by device; again, or longer, only what is new of it is.
func TestOnboard(t *testing.T) {
	s := newLanes(t, 1).take(t)
	for _, c := range []struct{ registry, keys string }{{sageMaker, "aws"}, {iotCore, "csr"}} {
		t.Run(c.registry+" "+c.keys, func(t *testing.T) {
			d := newDevice(t, c.registry, "keys: "+c.keys+"\n")
			before := len(s.certificates(t))
			name := d.Name + "-first"
			got := s.onboard(t, 0, "-f", d.file, manifestOf(t, d.Name, 20), "--name", name)
			require.Equal(t, onboarded{State: workflows.Completed, Name: name, Devices: 20, Counts: workflows.Counts{Provisioned: 20},
				WorkflowID: "onboarding/" + d.spec.Name + "/" + name}, got)
			s.assertOnboarded(t, d, name, 20)
			for _, o := range s.reportOf(t, name).Devices {
				require.Len(t, o.Steps, len(workflows.DeviceSteps()))
			}

			longer := manifestOf(t, d.Name, 25)
			got = s.onboard(t, 0, "-f", d.file, longer, "--name", name) // the name is free again
			require.Equal(t, workflows.Counts{Provisioned: 5, Already: 20}, got.Counts)
			s.assertOnboarded(t, d, name, 25)

			text, err := os.ReadFile(longer)
			require.NoError(t, err)
			var packed bytes.Buffer
			w := gzip.NewWriter(&packed)
			_, err = w.Write(text)
			require.NoError(t, err)
			require.NoError(t, w.Close())
			s.putObject(t, "manifests/"+d.Name+".csv.gz", packed.Bytes())
			got = s.onboard(t, 0, "-f", d.file, "s3://"+bucket+"/manifests/"+d.Name+".csv.gz")
			require.Equal(t, workflows.Counts{Already: 25}, got.Counts)
			require.Contains(t, got.Name, d.Name)
			require.Len(t, s.certificates(t), before+25, "never a second one")
		})
	}
}

// What an onboarding says of itself, while it runs and after.
func TestOnboardingIsShown(t *testing.T) {
	s := newLanes(t, 1).take(t)
	d := newDevice(t, iotCore, "")
	manifest := manifestOf(t, d.Name, 12)
	s.fault(t, fault{Operation: "iot:CreateThing", Kind: "throttle", Times: -1}) // it runs until that is over
	s.starter(t, "onboard", "-f", d.file, manifest, "--name", "shown", "--no-wait", "--in-flight", "2").exits(t, 0)

	s.starter(t, "onboard", "-f", d.file, manifestOf(t, d.Name+"-x", 3), "--name", "shown").exits(t, 1, "is running with another manifest")
	s.starter(t, "onboard", "-f", d.file, manifest, "--name", "shown", "--no-wait").exits(t, 0, "is running already")
	s.clearFaults(t)
	watched := s.starter(t, "status", "onboarding", "shown", "--watch")
	watched.exits(t, 0)
	require.Contains(t, watched.stdout, "12/12 done, 0 held, 0 failed")

	var list []onboarded
	o := s.starter(t, "onboarding", "list", "--fleet", d.spec.Name, "-o", "json")
	o.exits(t, 0)
	o.decode(t, &list)
	require.Len(t, list, 1)
	require.Equal(t, 12, list[0].Counts.Provisioned)
	status := s.starter(t, "status", "onboarding", "shown")
	status.exits(t, 0)
	require.Contains(t, status.stdout, "completed")

	table := s.starter(t, "report", "shown", "--fleet", d.spec.Name)
	table.exits(t, 0)
	require.Contains(t, table.stdout, "provisioned")
	rows, err := csv.NewReader(strings.NewReader(s.starter(t, "report", "shown", "-o", "csv").stdout)).ReadAll()
	require.NoError(t, err)
	require.Len(t, rows, 13)
	page := s.starter(t, "report", "shown", "-o", "html").stdout
	require.Contains(t, page, "<!DOCTYPE html>")
	require.Contains(t, page, "shown")

	// Without Temporal's word: from the bundles' bucket.
	fromFiles := s.starter(t, "report", "shown", "-f", d.file, "-o", "json")
	fromFiles.exits(t, 0)
	var got fullReport
	fromFiles.decode(t, &got)
	require.Equal(t, 12, got.Summary.Count(report.Provisioned))

	s.starter(t, "report", "no-such").exits(t, 1, `no onboarding "no-such"`)
	s.starter(t, "onboarding", "resume", "shown").exits(t, 1, "has ended")
	s.starter(t, "onboarding", "pause", "bad/name").exits(t, 2, "NAME")
	s.starter(t, "status", "onboarding", "no-such").exits(t, 1, "no-such")
	s.starter(t, "report", "shown", "-o", "xml").exits(t, 2, "csv, json or html")
}

// Whatever is wrong with the input is told at once, and nothing is started.
func TestOnboardBadInput(t *testing.T) {
	s := newLanes(t, 1).take(t)
	d := newDevice(t, iotCore, "")
	long := func(lines int, at map[int]string) string {
		var b strings.Builder
		b.WriteString("device\n")
		for i := 2; i <= lines; i++ {
			if line, has := at[i]; has {
				b.WriteString(line + "\n")
			} else {
				fmt.Fprintf(&b, "cam-%05d\n", i)
			}
		}
		return b.String()
	}
	huge := filepath.Join(t.TempDir(), "huge.csv")
	require.NoError(t, os.WriteFile(huge, []byte("device\ncam-01\n"), 0o600))
	require.NoError(t, os.Truncate(huge, 100<<20)) // one line of NULs, on no disk
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, err := w.Write([]byte(long(5000, nil)))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	s.putObject(t, "denied/m.csv", []byte("device\ncam-1\n"))

	for name, c := range map[string]struct {
		manifest string
		text     string // of the manifest, where that is a file
		code     int
		words    []string
	}{
		"empty":            {text: "\n", code: 2, words: []string{"holds no devices"}},
		"header only":      {text: "device,thing\n", code: 2, words: []string{"holds no devices"}},
		"unknown column":   {text: "device,model\ncam-1,x\n", code: 2, words: []string{":1", "model"}},
		"duplicate":        {text: long(9500, map[int]string{3: "twin", 9000: "twin"}), code: 2, words: []string{":9000", "device", "line 3"}},
		"bad name":         {text: long(10_000, map[int]string{9_999: "a_b"}), code: 2, words: []string{":9999", "device", "a_b"}},
		"Latin-1":          {text: "device,attr:site\ncam-1,Z\xfcrich\n", code: 2, words: []string{":2", "UTF-8"}},
		"truncated gzip":   {text: packed.String()[:packed.Len()/2], code: 2, words: []string{"gzip"}},
		"long line":        {manifest: huge, code: 2, words: []string{":3"}},
		"no file":          {manifest: "no-such.csv", code: 2, words: []string{"no-such.csv", "there is no such file"}},
		"directory":        {manifest: t.TempDir(), code: 2, words: []string{"is a directory"}},
		"no object":        {manifest: "s3://" + bucket + "/no/such.csv", code: 2, words: []string{"there is no such object"}},
		"no bucket":        {manifest: "s3://no-such-bucket/m.csv", code: 2, words: []string{"no-such-bucket"}},
		"no key":           {manifest: "s3://" + bucket, code: 2, words: []string{"names no object"}},
		"denied":           {manifest: "s3://" + bucket + "/denied/m.csv", code: 1, words: []string{"AccessDenied"}},
		"several problems": {text: "device\na_b\ncam-1\nc_d\n", code: 2, words: []string{":2", ":4", "2 problems; nothing was started"}},
	} {
		t.Run(name, func(t *testing.T) {
			if c.manifest == "" {
				c.manifest = writeFile(t, "m.csv", c.text)
			}
			if name == "denied" {
				s.fault(t, denied("s3:GetObject", -1))
			}
			s.starter(t, "onboard", "-f", d.file, c.manifest).exits(t, c.code, c.words...)
		})
	}
	s.starter(t, "onboard", "-f", d.file, writeFile(t, "m.csv", "device\ncam-1\n"),
		"--name", "a_b", "--in-flight", "-1", "--stop-percent", "101", "--stop-in-a-row", "-1", "--on-failure", "panic").
		exits(t, 2, "--name", "--in-flight", "--stop-percent", "--stop-in-a-row", "--on-failure", "5 problems")
	s.starter(t, "onboard", "-f", d.file).exits(t, 2)
	runs, err := s.executions(t.Context(), client.DefaultNamespace, "WorkflowType = 'OnboardFleet'")
	require.NoError(t, err)
	require.Empty(t, runs)
	require.Empty(t, s.objects(t, "authorization-files/"+d.spec.Name+"/_onboarding/"))
}

// JSON Lines, and devices whose keys are their own, with the requests beside the manifest.
func TestOnboardDeviceKeys(t *testing.T) {
	s := newLanes(t, 1).take(t)
	d := newDevice(t, iotCore, "keys: device\n")
	folder := t.TempDir()
	var lines strings.Builder
	for i := range 4 {
		name := fmt.Sprintf("%s-%d", d.Name, i)
		pem := certificateRequest(t, name, newECKey(t, elliptic.P256()))
		require.NoError(t, os.WriteFile(filepath.Join(folder, name+".csr"), []byte(pem), 0o600))
		line := map[string]any{"device": name, "csr": name + ".csr", "attributes": map[string]string{"n": fmt.Sprint(i)}}
		if i == 0 {
			line["csr"] = pem
		}
		text, err := json.Marshal(line)
		require.NoError(t, err)
		lines.Write(append(text, '\n'))
	}
	manifest := filepath.Join(folder, "m.jsonl")
	require.NoError(t, os.WriteFile(manifest, []byte(lines.String()), 0o600))
	got := s.onboard(t, 0, "-f", d.file, manifest)
	require.Equal(t, workflows.Counts{Provisioned: 4}, got.Counts)
	require.Empty(t, s.audit(t, d))
}
