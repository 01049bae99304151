// Command starter is edgefleet's command line: it starts runs on Temporal, watches them and
// reports. It exits with 0 when done, 1 when a run failed or is held, or something was not to be had, 2 for
// wrong usage or input, before anything was started.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"edgefleet/internal/fleet"
)

const (
	exitDone  = 0
	exitFail  = 1
	exitUsage = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string) int {
	app := &app{out: os.Stdout, errs: os.Stderr, color: isColored(os.Stdout)}
	root := app.command()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var invalid fleet.InvalidInput
	var reported reportedError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &reported):
		return exitFail
	case errors.As(err, &invalid):
		fmt.Fprintf(os.Stderr, "%s\n%s; nothing was started.\n", invalid.Error(), count(len(invalid), "problem"))
		return exitUsage
	case !app.running:
		fmt.Fprintf(os.Stderr, "starter: %s. See `%s --help`.\n", err, app.called(root, args))
		return exitUsage
	}
	fmt.Fprintf(os.Stderr, "starter: %s\n", err)
	return exitFail
}

// app is what all commands share.
type app struct {
	out, errs *os.File
	color     bool
	json      bool
	running   bool // past the command line: an error is no longer one of usage
}

func (a *app) command() *cobra.Command {
	output := "table"
	root := &cobra.Command{
		Use:           "starter",
		Short:         "Provision edge devices in AWS, durably, on Temporal",
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if output != "table" && output != "json" {
				return fmt.Errorf("-o %s: the output is table or json", output)
			}
			a.json = output == "json"
			a.running = true
			return nil
		},
	}
	root.PersistentFlags().StringVarP(&output, "output", "o", output, "table or json")
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(a.devCommand(), a.fleetCommand(), a.provisionCommand(), a.decommissionCommand(), a.statusCommand(),
		a.auditCommand(), a.sweepCommand(), a.onboardCommand(), a.onboardingCommand(), a.reportCommand(),
		a.heldCommand(), a.resumeCommand(), a.rollbackCommand(), a.scheduleCommand())
	return root
}

// group is a command that only holds others.
func (a *app) group(name, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   name,
		Short: short,
		Args:  cobra.NoArgs,
		// A command that is misspelt is the fault to name, not the flags that it would have known.
		FParseErrWhitelist: cobra.FParseErrWhitelist{UnknownFlags: true},
		RunE: func(*cobra.Command, []string) error {
			a.running = false
			names := make([]string, len(commands))
			for i, c := range commands {
				names[i] = c.Name()
			}
			return fmt.Errorf("%s needs a command: %s", name, strings.Join(names, ", "))
		},
	}
	cmd.AddCommand(commands...)
	return cmd
}

// called is the command that the arguments name, for a hint.
func (a *app) called(root *cobra.Command, args []string) string {
	if cmd, _, err := root.Find(args); err == nil {
		return cmd.CommandPath()
	}
	return root.CommandPath()
}

// reportedError is a failure that was shown already.
type reportedError struct{ error }
