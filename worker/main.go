// Command worker serves edgefleet's workflows and activities: it connects, registers and serves.
// Temporal and AWS are configured by their own environment variables; ours are
// EDGEFLEET_ROOT_CA_URL and EDGEFLEET_METRICS_ADDRESS.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"go.temporal.io/sdk/worker"
	"go.uber.org/zap"

	"edgefleet/activities"
	"edgefleet/internal/connect"
	"edgefleet/workflows"
)

// stopTimeout is what activities that run get to finish in when the worker is told to stop.
const stopTimeout = 20 * time.Second

func main() {
	health := flag.Bool("health", false, "ask the worker that runs at EDGEFLEET_METRICS_ADDRESS whether it is well, and exit 0 or 1")
	flag.Parse()
	if *health {
		os.Exit(askHealth())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log, err := zap.NewProduction()
	if err == nil {
		err = run(ctx, log)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "worker: "+err.Error())
		os.Exit(1)
	}
}

// run serves until ctx is done or the worker fails for good.
func run(ctx context.Context, log *zap.Logger) error {
	defer log.Sync() //nolint:errcheck // stderr cannot be synced on every system
	cfg, err := activities.LoadAWSConfig(ctx)
	if err != nil {
		return err
	}
	if err := checkAWS(ctx, cfg, log); err != nil {
		return err
	}
	metrics, err := newMetrics()
	if err != nil {
		return err
	}
	c, options, err := connect.Temporal(ctx, temporalLogger(log), metrics.handler)
	if err != nil {
		return err
	}
	defer c.Close()
	listener, err := listen()
	if err != nil {
		return err
	}
	server := serve(listener, metrics, c)
	defer server.Close() //nolint:errcheck // nothing is left to lose

	fatal := make(chan error, 1)
	w := worker.New(c, workflows.TaskQueue, worker.Options{
		WorkerStopTimeout: stopTimeout,
		OnFatalError:      func(err error) { fatal <- err },
		// At once: what an attempt notes is for the one that follows when it is killed.
		MaxHeartbeatThrottleInterval: time.Millisecond,
	})
	w.RegisterWorkflow(workflows.PrepareFleet)
	w.RegisterWorkflow(workflows.ProvisionDevice)
	w.RegisterWorkflow(workflows.DecommissionDevice)
	w.RegisterActivity(activities.New(cfg, os.Getenv("EDGEFLEET_ROOT_CA_URL")))
	if err := w.Start(); err != nil {
		return fmt.Errorf("starting to poll task queue %q: %w", workflows.TaskQueue, err)
	}
	log.Info("serving", zap.String("taskQueue", workflows.TaskQueue), zap.String("temporal", options.HostPort),
		zap.String("namespace", options.Namespace), zap.String("region", cfg.Region), zap.String("metrics", "http://"+listener.Addr().String()+"/metrics"))
	select {
	case <-ctx.Done():
		log.Info("stopping: activities that run may finish", zap.Duration("within", stopTimeout))
		w.Stop()
		return nil
	case err := <-fatal:
		w.Stop()
		return fmt.Errorf("polling task queue %q: %w", workflows.TaskQueue, err)
	}
}
