package test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
)

// patience is what a machine several times slower than usual needs for anything here. It is a
// limit, not a wait.
const patience = 2 * time.Minute

// transcript is all that the programs printed, for the search for private keys.
var transcript struct {
	sync.Mutex
	text bytes.Buffer
}

func record(text ...string) {
	transcript.Lock()
	defer transcript.Unlock()
	for _, t := range text {
		transcript.text.WriteString(t)
	}
}

// outcome is how a program ended.
type outcome struct {
	code           int
	stdout, stderr string
	took           time.Duration
}

// run runs a program of `make build` to its end, without a terminal.
func run(t *testing.T, env []string, program string, args ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, filepath.Join(binaries, program), args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, &stdout, &stderr
	begun := time.Now()
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Errorf("%s %s: %v", program, strings.Join(args, " "), err)
	}
	record(stdout.String(), stderr.String())
	o := outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String(), time.Since(begun)}
	if ctx.Err() != nil {
		t.Errorf("%s %s did not end within %s\n%s", program, strings.Join(args, " "), patience, o)
	}
	return o
}

func (o outcome) String() string {
	return fmt.Sprintf("exit %d after %s\n--- stdout\n%s--- stderr\n%s", o.code, o.took.Round(time.Millisecond), o.stdout, o.stderr)
}

// exits checks the exit code and that stderr has all the words.
func (o outcome) exits(t *testing.T, code int, words ...string) {
	t.Helper()
	require.Equal(t, code, o.code, "%s", o)
	for _, word := range words {
		require.Contains(t, o.stderr, word, "%s", o)
	}
}

// decode reads stdout as one JSON document, and nothing else.
func (o outcome) decode(t *testing.T, into any) {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(o.stdout))
	require.NoError(t, decoder.Decode(into), "%s", o)
	_, err := decoder.Token()
	require.ErrorIs(t, err, io.EOF, "more than one JSON document\n%s", o)
}

func (s *stack) starter(t *testing.T, args ...string) outcome {
	t.Helper()
	return run(t, s.Env(), "starter", args...)
}

// without is env with none of the variables.
func without(env []string, names ...string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return slices.Contains(names, name)
	})
}

// with is env with the variable NAME=VALUE instead of any of that name.
func with(env []string, variable string) []string {
	name, _, _ := strings.Cut(variable, "=")
	return append(without(env, name), variable)
}

const (
	sageMaker = "sagemaker-edge"
	iotCore   = "iot-core"
)

// specText is a fleet specification in YAML. Each field has a line of its own: tests name lines.
func specText(name, registry string) string {
	text := "name: " + name + "\nregistry: " + registry + `
roleArn: arn:aws:iam::123456789012:role/EdgeFleetRole
thingType: type-of-` + name + `
bundles: s3://edge-bucket/authorization-files
attributes: {site: osaka}
`
	if registry == sageMaker {
		text += "output: s3://edge-bucket/device_output\n"
	}
	return text
}

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func spec(t *testing.T, name, registry string) string {
	t.Helper()
	return writeFile(t, "fleet.yaml", specText(name, registry))
}

// fault makes the local AWS fail. Its fields are those of POST /_localaws/faults.
type fault struct {
	Operation string `json:"operation"`
	Kind      string `json:"kind"`
	Code      string `json:"code,omitempty"`
	Status    int    `json:"status,omitempty"`
	DelayMS   int    `json:"delayMs,omitempty"`
	Match     string `json:"match,omitempty"`
	Times     int    `json:"times,omitempty"`
}

func (s *stack) fault(t *testing.T, faults ...fault) {
	t.Helper()
	t.Cleanup(func() { s.clearFaults(t) })
	for _, f := range faults {
		require.NoError(t, s.ControlAWS(t.Context(), "POST", "faults", f, nil))
	}
}

func (s *stack) clearFaults(t *testing.T) {
	t.Helper()
	require.NoError(t, s.ControlAWS(context.Background(), "DELETE", "faults", nil, nil))
}

// pendingFaults are those that have not struck as often as they were to.
func (s *stack) pendingFaults(t *testing.T) []fault {
	t.Helper()
	var pending []fault
	require.NoError(t, s.ControlAWS(t.Context(), "GET", "faults", nil, &pending))
	return pending
}

// calls says how often each operation of the local AWS was called.
func (s *stack) calls(t *testing.T) map[string]int {
	t.Helper()
	var counted map[string]struct{ Calls int }
	require.NoError(t, s.ControlAWS(t.Context(), "GET", "calls", nil, &counted))
	calls := map[string]int{}
	for operation, n := range counted {
		calls[operation] = n.Calls
	}
	return calls
}

// executions lists the runs that match a visibility query, in a namespace.
func (s *stack) executions(ctx context.Context, namespace, query string) ([]*workflow.WorkflowExecutionInfo, error) {
	var all []*workflow.WorkflowExecutionInfo
	request := &workflowservice.ListWorkflowExecutionsRequest{Namespace: namespace, Query: query}
	for {
		page, err := s.temporal.WorkflowService().ListWorkflowExecutions(ctx, request)
		if err != nil {
			return nil, fmt.Errorf("listing the runs of namespace %s: %w", namespace, err)
		}
		all = append(all, page.GetExecutions()...)
		if request.NextPageToken = page.GetNextPageToken(); len(request.NextPageToken) == 0 {
			return all, nil
		}
	}
}

// differ is an error when got is not what is wanted.
func differ(want, got any) error {
	if !reflect.DeepEqual(want, got) {
		return fmt.Errorf("want %v, got %v", want, got)
	}
	return nil
}

// eventually waits until the condition holds; it fails with the condition's last word.
func eventually(t *testing.T, what string, condition func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err = condition(); err == nil {
			return
		}
	}
	t.Fatalf("%s: not within %s: %v", what, patience, err)
}
