package test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/protobuf/types/known/durationpb"

	"edgefleet/activities"
)

// TestNoTemporal: nobody listens at TEMPORAL_ADDRESS.
func TestNoTemporal(t *testing.T) {
	address := unusedAddress(t)
	env := with(shared(t).Env(), "TEMPORAL_ADDRESS="+address)
	file := spec(t, "no-temporal", sageMaker)
	t.Parallel()
	for name, call := range map[string][]string{
		"provision":   {"starter", "provision", "-f", file, "cam-01", "-o", "json"},
		"fleet apply": {"starter", "fleet", "apply", "-f", file},
		"status":      {"starter", "status"},
		"worker":      {"worker"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := run(t, with(env, "EDGEFLEET_METRICS_ADDRESS=127.0.0.1:0"), call[0], call[1:]...)
			o.exits(t, 1, "no Temporal at "+address, "TEMPORAL_ADDRESS", "starter dev")
			assert.Empty(t, o.stdout)
			assert.Less(t, o.took, time.Minute)
		})
	}
}

// unusedAddress is one that nobody listens at.
func unusedAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return listener.Addr().String()
}

func TestNoSuchNamespace(t *testing.T) {
	s := shared(t)
	env := with(s.Env(), "TEMPORAL_NAMESPACE=nowhere")
	o := run(t, env, "starter", "provision", "-f", spec(t, "no-namespace", sageMaker), "cam-01")
	o.exits(t, 1, `no namespace "nowhere"`, "temporal operator namespace create -n nowhere", "TEMPORAL_NAMESPACE")
	o = run(t, with(env, "EDGEFLEET_METRICS_ADDRESS=127.0.0.1:0"), "worker")
	o.exits(t, 1, `no namespace "nowhere"`, "TEMPORAL_NAMESPACE")
}

// TestNoWorker: nothing is started that nobody would do.
func TestNoWorker(t *testing.T) {
	s := shared(t)
	env := s.namespace(t, "no-worker")
	file := spec(t, "no-worker", sageMaker)
	t.Parallel()
	for name, args := range map[string][]string{
		"provision":         {"provision", "-f", file, "cam-01", "-o", "json"},
		"provision no-wait": {"provision", "-f", file, "cam-02", "--no-wait"},
		"fleet apply":       {"fleet", "apply", "-f", file},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := run(t, env, "starter", args...)
			o.exits(t, 1, `no worker polls task queue "edgefleet"`, `namespace "no-worker"`, "nothing was started", "bin/worker")
			assert.Empty(t, o.stdout)
			assert.Less(t, o.took, time.Minute)
		})
	}
	t.Cleanup(func() { // when those above are done
		started, err := s.executions(context.Background(), "no-worker", "")
		assert.NoError(t, err)
		assert.Empty(t, started)
	})
}

// namespace makes a namespace of the shared server, where only the test's own workers poll, and
// returns the environment that leads there.
func (s *stack) namespace(t *testing.T, name string) (env []string) {
	t.Helper()
	_, err := s.temporal.WorkflowService().RegisterNamespace(t.Context(), &workflowservice.RegisterNamespaceRequest{
		Namespace: name, WorkflowExecutionRetentionPeriod: durationpb.New(24 * time.Hour),
	})
	require.NoError(t, err)
	env = with(s.Env(), "TEMPORAL_NAMESPACE="+name)
	eventually(t, "the namespace "+name, func() error { // the server knows a new one after a moment
		_, err := s.executions(t.Context(), name, "")
		return err
	})
	return env
}

// TestWorkerWithoutAWS: a worker that AWS will not know says so at its start.
func TestWorkerWithoutAWS(t *testing.T) {
	env := with(shared(t).Env(), "EDGEFLEET_METRICS_ADDRESS=127.0.0.1:0")
	t.Parallel()
	for name, test := range map[string]struct {
		env   []string
		words []string
	}{
		"no region": {
			without(env, "AWS_REGION", "AWS_DEFAULT_REGION"),
			[]string{"no AWS region is configured", "set AWS_REGION"},
		},
		"no such region": {
			with(with(env, "AWS_REGION=osaka"), "AWS_DEFAULT_REGION=osaka"),
			[]string{`in region "osaka"`, "valid region", "check the worker's AWS credentials and region"},
		},
		"no credentials": {
			without(env, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
			[]string{"there are no AWS credentials", "Set AWS_ACCESS_KEY_ID"},
		},
		"half of the credentials": {
			without(env, "AWS_SECRET_ACCESS_KEY"),
			[]string{"AWS credentials"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := run(t, test.env, "worker")
			o.exits(t, 1, append(test.words, "worker: ")...)
			assert.NotContains(t, o.stderr, "goroutine", "a panic is no message")
		})
	}
}

// TestAccessDenied: AWS's refusal of a step ends the run with all that its reader needs.
func TestAccessDenied(t *testing.T) {
	s := shared(t)
	file := spec(t, "denied", sageMaker)
	refusal := fault{Operation: "iot:CreateThing", Kind: "error", Code: "AccessDeniedException", Status: 403, Match: "denied-", Times: 1}

	s.fault(t, refusal)
	o := s.starter(t, "provision", "-f", file, "denied-01", "--on-failure", "rollback")
	o.exits(t, 1, "AccessDenied", "AccessDeniedException", `creating thing "denied-01"`, "request id ", "What to do: ", "IAM policy")
	assert.Contains(t, o.stdout, "✗ CreateThing", "%s", o)

	s.fault(t, refusal)
	o = s.starter(t, "provision", "-f", file, "denied-01", "--on-failure", "rollback", "-o", "json")
	o.exits(t, 1, "AccessDeniedException")
	var failed struct {
		State, WorkflowID, RunID, ErrorType, Error string
		Steps                                      []struct{ Step, State, Error string }
	}
	o.decode(t, &failed)
	assert.Equal(t, "rolled-back", failed.State)
	assert.Equal(t, activities.AccessDenied, failed.ErrorType)
	assert.Contains(t, failed.Error, "request id ")
	assert.NotEmpty(t, failed.RunID)
	require.Len(t, failed.Steps, 3, "with its undo")
	assert.Equal(t, "done", failed.Steps[0].State)
	assert.Equal(t, "failed", failed.Steps[1].State)
	assert.Contains(t, failed.Steps[1].Error, "AccessDeniedException")

	s.provision(t, file, "denied-01") // and it is none that stays
}

// TestPortInUse: `starter dev` names each port that it cannot have, and leaves nothing running.
func TestPortInUse(t *testing.T) {
	t.Parallel()
	taken := map[string]int{}
	for _, flag := range []string{"--temporal-port", "--credentials-port"} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer listener.Close()
		taken[flag] = listener.Addr().(*net.TCPAddr).Port
	}
	args := []string{"--ui-port", "0", "--aws-port", "0", "--metrics-port", "0"}
	for flag, port := range taken {
		args = append(args, flag, fmt.Sprint(port))
	}
	dev := startDev(t, args...)
	o := dev.wait(t)
	o.exits(t, 1)
	for flag, port := range taken {
		assert.Contains(t, o.stderr, fmt.Sprintf("127.0.0.1:%d", port))
		assert.Contains(t, o.stderr, flag)
	}
	assert.Equal(t, 2, strings.Count(o.stderr, "address already in use"), "%s", o)
	dev.assertGone(t)
}
