package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"

	"edgefleet/internal/fleet"
	"edgefleet/workflows"
)

func (a *app) fleetCommand() *cobra.Command {
	return a.group("fleet", "What a fleet's devices share", a.fleetApplyCommand())
}

func (a *app) fleetApplyCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Make, or find and check, what the fleet's devices share",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			spec, err := fleet.ReadSpec(file)
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			t, err := a.connectToWorkers(ctx)
			if err != nil {
				return err
			}
			defer t.Close()
			if err := t.ensureSearchAttributes(ctx); err != nil {
				return err
			}
			run, joined, err := t.start(ctx, client.StartWorkflowOptions{
				ID:                    workflows.FleetWorkflowID(spec.Name),
				TypedSearchAttributes: workflows.SearchAttributes(spec.Name),
				StaticSummary:         workflows.PrepareSummary(spec),
				StaticDetails:         workflows.PrepareDetails(spec),
			}, "PrepareFleet", spec)
			if err != nil {
				return err
			}
			a.announce(run, joined)
			view, err := a.follow(ctx, t, run, a.json)
			if err != nil {
				return err
			}
			var prepared workflows.PreparedFleet
			if err := a.outcome(view, run, &prepared); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(prepared)
			}
			fmt.Fprintf(a.out, "\nFleet %s is ready.\n  role alias   %s\n  policy       %s\n  credentials  %s\n",
				spec.Name, prepared.RoleAlias, prepared.Policy, prepared.CredentialsURL)
			return nil
		},
	}
	specFlag(cmd, &file)
	return cmd
}

func specFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVarP(file, "file", "f", "", "the fleet specification (YAML)")
}
