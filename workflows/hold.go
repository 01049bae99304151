package workflows

import (
	"cmp"
	"errors"
	"time"

	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"edgefleet/activities"
	"edgefleet/internal/fleet"
)

// Hold is where, why and until when a run waits for an operator. It is the run's memo MemoHold, so
// that a list of runs says it without asking a worker.
type Hold struct {
	Step      string    `json:"step"`
	ErrorType string    `json:"errorType"`
	Message   string    `json:"message"`
	RequestID string    `json:"requestId,omitempty"` // AWS's
	Since     time.Time `json:"since"`
	Deadline  time.Time `json:"deadline"` // then the run rolls back
}

// MemoHold is the key of the memo that holds a Hold; null when the run no longer waits.
const MemoHold = "hold"

// doors are the Updates and Signals that a device's run takes, as the Temporal UI describes them.
var doors = []struct {
	choice Choice
	about  string
}{
	{Resume, `Try again the step at which the run is held. {"reason": "…"}; and, where they help: "by", and the corrections "roleArn", "bundles", "skipProof"`},
	{Rollback, `Undo what the run did; what it found stays as it was. {"reason": "…"}; and "by"`},
}

// openDoors makes the run take decisions. What comes by Signal goes the same way as what comes by
// Update, but for the answer; so nothing that came before a hold can decide it.
func (r *deviceRun) openDoors(ctx workflow.Context) error {
	for _, door := range doors {
		choice := door.choice
		err := workflow.SetUpdateHandlerWithOptions(ctx, string(choice),
			func(ctx workflow.Context, sent converter.RawValue) (string, error) {
				return r.decide(ctx, choice, sent)
			},
			workflow.UpdateHandlerOptions{
				Description: door.about,
				Validator: func(_ workflow.Context, sent converter.RawValue) error {
					_, err := r.judge(choice, sent)
					return err
				},
			})
		if err != nil {
			return err
		}
		signals := workflow.GetSignalChannelWithOptions(ctx, string(choice), workflow.SignalChannelOptions{Description: door.about})
		workflow.Go(ctx, func(ctx workflow.Context) {
			for {
				var sent converter.RawValue
				signals.Receive(ctx, &sent)
				if _, err := r.decide(ctx, choice, sent); err != nil {
					workflow.GetLogger(ctx).Warn("a signal was ignored, and nothing changed", "signal", choice, "error", err)
					r.ignored = "signal " + string(choice) + ": " + err.Error()
					if r.held != nil {
						workflow.SetCurrentDetails(ctx, r.holdDetails())
					}
				}
			}
		})
	}
	return nil
}

// judge reads a decision, and says what stands against following it. It changes nothing.
func (r *deviceRun) judge(choice Choice, sent converter.RawValue) (Decision, error) {
	d, err := readDecision(choice, sent.Payload().GetData())
	switch {
	case err != nil:
		return d, err
	case r.in.OnFailure != HoldOnFailure:
		return d, errors.New("the run does not hold: it was started to roll back by itself when it cannot go on")
	case r.held == nil:
		return d, errors.New("the run is not held, so there is nothing to " + map[Choice]string{Resume: "resume", Rollback: "roll back; to end it, cancel it: that rolls back, too"}[choice])
	}
	return d, d.CheckAt(r.held.Step)
}

// decide makes the hold end as the operator says, and returns the answer.
func (r *deviceRun) decide(ctx workflow.Context, choice Choice, sent converter.RawValue) (string, error) {
	d, err := r.judge(choice, sent)
	if err != nil {
		return "", err
	}
	at := r.held.Step
	r.endHold(ctx, choice, d)
	switch {
	case choice == Rollback:
		return "Rolls back what was done until " + at + ".", nil
	case d.SkipProof:
		return "Ends without a proof, as " + string(Unproven) + ": `starter provision` proves it later.", nil
	case d.corrects():
		return "Goes on at " + at + ", corrected. Correct the fleet specification as well: provision, audit and decommission work from it.", nil
	}
	return "Goes on at " + at + ".", nil
}

// endHold notes the decision; from now on the run is not held, and takes no other.
func (r *deviceRun) endHold(ctx workflow.Context, choice Choice, d Decision) {
	r.decided = &Decided{Choice: choice, Step: r.held.Step, At: now(ctx), Decision: d}
	r.decisions = append(r.decisions, *r.decided)
	r.held, r.ignored = nil, ""
}

// now is the time as results and memos show it.
func now(ctx workflow.Context) time.Time { return workflow.Now(ctx).UTC().Truncate(time.Millisecond) }

// perform does a step. When it cannot go on it holds, as often as that takes, if the run is one that
// holds. An error ends the run: it has to roll back.
func (r *deviceRun) perform(ctx workflow.Context, name string, do func(workflow.Context) error) error {
	err := do(ctx)
	for err != nil && ctx.Err() == nil && r.in.OnFailure == HoldOnFailure {
		decided, end := r.hold(ctx, name, err)
		if end != nil {
			return end
		}
		if decided.SkipProof {
			r.unproven = true
			return nil
		}
		if err = r.correct(ctx, decided.Decision); err == nil {
			err = do(ctx)
		}
	}
	return err
}

// hold waits until an operator decides, the hold's deadline is over, or the run is cancelled. It
// returns the decision to resume, or what the run rolls back for.
func (r *deviceRun) hold(ctx workflow.Context, step string, cause error) (Decided, error) {
	kind, message := explain(cause)
	patience := cmp.Or(r.in.Fleet.HoldDeadline, fleet.DefaultHoldDeadline)
	since := now(ctx)
	r.held = &Hold{step, kind, message, requestID(cause), since, since.Add(patience)}
	r.decided = nil
	r.setState(ctx, Held, ProvisionStep.ValueSet(step), ProvisionError.ValueSet(kind))
	r.setMemo(ctx, r.held)
	workflow.SetCurrentDetails(ctx, r.holdDetails())
	timerCtx, stop := workflow.WithCancel(ctx)
	timer := workflow.NewTimerWithOptions(timerCtx, patience, workflow.TimerOptions{Summary: "held at " + step + ": waits for resume or rollback"})
	err := workflow.Await(ctx, func() bool { return r.decided != nil || timer.IsReady() })
	stop()
	switch {
	case err != nil:
		r.held = nil
		return Decided{}, err
	case r.decided == nil:
		r.endHold(ctx, Rollback, Decision{Reason: "nobody decided within " + patience.String(), By: "the hold's deadline"})
		return Decided{}, cause
	case r.decided.Choice == Rollback:
		return Decided{}, cause
	}
	// The time that the run was held is not the steps': they get theirs anew.
	r.deadline = workflow.Now(ctx).Add(cmp.Or(r.in.Deadline, DefaultDeadline))
	r.setState(ctx, Resumed)
	r.setMemo(ctx, nil)
	workflow.SetCurrentDetails(ctx, r.progress())
	return *r.decided, nil
}

// setMemo tells, or with nil takes back, that the run is held.
func (r *deviceRun) setMemo(ctx workflow.Context, hold *Hold) {
	value := any(hold)
	if hold == nil {
		value = nil // a typed nil would be a value, and the memo stay
	}
	if err := workflow.UpsertMemo(ctx, map[string]any{MemoHold: value}); err != nil {
		workflow.GetLogger(ctx).Error("the run's memo could not be written", "error", err)
	}
	r.inMemo = hold != nil
}

// correct carries out a decision's corrections. An error is one to hold for again.
func (r *deviceRun) correct(ctx workflow.Context, d Decision) error {
	if d.RoleARN != "" {
		r.in.Fleet.RoleARN = d.RoleARN
	}
	if d.Bundles == (fleet.S3URI{}) || d.Bundles == r.in.Fleet.Bundles {
		return nil
	}
	// What this run has stored in the place before goes; what another run has there may be in use, and
	// a second certificate beside it must not be.
	options := r.stepOptions(ctx, "leaves "+r.bundle.Location.String()+" for "+d.Bundles.String())
	options.StartToCloseTimeout = issueAttemptTimeout
	removal, err := call[activities.Removal](ctx, options, do.DiscardCertificate, activities.DiscardInput{CertificateInput: r.certificateInput(), Note: r.note})
	if err == nil && removal == activities.Kept {
		err = temporal.NewNonRetryableApplicationError("moving the bundle of device "+r.in.Device.Name+" to "+d.Bundles.String()+": "+r.bundle.Location.String()+
			" holds files of another run, whose certificate may be in use. What to do: resume without bundles, or let `starter decommission` clear it first.",
			activities.StateConflict, nil)
	}
	if err != nil {
		if left := unfinished(err); left.Note != (activities.AttemptNote{}) {
			r.note = left.Note
		}
		return err
	}
	r.note, r.certificate = activities.AttemptNote{}, activities.Certificate{}
	r.in.Fleet.Bundles = d.Bundles
	r.bundle = activities.DeviceBundle(r.in.Fleet, r.in.Device.Name)
	if r.fleet.Policy == "" {
		return nil // the fleet is yet to be prepared, in the new place
	}
	ca, err := call[activities.RootCA](ctx, r.stepOptions(ctx, "kept in "+d.Bundles.String()), do.FetchRootCA, activities.FleetBundle(r.in.Fleet))
	if err == nil {
		r.fleet.RootCA = ca
	}
	return err
}

// requestID is AWS's id of the call that an error is about, where it has one.
func requestID(err error) string {
	var said *temporal.ApplicationError
	var details activities.ErrorDetails
	if !errors.As(err, &said) || !said.HasDetails() || said.Details(&details) != nil {
		return ""
	}
	return details.RequestID
}
