package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go/logging"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	sdktemporal "go.temporal.io/sdk/temporal"

	"edgefleet/activities"
	"edgefleet/internal/connect"
	"edgefleet/workflows"
)

// awsConfig is AWS's configuration as the worker reads it, save that here the SDK retries: no
// Temporal does.
func awsConfig(ctx context.Context) (aws.Config, error) {
	cfg, err := activities.LoadAWSConfig(ctx)
	cfg.Logger = logging.Nop{} // what matters comes as an error
	cfg.Retryer = func() aws.Retryer {
		return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts = 8 })
	}
	return cfg, err
}

// ownCall tells an error of AWS as that of a call by this command, with the credentials of whoever typed it: the
// advice is meant for a worker's.
func ownCall(err error) error {
	var said *sdktemporal.ApplicationError
	if !errors.As(err, &said) {
		return err
	}
	advice := strings.NewReplacer("the worker's AWS credentials", "your AWS credentials", "its IAM policy", "your IAM policy", "it is retried; if it lasts", "if it lasts")
	return errors.New(strings.TrimSuffix(advice.Replace(said.Message()), "."))
}

// workerPatience is how long a worker that is starting gets to begin polling or to take a run.
const workerPatience = 5 * time.Second

// temporal is a connection to Temporal.
type temporal struct {
	client.Client
	options client.Options
}

func (a *app) connect(ctx context.Context) (*temporal, error) {
	c, options, err := connect.Temporal(ctx, log.NewStructuredLogger(slog.New(slog.DiscardHandler)), nil)
	if err != nil {
		return nil, err
	}
	return &temporal{c, options}, nil
}

// connectToWorkers connects and makes sure that a worker will take what is started.
func (a *app) connectToWorkers(ctx context.Context) (*temporal, error) {
	t, err := a.connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := t.requireWorker(ctx); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// requireSearchAttributes makes sure that the namespace knows the search attributes: a run that
// leaves the happy path sets them, and could not go on without.
func (t *temporal) requireSearchAttributes(ctx context.Context) error {
	if err := t.querySearchAttributes(ctx); err != nil {
		return fmt.Errorf("the namespace %q at %s lacks search attributes that edgefleet uses (%s): %w. `starter fleet apply` creates them, where it may",
			t.options.Namespace, t.options.HostPort, strings.Join(workflows.SearchAttributeNames, ", "), err)
	}
	return nil
}

// querySearchAttributes fails where one of the search attributes is not known.
func (t *temporal) querySearchAttributes(ctx context.Context) error {
	query := strings.Join(workflows.SearchAttributeNames, " = 'none' AND ") + " = 'none'"
	_, err := t.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{Query: query})
	return err
}

// requireWorker returns once a worker polls the task queue; an error when none does for a while.
func (t *temporal) requireWorker(ctx context.Context) error {
	deadline := time.Now().Add(workerPatience)
	for {
		answer, err := t.DescribeTaskQueue(ctx, workflows.TaskQueue, enums.TASK_QUEUE_TYPE_WORKFLOW)
		if err != nil {
			return fmt.Errorf("asking Temporal at %s who polls task queue %q: %w", t.options.HostPort, workflows.TaskQueue, err)
		}
		if len(answer.GetPollers()) > 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no worker polls task queue %q of namespace %q at %s, so nothing was started. Start one (`bin/worker`, with AWS credentials; `starter dev` has one) and repeat the command",
				workflows.TaskQueue, t.options.Namespace, t.options.HostPort)
		}
		if err := pause(ctx, 250*time.Millisecond); err != nil {
			return err
		}
	}
}

// ensureSearchAttributes registers the search attributes that the namespace lacks.
func (t *temporal) ensureSearchAttributes(ctx context.Context) error {
	const advice = "Have an administrator create them, each of the type Keyword: `temporal operator search-attribute create -n %s --type Keyword --name %s`"
	known, err := t.OperatorService().ListSearchAttributes(ctx, &operatorservice.ListSearchAttributesRequest{Namespace: t.options.Namespace})
	if err != nil {
		// Temporal Cloud has no operator service; there, a run's start says what is missing.
		return nil
	}
	missing := map[string]enums.IndexedValueType{}
	for _, name := range workflows.SearchAttributeNames {
		kind, has := known.GetCustomAttributes()[name]
		if !has {
			missing[name] = enums.INDEXED_VALUE_TYPE_KEYWORD
		} else if kind != enums.INDEXED_VALUE_TYPE_KEYWORD {
			return fmt.Errorf("search attribute %s of namespace %q is of the type %s; edgefleet needs Keyword", name, t.options.Namespace, kind)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	_, err = t.OperatorService().AddSearchAttributes(ctx, &operatorservice.AddSearchAttributesRequest{Namespace: t.options.Namespace, SearchAttributes: missing})
	if err != nil {
		names := make([]string, 0, len(missing))
		for name := range missing {
			names = append(names, name)
		}
		slices.Sort(names)
		return fmt.Errorf("creating the search attributes %s in namespace %q: %w. "+advice,
			strings.Join(names, ", "), t.options.Namespace, err, t.options.Namespace, strings.Join(names, " --name "))
	}
	return t.awaitSearchAttributes(ctx)
}

// attributesPatience is longer than a Temporal server keeps its list of search attributes in memory
// (a minute), before it reads it again and knows a new one.
const attributesPatience = 90 * time.Second

// awaitSearchAttributes returns once the server takes a query by the new search attributes.
func (t *temporal) awaitSearchAttributes(ctx context.Context) error {
	for deadline := time.Now().Add(attributesPatience); ; {
		err := t.querySearchAttributes(ctx)
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the search attributes were created in namespace %q, and Temporal does not know them yet: %w. Repeat the command in a minute", t.options.Namespace, err)
		}
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
}

// start starts a run of the workflow, or joins the one of that id that is running. One of another
// type excludes it: one operation per device at a time.
func (t *temporal) start(ctx context.Context, options client.StartWorkflowOptions, workflow string, input any) (run client.WorkflowRun, joined bool, err error) {
	options.TaskQueue = workflows.TaskQueue
	options.WorkflowExecutionErrorWhenAlreadyStarted = true
	options.WorkflowIDConflictPolicy = enums.WORKFLOW_ID_CONFLICT_POLICY_FAIL
	run, err = t.ExecuteWorkflow(ctx, options, workflow, input)
	var running *serviceerror.WorkflowExecutionAlreadyStarted
	var refused *serviceerror.InvalidArgument
	switch {
	case err == nil:
		return run, false, nil
	case errors.As(err, &running):
		return t.join(ctx, options.ID, running.RunId, workflow)
	case errors.As(err, &refused) && strings.Contains(err.Error(), "search attribute"):
		return nil, false, fmt.Errorf("starting %s: %w. `starter fleet apply` creates the search attributes that edgefleet uses", options.ID, err)
	}
	return nil, false, fmt.Errorf("starting %s on Temporal at %s: %w", options.ID, t.options.HostPort, err)
}

func (t *temporal) join(ctx context.Context, id, runID, workflow string) (client.WorkflowRun, bool, error) {
	described, err := t.DescribeWorkflowExecution(ctx, id, runID)
	if err != nil {
		return nil, false, fmt.Errorf("describing %s, which is running: %w", id, err)
	}
	if other := described.GetWorkflowExecutionInfo().GetType().GetName(); other != workflow {
		return nil, false, fmt.Errorf("%s is running as %s, which excludes %s: wait for it (`starter status` shows it), or cancel it (`temporal workflow cancel -w %s`)", id, other, workflow, id)
	}
	return t.GetWorkflow(ctx, id, runID), true, nil
}

// pause waits, unless ctx is done before.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
