package workflows

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/sdk/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"edgefleet/activities"
	"edgefleet/internal/fleet"
)

// holding is a device whose run holds when the step is refused: the first times calls of it are.
func holding(t *testing.T, step string, times int) (*device, ProvisionInput) {
	d := newDevice(t)
	in := testInput()
	in.OnFailure = HoldOnFailure
	if step == prepareStep {
		prepared := *in.Prepared
		in.Prepared = nil
		d.RegisterWorkflow(PrepareFleet)
		d.OnWorkflow(PrepareFleet, mock.Anything, mock.Anything).Return(PreparedFleet{}, permanent("CreatePolicy")).Times(times)
		d.OnWorkflow(PrepareFleet, mock.Anything, mock.Anything).Return(prepared, nil)
	}
	d.before = func(activity string) error {
		if activity == step && times > 0 {
			times--
			return permanent(activity)
		}
		return nil
	}
	return d, in
}

// sent is a payload as an operator's JSON text makes it.
func sent(text string) converter.RawValue {
	payload, err := converter.NewJSONPayloadConverter().ToPayload(1)
	if err != nil {
		panic(err)
	}
	payload.Data = []byte(text)
	return converter.NewRawValue(payload)
}

// answer is what an Update came to.
type answer struct {
	accepted bool
	rejected error
	text     any
	failed   error
}

func (a *answer) Accept()          { a.accepted = true }
func (a *answer) Reject(err error) { a.rejected = err }
func (a *answer) Complete(success any, err error) {
	a.text, a.failed = success, err
}

// update sends an Update after that time of the run.
func (d *device) update(after time.Duration, choice Choice, text string) *answer {
	got := &answer{}
	d.RegisterDelayedCallback(func() { d.UpdateWorkflow(string(choice), "", got, sent(text)) }, after)
	return got
}

func (d *device) signal(after time.Duration, choice Choice, text string) {
	d.RegisterDelayedCallback(func() { d.SignalWorkflow(string(choice), sent(text)) }, after)
}

// marks are the states and memos that a run shows, in their order.
func (d *device) marks() (states *[]string, memos *[]any) {
	states, memos = new([]string), new([]any)
	d.OnUpsertTypedSearchAttributes(mock.Anything).Run(func(args mock.Arguments) {
		if state, ok := args.Get(0).(temporal.SearchAttributes).GetKeyword(ProvisionState); ok {
			*states = append(*states, state)
		}
	}).Return(nil).Maybe()
	d.OnUpsertMemo(mock.Anything).Run(func(args mock.Arguments) {
		*memos = append(*memos, args.Get(0).(map[string]any)[MemoHold])
	}).Return(nil).Maybe()
	return states, memos
}

func undone(step string) []string {
	var undos []string
	for _, begun := range slices.Backward(names()[:slices.Index(names(), step)+1]) {
		if undo := undoOf[begun]; undo != "" {
			undos = append(undos, undo)
		}
	}
	return undos
}

func (d *device) removals() []string {
	return slices.DeleteFunc(slices.Compact(slices.Clone(d.called)), func(c string) bool { return slices.Contains(names(), c) })
}

// At every step a run that is refused holds: it does no further step, undoes nothing, and says in
// state and memo where it stands. Each way out ends it as it should.
func TestHold(t *testing.T) {
	for _, step := range Steps() {
		t.Run(step+"/resume", func(t *testing.T) {
			for _, door := range []string{"Update", "Signal"} {
				d, in := holding(t, step, 1)
				states, memos := d.marks()
				begun := d.Now()
				text := `{"reason": "allowed now", "by": "ops"}`
				if door == "Update" {
					got := d.update(time.Hour, Resume, text)
					defer func() { require.Equal(t, "Goes on at "+step+".", got.text) }()
				} else {
					d.signal(time.Hour, Resume, text)
				}
				want := names()
				if i := slices.Index(want, step); i >= 0 {
					d.RegisterDelayedCallback(func() { require.Equal(t, want[:i+1], slices.Compact(slices.Clone(d.called))) }, 59*time.Minute)
				}
				require.Equal(t, want, d.run(in), "each step once, and no undo")
				var result ProvisionResult
				require.NoError(t, d.GetWorkflowResult(&result))
				require.Equal(t, Provisioned, result.State)
				require.Len(t, result.Resources, len(procedure))
				require.Len(t, result.Decisions, 1)
				decided := result.Decisions[0]
				require.Equal(t, Decided{Resume, step, decided.At, Decision{Reason: "allowed now", By: "ops"}}, decided)
				require.WithinDuration(t, begun.Add(time.Hour), decided.At, time.Second)
				require.Equal(t, []string{string(Held), string(Resumed)}, *states)
				require.Len(t, *memos, 2)
				hold := (*memos)[0].(*Hold)
				require.Equal(t, step, hold.Step)
				require.Equal(t, activities.AccessDenied, hold.ErrorType)
				require.Contains(t, hold.Message, "refused: ")
				require.Equal(t, fleet.DefaultHoldDeadline, hold.Deadline.Sub(hold.Since))
				require.Nil(t, (*memos)[1])
			}
		})
		ends := func(t *testing.T, d *device, in ProvisionInput) ProvisionResult {
			t.Helper()
			states, memos := d.marks()
			d.run(in)
			result := d.ending(t)
			require.Equal(t, RolledBack, result.State)
			require.Empty(t, result.Left)
			if step != prepareStep {
				require.Equal(t, undone(step), d.removals())
			} else {
				require.Empty(t, d.called)
			}
			require.Equal(t, []string{string(Held), string(RollingBack), string(RolledBack)}, *states)
			require.Len(t, *memos, 2)
			require.Nil(t, (*memos)[1], "it no longer waits")
			return result
		}
		t.Run(step+"/rollback", func(t *testing.T) {
			d, in := holding(t, step, 1)
			got := d.update(time.Hour, Rollback, `{"reason": "not ours"}`)
			result := ends(t, d, in)
			require.Equal(t, "Rolls back what was done until "+step+".", got.text)
			require.Equal(t, Rollback, result.Decisions[0].Choice)
			var failed *temporal.ApplicationError
			require.ErrorAs(t, d.GetWorkflowError(), &failed)
			require.Equal(t, activities.AccessDenied, failed.Type())
			require.Contains(t, failed.Message(), "Rollback was decided: not ours.")
		})
		t.Run(step+"/deadline", func(t *testing.T) {
			d, in := holding(t, step, 1)
			in.Fleet.HoldDeadline = 3 * time.Hour
			begun := d.Now()
			d.RegisterDelayedCallback(func() { require.Empty(t, d.removals()) }, 3*time.Hour-time.Second)
			result := ends(t, d, in)
			require.WithinDuration(t, begun.Add(3*time.Hour), d.Now(), time.Minute)
			require.Equal(t, Decision{Reason: "nobody decided within 3h0m0s", By: "the hold's deadline"}, result.Decisions[0].Decision)
		})
		t.Run(step+"/cancel", func(t *testing.T) {
			d, in := holding(t, step, 1)
			d.RegisterDelayedCallback(d.CancelWorkflow, time.Hour)
			result := ends(t, d, in)
			require.Empty(t, result.Decisions)
			require.True(t, temporal.IsCanceledError(d.GetWorkflowError()))
		})
	}
}

func TestSecondFailureHoldsAgain(t *testing.T) {
	d, in := holding(t, "AttachPolicy", 2)
	states, memos := d.marks()
	d.update(time.Hour, Resume, `{"reason": "first"}`)
	d.update(2*time.Hour, Resume, `{"reason": "second"}`)
	d.run(in)
	var result ProvisionResult
	require.NoError(t, d.GetWorkflowResult(&result))
	require.Equal(t, Provisioned, result.State)
	require.Equal(t, []string{string(Held), string(Resumed), string(Held), string(Resumed)}, *states)
	require.Equal(t, []string{"first", "second"}, []string{result.Decisions[0].Reason, result.Decisions[1].Reason})
	first, again := (*memos)[0].(*Hold), (*memos)[2].(*Hold)
	require.Equal(t, time.Hour, again.Since.Sub(first.Since), "each hold has its own deadline")
}

// The time that a run was held is not taken from its steps.
func TestResumeGivesTheStepsTheirTime(t *testing.T) {
	d, in := holding(t, "AttachThing", 0)
	in.Deadline = time.Minute
	down := true
	d.before = func(activity string) error {
		if activity == "AttachThing" && down {
			return temporal.NewApplicationError("no answer", activities.Unavailable)
		}
		return nil
	}
	states, memos := d.marks()
	d.RegisterDelayedCallback(func() { down = false }, 30*time.Hour)
	d.update(31*time.Hour, Resume, `{"reason": "AWS is back"}`)
	d.run(in)
	require.NoError(t, d.GetWorkflowError())
	require.Equal(t, []string{string(Held), string(Resumed)}, *states)
	hold := (*memos)[0].(*Hold)
	require.Equal(t, activities.Unavailable, hold.ErrorType)
	require.Contains(t, hold.Message, "no answer")
}

// Whatever makes no sense is refused with an answer that says so, and changes nothing.
func TestRefusedDecisions(t *testing.T) {
	const aRole = "arn:aws:iam::123456789012:role/Other"
	for text, want := range map[string]string{
		``:                                  "nothing was given",
		`null`:                              "the reason is missing",
		`"go"`:                              "takes a JSON object, not a string",
		`{}`:                                "the reason is missing",
		`{"reason": "  "}`:                  "the reason is missing",
		`{"reason": 1}`:                     "reason cannot be a number",
		`{"reason": "r", "colour": "red"}`:  `unknown field "colour". It is like {"reason": "…"}; its fields are reason (required), by, roleArn, bundles, skipProof`,
		`{"reason": "r"} {"reason": "r"}`:   "something follows",
		`{"reason": "r", "roleArn": "x"}`:   `roleArn: "x" is no role ARN`,
		`{"reason": "r", "bundles": "x"}`:   "is no S3 URI",
		`{"reason": "r", "skipProof": "y"}`: "skipProof cannot be a string",
		`{"reason": "r", "roleArn": "` + aRole + `"}`:     "one device's run does not change its role",
		`{"reason": "r", "bundles": "s3://edge-bucket"}`:  "a run does not move keys",
		`{"reason": "r", "skipProof": true}`:              "only ProveDevice can be skipped",
		`{"reason": "` + strings.Repeat("x", 1001) + `"}`: "longer than 1000 characters",
	} {
		t.Run(text[:min(len(text), 40)], func(t *testing.T) {
			d, in := holding(t, "AttachPolicy", 1)
			states, _ := d.marks()
			refused := d.update(time.Hour, Resume, text)
			d.signal(90*time.Minute, Resume, text)
			details := ""
			d.RegisterDelayedCallback(func() {
				require.Equal(t, []string{string(Held)}, *states)
				value, err := d.QueryWorkflow("__temporal_workflow_metadata")
				require.NoError(t, err)
				var shown sdk.WorkflowMetadata
				require.NoError(t, value.Get(&shown))
				details = shown.GetCurrentDetails()
				for _, definitions := range [][]*sdk.WorkflowInteractionDefinition{shown.GetDefinition().GetUpdateDefinitions(), shown.GetDefinition().GetSignalDefinitions()} {
					require.Len(t, definitions, 2)
					for _, door := range definitions {
						require.NotEmpty(t, door.GetDescription(), door.GetName())
					}
				}
			}, 2*time.Hour)
			rollback := d.update(3*time.Hour, Rollback, text)
			d.update(4*time.Hour, Resume, `{"reason": "right"}`)
			d.run(in)
			require.NoError(t, d.GetWorkflowError())
			require.False(t, refused.accepted)
			require.ErrorContains(t, refused.rejected, want)
			require.Error(t, rollback.rejected, "none of these is right for a rollback")
			require.Contains(t, details, "**Ignored:** signal resume: ")
		})
	}
}

// Decisions that come when a run is not held are refused, and do not wait for it to be.
func TestDecisionsOutsideOfAHold(t *testing.T) {
	d, in := holding(t, "AttachPolicy", 1)
	wait := true
	inner := d.before
	d.before = func(activity string) error {
		if activity == "CreateThing" && wait {
			return temporal.NewApplicationError("later", activities.Throttled)
		}
		return inner(activity)
	}
	early := d.update(time.Minute, Resume, `{"reason": "early"}`)
	giveUp := d.update(time.Minute, Rollback, `{"reason": "early"}`)
	d.signal(time.Minute, Rollback, `{"reason": "early"}`)
	d.RegisterDelayedCallback(func() { wait = false }, 2*time.Minute)
	first := d.update(time.Hour, Resume, `{"reason": "in time"}`)
	late := d.update(time.Hour, Resume, `{"reason": "late"}`)
	d.run(in)
	require.ErrorContains(t, early.rejected, "the run is not held")
	require.ErrorContains(t, giveUp.rejected, "to end it, cancel it")
	require.True(t, first.accepted)
	require.ErrorContains(t, late.rejected, "the run is not held")
	var result ProvisionResult
	require.NoError(t, d.GetWorkflowResult(&result))
	require.Len(t, result.Decisions, 1)
}

func TestRunThatRollsBackTakesNoDecision(t *testing.T) {
	d, in := holding(t, "AttachPolicy", 1)
	in.OnFailure = RollbackOnFailure
	refused := d.update(0, Resume, `{"reason": "r"}`)
	d.run(in)
	require.Equal(t, RolledBack, d.ending(t).State)
	require.ErrorContains(t, refused.rejected, "the run does not hold")
}

// Provisioned means proven: a run whose proof was skipped says that it is not.
func TestSkippedProof(t *testing.T) {
	d, in := holding(t, proveStep, 1)
	states, _ := d.marks()
	got := d.update(time.Hour, Resume, `{"reason": "the site has no network yet", "skipProof": true}`)
	d.run(in)
	var result ProvisionResult
	require.NoError(t, d.GetWorkflowResult(&result))
	require.Equal(t, Unproven, result.State)
	require.Nil(t, result.Proof)
	require.Len(t, result.Resources, len(procedure)-1)
	require.True(t, result.Decisions[0].SkipProof)
	require.Equal(t, []string{string(Held), string(Resumed), string(Unproven)}, *states)
	require.Contains(t, got.text, "unproven")
}

// A corrected role is the one that the fleet is prepared with.
func TestCorrectedRole(t *testing.T) {
	d, in := holding(t, "", 0)
	in.Prepared = nil
	var roles []string
	d.RegisterWorkflow(PrepareFleet)
	d.OnWorkflow(PrepareFleet, mock.Anything, mock.Anything).Return(func(_ workflow.Context, spec fleet.Spec) (PreparedFleet, error) {
		roles = append(roles, spec.RoleARN)
		if len(roles) == 1 {
			return PreparedFleet{}, permanent("CreateDeviceFleet")
		}
		return PreparedFleet{Policy: "edgefleet-cameras"}, nil
	})
	const right = "arn:aws:iam::123456789012:role/Right"
	got := d.update(time.Hour, Resume, `{"reason": "typing error", "roleArn": "`+right+`"}`)
	d.run(in)
	require.NoError(t, d.GetWorkflowError())
	require.Equal(t, []string{in.Fleet.RoleARN, right}, roles)
	require.Contains(t, got.text, "Correct the fleet specification as well")
}

// Another place for the bundle: what the run stored in the first one goes, and the fleet's root CA is
// kept in the new one. Where another run's files are, nothing moves.
func TestCorrectedBundles(t *testing.T) {
	for removal, want := range map[activities.Removal]string{activities.Removed: "s3://other/files/cameras/cam-01", activities.Kept: "s3://edge-bucket/authorization-files/cameras/cam-01"} {
		t.Run(string(removal), func(t *testing.T) {
			d, in := holding(t, issueStep, 1)
			d.discarded = removal
			_, memos := d.marks()
			d.update(time.Hour, Resume, `{"reason": "that bucket is closed", "bundles": "s3://other/files"}`)
			d.update(2*time.Hour, Resume, `{"reason": "as it was"}`)
			d.run(in)
			var result ProvisionResult
			require.NoError(t, d.GetWorkflowResult(&result))
			require.Equal(t, want, result.Bundle.String())
			if removal == activities.Kept {
				require.Equal(t, activities.StateConflict, (*memos)[2].(*Hold).ErrorType)
				require.NotContains(t, d.called, "FetchRootCA")
				return
			}
			require.Equal(t, slices.Concat(names()[:3], []string{"DiscardCertificate", "FetchRootCA"}, names()[2:]), slices.Compact(d.called))
			require.Equal(t, []fleet.S3URI{{Bucket: "other", Prefix: "files/cameras"}}, d.rootCAs)
		})
	}
}
