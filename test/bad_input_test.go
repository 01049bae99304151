package test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestBadInput: each is answered before anything is started, with exit 2 and where the fault is.
func TestBadInput(t *testing.T) {
	s := shared(t)
	good := spec(t, "input", sageMaker)
	edited := func(old, with string) string {
		text := strings.Replace(specText("input", sageMaker), old, with, 1)
		require.NotEqual(t, specText("input", sageMaker), text, "nothing was edited")
		return writeFile(t, "fleet.yaml", text)
	}
	missing := filepath.Join(t.TempDir(), "fleet.yaml")
	long := strings.Repeat("x", 64)
	several := writeFile(t, "fleet.yaml", `name: my_fleet
registry: sagemaker
roleArn: EdgeFleetRole
bundles: s3:///authorization-files
colour: red
attributes: {edgefleet-run: mine, site: "two words"}
`)
	for name, test := range map[string]struct {
		args  []string
		words []string // that stderr must have
	}{
		"flags and device together": {
			[]string{"provision", "-f", several, "--on-failure", "explode", "--deadline", "0s", "cam_01"},
			[]string{`"my_fleet"`, `device "cam_01"`, `--on-failure: "explode"`, "--deadline: 0s", "nothing was started"},
		},
		"several devices": {
			[]string{"decommission", "-f", several, "cam_01", "cam_02"},
			[]string{`"my_fleet"`, `"cam_01"`, `"cam_02"`, "nothing was started"},
		},
		"underscore in the fleet's name": {
			[]string{"provision", "-f", edited("name: input", "name: my_fleet"), "cam-01"},
			[]string{"fleet.yaml:1:7: name: ", `"my_fleet"`, "nothing was started"},
		},
		"the same on fleet apply": {
			[]string{"fleet", "apply", "-f", edited("name: input", "name: my_fleet")},
			[]string{"fleet.yaml:1:7: name: ", `"my_fleet"`},
		},
		"a device's name of 64 characters": {
			[]string{"provision", "-f", good, long},
			[]string{`device "xxx`, "64 characters", "at most 63"},
		},
		"an unknown key": {
			[]string{"provision", "-f", edited("thingType:", "thingTyp:"), "cam-01"},
			[]string{"fleet.yaml:4:1: thingTyp: ", "thingType: is missing", "2 problems"},
		},
		"a bucket URI without bucket": {
			[]string{"provision", "-f", edited("s3://edge-bucket/authorization-files", "s3:///authorization-files"), "cam-01"},
			[]string{"fleet.yaml:5:10: bundles: ", `"s3:///authorization-files" has no bucket`},
		},
		"a role ARN that is none": {
			[]string{"provision", "-f", edited("arn:aws:iam::123456789012:role/EdgeFleetRole", "EdgeFleetRole"), "cam-01"},
			[]string{"fleet.yaml:3:10: roleArn: ", `"EdgeFleetRole" is no role ARN`},
		},
		"a missing file": {
			[]string{"provision", "-f", missing, "cam-01"},
			[]string{missing + ": there is no such file"},
		},
		"a directory": {
			[]string{"provision", "-f", filepath.Dir(missing), "cam-01"},
			[]string{"is a directory"},
		},
		"no YAML": {
			[]string{"provision", "-f", writeFile(t, "fleet.yaml", "name: [input\n"), "cam-01"},
			[]string{"fleet.yaml:1:", "is not YAML"},
		},
		"an empty file": {
			[]string{"provision", "-f", writeFile(t, "fleet.yaml", ""), "cam-01"},
			[]string{"fleet.yaml:1: ", "is empty"},
		},
		"all at once": {
			[]string{"provision", "-f", several, "cam_01", "--attribute", "rack", "--attribute", "a b=c"},
			[]string{
				"fleet.yaml:1:7: name: ", "fleet.yaml:2:11: registry: ", "fleet.yaml:3:10: roleArn: ", "fleet.yaml:4:10: bundles: ",
				"fleet.yaml:5:1: colour: ", "fleet.yaml:6:", "attributes.edgefleet-run: ", "attributes.site: ",
				"thingType: is missing", `device "cam_01": device: `, `--attribute: "rack" must read NAME=VALUE`, "attributes.a b: ",
			},
		},
		"no -f":             {[]string{"provision", "cam-01"}, []string{"-f: names no fleet specification", "examples/fleet.yaml"}},
		"no device":         {[]string{"provision", "-f", good}, []string{"arg", "starter provision --help"}},
		"two devices":       {[]string{"provision", "-f", good, "cam-01", "cam-02"}, []string{"arg", "starter provision --help"}},
		"an unknown flag":   {[]string{"provision", "-f", good, "cam-01", "--fast"}, []string{"--fast", "starter provision --help"}},
		"a wrong output":    {[]string{"provision", "-f", good, "cam-01", "-o", "xml"}, []string{"xml", "table or json"}},
		"unknown command":   {[]string{"provide", "-f", good, "cam-01"}, []string{`"provide"`, "starter --help"}},
		"fleet without one": {[]string{"fleet"}, []string{"apply", "starter fleet --help"}},
		"unknown of fleet":  {[]string{"fleet", "aply", "-f", good}, []string{"aply", "starter fleet --help"}},
		"attribute without value": {
			[]string{"provision", "-f", good, "cam-01", "--attribute", "rack"},
			[]string{`--attribute: "rack" must read NAME=VALUE`},
		},
		"attribute twice": {
			[]string{"provision", "-f", good, "cam-01", "--attribute", "rack=1", "--attribute", "rack=2"},
			[]string{`"rack" is given twice`},
		},
		"reserved attribute": {
			[]string{"provision", "-f", good, "cam-01", "--attribute", "edgefleet-run=1"},
			[]string{"attributes.edgefleet-run: ", "reserved"},
		},
		"attribute with a space": {
			[]string{"provision", "-f", good, "cam-01", "--attribute", "rack=a b"},
			[]string{"attributes.rack: ", `"a b" is no attribute value`},
		},
		"status of an impossible device": {[]string{"status", "cam_01"}, []string{"DEVICE: ", `"cam_01"`}},
		"status of an impossible fleet":  {[]string{"status", "--fleet", "my_fleet"}, []string{"--fleet: ", `"my_fleet"`}},
		"dev with an argument":           {[]string{"dev", "now"}, []string{"now", "starter dev --help"}},
		"dev with a negative pool":       {[]string{"dev", "--key-pool", "-1"}, []string{"--key-pool"}},
		"dev with an impossible port":    {[]string{"dev", "--temporal-port", "70000"}, []string{"--temporal-port", "70000"}},
	} {
		t.Run(name, func(t *testing.T) {
			calls := s.calls(t)
			o := s.starter(t, test.args...)
			o.exits(t, 2, test.words...)
			assert.Empty(t, o.stdout)
			assert.NotContains(t, o.stderr, "panic")
			assert.Equal(t, calls, s.calls(t), "AWS was called")
		})
	}
	for _, query := range []string{"EdgeFleet = 'input'", "EdgeFleet = 'my_fleet'"} {
		started, err := s.executions(t.Context(), "default", query)
		require.NoError(t, err)
		assert.Empty(t, started)
	}
}

// TestBadInputNeedsNoTemporal: what is wrong with the input is said without anything to connect to.
func TestBadInputNeedsNoTemporal(t *testing.T) {
	t.Parallel()
	env := []string{"TEMPORAL_ADDRESS=127.0.0.1:1"}
	o := run(t, env, "starter", "provision", "-f", writeFile(t, "fleet.yaml", "name: my_fleet\n"), "cam-01")
	o.exits(t, 2, "fleet.yaml:1:7: name: ")
}
