package test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"

	"edgefleet/internal/devstack"
	"edgefleet/workflows"
)

// TestWorkerStopsGracefully: told to stop amid a step, a worker finishes the step and exits 0; the
// next one goes on after it.
func TestWorkerStopsGracefully(t *testing.T) {
	s := shared(t)
	env := s.namespace(t, "graceful") // where no other worker helps out
	first := startWorker(t, env)
	s.applyFleet(t, env, spec(t, "graceful", iotCore))
	const device = "graceful-01"
	s.fault(t, fault{Operation: "iot:CreateThing", Kind: "delay", DelayMS: 2000, Match: device, Times: 1})
	before := s.calls(t)["iot:CreateThing"]
	run(t, env, "starter", "provision", "-f", spec(t, "graceful", iotCore), device, "--no-wait").exits(t, 0)
	eventually(t, "the step's call", func() error { return differ(before+1, s.calls(t)["iot:CreateThing"]) })

	require.NoError(t, first.cmd.Process.Signal(syscall.SIGTERM))
	o := first.wait(t)
	o.exits(t, 0, "stopping")

	second := startWorker(t, env)
	o = run(t, env, "starter", "provision", "-f", spec(t, "graceful", iotCore), device, "-o", "json") // joins
	o.exits(t, 0)
	assert.Equal(t, before+1, s.calls(t)["iot:CreateThing"], "the step was done again: its result was lost")
	require.NoError(t, second.cmd.Process.Signal(syscall.SIGTERM))
	second.wait(t).exits(t, 0)
}

// applyFleet prepares a fleet in a namespace that edgefleet has never been used in.
func (s *stack) applyFleet(t *testing.T, env []string, file string) {
	t.Helper()
	run(t, env, "starter", "provision", "-f", file, "too-early-01").exits(t, 1, "search attribute", "starter fleet apply")
	o := run(t, env, "starter", "fleet", "apply", "-f", file, "-o", "json")
	o.exits(t, 0)
	var prepared workflows.PreparedFleet
	o.decode(t, &prepared)
	assert.Len(t, prepared.Resources, 6)
}

// workerProcess is a worker that is not the stack's.
type workerProcess struct {
	cmd    *exec.Cmd
	output string // a file
	ended  chan struct{}
}

// startWorker starts a worker and returns when it serves.
func startWorker(t *testing.T, env []string) *workerProcess {
	t.Helper()
	w := &workerProcess{
		cmd:    exec.Command(filepath.Join(binaries, "worker")),
		output: filepath.Join(t.TempDir(), "worker.log"), ended: make(chan struct{}),
	}
	output, err := os.Create(w.output)
	require.NoError(t, err)
	defer output.Close()
	w.cmd.Env, w.cmd.Stdout, w.cmd.Stderr = with(env, "EDGEFLEET_METRICS_ADDRESS=127.0.0.1:0"), output, output
	require.NoError(t, w.cmd.Start())
	go func() {
		_ = w.cmd.Wait() // its exit code tells
		close(w.ended)
	}()
	t.Cleanup(func() {
		_ = w.cmd.Process.Kill() // it has ended, unless the test failed
		<-w.ended
		record(w.printed())
	})
	eventually(t, "a worker that serves", func() error {
		if !strings.Contains(w.printed(), `"msg":"serving"`) {
			return errors.New(w.printed())
		}
		return nil
	})
	return w
}

func (w *workerProcess) printed() string {
	text, _ := os.ReadFile(w.output) // what is not there was not printed
	return string(text)
}

func (w *workerProcess) wait(t *testing.T) outcome {
	t.Helper()
	eventually(t, "the worker's end", func() error {
		select {
		case <-w.ended:
			return nil
		default:
			return errors.New(w.printed())
		}
	})
	return outcome{code: w.cmd.ProcessState.ExitCode(), stderr: w.printed()}
}

// TestWorkerHealth: 200, 503 while Temporal is away, 200 when it is back; and so says `worker -health`.
func TestWorkerHealth(t *testing.T) {
	s, err := startStack(devstack.Config{})
	require.NoError(t, err)
	defer func() { assert.NoError(t, s.stop()) }()
	t.Parallel()
	url := s.Workers[0].URL
	is := func(status int) func() error {
		return func() error {
			got, body, err := get(t.Context(), url+"/healthz")
			if err == nil && got != status {
				err = fmt.Errorf("status %d: %s", got, body)
			}
			return err
		}
	}
	asked := func() int {
		return run(t, s.Env("EDGEFLEET_METRICS_ADDRESS="+strings.TrimPrefix(url, "http://")), "worker", "-health").code
	}
	require.NoError(t, is(http.StatusOK)())
	assert.Equal(t, 0, asked())

	require.NoError(t, s.StopTemporal())
	eventually(t, "503 without Temporal", is(http.StatusServiceUnavailable))
	assert.Equal(t, 1, asked())

	require.NoError(t, s.StartTemporal(t.Context()))
	eventually(t, "200 with Temporal again", is(http.StatusOK))
	// It forgot everything, in memory as it is; the worker polls again without being started anew.
	s.provision(t, spec(t, "health", iotCore), "health-01")
}

func TestWorkerMetrics(t *testing.T) {
	s := shared(t)
	s.provision(t, spec(t, "metrics", iotCore), "metrics-01")
	status, page, err := get(t.Context(), s.Workers[0].URL+"/metrics")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	for _, metric := range []string{
		`temporal_workflow_completed\{.*workflow_type="ProvisionDevice"`,
		`temporal_activity_execution_latency_seconds_bucket\{activity_type="IssueCertificate".*,le="0.25"`, // buckets that can tell
		`temporal_request\{.*task_queue="` + workflows.TaskQueue + `"`,
		`temporal_worker_task_slots_available\{`,
		`go_goroutines `,
		`process_cpu_seconds_total `,
	} {
		if !regexp.MustCompile(`(?m)^` + metric).Match(page) {
			t.Errorf("no metric %s", metric)
		}
	}
}

// TestWorkerLog: each line is JSON, and one about an activity says of which run it is.
func TestWorkerLog(t *testing.T) {
	s := shared(t)
	const device = "logged-01"
	s.fault(t, fault{Operation: "iot:CreateThing", Kind: "throttle", Match: device, Times: 1})
	r := s.provision(t, spec(t, "logged", iotCore), device)
	text, err := os.ReadFile(s.Workers[0].LogFile())
	require.NoError(t, err)
	id := workflows.DeviceWorkflowID(r.Fleet, r.Device)
	described, err := s.temporal.DescribeWorkflowExecution(t.Context(), id, "")
	require.NoError(t, err)
	require.Equal(t, enums.WORKFLOW_EXECUTION_STATUS_COMPLETED, described.GetWorkflowExecutionInfo().GetStatus())
	found := false
	for line := range bytes.Lines(text) {
		var entry struct {
			Level, Msg                                    string
			WorkflowID, RunID, ActivityType, WorkflowType string
			Error                                         string
		}
		require.NoError(t, json.Unmarshal(line, &entry), "%s", line)
		if entry.WorkflowID != id {
			continue
		}
		assert.Equal(t, described.GetWorkflowExecutionInfo().GetExecution().GetRunId(), entry.RunID)
		found = found || entry.ActivityType == "CreateThing" && strings.Contains(entry.Error, "Rate exceeded")
	}
	assert.True(t, found, "no line of %s in\n%s", id, text)
}

// TestMetricsAddressInUse: an address that was asked for is had or refused, never another.
func TestMetricsAddressInUse(t *testing.T) {
	s := shared(t)
	taken := strings.TrimPrefix(s.Workers[0].URL, "http://")
	run(t, s.Env("EDGEFLEET_METRICS_ADDRESS="+taken), "worker").exits(t, 1, taken, "address already in use", "EDGEFLEET_METRICS_ADDRESS")
}
