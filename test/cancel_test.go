package test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"edgefleet/workflows"
)

// TestCancellation: at whatever moment a provisioning is canceled, it ends as canceled and nothing
// of it is left. `during`: the step's call is not answered; `after`: it is, after the cancellation,
// so that the step is done and the next one is not begun; `killed`: the worker that runs the step
// is gone, and another one takes over when the run is canceled.
func TestCancellation(t *testing.T) {
	pool := newLanes(t, 4)
	for _, point := range []cell{
		{keys: "aws", operation: "iot:CreateThingType"},
		{keys: "aws", operation: "iot:DescribeEndpoint"},
		{keys: "aws", operation: "iot:CreateThing"},
		{keys: "aws", operation: "sagemaker:RegisterDevices"},
		{keys: "aws", operation: "iot:CreateKeysAndCertificate"},
		{keys: "aws", operation: "s3:PutObject", match: "private.pem.key"},
		{keys: "csr", operation: "iot:CreateCertificateFromCsr"},
		{keys: "csr", operation: "s3:PutObject", match: "device.pem.crt"},
		{keys: "csr", operation: "iot:AttachThingPrincipal"},
		{keys: "csr", operation: "iot:AttachPolicy"},
		{keys: "csr", operation: "iot:UpdateCertificate"},
		{keys: "csr", operation: "credentials:AssumeRoleWithCertificate"},
		{keys: "csr", operation: "s3:PutObject", match: "device.json"},
	} {
		for _, moment := range []string{"during", "after", "killed"} {
			if moment == "killed" && !all && point.operation != "iot:CreateKeysAndCertificate" && point.operation != "iot:AttachPolicy" {
				continue // each takes as long as it takes to notice that a worker is gone
			}
			c := point
			c.registry, c.kind = sageMaker, moment
			t.Run(c.name(), func(t *testing.T) {
				t.Parallel()
				c.cancel(t, pool.take(t))
			})
		}
	}
}

func (c cell) cancel(t *testing.T, s *lane) {
	t.Helper()
	d := newDevice(t, c.registry, c.keys.spec())
	before := s.certificates(t)
	f := fault{Operation: c.operation, Match: c.match, Kind: "hang", Times: 1}
	if c.kind == "after" {
		f.Kind, f.DelayMS = "delay", int(patience.Milliseconds())
	}
	s.fault(t, f)
	run := s.beginProvision(t, d)
	s.struck(t)
	if c.kind == "killed" {
		s.replaceWorker(t, func() {
			s.clearFaults(t)
			require.NoError(t, s.temporal.CancelWorkflow(t.Context(), run.GetID(), ""))
		})
	} else {
		if c.operation == "iot:AttachPolicy" {
			s.temporalCLI(t, "workflow", "cancel", "--workflow-id", run.GetID()).exits(t, 0)
		} else {
			require.NoError(t, s.temporal.CancelWorkflow(t.Context(), run.GetID(), ""))
		}
		s.activityIsCanceled(t, d)
		s.clearFaults(t)
	}
	s.rolledBack(t, run, "")
	s.assertState(t, run, enums.WORKFLOW_EXECUTION_STATUS_CANCELED, workflows.RolledBack)
	s.assertGone(t, d)
	assert.Equal(t, before, s.certificates(t))
}

func (s *stack) temporalCLI(t *testing.T, args ...string) outcome {
	t.Helper()
	return run(t, s.Env(), "temporal", args...)
}

// activityIsCanceled waits until the activity that runs, the device's or its fleet's, was told to end.
func (s *stack) activityIsCanceled(t *testing.T, d device) {
	t.Helper()
	eventually(t, "a canceled activity", func() error {
		for _, id := range []string{d.workflowID(), workflows.FleetWorkflowID(d.spec.Name) + "/" + d.Name} {
			described, err := s.temporal.DescribeWorkflowExecution(t.Context(), id, "")
			if err != nil {
				return err
			}
			for _, a := range described.GetPendingActivities() {
				if a.GetState() == enums.PENDING_ACTIVITY_STATE_CANCEL_REQUESTED {
					return nil
				}
			}
		}
		return errors.New("none yet")
	})
}

// assertState checks how the run is shown to those who look for it.
func (s *stack) assertState(t *testing.T, run client.WorkflowRun, status enums.WorkflowExecutionStatus, state workflows.State) {
	t.Helper()
	described, err := s.temporal.DescribeWorkflowExecution(t.Context(), run.GetID(), "")
	require.NoError(t, err)
	info := described.GetWorkflowExecutionInfo()
	assert.Equal(t, status, info.GetStatus())
	var said workflows.State
	payload := info.GetSearchAttributes().GetIndexedFields()[workflows.ProvisionState.GetName()]
	require.NoError(t, converter.GetDefaultDataConverter().FromPayload(payload, &said))
	assert.Equal(t, state, said)
}
