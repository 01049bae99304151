package fleet

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNameRules(t *testing.T) {
	for name, c := range map[string]struct {
		rule NameRule
		good []string
		bad  []string
	}{
		"fleet": {FleetName,
			[]string{"a", "Z", "7", "a-b", "a--b", strings.Repeat("a", 63), "a" + strings.Repeat("-", 61) + "b"},
			[]string{"", strings.Repeat("a", 64), "-a", "a-", "-", "a_b", "a.b", "a b", "a/b", "a:b", "é", "a\n", "\na"}},
		"device": {DeviceName,
			[]string{"a", "cam-01", strings.Repeat("9", 63)},
			[]string{"", strings.Repeat("9", 64), "-cam", "cam-", "cam_01", "cam 01", "cám"}},
		"thing": {ThingName,
			[]string{"_", "-", ":", "a:b_c-D", strings.Repeat("a", 128)},
			[]string{"", strings.Repeat("a", 129), "a.b", "a/b", "a b", "a\n"}},
		"thing type": {ThingTypeName,
			[]string{"smart-camera", "_a:", strings.Repeat("a", 128)},
			[]string{"", strings.Repeat("a", 129), "a+b", "a#b"}},
		"policy": {PolicyName,
			[]string{"a", "a+=,.@-_B", strings.Repeat("a", 128)},
			[]string{"", strings.Repeat("a", 129), "a:b", "a/b", "a b"}},
		"role alias": {RoleAliasName,
			[]string{"a", "a=,@-_B", strings.Repeat("a", 128)},
			[]string{"", strings.Repeat("a", 129), "a.b", "a+b", "a:b"}},
		"attribute name": {AttributeName,
			[]string{"site", "a_.,@/:#-", strings.Repeat("a", 128)},
			[]string{"", strings.Repeat("a", 129), "a b", "a=b", "a[0]"}},
		"attribute value": {AttributeValue,
			[]string{"osaka", "a=[1]", "007", strings.Repeat("a", 800)},
			[]string{"", strings.Repeat("a", 801), "a b", "a\tb", "大阪"}},
		"role ARN": {RoleARN,
			[]string{"arn:aws:iam::123456789012:role/Edge", "arn:aws-cn:iam::123456789012:role/a/b+c", "arn:aws-us-gov:iam::123456789012:role/r"},
			[]string{"", "EdgeFleetRole", "arn:aws:iam::12345678901:role/r", "arn:aws:iam::123456789012:user/r", "arn:aws:iam::123456789012:role/", " arn:aws:iam::123456789012:role/r"}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, n := range c.good {
				require.NoError(t, c.rule.Check(n), "%q", n)
			}
			for _, n := range c.bad {
				require.Error(t, c.rule.Check(n), "%q", n)
			}
		})
	}
}

// A refusal says what the name is for, shows it, and says what would be right.
func TestNameRuleMessages(t *testing.T) {
	require.EqualError(t, DeviceName.Check(""), "the device name is missing")

	err := DeviceName.Check("cam_01")
	require.ErrorContains(t, err, `"cam_01" is no device name`)
	require.ErrorContains(t, err, DeviceName.Pattern)

	long := DeviceName.Check(strings.Repeat("x", 5000))
	require.ErrorContains(t, long, "it has 5000 characters, at most 63 are allowed")
	require.Less(t, len(long.Error()), 300, "a long value must not drown the message")

	// Characters are counted, not bytes.
	require.ErrorContains(t, DeviceName.Check(strings.Repeat("é", 63)), "it must match")
	require.ErrorContains(t, DeviceName.Check(strings.Repeat("é", 64)), "it has 64 characters")
}
