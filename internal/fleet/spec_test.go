package fleet

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const goodSpec = `name: cameras
registry: sagemaker-edge
roleArn: arn:aws:iam::123456789012:role/EdgeFleetRole
thingType: smart-camera
output: s3://edge-bucket/device_output
bundles: s3://edge-bucket/authorization-files/
keys: aws
kmsKeyId: alias/edge
attributes: {site: osaka}
`

// without is goodSpec less the lines of those fields.
func without(fields ...string) string {
	var kept []string
	for line := range strings.Lines(goodSpec) {
		drop := false
		for _, f := range fields {
			drop = drop || strings.HasPrefix(line, f+":")
		}
		if !drop {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

func requireProblems(t *testing.T, err error) InvalidInput {
	t.Helper()
	found, ok := errors.AsType[InvalidInput](err)
	require.True(t, ok, "want InvalidInput, got %v", err)
	require.NotEmpty(t, found)
	return found
}

func fieldsOf(problems InvalidInput) (fields []string) {
	for _, p := range problems {
		fields = append(fields, p.Field)
	}
	return fields
}

func TestParseSpec(t *testing.T) {
	spec, err := ParseSpec("fleet.yaml", []byte(goodSpec))
	require.NoError(t, err)
	require.Equal(t, Spec{
		Name:       "cameras",
		Registry:   SageMakerEdge,
		RoleARN:    "arn:aws:iam::123456789012:role/EdgeFleetRole",
		ThingType:  "smart-camera",
		Output:     S3URI{"edge-bucket", "device_output"},
		Bundles:    S3URI{"edge-bucket", "authorization-files"},
		Keys:       KeysAWS,
		KMSKeyID:   "alias/edge",
		Attributes: map[string]string{"site": "osaka"},
	}, spec)
	require.Equal(t, "edgefleet-cameras", spec.PolicyName())
	require.Equal(t, "edgefleet-cameras", spec.RoleAliasName())
	require.Equal(t, "cameras", spec.ThingGroupName())
}

func TestParseSpecDefaults(t *testing.T) {
	spec, err := ParseSpec("fleet.yaml", []byte(without("registry", "keys", "kmsKeyId", "attributes")))
	require.NoError(t, err)
	require.Equal(t, SageMakerEdge, spec.Registry)
	require.Equal(t, KeysAWS, spec.Keys)
	require.Empty(t, spec.KMSKeyID)
	require.Empty(t, spec.Attributes)
	require.Zero(t, spec.HoldDeadline)
}

func TestParseSpecReadsHoldDeadlines(t *testing.T) {
	for text, want := range map[string]time.Duration{"7d": 7 * 24 * time.Hour, "36h": 36 * time.Hour, "1h30m": 90 * time.Minute, "1s": time.Second, "": 0} {
		spec, err := ParseSpec("f.yaml", []byte(goodSpec+"holdDeadline: "+text+"\n"))
		require.NoError(t, err, text)
		require.Equal(t, want, spec.HoldDeadline, text)
	}
	for text, want := range map[string]string{
		"soon": "is no time", "7": "is no time", "-1d": "is no time", "0d": "0 is no time to hold for", "0": "0 is no time to hold for",
		"10ms": "from 1s to 366 days", "400d": "from 1s to 366 days", "-1h": "from 1s to 366 days", "[1d]": "must be a text",
	} {
		_, err := ParseSpec("f.yaml", []byte(goodSpec+"holdDeadline: "+text+"\n"))
		problems := requireProblems(t, err)
		require.Len(t, problems, 1, text)
		require.Equal(t, Problem{"f.yaml", 10, 15, "holdDeadline", problems[0].Reason}, problems[0], text)
		require.Contains(t, problems[0].Reason, want)
	}
}

func TestParseSpecWantsOutputForSageMakerOnly(t *testing.T) {
	_, err := ParseSpec("fleet.yaml", []byte(without("output")))
	require.EqualError(t, err, "fleet.yaml: output: is missing")
	spec, err := ParseSpec("fleet.yaml", []byte(without("output", "registry")+"registry: iot-core\n"))
	require.NoError(t, err)
	require.Equal(t, IoTCore, spec.Registry)
	require.Zero(t, spec.Output)
}

// Numbers and truth values are taken as they are written.
func TestParseSpecTakesScalarsAsText(t *testing.T) {
	spec, err := ParseSpec("fleet.yaml", []byte("\ufeff"+without("name", "attributes")+`name: 2026
attributes:
  octal: 007
  negative: -5
  float: 1.50
  exponent: 1e3
  hex: 0x1F
  truth: true
  word: yes
  quoted: "0x10"
  folded: >-
    one
  date: 2026-01-31
`))
	require.NoError(t, err)
	require.Equal(t, "2026", spec.Name)
	require.Equal(t, map[string]string{
		"octal": "007", "negative": "-5", "float": "1.50", "exponent": "1e3", "hex": "0x1F",
		"truth": "true", "word": "yes", "quoted": "0x10", "folded": "one", "date": "2026-01-31",
	}, spec.Attributes)
}

// All problems are reported at once, in the order of the file, each where it stands.
func TestParseSpecReportsAllProblems(t *testing.T) {
	_, err := ParseSpec("fleet.yaml", []byte(`name: -cameras
registry: greengrass
thingType: [a, b]
bundles: [s3://a]
color: red
output:   edge-bucket/output
keys: rsa
kmsKeyId: a b
attributes:
  site: new york
  edgefleet-run: x
  empty:
  list: [1]
Name: cameras
`))
	type at struct {
		field        string
		line, column int
	}
	var got []at
	for _, p := range requireProblems(t, err) {
		require.Equal(t, "fleet.yaml", p.Source)
		require.NotEmpty(t, p.Reason)
		got = append(got, at{p.Field, p.Line, p.Column})
	}
	require.Equal(t, []at{
		{"roleArn", 0, 0},
		{"name", 1, 7},
		{"registry", 2, 11},
		{"thingType", 3, 12},
		{"bundles", 4, 10},
		{"color", 5, 1},
		{"output", 6, 11},
		{"keys", 7, 7},
		{"kmsKeyId", 8, 11},
		{"attributes.site", 10, 9},
		{"attributes.edgefleet-run", 11, 18},
		{"attributes.empty", 12, 9},
		{"attributes.list", 13, 9},
		{"Name", 14, 1},
	}, got)
	require.ErrorContains(t, err, "fleet.yaml:5:1: color: is not a field of a fleet specification; the fields are name, registry,")
	require.ErrorContains(t, err, `fleet.yaml:2:11: registry: "greengrass" is no registry: sagemaker-edge or iot-core`)
	require.ErrorContains(t, err, "fleet.yaml:3:12: thingType: must be a text, but is of the kind sequence")
}

func TestParseSpecNamesMissingFields(t *testing.T) {
	for _, empty := range []string{"{}", "~", "null", "keys: aws"} {
		_, err := ParseSpec("fleet.yaml", []byte(empty))
		require.Equal(t, []string{"name", "roleArn", "thingType", "output", "bundles"}, fieldsOf(requireProblems(t, err)), empty)
	}
}

func TestParseSpecRefusesOtherShapes(t *testing.T) {
	for name, c := range map[string]struct {
		text, want string
	}{
		"empty":              {"", "f.yaml:1: the fleet specification is empty"},
		"only a comment":     {"# cameras\n", "f.yaml:1: the fleet specification is empty"},
		"only a marker":      {"---\n", "f.yaml:1: the fleet specification is empty"},
		"a list":             {"- name: cameras\n", "f.yaml:1:1: must be a mapping (key: value), but is of the kind sequence"},
		"a text":             {"cameras\n", "f.yaml:1:1: must be a mapping (key: value), but is of the kind string"},
		"binary":             {"\x00\x01", "f.yaml:1:1: must be a mapping"},
		"two documents":      {goodSpec + "---\n" + goodSpec, "f.yaml:10: one file holds one fleet specification; here a second document begins"},
		"ended and go on":    {goodSpec + "...\n" + goodSpec, "one file holds one fleet specification; here a second document begins"},
		"not closed":         {"name: [", "f.yaml:1:7: is not YAML: sequence end token ']' not found"},
		"a tab":              {"name: a\n\tkeys: aws", "is not YAML"},
		"duplicate key":      {goodSpec + "name: b\n", `f.yaml:10:1: is not YAML: mapping key "name" already defined at [1:1]`},
		"duplicate, quoted":  {goodSpec + "\"name\": b\n", `f.yaml:10:1: is not YAML: mapping key "name" already defined at [1:1]`},
		"duplicate below":    {without("attributes") + "attributes: {a: 1, a: 2}\n", `f.yaml:9:20: is not YAML: mapping key "a" already defined at [9:14]`},
		"an anchor":          {without("name") + "name: &n cameras\n", "f.yaml:9:7: name: must be a text, but is of the kind anchor"},
		"an alias":           {without("thingType") + "thingType: *n\n", "f.yaml:9:12: thingType: must be a text, but is of the kind alias"},
		"a tag":              {without("name") + "name: !!str cameras\n", "f.yaml:9:7: name: must be a text, but is of the kind tag"},
		"a merge":            {without("name") + "<<: {name: cameras}\n", "f.yaml:9:1: <<: is not a field"},
		"attributes as list": {without("attributes") + "attributes: [site]\n", "f.yaml:9:13: attributes: must be a mapping (key: value), but is of the kind sequence"},
		"a name of lines":    {without("name") + "name: |\n  cameras\n", `"cameras\n" is no fleet name`},
		"an empty name":      {without("name") + "name:\n", "the fleet name is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseSpec("f.yaml", []byte(c.text))
			requireProblems(t, err)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestSpecInJSON(t *testing.T) {
	for _, text := range []string{goodSpec, without("output", "registry", "kmsKeyId", "attributes") + "registry: iot-core\n"} {
		spec, err := ParseSpec("fleet.yaml", []byte(text))
		require.NoError(t, err)
		encoded, err := json.Marshal(spec)
		require.NoError(t, err)
		require.Contains(t, string(encoded), `"bundles":"s3://edge-bucket/authorization-files"`)
		var got Spec
		require.NoError(t, json.Unmarshal(encoded, &got))
		require.Equal(t, spec, got)
	}
}

func TestReadSpec(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	spec, err := ReadSpec(write("good.yaml", goodSpec))
	require.NoError(t, err)
	require.Equal(t, "cameras", spec.Name)

	bad := write("bad.yaml", "name: -")
	largest := write("largest.yaml", goodSpec+"#"+strings.Repeat("x", maxSpecBytes-len(goodSpec)-1))
	_, err = ReadSpec(largest)
	require.NoError(t, err)
	for path, want := range map[string]string{
		"":                                 "-f: names no fleet specification",
		filepath.Join(dir, "missing.yaml"): "there is no such file",
		filepath.Join(bad, "below.yaml"):   "cannot be read",
		dir:                                "is a directory",
		bad:                                "bad.yaml:1:7",
		write("large.yaml", strings.Repeat("x", maxSpecBytes+1)): "too large for a fleet specification",
	} {
		_, err := ReadSpec(path)
		requireProblems(t, err)
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, path)
	}
}

func TestExamplesParse(t *testing.T) {
	for name, registry := range map[string]Registry{"fleet.yaml": SageMakerEdge, "fleet-iot-core.yaml": IoTCore} {
		spec, err := ReadSpec(filepath.Join("..", "..", "examples", name))
		require.NoError(t, err)
		require.Equal(t, registry, spec.Registry)
		_, err = spec.NewDevice("cam-01", "", nil)
		require.NoError(t, err)
	}
}
