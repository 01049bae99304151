package workflows

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"edgefleet/activities"
	"edgefleet/internal/fleet"
)

// OnFailure says what becomes of a run that cannot go on.
type OnFailure string

const (
	// HoldOnFailure: it waits for an operator.
	HoldOnFailure OnFailure = "hold"
	// RollbackOnFailure: it undoes what it did. So do runs that were started without a word of it.
	RollbackOnFailure OnFailure = "rollback"
)

// Choice is what an operator can tell a run that holds: the name of the Update and of the Signal.
type Choice string

const (
	// Resume tries the step at issue again.
	Resume Choice = "resume"
	// Rollback undoes what the run did.
	Rollback Choice = "rollback"
)

// Decision is what an operator sends to a run that holds, by Update or Signal. All but Reason and By
// are corrections, which only a Resume can carry.
type Decision struct {
	Reason string `json:"reason"`       // required; it stands in the run's result
	By     string `json:"by,omitempty"` // who decides: a workflow is not told who sent it something
	// RoleARN takes the place of the specification's roleArn, until the fleet is prepared.
	RoleARN string `json:"roleArn,omitempty"`
	// Bundles takes the place of the specification's bundles, until the certificate is stored.
	Bundles fleet.S3URI `json:"bundles,omitzero"`
	// SkipProof ends a run that holds at ProveDevice as Unproven.
	SkipProof bool `json:"skipProof,omitempty"`
}

// Decided is a decision that a run followed.
type Decided struct {
	Choice Choice    `json:"choice"`
	Step   string    `json:"step"` // where the run was held
	At     time.Time `json:"at"`
	Decision
}

const (
	maxReason = 1000 // characters
	maxBy     = 200
)

// readDecision reads what an operator sent. A field that is unknown, or that the choice does not
// take, is an error.
func readDecision(choice Choice, text []byte) (Decision, error) {
	var d Decision
	var err error
	fields := "reason (required), by"
	if choice == Resume {
		fields += ", roleArn, bundles, skipProof"
		err = strictly(text, &d)
	} else {
		var only struct {
			Reason string `json:"reason"`
			By     string `json:"by"`
		}
		err = strictly(text, &only)
		d.Reason, d.By = only.Reason, only.By
	}
	if err != nil {
		return d, errors.New(string(choice) + " takes a JSON object" + err.Error() + `. It is like {"reason": "…"}; its fields are ` + fields)
	}
	return d, d.Check()
}

// strictly decodes one JSON document, and nothing that has no place in it. The error follows on "a
// JSON object". What it does depends on the text alone, which workflowcheck cannot see for reflection.
//
//workflowcheck:ignore
func strictly(text []byte, into any) error {
	if len(bytes.TrimSpace(text)) == 0 {
		return errors.New(", and nothing was given")
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(into)
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &kind) && kind.Field == "":
		return errors.New(", not a " + kind.Value)
	case errors.As(err, &kind):
		return errors.New(": " + kind.Field + " cannot be a " + kind.Value)
	case err != nil:
		return errors.New(": " + strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New(", and something follows it")
	}
	return nil
}

// Check says what is wrong with the decision, wherever a run is held.
func (d Decision) Check() error {
	switch {
	case strings.TrimSpace(d.Reason) == "":
		return errors.New("the reason is missing: it is kept in the run's result")
	case utf8.RuneCountInString(d.Reason) > maxReason:
		return errors.New("the reason is longer than 1000 characters")
	case utf8.RuneCountInString(d.By) > maxBy:
		return errors.New("by, who decides, is longer than 200 characters")
	}
	if d.RoleARN != "" {
		if err := fleet.RoleARN.Check(d.RoleARN); err != nil {
			return errors.New("roleArn: " + err.Error())
		}
	}
	return nil
}

const (
	prepareStep = "PrepareFleet"
	issueStep   = "IssueCertificate"
	proveStep   = "ProveDevice"
)

// Steps are all that a device's run can be held at, in their order.
func Steps() []string {
	names := []string{prepareStep}
	for _, s := range procedure {
		names = append(names, s.name)
	}
	return names
}

// StepsFor are the steps at which the decision can be carried out.
func (d Decision) StepsFor() []string {
	return slices.DeleteFunc(Steps(), func(step string) bool { return d.CheckAt(step) != nil })
}

// CheckAt says what stands against carrying out the decision in a run that is held at the step, and
// what to do instead.
func (d Decision) CheckAt(step string) error {
	steps := Steps()
	switch {
	case d.RoleARN != "" && step != prepareStep:
		return errors.New("roleArn: the run is held at " + step + ", and its fleet is prepared: the role alias is there, and all devices of the fleet share it, " +
			"so one device's run does not change its role. To change it, `aws iot update-role-alias`, then resume without roleArn")
	case d.Bundles != (fleet.S3URI{}) && slices.Index(steps, step) > slices.Index(steps, issueStep):
		return errors.New("bundles: the run is held at " + step + ", and the device's key and certificate are stored: a run does not move keys. " +
			"Resume without bundles, or roll back and provision the device with a specification that names the other place")
	case d.SkipProof && step != proveStep:
		return errors.New("skipProof: the run is held at " + step + ", and only " + proveStep + " can be skipped, when it was tried and the run is held there. Resume without skipProof")
	case d.SkipProof && (d.RoleARN != "" || d.Bundles != (fleet.S3URI{})):
		return errors.New("skipProof: goes with no other correction")
	}
	return nil
}

// ErrorTypes are all that a run can be held by.
func ErrorTypes() []string { return append(activities.ErrorTypes(), unknownError) }

// corrects tells whether the decision changes what the fleet specification says.
func (d Decision) corrects() bool { return d.RoleARN != "" || d.Bundles != (fleet.S3URI{}) }
