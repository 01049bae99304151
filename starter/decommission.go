package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"

	"edgefleet/internal/fleet"
	"edgefleet/workflows"
)

func (a *app) decommissionCommand() *cobra.Command {
	var file string
	var keepBundle bool
	cmd := &cobra.Command{
		Use:   "decommission -f FILE DEVICE…",
		Short: "Remove all that is there of devices: registration, certificate, thing, files",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, devices []string) error {
			spec, err := readDevices(file, devices)
			if err != nil {
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
			return a.decommission(ctx, t, spec, devices, keepBundle)
		},
	}
	specFlag(cmd, &file)
	cmd.Flags().BoolVar(&keepBundle, "keep-bundle", false, "archive the devices' files, but for the private key, instead of removing them")
	return cmd
}

// readDevices checks the specification and the devices' names, all at once.
func readDevices(file string, devices []string) (fleet.Spec, error) {
	spec, err := fleet.ReadSpec(file)
	errs := []error{err}
	for _, device := range devices {
		if err := fleet.DeviceName.Check(device); err != nil {
			errs = append(errs, fleet.InvalidInput{{Source: "DEVICE", Reason: err.Error()}})
		}
	}
	return spec, allProblems(errs...)
}

// decommissioned is what became of one device.
type decommissioned struct {
	workflows.DecommissionResult
	Error string `json:"error,omitempty"`
}

// decommission starts all the runs, then watches one after the other; it goes on past failures.
func (a *app) decommission(ctx context.Context, t *temporal, spec fleet.Spec, devices []string, keepBundle bool) error {
	results := make([]decommissioned, len(devices))
	runs := make([]client.WorkflowRun, len(devices))
	for i, device := range devices {
		results[i].Fleet, results[i].Device = spec.Name, device
		run, joined, err := t.start(ctx, client.StartWorkflowOptions{
			ID:                    workflows.DeviceWorkflowID(spec.Name, device),
			TypedSearchAttributes: workflows.SearchAttributes(spec.Name),
			StaticSummary:         workflows.DecommissionSummary(spec, device),
			StaticDetails:         workflows.DecommissionDetails(spec, device),
		}, "DecommissionDevice", workflows.DecommissionInput{Fleet: spec, Device: device, KeepBundle: keepBundle})
		switch {
		case err != nil:
			results[i].Error = err.Error()
			fmt.Fprintf(a.errs, "%s: %s\n", device, err)
			continue
		case joined && keepBundle:
			fmt.Fprintf(a.errs, "%s is running already: watching that run. Whether it keeps the bundle was decided when it was started.\n", run.GetID())
		case joined:
			fmt.Fprintf(a.errs, "%s is running already: watching that run.\n", run.GetID())
		}
		runs[i] = run
	}
	failed := false
	for i, run := range runs {
		if run != nil {
			if !a.json {
				fmt.Fprintf(a.out, "%s  (run %s)\n", run.GetID(), run.GetRunID())
			}
			view, err := a.follow(ctx, t, run, a.json)
			if err == nil {
				err = a.readDecommissioned(view, run, &results[i].DecommissionResult)
			}
			if err != nil {
				results[i].Error = err.Error()
				fmt.Fprintf(a.errs, "%s: %s\n", run.GetID(), err)
			}
		}
		if results[i].Error != "" {
			failed = true
			results[i].State = cmp.Or(results[i].State, "failed")
		}
	}
	if a.json {
		if err := a.printJSON(results); err != nil {
			return err
		}
	}
	if failed {
		return reportedError{errors.New("not all devices were decommissioned")}
	}
	return nil
}

// readDecommissioned reads and shows what a run came to; what it could not remove is an error.
func (a *app) readDecommissioned(view *runView, run client.WorkflowRun, result *workflows.DecommissionResult) error {
	if view.Outcome == "completed" {
		if err := view.Result.Get(result); err != nil {
			return err
		}
		if !a.json {
			fmt.Fprintf(a.out, "\n%s is decommissioned: nothing of it is left.\n", result.Device)
			if result.Archive.Bucket != "" {
				fmt.Fprintf(a.out, "Its files, but for the private key: %s/\n", result.Archive)
			}
		}
		return nil
	}
	_, message := cause(view.Failure)
	if message == "" {
		message = "the run was " + view.Outcome
	}
	if details := view.Failure.GetApplicationFailureInfo().GetDetails(); details != nil {
		var told workflows.DecommissionResult
		if decode(details, &told) == nil && told.Device != "" { // an activity's error has other details
			*result = told
		}
	}
	if !a.json {
		a.printLeft(result.Left)
	}
	return errors.New(message)
}
