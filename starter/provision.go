package main

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"
	sdktemporal "go.temporal.io/sdk/temporal"

	"edgefleet/internal/fleet"
	"edgefleet/workflows"
)

func (a *app) provisionCommand() *cobra.Command {
	var (
		file       string
		attributes []string
		csr        string
		onFailure  string
		deadline   time.Duration
		noWait     bool
	)
	cmd := &cobra.Command{
		Use:   "provision -f FILE DEVICE",
		Short: "Provision one device and prove that it can fetch AWS credentials",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			spec, device, err := readDevice(file, args[0], attributes, csr)
			if err := allProblems(err, checkProvisionFlags(onFailure, deadline)); err != nil {
				return err
			}
			ctx := cmd.Context()
			t, err := a.connectToWorkers(ctx)
			if err != nil {
				return err
			}
			defer t.Close()
			if err := t.requireSearchAttributes(ctx); err != nil {
				return err
			}
			run, joined, err := t.start(ctx, client.StartWorkflowOptions{
				ID:                    workflows.DeviceWorkflowID(spec.Name, device.Name),
				TypedSearchAttributes: workflows.SearchAttributes(spec.Name),
				StaticSummary:         workflows.ProvisionSummary(spec, device),
				StaticDetails:         workflows.ProvisionDetails(spec, device),
				Priority:              sdktemporal.Priority{PriorityKey: workflows.SinglePriority},
			}, "ProvisionDevice", workflows.ProvisionInput{
				Fleet: spec, Device: device, Deadline: deadline, OnFailure: workflows.OnFailure(onFailure),
			})
			if err != nil {
				return err
			}
			if noWait {
				return a.printStarted(run, joined)
			}
			a.announce(run, joined)
			view, err := a.follow(ctx, t, run, a.json)
			if err != nil {
				return err
			}
			if view.Held != nil && view.Outcome == "" {
				return a.reportHeld(run.GetID(), run.GetRunID(), view)
			}
			var result workflows.ProvisionResult
			if err := a.outcome(view, run, &result); err != nil {
				return err
			}
			return a.reportProvisioned(result)
		},
	}
	specFlag(cmd, &file)
	cmd.Flags().StringArrayVar(&attributes, "attribute", nil, "NAME=VALUE for the device's thing, beside the fleet's; may be repeated")
	cmd.Flags().StringVar(&csr, "csr", "", "the device's own certificate request (PEM), where the fleet's keys are the devices'")
	onFailureFlag(cmd, &onFailure)
	cmd.Flags().DurationVar(&deadline, "deadline", workflows.DefaultDeadline, "the time that the steps have in all, from the start and anew from each resume; then the run does what --on-failure says")
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "start the run and return")
	return cmd
}

func onFailureFlag(cmd *cobra.Command, onFailure *string) {
	cmd.Flags().StringVar(onFailure, "on-failure", string(workflows.HoldOnFailure), "what becomes of a run that cannot go on: hold waits for an operator, rollback undoes what it did")
}

func checkOnFailure(onFailure string) fleet.InvalidInput {
	if onFailure != string(workflows.HoldOnFailure) && onFailure != string(workflows.RollbackOnFailure) {
		return fleet.InvalidInput{{Source: "--on-failure", Reason: fmt.Sprintf("%q is not to be had: hold and rollback are", onFailure)}}
	}
	return nil
}

func checkProvisionFlags(onFailure string, deadline time.Duration) error {
	bad := checkOnFailure(onFailure)
	if deadline < time.Second {
		bad = append(bad, fleet.Problem{Source: "--deadline", Reason: fmt.Sprintf("%s is too short for any run", deadline)})
	}
	if len(bad) > 0 {
		return bad
	}
	return nil
}

// readDevice reads all input of a device and reports all that is wrong with it at once.
func readDevice(file, name string, pairs []string, csr string) (fleet.Spec, fleet.Device, error) {
	spec, specErr := fleet.ReadSpec(file)
	attributes, attributesErr := fleet.ParseAttributes(pairs)
	of := spec
	if specErr != nil {
		of = fleet.Spec{} // its attributes were reported with the specification
	}
	device, deviceErr := of.NewDevice(name, "", attributes)
	var csrErr error
	switch {
	case csr != "" && specErr == nil && spec.Keys != fleet.KeysDevice:
		csrErr = fleet.InvalidInput{{Source: "--csr", Reason: fmt.Sprintf("goes with keys: %s; the fleet's keys are %s", fleet.KeysDevice, spec.Keys)}}
	case csr != "":
		device.CSR, csrErr = fleet.ReadCSR(csr, name)
	case spec.Keys == fleet.KeysDevice:
		csrErr = fleet.InvalidInput{{Source: "--csr", Reason: "is missing: with keys: device it names the device's certificate request"}}
	}
	return spec, device, allProblems(specErr, attributesErr, deviceErr, csrErr)
}

// allProblems joins what is wrong with several inputs, to be told at once.
func allProblems(errs ...error) error {
	var all fleet.InvalidInput
	for _, err := range errs {
		var found fleet.InvalidInput
		if errors.As(err, &found) {
			all = append(all, found...)
		} else if err != nil {
			return err
		}
	}
	if len(all) > 0 {
		return all
	}
	return nil
}

// started is what -o json prints of a run that is not waited for.
type started struct {
	WorkflowID string `json:"workflowId"`
	RunID      string `json:"runId"`
	Joined     bool   `json:"joined"` // it was running already
}

func (a *app) printStarted(run client.WorkflowRun, joined bool) error {
	if a.json {
		return a.printJSON(started{run.GetID(), run.GetRunID(), joined})
	}
	a.announce(run, joined)
	return nil
}

func (a *app) announce(run client.WorkflowRun, joined bool) {
	if joined {
		fmt.Fprintf(a.errs, "%s is running already: watching that run, with the input that it was started with.\n", run.GetID())
	}
	if !a.json {
		fmt.Fprintf(a.out, "%s  (run %s)\n", run.GetID(), run.GetRunID())
	}
}

// reportProvisioned shows what a run came to that ended well, or without its proof: then it is not
// provisioned, and an error.
func (a *app) reportProvisioned(r workflows.ProvisionResult) error {
	var err error
	if a.json {
		err = a.printJSON(r)
	} else if r.State == workflows.Provisioned {
		a.printProvisioned(r)
	}
	if r.State == workflows.Unproven {
		fmt.Fprintf(a.errs, "%s is in place and not proven: an operator skipped the proof. `starter provision` proves it.\n", r.Device)
		err = errors.Join(err, reportedError{errors.New("not proven")})
	}
	return err
}

func (a *app) printProvisioned(r workflows.ProvisionResult) {
	own := fmt.Sprintf("its own certificate fetched AWS credentials (they expire %s)", r.Proof.CredentialsExpire.Local().Format("15:04:05"))
	key := r.Device + "/private.pem.key"
	if r.Proof.LeftToDevice {
		own, key = "all that it needs is in place; with its key it can fetch AWS credentials", "ITS-PRIVATE-KEY"
	}
	fmt.Fprintf(a.out, `
%s is provisioned: %s.

Its files  %s/
           aws s3 cp --recursive %s/ %s/
Use them   curl --cert %s/device.pem.crt --key %s --cacert %s/AmazonRootCA1.pem %s
`, r.Device, own, r.Bundle, r.Bundle, r.Device, r.Device, key, r.Device, r.CredentialsURL)
}

// failedRun is what -o json prints of a run that did not end well.
type failedRun struct {
	State      workflows.State      `json:"state"`
	WorkflowID string               `json:"workflowId"`
	RunID      string               `json:"runId"`
	Steps      []*stepView          `json:"steps"`
	ErrorType  string               `json:"errorType,omitempty"`
	Error      string               `json:"error"`
	Left       []workflows.Leftover `json:"left,omitempty"` // what could not be undone
	Hold       *workflows.Hold      `json:"hold,omitempty"` // of a run that waits for an operator
}

// outcome reads a closed run's result; one that did not complete is shown and returned as an error.
func (a *app) outcome(view *runView, run client.WorkflowRun, result any) error {
	if view.Outcome == "completed" {
		return view.Result.Get(result)
	}
	kind, message := cause(view.Failure)
	if message == "" {
		message = "the run was " + view.Outcome
	}
	end := view.ending()
	if a.json {
		failed := failedRun{cmp.Or(end.State, "failed"), run.GetID(), run.GetRunID(), view.Steps, kind, message, end.Left, nil}
		if err := a.printJSON(failed); err != nil {
			return err
		}
	}
	if kind != "" {
		kind += ": "
	}
	fmt.Fprintf(a.errs, "%s failed. %s%s\n", run.GetID(), kind, message)
	if !a.json {
		a.printLeft(end.Left)
	}
	return reportedError{errors.New(message)}
}

func (a *app) printLeft(left []workflows.Leftover) {
	if len(left) == 0 {
		return
	}
	rows := make([]table.Row, len(left))
	for i, l := range left {
		rows[i] = table.Row{l.Type, l.Name, l.Error}
	}
	fmt.Fprintln(a.out, "\nNot removed:")
	a.printTable(table.Row{"RESOURCE", "NAME", "WHY"}, rows)
}
