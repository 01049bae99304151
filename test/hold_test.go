package test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/sdk/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"edgefleet/activities"
	"edgefleet/internal/fleet"
	"edgefleet/workflows"
)

// refusalOf names, by step, a call that makes the step fail when it is refused.
var refusalOf = map[string]fault{
	"PrepareFleet":        denied("iot:CreatePolicy", -1),
	"CreateThing":         denied("iot:CreateThing", -1),
	"RegisterDevice":      denied("sagemaker:RegisterDevices", -1),
	"IssueCertificate":    {Operation: "s3:PutObject", Kind: "error", Code: "AccessDenied", Status: 403, Match: "/device.pem.crt", Times: -1},
	"AttachThing":         denied("iot:AttachThingPrincipal", -1),
	"AttachPolicy":        denied("iot:AttachPolicy", -1),
	"ActivateCertificate": denied("iot:UpdateCertificate", -1),
	"ProveDevice":         {Operation: "s3:PutObject", Kind: "error", Code: "AccessDenied", Status: 403, Match: "/device.json", Times: -1},
}

func (s *stack) beginHolding(t *testing.T, d device) client.WorkflowRun {
	t.Helper()
	return s.begin(t, d, "ProvisionDevice", workflows.ProvisionInput{Fleet: d.spec, Device: d.Device, OnFailure: workflows.HoldOnFailure})
}

// awaitHold waits until the run is held, and returns what it says of that.
func (s *stack) awaitHold(t *testing.T, id string) workflows.Hold {
	t.Helper()
	var hold workflows.Hold
	eventually(t, id+" is held", func() error {
		described, err := s.temporal.DescribeWorkflowExecution(t.Context(), id, "")
		if err != nil {
			return err
		}
		info := described.GetWorkflowExecutionInfo()
		payload := info.GetMemo().GetFields()[workflows.MemoHold]
		if len(payload.GetData()) == 0 {
			return fmt.Errorf("no memo of it; the run is %s", info.GetStatus())
		}
		return converter.GetDefaultDataConverter().FromPayload(payload, &hold)
	})
	return hold
}

// tell sends a decision by Update, and returns the answer.
func (s *stack) tell(t *testing.T, id string, choice workflows.Choice, decision any) (answer string, err error) {
	t.Helper()
	handle, err := s.temporal.UpdateWorkflow(t.Context(), client.UpdateWorkflowOptions{
		WorkflowID: id, UpdateName: string(choice), Args: []any{decision}, WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	if err != nil {
		return "", err
	}
	return answer, handle.Get(t.Context(), &answer)
}

type why map[string]any

// TestHold: at every step, and out of the hold in every way. The run ends as it should, and the
// account holds what the run says.
func TestHold(t *testing.T) {
	pool := newLanes(t, 3)
	for _, step := range workflows.Steps() {
		keys := keysOf("csr")
		if step == "IssueCertificate" {
			keys = "aws" // the key that AWS made is lost with the attempt
		}
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			s := pool.take(t)
			for _, way := range []string{"resume", "rollback", "deadline", "cancel"} {
				t.Run(way, func(t *testing.T) {
					d := newDevice(t, sageMaker, keys.spec())
					if way == "deadline" {
						d.spec.HoldDeadline = 8 * time.Second
					}
					before := s.certificates(t)
					s.fault(t, refusalOf[step])
					run := s.beginHolding(t, d)
					hold := s.awaitHold(t, run.GetID())
					require.Equal(t, step, hold.Step)
					require.Equal(t, activities.AccessDenied, hold.ErrorType)
					require.NotEmpty(t, hold.RequestID)
					require.Contains(t, hold.Message, hold.RequestID)
					s.assertState(t, run, enums.WORKFLOW_EXECUTION_STATUS_RUNNING, workflows.Held)
					if step != "ProveDevice" { // then all is in place, and ACTIVE
						for id, status := range s.certificates(t) {
							require.True(t, before[id] != "" || status == types.CertificateStatusInactive, "%s is %s", id, status)
						}
					}
					if way == "resume" && step == "AttachPolicy" {
						s.replaceWorker(t, func() {}) // what is held waits in Temporal
					}
					s.clearFaults(t)
					switch way {
					case "resume":
						answer, err := s.tell(t, run.GetID(), workflows.Resume, why{"reason": "allowed"})
						require.NoError(t, err)
						require.Equal(t, "Goes on at "+step+".", answer)
						result := s.provisioned(t, run)
						require.Equal(t, "allowed", result.Decisions[0].Reason)
						require.Empty(t, s.audit(t, d))
						s.remember(t, d)
						return
					case "rollback":
						require.NoError(t, s.temporal.SignalWorkflow(t.Context(), run.GetID(), "", "rollback", why{"reason": "not ours"}))
						s.rolledBack(t, run, activities.AccessDenied)
					case "deadline":
						s.rolledBack(t, run, activities.AccessDenied)
					case "cancel":
						require.NoError(t, s.temporal.CancelWorkflow(t.Context(), run.GetID(), ""))
						s.rolledBack(t, run, "")
					}
					s.assertGone(t, d)
					require.Equal(t, before, s.certificates(t))
				})
			}
		})
	}
}

// TestRefusedDecisions: what makes no sense is refused with a clear answer, and leaves no trace.
func TestRefusedDecisions(t *testing.T) {
	s := newLanes(t, 1).take(t)
	d := newDevice(t, sageMaker, keysOf("csr").spec())
	s.fault(t, refusalOf["AttachPolicy"])
	run := s.beginHolding(t, d)
	held := s.awaitHold(t, run.GetID())
	before := s.events(t, run)
	for _, c := range []struct {
		choice   workflows.Choice
		decision any
		want     string
	}{
		{workflows.Resume, why{}, "the reason is missing"},
		{workflows.Resume, why{"reason": "r", "color": "red"}, `unknown field "color"`},
		{workflows.Rollback, why{"reason": "r", "skipProof": true}, `unknown field "skipProof"`},
		{workflows.Resume, why{"reason": "r", "roleArn": "admin"}, "is no role ARN"},
		{workflows.Resume, why{"reason": "r", "bundles": "s3://other/files"}, "does not move keys"},
		{workflows.Resume, why{"reason": "r", "skipProof": true}, "only ProveDevice can be skipped"},
		{"retry", why{"reason": "r"}, "unknown update retry"},
	} {
		_, err := s.tell(t, run.GetID(), c.choice, c.decision)
		require.ErrorContains(t, err, c.want)
	}
	require.Equal(t, before, s.events(t, run), "a refused Update leaves no trace")
	require.Equal(t, held, s.awaitHold(t, run.GetID()))

	starter := func(args ...string) outcome { return s.starter(t, args...) }
	starter("resume", d.Name).exits(t, 2, "the reason is missing", "nothing was started")
	starter("resume", d.Name, "--reason", "r", "--role-arn", "admin", "--step", "Dance", "--error", "Bad").exits(t, 2, "is no role ARN", `"Dance" is no step`, `"Bad" is no type of error`)
	starter("rollback", "--reason", "r").exits(t, 2, "names no device")
	starter("rollback", "--all", "--reason", "r").exits(t, 2, "--fleet: is missing")
	starter("rollback", d.Name, "--reason", "r", "--skip-proof").exits(t, 2, "unknown flag: --skip-proof")
	starter("resume", d.Name, "nobody", "--reason", "r").exits(t, 1, `no run of a device "nobody"`, "1 problem; nothing was changed")
	starter("resume", d.Name, "--fleet", d.spec.Name, "--reason", "r", "--bundles", "s3://other/files").exits(t, 1, "does not move keys", "nothing was changed")
	starter("resume", d.Name, "--reason", "r", "--step", "CreateThing").exits(t, 1, "is held at AttachPolicy by AccessDenied", "nothing was changed")
	require.Equal(t, before, s.events(t, run))

	require.NoError(t, s.temporal.SignalWorkflow(t.Context(), run.GetID(), "", "resume", why{"why": "not"}))
	s.clearFaults(t)
	s.detailsSay(t, run, "**Ignored:** signal resume")
	require.Equal(t, held, s.awaitHold(t, run.GetID()), "a Signal that is wrong changes nothing")
	starter("resume", d.Name, "--reason", "r").exits(t, 0)
	s.provisioned(t, run)
	s.remember(t, d)
	starter("resume", d.Name, "--reason", "r").exits(t, 1, "is not held: it is provisioned", "nothing was changed")
	_, err := s.tell(t, run.GetID(), workflows.Resume, why{"reason": "late"})
	require.Error(t, err)
}

func (s *stack) events(t *testing.T, run client.WorkflowRun) int {
	t.Helper()
	events, err := s.history(t.Context(), "default", &common.WorkflowExecution{WorkflowId: run.GetID(), RunId: run.GetRunID()})
	require.NoError(t, err)
	return len(events)
}

// detailsSay waits until the run's current details, as the Temporal UI asks for them, have the words.
func (s *stack) detailsSay(t *testing.T, run client.WorkflowRun, words string) {
	t.Helper()
	eventually(t, "the details say "+words, func() error {
		value, err := s.temporal.QueryWorkflow(t.Context(), run.GetID(), run.GetRunID(), "__temporal_workflow_metadata")
		if err != nil {
			return err
		}
		var said sdk.WorkflowMetadata
		if err := value.Get(&said); err != nil {
			return err
		}
		if !strings.Contains(said.GetCurrentDetails(), words) {
			return errors.New(said.GetCurrentDetails())
		}
		return nil
	})
}

// TestCorrections: another place for the bundle, and a proof that is skipped.
func TestCorrections(t *testing.T) {
	s := newLanes(t, 1).take(t)
	t.Run("bundles", func(t *testing.T) {
		for _, keys := range []keysOf{"aws", "csr"} {
			d := newDevice(t, sageMaker, keys.spec())
			before := s.certificates(t)
			s.fault(t, refusalOf["IssueCertificate"])
			run := s.beginHolding(t, d)
			s.awaitHold(t, run.GetID())
			s.clearFaults(t)
			o := s.starter(t, "resume", d.Name, "--reason", "that bucket closes", "--bundles", "s3://edge-bucket/other-files")
			o.exits(t, 0)
			assert.Contains(t, o.stdout, "Correct the fleet specification as well")
			result := s.provisioned(t, run)
			assert.Equal(t, fleet.S3URI{Bucket: bucket, Prefix: "other-files/" + d.spec.Name + "/" + d.Name}, result.Bundle)
			assert.Empty(t, s.objects(t, activities.DeviceBundle(d.spec, d.Name).Location.Key("")), "nothing of it is left in the first place")
			assert.Len(t, s.certificates(t), len(before)+1, "one certificate")
			d.spec.Bundles.Prefix = "other-files"
			s.remember(t, d)
		}
	})
	t.Run("skipProof", func(t *testing.T) {
		d := newDevice(t, iotCore, keysOf("csr").spec())
		s.fault(t, refusalOf["ProveDevice"])
		s.starter(t, "provision", "-f", d.file, d.Name).exits(t, 1, "is held at ProveDevice")
		s.starter(t, "resume", d.Name, "--reason", "no network yet", "--skip-proof").exits(t, 0)
		result, err := ending[workflows.ProvisionResult](t, s.temporal.GetWorkflow(t.Context(), d.workflowID(), ""))
		require.NoError(t, err)
		assert.Equal(t, workflows.Unproven, result.State)
		assert.Nil(t, result.Proof)
		assert.NotContains(t, s.objects(t, result.Bundle.Key("")), "device.json")
		var status deviceStatus
		s.starter(t, "status", d.Name, "-o", "json").decode(t, &status)
		assert.Equal(t, string(workflows.Unproven), status.State)
		var kinds []string
		for _, kind := range s.audit(t, d) {
			kinds = append(kinds, kind)
		}
		assert.Equal(t, []string{"unproven-device"}, kinds)
		s.clearFaults(t)
		s.assertProvisioned(t, s.provision(t, d.file, d.Name))
		s.remember(t, d)
		assert.Empty(t, s.audit(t, d))
	})
}

// TestReset: a run that is held, one that is done and one that rolled back are reset to their first
// workflow task. Each ends provisioned or held, and the device has one certificate.
func TestReset(t *testing.T) {
	s := newLanes(t, 1).take(t)
	for _, keys := range []keysOf{"aws", "csr"} {
		for _, was := range []string{"held", "provisioned", "rolled-back"} {
			t.Run(string(keys)+"/"+was, func(t *testing.T) {
				d := newDevice(t, sageMaker, keys.spec())
				before := s.certificates(t)
				s.fault(t, refusalOf["AttachPolicy"])
				run := s.beginHolding(t, d)
				s.awaitHold(t, run.GetID())
				switch was {
				case "provisioned":
					s.clearFaults(t)
					_, err := s.tell(t, run.GetID(), workflows.Resume, why{"reason": "allowed"})
					require.NoError(t, err)
					s.provisioned(t, run)
				case "rolled-back":
					require.NoError(t, s.temporal.SignalWorkflow(t.Context(), run.GetID(), "", "rollback", why{"reason": "not ours"}))
					s.rolledBack(t, run, activities.AccessDenied)
				}
				again := s.reset(t, run)
				if was != "provisioned" { // the fault lasts
					hold := s.awaitHold(t, again.GetID())
					require.Equal(t, "AttachPolicy", hold.Step, "a decision that is applied again does not decide")
					s.clearFaults(t)
					_, err := s.tell(t, again.GetID(), workflows.Resume, why{"reason": "allowed"})
					require.NoError(t, err)
				}
				s.provisioned(t, again)
				s.remember(t, d)
				require.Empty(t, s.audit(t, d))
				require.Len(t, s.certificates(t), len(before)+1)
			})
		}
	}
}

// reset resets a run to its first workflow task, as the Temporal UI does, and returns the new one.
func (s *stack) reset(t *testing.T, run client.WorkflowRun) client.WorkflowRun {
	t.Helper()
	events, err := s.history(t.Context(), "default", &common.WorkflowExecution{WorkflowId: run.GetID(), RunId: run.GetRunID()})
	require.NoError(t, err)
	for _, e := range events {
		if e.GetEventType() == enums.EVENT_TYPE_WORKFLOW_TASK_COMPLETED {
			answer, err := s.temporal.ResetWorkflowExecution(t.Context(), &workflowservice.ResetWorkflowExecutionRequest{
				Namespace: "default", WorkflowExecution: &common.WorkflowExecution{WorkflowId: run.GetID(), RunId: run.GetRunID()},
				Reason: "a test", WorkflowTaskFinishEventId: e.GetEventId(), RequestId: t.Name(),
			})
			require.NoError(t, err)
			return s.temporal.GetWorkflow(t.Context(), run.GetID(), answer.GetRunId())
		}
	}
	t.Fatalf("%s has no workflow task that completed", run.GetID())
	return nil
}
