package fleet

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNewDevice(t *testing.T) {
	spec := Spec{Name: "cameras", Attributes: map[string]string{"site": "osaka", "floor": "1"}}

	d, err := spec.NewDevice("cam-01", "", nil)
	require.NoError(t, err)
	require.Equal(t, Device{Name: "cam-01", Thing: "cam-01", Attributes: map[string]string{"site": "osaka", "floor": "1"}}, d)

	d, err = spec.NewDevice("cam-01", "thing:1", map[string]string{"floor": "2", "rack": "007"})
	require.NoError(t, err)
	require.Equal(t, Device{Name: "cam-01", Thing: "thing:1", Attributes: map[string]string{"site": "osaka", "floor": "2", "rack": "007"}}, d)
	require.Equal(t, map[string]string{"site": "osaka", "floor": "1"}, spec.Attributes, "the fleet's are not the device's to change")

	d, err = Spec{}.NewDevice("cam-01", "", map[string]string{"rack": "1"})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"rack": "1"}, d.Attributes)
}

func TestNewDeviceReportsAllProblems(t *testing.T) {
	_, err := Spec{Attributes: map[string]string{RunMark: "mine", FleetMark: "mine"}}.NewDevice("-cam", "a b", map[string]string{"": "x", "a b": "y", "empty": "", "sp": "a b"})
	problems := requireProblems(t, err)
	require.Equal(t, []string{"device", "thing", "attributes.", "attributes.a b", "attributes.edgefleet-fleet", "attributes.edgefleet-run", "attributes.empty", "attributes.sp"}, fieldsOf(problems))
	for _, p := range problems {
		require.Equal(t, `device "-cam"`, p.Source)
	}
	require.Contains(t, err.Error(), "attributes.edgefleet-run: the name is reserved")

	_, err = Spec{}.NewDevice("", "", nil)
	require.Equal(t, []string{"device"}, fieldsOf(requireProblems(t, err)), "the thing's name is not reported as well")
}

func TestNewDeviceCountsAttributes(t *testing.T) {
	many := map[string]string{}
	for i := range 47 {
		many[fmt.Sprintf("a%d", i)] = "x"
	}
	spec := Spec{Attributes: map[string]string{"site": "osaka"}}
	_, err := spec.NewDevice("cam-01", "", many)
	require.NoError(t, err, "48, with the fleet's")
	many["one-more"] = "x"
	_, err = spec.NewDevice("cam-01", "", many)
	require.ErrorContains(t, err, "attributes: 49 are too many")
}

func TestParseAttributes(t *testing.T) {
	got, err := ParseAttributes([]string{"site=osaka", "empty=", "eq=a=b"})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"site": "osaka", "empty": "", "eq": "a=b"}, got)

	got, err = ParseAttributes(nil)
	require.NoError(t, err)
	require.Empty(t, got)

	_, err = ParseAttributes([]string{"site", "a=1", "a=1", "b=2"})
	require.Len(t, requireProblems(t, err), 2)
	require.ErrorContains(t, err, `--attribute: "site" must read NAME=VALUE`)
	require.ErrorContains(t, err, `--attribute: "a" is given twice`)
}

func TestProblemString(t *testing.T) {
	require.Equal(t, "f.yaml:3:7: name: is bad", Problem{"f.yaml", 3, 7, "name", "is bad"}.String())
	require.Equal(t, "f.yaml:3: is bad", Problem{Source: "f.yaml", Line: 3, Reason: "is bad"}.String())
	require.Equal(t, "f.yaml: is bad", Problem{Source: "f.yaml", Column: 7, Reason: "is bad"}.String())
	require.Equal(t, 2, len(strings.Split(InvalidInput{{Source: "a"}, {Source: "b"}}.Error(), "\n")))
}
