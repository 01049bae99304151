package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"edgefleet/internal/devstack"
)

func (a *app) devCommand() *cobra.Command {
	cfg := devstack.Config{
		TemporalPort: 7233, UIPort: 8233, AWSPort: 4566, CredentialsPort: 8443, MetricsPort: 9464,
		Workers: 1, Buckets: []string{"edge-bucket"},
	}
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run everything on this machine until Ctrl-C: Temporal, its UI, a local AWS, a worker",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cfg.KeyPool < 0 || cfg.Workers < 0 {
				a.running = false
				return errors.New("--key-pool and --workers take 0 or more")
			}
			for flag, port := range map[string]int{"temporal": cfg.TemporalPort, "ui": cfg.UIPort, "aws": cfg.AWSPort,
				"credentials": cfg.CredentialsPort, "metrics": cfg.MetricsPort} {
				if port < 0 || port > 65535 {
					a.running = false
					return fmt.Errorf("--%s-port %d: a port is a number from 0 (a free one) to 65535", flag, port)
				}
			}
			executable, err := os.Executable()
			if err != nil {
				return fmt.Errorf("finding the programs beside this one: %w", err)
			}
			cfg.Binaries = filepath.Dir(executable)
			if cfg.Logs, err = os.MkdirTemp("", "edgefleet-dev-"); err != nil {
				return fmt.Errorf("making a directory for logs: %w", err)
			}
			defer os.Remove(cfg.Logs) // if nothing was logged
			stack, err := devstack.Start(cmd.Context(), cfg)
			if cmd.Context().Err() != nil && err != nil {
				return fmt.Errorf("interrupted before all had started; what had is stopped again (%w)", err)
			}
			if err != nil {
				return err
			}
			a.printStack(stack, cfg)
			select {
			case <-cmd.Context().Done():
				fmt.Fprintln(a.out, "Stopping.")
				if err := stack.Stop(); err != nil {
					return err
				}
				return os.RemoveAll(cfg.Logs) // they say nothing that anyone would look for
			case err := <-stack.Failures():
				return errors.Join(err, stack.Stop())
			}
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&cfg.TemporalPort, "temporal-port", cfg.TemporalPort, "of Temporal; 0: a free one, as for all ports")
	flags.IntVar(&cfg.UIPort, "ui-port", cfg.UIPort, "of the Temporal UI")
	flags.IntVar(&cfg.AWSPort, "aws-port", cfg.AWSPort, "of the local AWS")
	flags.IntVar(&cfg.CredentialsPort, "credentials-port", cfg.CredentialsPort, "of the credential provider (TLS)")
	flags.IntVar(&cfg.MetricsPort, "metrics-port", cfg.MetricsPort, "of the worker's /metrics and /healthz")
	flags.StringVar(&cfg.TemporalDB, "temporal-db", "", "keep Temporal's state in this SQLite file (default: in memory)")
	flags.IntVar(&cfg.Workers, "workers", cfg.Workers, "how many worker processes")
	flags.StringSliceVar(&cfg.Buckets, "bucket", cfg.Buckets, "S3 buckets to make at the start")
	flags.IntVar(&cfg.KeyPool, "key-pool", 0, "deal device keys from so many made once, for rehearsals and benchmarks (default: a key for each device)")
	return cmd
}

func (a *app) printStack(s *devstack.Stack, cfg devstack.Config) {
	var b strings.Builder
	fmt.Fprintf(&b, "Temporal             %s\n", s.TemporalAddress())
	fmt.Fprintf(&b, "Temporal UI          %s\n", s.UIURL())
	fmt.Fprintf(&b, "local AWS            %s\n", s.AWS.URL())
	fmt.Fprintf(&b, "credential provider  https://%s\n", s.AWS.CredentialsAddress())
	for _, w := range s.Workers {
		fmt.Fprintf(&b, "worker               %s/metrics\n", w.URL)
	}
	fmt.Fprintf(&b, "logs                 %s\n", cfg.Logs)
	if cfg.KeyPool > 0 {
		fmt.Fprintf(&b, "\nREHEARSAL: device keys are dealt from a pool of %d, so devices share keys (--key-pool).\n", cfg.KeyPool)
	}
	b.WriteString("\nFor other terminals:\n\n")
	for _, variable := range s.Exports() {
		fmt.Fprintf(&b, "export %s\n", variable)
	}
	b.WriteString("\nReady. Ctrl-C stops everything.\n")
	fmt.Fprint(a.out, b.String())
}
