package test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/batch/v1"
	"go.temporal.io/api/workflowservice/v1"

	"edgefleet/workflows"
)

type heldDevice struct {
	Fleet, Device, WorkflowID, RunID, Step, ErrorType, Message, RequestID string
	Since, Deadline                                                       time.Time
}

// listed waits until `starter held` shows so many runs of the fleet.
func (s *stack) listed(t *testing.T, fleet string, n int, more ...string) []heldDevice {
	t.Helper()
	var held []heldDevice
	eventually(t, fmt.Sprintf("%d held runs in the list", n), func() error { // visibility lags
		o := s.starter(t, append([]string{"held", "--fleet", fleet, "-o", "json"}, more...)...)
		o.exits(t, 0)
		held = nil
		o.decode(t, &held)
		return differ(n, len(held))
	})
	return held
}

// TestProvisionHolds: what people see of a run that is held, and how they let it go on.
func TestProvisionHolds(t *testing.T) {
	s := newLanes(t, 1).take(t)
	d := newDevice(t, sageMaker, keysOf("csr").spec()+"holdDeadline: 2d\n")
	s.fault(t, refusalOf["AttachPolicy"])
	o := s.starter(t, "provision", "-f", d.file, d.Name)
	o.exits(t, 1, d.workflowID()+" is held at AttachPolicy. AccessDenied: ", "request id ", "starter resume --fleet "+d.spec.Name+" "+d.Name, "starter rollback")
	assert.Contains(t, o.stdout, "✗ AttachPolicy")
	assert.NotContains(t, o.stdout, "Delete", "nothing is undone")

	// It waits on: who comes later joins it and is told the same.
	o = s.starter(t, "provision", "-f", d.file, d.Name, "-o", "json")
	o.exits(t, 1, "running already", "is held at AttachPolicy")
	var failed struct {
		State, ErrorType, Error string
		Hold                    workflows.Hold
	}
	o.decode(t, &failed)
	assert.Equal(t, "held", failed.State)
	assert.Equal(t, "AccessDenied", failed.ErrorType)
	assert.Equal(t, 48*time.Hour, failed.Hold.Deadline.Sub(failed.Hold.Since))

	held := s.listed(t, d.spec.Name, 1)
	assert.Equal(t, heldDevice{
		d.spec.Name, d.Name, d.workflowID(), held[0].RunID, "AttachPolicy", "AccessDenied", failed.Error, failed.Hold.RequestID, failed.Hold.Since, failed.Hold.Deadline,
	}, held[0])
	s.listed(t, d.spec.Name, 0, "--step", "CreateThing")
	s.listed(t, d.spec.Name, 1, "--step", "AttachPolicy", "--error", "AccessDenied")
	o = s.starter(t, "held")
	o.exits(t, 0)
	assert.Regexp(t, `FLEET +DEVICE +STEP +ERROR +SINCE +DEADLINE`, o.stdout)
	assert.Regexp(t, d.spec.Name+" +"+d.Name+" +AttachPolicy +AccessDenied +", o.stdout)

	o = s.starter(t, "status", d.Name)
	o.exits(t, 0)
	for _, words := range []string{d.Name + ": held", "Held at AttachPolicy since ", "AccessDenied: attaching policy", "starter resume"} {
		assert.Contains(t, o.stdout, words)
	}
	o = s.starter(t, "status", "--fleet", d.spec.Name)
	assert.Regexp(t, d.Name+" +held", o.stdout)
	assert.Contains(t, o.stdout, "starter held")

	o = s.starter(t, "resume", d.Name, "--reason", "r", "--dry-run")
	o.exits(t, 0)
	assert.Regexp(t, d.Name+" +AttachPolicy", o.stdout)
	s.starter(t, "resume", d.Name, "--reason", "too early").exits(t, 0)
	eventually(t, "held again", func() error {
		if now := s.awaitHold(t, d.workflowID()); !now.Since.After(failed.Hold.Since) {
			return errors.New("not yet")
		}
		return nil
	})
	s.clearFaults(t)
	o = s.starter(t, "resume", d.Name, "--reason", "the policy allows it", "-o", "json")
	o.exits(t, 0)
	var answers []struct{ Device, Step, Answer, Error string }
	o.decode(t, &answers)
	assert.Equal(t, "Goes on at AttachPolicy.", answers[0].Answer)
	result := s.provisioned(t, s.temporal.GetWorkflow(t.Context(), d.workflowID(), ""))
	s.remember(t, d)
	require.Len(t, result.Decisions, 2)
	assert.Equal(t, "the policy allows it", result.Decisions[1].Reason)
	assert.Contains(t, result.Decisions[1].By, "@")
	o = s.starter(t, "status", d.Name)
	o.exits(t, 0)
	assert.Contains(t, o.stdout, d.Name+": provisioned")
	assert.Contains(t, o.stdout, "the policy allows it")
	s.listed(t, d.spec.Name, 0)
	assert.Empty(t, s.audit(t, d))
}

// TestDecideAll: many runs with one command, those that the filters mean and no other.
func TestDecideAll(t *testing.T) {
	s := newLanes(t, 1).take(t)
	first := newDevice(t, iotCore, keysOf("csr").spec())
	name := first.spec.Name
	s.provisioned(t, s.beginProvision(t, first))
	s.remember(t, first)
	policy, thing := refusalOf["AttachPolicy"], refusalOf["CreateThing"]
	thing.Match = "other"
	s.fault(t, policy, thing)
	var all []device
	for i := range 12 {
		d := first.sibling(t, fmt.Sprintf("many-%02d", i))
		if i >= 10 {
			d = first.sibling(t, fmt.Sprintf("other-%02d", i))
		}
		all = append(all, d)
		s.beginHolding(t, d)
	}
	s.listed(t, name, 12)
	stranger := newDevice(t, iotCore, keysOf("csr").spec())
	s.beginHolding(t, stranger)
	s.listed(t, stranger.spec.Name, 1)

	o := s.starter(t, "resume", "--fleet", name, "--all", "--step", "AttachPolicy", "--dry-run")
	o.exits(t, 0)
	assert.Equal(t, 10, strings.Count(o.stdout, "AttachPolicy"))
	assert.NotContains(t, o.stdout, "other-")
	s.starter(t, "resume", "--fleet", name, "--all", "--step", "AttachPolicy", "--skip-proof", "--reason", "r").exits(t, 2, "only ProveDevice can be skipped")
	s.listed(t, name, 12)

	s.clearFaults(t)
	s.fault(t, thing)
	// Behind another batch operation it waits: this one has much to do, and nothing that changes.
	_, err := s.temporal.WorkflowService().StartBatchOperation(t.Context(), &workflowservice.StartBatchOperationRequest{
		Namespace: "default", JobId: "another", Reason: "a test", VisibilityQuery: "WorkflowType = 'ProvisionDevice' AND ExecutionStatus = 'Running'",
		Operation: &workflowservice.StartBatchOperationRequest_SignalOperation{SignalOperation: &batch.BatchOperationSignal{Signal: "nobody-listens"}},
	})
	require.NoError(t, err)
	o = s.starter(t, "resume", "--fleet", name, "--all", "--error", "AccessDenied", "--step", "AttachPolicy", "--reason", "allowed again", "-o", "json")
	o.exits(t, 0)
	t.Log(o)
	var counted struct{ Matched, Left, HeldAgain, StillHeld int }
	o.decode(t, &counted)
	assert.Equal(t, struct{ Matched, Left, HeldAgain, StillHeld int }{10, 10, 0, 0}, counted)
	for _, d := range all[:10] {
		result := s.provisioned(t, s.temporal.GetWorkflow(t.Context(), d.workflowID(), ""))
		assert.Equal(t, "allowed again", result.Decisions[0].Reason)
		s.remember(t, d)
	}
	s.listed(t, name, 2)

	o = s.starter(t, "rollback", "--fleet", name, "--all", "--reason", "not needed")
	o.exits(t, 0)
	assert.Contains(t, o.stdout, "rollback: 2 runs, 0 held again, 0 still held.")
	for _, d := range all[10:] {
		s.rolledBack(t, s.temporal.GetWorkflow(t.Context(), d.workflowID(), ""), "AccessDenied")
	}
	assert.Empty(t, s.audit(t, first))
	s.listed(t, stranger.spec.Name, 1)
	s.starter(t, "resume", "--fleet", name, "--all", "--reason", "r").exits(t, 0)
	s.starter(t, "rollback", "--fleet", stranger.spec.Name, stranger.Name, "--reason", "r").exits(t, 0)
	s.rolledBack(t, s.temporal.GetWorkflow(t.Context(), stranger.workflowID(), ""), "AccessDenied")
}
