// Command worker serves edgefleet's workflows and activities: it connects, registers and serves.
// Temporal and AWS are configured by their own environment variables; ours are
// EDGEFLEET_ROOT_CA_URL, EDGEFLEET_QUOTAS, EDGEFLEET_METRICS_ADDRESS and the secrets of hooks, EDGEFLEET_HOOK_….
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/worker"
	"go.uber.org/zap"

	"edgefleet/activities"
	"edgefleet/internal/connect"
	"edgefleet/internal/onboarding"
	"edgefleet/internal/quota"
	"edgefleet/workflows"
)

// stopTimeout is what activities that run get to finish in when the worker is told to stop.
const stopTimeout = 20 * time.Second

const (
	// laneWait is how long a call waits for its turn: with it an activity's attempt ends within its time.
	laneWait = 8 * time.Second
	// ratesInterval is how often quotas that are kept in a file or at a URL are read again.
	ratesInterval = time.Second
)

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
	rates, err := quota.LoadRates(ctx, os.Getenv(quota.RatesVariable))
	if err != nil {
		return err
	}
	go rates.Watch(ctx, ratesInterval, func(err error) {
		log.Warn("AWS's quotas could not be read again; they stay as they were", zap.Error(err))
	})
	lanes := quota.NewLanes(rates, quota.Share{Until: time.Now()})
	lanes.MaxWait = laneWait
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

	sharesCtx, giveUpShares := context.WithCancel(context.WithoutCancel(ctx)) // activities that finish need them yet
	defer giveUpShares()
	go newShares(c, lanes, cfg.Region, log).keep(sharesCtx)
	tuner, err := newTuner(lanes)
	if err != nil {
		return err
	}
	fatal := make(chan error, 2)
	failed := func(err error) { fatal <- err }
	w := worker.New(c, workflows.TaskQueue, worker.Options{
		WorkerStopTimeout:          stopTimeout,
		Tuner:                      tuner,
		WorkflowTaskPollerBehavior: pollers,
		ActivityTaskPollerBehavior: pollers,
		OnFatalError:               failed,
		Interceptors:               []interceptor.WorkerInterceptor{&callers{}},
		// At once: what an attempt notes is for the one that follows when it is killed.
		MaxHeartbeatThrottleInterval: time.Millisecond,
	})
	w.RegisterWorkflow(workflows.PrepareFleet)
	w.RegisterWorkflow(workflows.ProvisionDevice)
	w.RegisterWorkflow(workflows.DecommissionDevice)
	w.RegisterWorkflow(workflows.OnboardFleet)
	w.RegisterWorkflow(workflows.ExpandFleet)
	steps := activities.New(cfg, os.Getenv("EDGEFLEET_ROOT_CA_URL"), lanes)
	w.RegisterActivity(steps)
	s3 := activities.NewS3(lanes.Limit(cfg))
	w.RegisterActivity(&onboarding.Expander{Temporal: c, S3: s3, Activities: steps})
	w.RegisterActivity(&onboarding.Launcher{Temporal: c, S3: s3, Activities: steps, Lanes: lanes})
	// The quotas are shared out on a queue of their own: whatever waits for its share cannot keep it waiting.
	sharing := worker.New(c, workflows.ShareTaskQueue, worker.Options{OnFatalError: failed, LocalActivityWorkerOnly: true})
	sharing.RegisterWorkflow(workflows.QuotaShares)
	for _, each := range []worker.Worker{sharing, w} {
		if err := each.Start(); err != nil {
			return fmt.Errorf("starting to poll task queue %q and %q: %w", workflows.TaskQueue, workflows.ShareTaskQueue, err)
		}
	}
	stop := func() {
		w.Stop()
		sharing.Stop()
	}
	log.Info("serving", zap.String("taskQueue", workflows.TaskQueue), zap.String("temporal", options.HostPort),
		zap.String("namespace", options.Namespace), zap.String("region", cfg.Region), zap.String("metrics", "http://"+listener.Addr().String()+"/metrics"))
	select {
	case <-ctx.Done():
		log.Info("stopping: activities that run may finish", zap.Duration("within", stopTimeout))
		stop()
		return nil
	case err := <-fatal:
		stop()
		return fmt.Errorf("polling task queue %q: %w", workflows.TaskQueue, err)
	}
}
