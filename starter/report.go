package main

import (
	"bufio"
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"edgefleet/activities"
	"edgefleet/internal/fleet"
	"edgefleet/internal/onboarding"
	"edgefleet/internal/report"
	"edgefleet/workflows"
)

// reportFormats are what `starter report -o` takes.
const reportFormats = "table, csv, json or html"

func (a *app) reportCommand() *cobra.Command {
	var format, fleetName, file string
	cmd := &cobra.Command{
		Use:   "report NAME",
		Short: "Tell what became of each device of an onboarding, as a table, CSV, JSON or an HTML page",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if format != "table" && format != "csv" && format != "json" && format != "html" {
				a.running = false
				return fmt.Errorf("-o %s: the output is %s", format, reportFormats)
			}
			if err := checkOnboardingName(fleetName, args[0]); err != nil {
				return err
			}
			return a.report(cmd.Context(), args[0], fleetName, file, format)
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", "table", reportFormats)
	cmd.Flags().StringVar(&fleetName, "fleet", "", "the onboarding's fleet, where several have one of that name")
	cmd.Flags().StringVarP(&file, "file", "f", "", "the fleet specification, for an onboarding that Temporal no longer knows")
	return cmd
}

func (a *app) report(ctx context.Context, name, fleetName, file, format string) error {
	cfg, err := awsConfig(ctx)
	if err != nil {
		return err
	}
	client := activities.NewS3(cfg)
	heading, r, err := a.findReport(ctx, client, name, fleetName, file)
	if err != nil {
		return ownCall(err)
	}
	summary, err := report.Summarize(r.Outcomes(ctx))
	if err != nil {
		return ownCall(err)
	}
	out := bufio.NewWriter(a.out)
	switch format {
	case "csv":
		err = report.WriteCSV(out, r.Outcomes(ctx))
	case "json":
		err = report.WriteJSON(out, heading, summary, r.Outcomes(ctx))
	case "html":
		err = report.WriteHTML(out, heading, summary, r.Outcomes(ctx))
	default:
		err = a.printReport(ctx, heading, summary, r)
	}
	if err != nil {
		return err
	}
	return out.Flush()
}

// findReport finds the onboarding's files: as Temporal knows them, or those of the latest of that name.
func (a *app) findReport(ctx context.Context, client *s3.Client, name, fleetName, file string) (report.Onboarding, *onboarding.Report, error) {
	if file != "" {
		spec, err := fleet.ReadSpec(file)
		if err != nil {
			return report.Onboarding{}, nil, err
		}
		at, err := onboarding.Latest(ctx, client, spec, name)
		if err != nil {
			return report.Onboarding{}, nil, err
		}
		files := onboarding.NewFiles(client, at, "")
		pages, err := files.CountPages(ctx)
		heading := report.Onboarding{Name: name, Fleet: spec.Name, Registry: string(spec.Registry), Manifest: at.String(), State: "unknown"}
		return heading, onboarding.NewReport(files, spec.Name, pages, workflows.Place{}), err
	}
	t, err := a.connect(ctx)
	if err != nil {
		return report.Onboarding{}, nil, err
	}
	defer t.Close()
	id, err := t.findOnboarding(ctx, fleetName, name)
	if err != nil {
		return report.Onboarding{}, nil, err
	}
	status, err := t.onboardingStatus(ctx, id)
	if err != nil {
		return report.Onboarding{}, nil, err
	}
	if status.Files.Bucket == "" {
		return report.Onboarding{}, nil, fmt.Errorf("%s does not say where its files are: it was not started by `starter onboard`", id)
	}
	heading := report.Onboarding{
		Name: status.Name, Fleet: status.Fleet, Registry: string(status.Registry), Manifest: status.Manifest,
		State: string(status.State), Why: status.Why, Devices: status.Devices,
		StartedAt: status.StartedAt.Local(), CeilingPerSecond: status.Ceiling,
	}
	if status.ClosedAt != nil {
		heading.EndedAt = status.ClosedAt.Local()
	}
	r := onboarding.NewReport(onboarding.NewFiles(client, status.Files, ""), status.Fleet, status.Pages, status.Next)
	return heading, r, r.LookAgain(ctx, t)
}

// mostShown is how many devices the table shows that are not provisioned; the other formats show all.
const mostShown = 50

func (a *app) printReport(ctx context.Context, h report.Onboarding, s report.Summary, r *onboarding.Report) error {
	fmt.Fprintf(a.out, "Onboarding %s of fleet %s (%s): %s\n", h.Name, h.Fleet, h.Manifest, h.State)
	if h.Why != "" {
		fmt.Fprintf(a.out, "%s\n", h.Why)
	}
	fmt.Fprintln(a.out)
	rows := []table.Row{}
	for _, state := range report.States {
		if n := s.Count(state); n > 0 {
			rows = append(rows, table.Row{state, n})
		}
	}
	a.printTable(table.Row{"STATE", "DEVICES"}, rows)
	if s.Total.Devices > 0 {
		fmt.Fprintf(a.out, "\n%.1f devices a second; a device took %s at the median, %s at the 95th percentile\n",
			s.DevicesPerSecond, duration(milliseconds(s.Total.P50MS)), duration(milliseconds(s.Total.P95MS)))
	}
	rows = nil
	more := 0
	for o, err := range r.Outcomes(ctx) {
		switch {
		case err != nil:
			return err
		case o.State == report.Provisioned || o.State == report.AlreadyProvisioned || o.State == report.NotStarted || o.State == report.Running:
		case len(rows) == mostShown:
			more++
		default:
			rows = append(rows, table.Row{o.Line, o.Device, o.State, o.Step, o.ErrorType, o.Error})
		}
	}
	if len(rows) > 0 {
		fmt.Fprintln(a.out)
		a.printTable(table.Row{"LINE", "DEVICE", "STATE", "STEP", "ERROR", ""}, rows)
	}
	if more > 0 {
		fmt.Fprintf(a.out, "and %d more: starter report %s -o csv\n", more, h.Name)
	}
	return nil
}

func milliseconds(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond }
