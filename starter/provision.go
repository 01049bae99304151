package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"

	"edgefleet/internal/fleet"
	"edgefleet/workflows"
)

func (a *app) provisionCommand() *cobra.Command {
	var (
		file       string
		attributes []string
		noWait     bool
	)
	cmd := &cobra.Command{
		Use:   "provision -f FILE DEVICE",
		Short: "Provision one device and prove that it can fetch AWS credentials",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			spec, device, err := readDevice(file, args[0], attributes)
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			t, err := a.connect(ctx)
			if err != nil {
				return err
			}
			defer t.Close()
			if err := t.requireWorker(ctx); err != nil {
				return err
			}
			run, joined, err := t.start(ctx, client.StartWorkflowOptions{
				ID:                    workflows.DeviceWorkflowID(spec.Name, device.Name),
				TypedSearchAttributes: workflows.SearchAttributes(spec.Name),
				StaticSummary:         workflows.ProvisionSummary(spec, device),
				StaticDetails:         workflows.ProvisionDetails(spec, device),
			}, workflows.ProvisionDevice, workflows.ProvisionInput{Fleet: spec, Device: device})
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
			var result workflows.ProvisionResult
			if err := a.outcome(view, run, &result); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(result)
			}
			a.printProvisioned(result)
			return nil
		},
	}
	specFlag(cmd, &file)
	cmd.Flags().StringArrayVar(&attributes, "attribute", nil, "NAME=VALUE for the device's thing, beside the fleet's; may be repeated")
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "start the run and return")
	return cmd
}

// readDevice reads all input of a device and reports all that is wrong with it at once.
func readDevice(file, name string, pairs []string) (fleet.Spec, fleet.Device, error) {
	spec, specErr := fleet.ReadSpec(file)
	attributes, attributesErr := fleet.ParseAttributes(pairs)
	of := spec
	if specErr != nil {
		of = fleet.Spec{} // its attributes were reported with the specification
	}
	device, deviceErr := of.NewDevice(name, "", attributes)
	var all fleet.InvalidInput
	for _, err := range []error{specErr, attributesErr, deviceErr} {
		var found fleet.InvalidInput
		if errors.As(err, &found) {
			all = append(all, found...)
		} else if err != nil {
			return spec, device, err
		}
	}
	if len(all) > 0 {
		return spec, device, all
	}
	return spec, device, nil
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

func (a *app) printProvisioned(r workflows.ProvisionResult) {
	fmt.Fprintf(a.out, `
%s is provisioned: its own certificate fetched AWS credentials (they expire %s).

Its files  %s/
           aws s3 cp --recursive %s/ %s/
Use them   curl --cert %s/device.pem.crt --key %s/private.pem.key --cacert %s/AmazonRootCA1.pem %s
`, r.Device, r.Proof.CredentialsExpire.Local().Format("15:04:05"),
		r.Bundle, r.Bundle, r.Device, r.Device, r.Device, r.Device, r.CredentialsURL)
}

// failedRun is what -o json prints of a run that did not end well.
type failedRun struct {
	State      string      `json:"state"`
	WorkflowID string      `json:"workflowId"`
	RunID      string      `json:"runId"`
	Steps      []*stepView `json:"steps"`
	ErrorType  string      `json:"errorType,omitempty"`
	Error      string      `json:"error"`
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
	if a.json {
		if err := a.printJSON(failedRun{"failed", run.GetID(), run.GetRunID(), view.Steps, kind, message}); err != nil {
			return err
		}
	}
	if kind != "" {
		kind += ": "
	}
	fmt.Fprintf(a.errs, "%s failed. %s%s\n", run.GetID(), kind, message)
	return reportedError{errors.New(message)}
}
