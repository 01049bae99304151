package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"edgefleet/activities"
	"edgefleet/internal/devstack"
	"edgefleet/internal/fleet"
	"edgefleet/workflows"
)

// lanes are stacks that tests have to themselves, one at a time: what they do to Temporal, AWS or
// the worker disturbs nobody, and what is counted there is theirs.
type lanes struct {
	free chan *lane // nil: one that is yet to be started
	mu   sync.Mutex
	all  []*lane
}

type lane struct {
	*stack
	lost map[string]bool // certificates that lost answers left, by id
}

// newLanes are n lanes at most, each started when it is first needed. When the test is done they
// are searched for private keys and stopped.
func newLanes(t *testing.T, n int) *lanes {
	l := &lanes{free: make(chan *lane, n)}
	for range n {
		l.free <- nil
	}
	t.Cleanup(func() {
		for _, s := range l.all {
			s.close(t)
		}
	})
	return l
}

// close searches all that the lane has left for private keys, and stops it.
func (s *lane) close(t *testing.T) {
	found, searched, err := s.searchForKeys(context.Background())
	assert.NoError(t, err)
	assert.Empty(t, found)
	t.Log(searched)
	assert.NoError(t, s.stop())
}

// take waits for a free lane. It goes back when the test is done, unless that failed: who knows
// in what state it is then.
func (l *lanes) take(t *testing.T) *lane {
	t.Helper()
	var s *lane
	t.Cleanup(func() {
		if t.Failed() {
			s = nil
		}
		l.free <- s
	})
	s = l.next(t)
	return s
}

func (l *lanes) next(t *testing.T) *lane {
	t.Helper()
	s := <-l.free
	if s == nil {
		// Keys are dealt from a few, so that those of devices that are gone are known from others.
		l.mu.Lock() // one after the other: a machine with few processors is not faster with all at once
		defer l.mu.Unlock()
		started, err := startStack(devstack.Config{KeyPool: 2})
		require.NoError(t, err)
		s = &lane{started, map[string]bool{}}
		l.all = append(l.all, s)
		require.NoError(t, s.ControlAWS(t.Context(), "PUT", "quotas", map[string]int{"*": 0}, nil))
	}
	return s
}

// device is one device in a fleet of its own.
type device struct {
	spec fleet.Spec
	text string // the specification
	file string // that holds it, while the test runs
	fleet.Device
}

var fleetNumber atomic.Int32

// newDevice is a device of a fleet that nobody has used; more is added to the specification.
func newDevice(t *testing.T, registry, more string) device {
	t.Helper()
	name := fmt.Sprintf("%s-%d", registry, fleetNumber.Add(1))
	text := specText(name, registry) + more
	file := writeFile(t, "fleet.yaml", text)
	s, err := fleet.ReadSpec(file)
	require.NoError(t, err)
	return device{spec: s, text: text, file: file}.sibling(t, "dev-of-"+name)
}

// sibling is another device of the same fleet.
func (d device) sibling(t *testing.T, name string) device {
	t.Helper()
	var err error
	d.Device, err = d.spec.NewDevice(name, "", nil)
	require.NoError(t, err)
	return d
}

func (d device) workflowID() string { return workflows.DeviceWorkflowID(d.spec.Name, d.Name) }

func (s *stack) begin(t *testing.T, d device, workflow string, input any) client.WorkflowRun {
	t.Helper()
	run, err := s.temporal.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{
		ID: d.workflowID(), TaskQueue: workflows.TaskQueue, TypedSearchAttributes: workflows.SearchAttributes(d.spec.Name),
	}, workflow, input)
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			s.logHistory(t, run)
		}
	})
	return run
}

// logHistory shows what a run did.
func (s *stack) logHistory(t *testing.T, run client.WorkflowRun) {
	events, err := s.history(context.Background(), "default", &common.WorkflowExecution{WorkflowId: run.GetID(), RunId: run.GetRunID()})
	text := fmt.Sprintf("history of %s (%v):", run.GetID(), err)
	for _, e := range events {
		text += fmt.Sprintf("\n%3d %s %s", e.GetEventId(), e.GetEventTime().AsTime().Format("05.000"), e.GetEventType())
		switch {
		case e.GetActivityTaskScheduledEventAttributes() != nil:
			text += " " + e.GetActivityTaskScheduledEventAttributes().GetActivityType().GetName()
		case e.GetActivityTaskFailedEventAttributes() != nil:
			text += " " + e.GetActivityTaskFailedEventAttributes().GetFailure().GetMessage()
		case e.GetActivityTaskStartedEventAttributes().GetAttempt() > 1:
			text += " after " + e.GetActivityTaskStartedEventAttributes().GetLastFailure().GetMessage()
		}
	}
	t.Log(text)
}

func (s *stack) beginProvision(t *testing.T, d device) client.WorkflowRun {
	t.Helper()
	return s.begin(t, d, "ProvisionDevice", workflows.ProvisionInput{Fleet: d.spec, Device: d.Device})
}

func (s *stack) beginDecommission(t *testing.T, d device) client.WorkflowRun {
	t.Helper()
	return s.begin(t, d, "DecommissionDevice", workflows.DecommissionInput{Fleet: d.spec, Device: d.Name})
}

// ending waits for the run's end. What a run that failed or was canceled says in its error's
// details is read into the result as well.
func ending[R any](t *testing.T, run client.WorkflowRun) (result R, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err = run.Get(ctx, &result)
	require.NoError(t, ctx.Err(), "%s has not ended", run.GetID())
	var failed *temporal.ApplicationError
	var canceled *temporal.CanceledError
	switch {
	case errors.As(err, &failed):
		require.NoError(t, failed.Details(&result), "%v", err)
	case errors.As(err, &canceled):
		require.NoError(t, canceled.Details(&result), "%v", err)
	}
	return result, err
}

func (s *stack) provisioned(t *testing.T, run client.WorkflowRun) workflows.ProvisionResult {
	t.Helper()
	result, err := ending[workflows.ProvisionResult](t, run)
	require.NoError(t, err)
	require.Equal(t, workflows.Provisioned, result.State)
	s.assertProvisioned(t, result)
	return result
}

// rolledBack checks that the run ended for a reason of that type, with all that it did undone.
func (s *stack) rolledBack(t *testing.T, run client.WorkflowRun, kind string) {
	t.Helper()
	result, err := ending[workflows.ProvisionResult](t, run)
	require.Error(t, err)
	require.Equal(t, workflows.RolledBack, result.State, "%v", err)
	require.Empty(t, result.Left)
	var failed *temporal.ApplicationError
	if kind == "" {
		require.True(t, temporal.IsCanceledError(err), "%v", err)
		return
	}
	require.ErrorAs(t, err, &failed)
	require.Equal(t, kind, failed.Type(), "%v", err)
}

func (s *stack) decommissioned(t *testing.T, run client.WorkflowRun) workflows.DecommissionResult {
	t.Helper()
	result, err := ending[workflows.DecommissionResult](t, run)
	require.NoError(t, err)
	require.Equal(t, workflows.Decommissioned, result.State)
	return result
}

// struck waits until all faults have struck as often as they were to.
func (s *stack) struck(t *testing.T) {
	t.Helper()
	eventually(t, "the faults strike", func() error {
		if pending := s.pendingFaults(t); len(pending) > 0 {
			return fmt.Errorf("yet to strike: %+v", pending)
		}
		return nil
	})
}

// held starts what calls the operation and returns while that call has no answer.
func (s *stack) held(t *testing.T, operation, match string, start func() client.WorkflowRun) client.WorkflowRun {
	t.Helper()
	s.fault(t, fault{Operation: operation, Kind: "hang", Match: match, Times: 1})
	run := start()
	s.struck(t)
	return run
}

// refused returns a provisioning whose certificate is ACTIVE and has all that it needs, and that
// AWS is about to refuse the answer to: so its rollback has everything to undo. Faults that come
// with it are for calls of the rollback.
func (s *stack) refused(t *testing.T, d device, faults ...fault) client.WorkflowRun {
	t.Helper()
	run := s.held(t, "iot:UpdateCertificate", "", func() client.WorkflowRun { return s.beginProvision(t, d) })
	s.remember(t, d)
	text, err := s.object(t.Context(), activities.DeviceBundle(d.spec, d.Name).Location.Key("device.pem.crt"))
	require.NoError(t, err)
	_, err = s.iot.UpdateCertificate(t.Context(), &iot.UpdateCertificateInput{
		CertificateId: new(activities.CertificateID(text)), NewStatus: types.CertificateStatusActive, // as a lost answer would have it
	})
	require.NoError(t, err)
	s.clearFaults(t)
	s.fault(t, append([]fault{denied("iot:UpdateCertificate", 1)}, faults...)...)
	return run
}

func denied(operation string, times int) fault {
	return fault{Operation: operation, Kind: "error", Code: "AccessDeniedException", Status: 403, Times: times}
}

// remember keeps a copy of the device's key where no run removes it, for the search at the end.
func (s *stack) remember(t *testing.T, d device) {
	t.Helper()
	key, err := s.object(t.Context(), activities.DeviceBundle(d.spec, d.Name).Location.Key("private.pem.key"))
	require.NoError(t, err)
	s.putObject(t, "remembered/"+d.workflowID()+"/private.pem.key", key)
}

// replaceWorker kills the worker as a crash of its machine would, and starts another.
func (s *stack) replaceWorker(t *testing.T, meanwhile func()) {
	t.Helper()
	worker := s.Workers[0]
	_, metrics, err := get(t.Context(), worker.URL+"/metrics")
	require.NoError(t, err)
	record(string(metrics))
	require.NoError(t, worker.Kill())
	meanwhile()
	s.Workers = nil
	_, err = s.StartWorker(t.Context())
	require.NoError(t, err)
}

func (s *stack) putObject(t *testing.T, key string, text []byte) {
	t.Helper()
	_, err := s.s3.PutObject(t.Context(), &s3.PutObjectInput{Bucket: new(bucket), Key: &key, Body: bytes.NewReader(text)})
	require.NoError(t, err)
}

// audit runs `starter audit`, and returns the resources that it found something about.
func (s *stack) audit(t *testing.T, d device) map[string]string {
	t.Helper()
	o := s.starter(t, "audit", "-f", d.file, "-o", "json")
	var findings []struct{ Kind, Resource string }
	o.decode(t, &findings)
	found := map[string]string{}
	for _, f := range findings {
		found[f.Resource] = f.Kind
	}
	o.exits(t, min(len(found), 1))
	return found
}

// assertGone checks that the device's fleet has nothing that does not fit, and no file of the device is left.
func (s *stack) assertGone(t *testing.T, d device) {
	t.Helper()
	assert.Empty(t, s.audit(t, d))
	assert.Empty(t, s.objects(t, activities.DeviceBundle(d.spec, d.Name).Location.Key("")))
}

// objects are the keys, with all versions, below a prefix.
func (s *stack) objects(t *testing.T, prefix string) []string {
	t.Helper()
	out, err := s.s3.ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: new(bucket), Prefix: &prefix})
	require.NoError(t, err)
	var keys []string
	for _, v := range out.Versions {
		keys = append(keys, filepath.Base(*v.Key))
	}
	for _, m := range out.DeleteMarkers {
		keys = append(keys, filepath.Base(*m.Key)+" (delete marker)")
	}
	return keys
}
