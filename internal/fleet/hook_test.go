package fleet

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const specWithoutHook = `name: cameras
registry: iot-core
roleArn: arn:aws:iam::123456789012:role/EdgeFleetRole
thingType: smart-camera
bundles: s3://edge-bucket/authorization-files
`

func TestHook(t *testing.T) {
	for name, test := range map[string]struct {
		yaml string
		want *Hook
	}{
		"none":              {"", nil},
		"empty":             {"hook:\n", nil},
		"url only":          {"hook: {url: 'https://example.com/hook?team=1'}\n", &Hook{"https://example.com/hook?team=1", DefaultHookSecret}},
		"secret's own name": {"hook:\n  url: http://127.0.0.1:8080/x\n  secretEnv: EDGEFLEET_HOOK_CAMERAS\n", &Hook{"http://127.0.0.1:8080/x", "EDGEFLEET_HOOK_CAMERAS"}},
	} {
		t.Run(name, func(t *testing.T) {
			spec, err := ParseSpec("fleet.yaml", []byte(specWithoutHook+test.yaml))
			require.NoError(t, err)
			assert.Equal(t, test.want, spec.Hook)
		})
	}
}

func TestBadHook(t *testing.T) {
	for name, test := range map[string]struct {
		yaml string
		want []string
	}{
		"no mapping":            {"hook: https://example.com\n", []string{"fleet.yaml:6:7: hook: must be a mapping"}},
		"no url":                {"hook: {secretEnv: EDGEFLEET_HOOK_A}\n", []string{"fleet.yaml:6:7: hook.url: is missing"}},
		"unknown field":         {"hook:\n  url: https://example.com\n  secret: abc\n", []string{"fleet.yaml:8:3: hook.secret: is not a field of a hook; the fields are url, secretEnv"}},
		"all at once":           {"hook:\n  url: ftp://example.com\n  secretEnv: AWS_SECRET_ACCESS_KEY\n", []string{"fleet.yaml:7:8: hook.url: ", "https://HOST/PATH", "fleet.yaml:8:14: hook.secretEnv: ", "EDGEFLEET_HOOK_"}},
		"a password in the url": {"hook: {url: 'https://me:secret@example.com'}\n", []string{"hook.url: may not hold a user name or password"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseSpec("fleet.yaml", []byte(specWithoutHook+test.yaml))
			require.Error(t, err)
			for _, want := range test.want {
				assert.ErrorContains(t, err, want)
			}
			assert.False(t, strings.Contains(err.Error(), "me:secret"), err)
		})
	}
}
