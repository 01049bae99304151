package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"edgefleet/internal/audit"
	"edgefleet/internal/fleet"
	"edgefleet/internal/quota"
)

func (a *app) auditCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "audit -f FILE",
		Short: "Compare the fleet's bundles with AWS, both ways, and print what does not fit",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			auditor, err := newAuditor(cmd.Context(), file)
			if err != nil {
				return err
			}
			found, err := auditor.Audit(cmd.Context())
			if err != nil {
				return err
			}
			if a.json {
				if found == nil {
					found = []audit.Finding{}
				}
				if err := a.printJSON(found); err != nil {
					return err
				}
			} else if len(found) > 0 {
				rows := make([]table.Row, len(found))
				for i, f := range found {
					rows[i] = table.Row{f.Kind, f.Device, f.Resource, f.Detail}
				}
				a.printTable(table.Row{"FINDING", "DEVICE", "RESOURCE", "DETAIL"}, rows)
			}
			if len(found) > 0 {
				return reportedError{errors.New("the audit found something")}
			}
			return nil
		},
	}
	specFlag(cmd, &file)
	return cmd
}

func (a *app) sweepCommand() *cobra.Command {
	var file string
	var remove bool
	cmd := &cobra.Command{
		Use:   "sweep -f FILE",
		Short: "Show, and with --delete remove, certificates whose keys were lost: provably ours, provably unused",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			auditor, err := newAuditor(cmd.Context(), file)
			if err != nil {
				return err
			}
			swept, err := auditor.Sweep(cmd.Context(), remove, func(d time.Duration) {
				fmt.Fprintf(a.errs, "Waiting %s: until then a run could still be storing the key of one of them.\n", d.Round(time.Second))
			})
			if err != nil && swept == nil {
				return err
			}
			if a.json {
				if swept == nil {
					swept = []audit.Swept{}
				}
				err = errors.Join(a.printJSON(swept), err)
			} else {
				a.printSwept(swept, remove)
			}
			return err
		},
	}
	specFlag(cmd, &file)
	cmd.Flags().BoolVar(&remove, "delete", false, "remove them; without it nothing is changed")
	return cmd
}

func (a *app) printSwept(swept []audit.Swept, remove bool) {
	if len(swept) == 0 {
		fmt.Fprintln(a.out, "Nothing to sweep.")
		return
	}
	rows := make([]table.Row, len(swept))
	removed := 0
	for i, s := range swept {
		what := "would be removed"
		switch {
		case s.Removed:
			what = "removed"
			removed++
		case s.Doubtful:
			what = "kept: more such certificates than lost answers"
		case remove:
			what = "kept: too young"
		}
		rows[i] = table.Row{s.CertificateID, s.MadeAt.Local().Format(time.DateTime), s.Device, what}
	}
	a.printTable(table.Row{"CERTIFICATE", "MADE", "FOR DEVICE", ""}, rows)
	if remove {
		fmt.Fprintf(a.out, "%s removed.\n", count(removed, "certificate"))
	} else {
		fmt.Fprintf(a.out, "%s; nothing was changed. --delete removes them.\n", count(len(swept), "certificate"))
	}
}

// newAuditor is an auditor of the fleet that the file specifies.
func newAuditor(ctx context.Context, file string) (*audit.Auditor, error) {
	spec, err := fleet.ReadSpec(file)
	if err != nil {
		return nil, err
	}
	cfg, err := awsConfig(ctx)
	if err != nil {
		return nil, err
	}
	rates, err := quota.LoadRates(ctx, os.Getenv(quota.RatesVariable))
	if err != nil {
		return nil, err
	}
	return audit.New(cfg, spec, rates), nil
}
