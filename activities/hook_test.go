package activities

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"edgefleet/internal/fleet"
)

func TestPostHook(t *testing.T) {
	const secret, body = "s3cret", `{"added":3}`
	t.Setenv("EDGEFLEET_HOOK_TEST", secret)
	answer, calls := http.StatusOK, 0
	var header http.Header
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls++
		header = r.Header
		text, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		assert.Equal(t, body, string(text))
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(answer)
	}))
	defer server.Close()
	post := func(hook fleet.Hook) error {
		var suite testsuite.WorkflowTestSuite
		env := suite.NewTestActivityEnvironment()
		env.RegisterActivity(&Activities{})
		_, err := env.ExecuteActivity("PostHook", hook, json.RawMessage(body))
		return err
	}
	hook := fleet.Hook{URL: server.URL, SecretEnv: "EDGEFLEET_HOOK_TEST"}
	require.NoError(t, post(hook))
	assert.Regexp(t, `^t=\d+,v1=[0-9a-f]{64}$`, header.Get(signatureHeader))
	assert.NotEmpty(t, header.Get(deliveryHeader))
	assert.Equal(t, "application/json", header.Get("Content-Type"))

	for status, kind := range map[int]string{500: Unavailable, 429: Unavailable, 404: InvalidInput, 302: InvalidInput} {
		calls, answer = 0, status
		err := post(hook)
		var said *temporal.ApplicationError
		require.ErrorAs(t, err, &said)
		assert.Equal(t, kind, said.Type(), status)
		assert.Equal(t, kind == InvalidInput, said.NonRetryable(), status)
		assert.NotContains(t, err.Error(), secret)
		assert.Equal(t, 1, calls, "no redirect is followed")
	}
	calls = 0
	err := post(fleet.Hook{URL: server.URL, SecretEnv: "EDGEFLEET_HOOK_NONE"})
	assert.ErrorContains(t, err, "no EDGEFLEET_HOOK_NONE")
	assert.Zero(t, calls, "nothing is sent unsigned")
	server.Close()
	assert.ErrorContains(t, post(hook), "no answer")
}

// TestSignature: as openssl has it: printf '1700000000.{"added":3}' | openssl dgst -sha256 -hmac s3cret.
func TestSignature(t *testing.T) {
	assert.Equal(t, "t=1700000000,v1=a835961af2470c7047ae231f226040b180f75182028193a737ae2f7aadcef513", signature([]byte("s3cret"), time.Unix(1700000000, 0), []byte(`{"added":3}`)))
}
