package fleet

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

// Whatever the file holds: no panic, a refusal names a problem, and what is accepted follows the
// rules and survives JSON, in which Temporal carries it.
func FuzzParseSpec(f *testing.F) {
	for _, seed := range []string{
		goodSpec,
		without("output", "registry") + "registry: iot-core\n",
		without("attributes") + "attributes:\n  a: 007\n  b: >-\n    c\n",
		goodSpec + "...\n" + goodSpec,
		"%YAML 1.2\n---\n" + goodSpec,
		"name: &x [*x]\n? a\n: b\n<<: *x\n",
		"- 1\n", "~", "\ufeff", "? ", "&a", "!!map {}", "a:\n\t- b", "{a: b, }", "name: .inf", "---\n---\n", "\"a\": 'b\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		spec, err := ParseSpec("fleet.yaml", data)
		if err != nil {
			for _, p := range requireProblems(t, err) {
				require.NotEmpty(t, p.Reason)
				require.GreaterOrEqual(t, p.Line, 0)
			}
			return
		}
		spec.check(func(field string, err error) { t.Errorf("accepted, yet %s: %v", field, err) })
		require.NotZero(t, spec.Bundles)
		if spec.Registry == SageMakerEdge {
			require.NotZero(t, spec.Output)
		}
		text, err := json.Marshal(spec)
		require.NoError(t, err)
		var again Spec
		require.NoError(t, json.Unmarshal(text, &again))
		if len(spec.Attributes) == 0 {
			spec.Attributes = nil // "attributes: {}" is not carried
		}
		require.Equal(t, spec, again)
	})
}
