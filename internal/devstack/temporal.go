package devstack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"google.golang.org/protobuf/types/known/durationpb"

	"edgefleet/workflows"
)

// ServerSettings are those of Temporal's dynamic configuration that differ from the defaults.
var ServerSettings = map[string]any{
	// The dev server reads the search attributes anew for each row that it lists, which makes a list of
	// thousands wait for its limit of reads. They are there from its start.
	"system.forceSearchAttributesCacheRefreshOnRead": false,
	// Without eager execution, and with few shards that read new tasks 20 times a second (the
	// default suits many shards), each step of a run would wait up to 100 ms for nothing.
	"system.enableActivityEagerExecution": true,
	"history.transferProcessorMaxPollRPS": 1000,
	// Who waits for a task goes by priority (a single device before an onboarding's thousands), then fleet by fleet.
	"matching.useNewMatcher":  true,
	"matching.enableFairness": true,
}

// StartTemporal starts the Temporal server, again after StopTemporal or KillTemporal: on the same
// port, with what its store holds.
func (s *Stack) StartTemporal(ctx context.Context) error {
	if s.postgresql != nil {
		return s.startServer(ctx)
	}
	return s.startDevServer(ctx)
}

// StopTemporal stops the server in order.
func (s *Stack) StopTemporal() error { return s.temporal.stop(os.Interrupt, stopTimeout) }

// KillTemporal kills the Temporal server, as a crash of its machine would.
func (s *Stack) KillTemporal() error { return s.temporal.kill() }

// startDevServer starts the Temporal CLI's server, whose store is SQLite.
func (s *Stack) startDevServer(ctx context.Context) error {
	binary, err := s.cfg.binary("temporal")
	if err != nil {
		return err
	}
	args := []string{"server", "start-dev",
		"--ip", "127.0.0.1", "--port", strconv.Itoa(s.cfg.TemporalPort),
		"--log-level", "error"}
	for name, value := range ServerSettings {
		args = append(args, "--dynamic-config-value", fmt.Sprintf("%s=%v", name, value))
	}
	for _, name := range workflows.SearchAttributeNames {
		args = append(args, "--search-attribute", name+"=Keyword")
	}
	if s.cfg.NoUI {
		args = append(args, "--headless")
	} else {
		args = append(args, "--ui-ip", "127.0.0.1", "--ui-port", strconv.Itoa(s.cfg.UIPort))
	}
	if s.cfg.TemporalDB != "" {
		args = append(args, "--db-filename", s.cfg.TemporalDB, "--sqlite-pragma", "journal_mode=wal", "--sqlite-pragma", "synchronous=normal")
	}
	s.temporal, err = s.start(command(binary, args, s.Env()), "temporal.log")
	if err != nil {
		return err
	}
	return s.temporal.until(ctx, "answers", func() error { return s.askTemporal(ctx, askNamespace) })
}

// startServer starts a Temporal server with all its services in one process, on the database.
func (s *Stack) startServer(ctx context.Context) error {
	binary, err := s.cfg.binary("temporal-server")
	if err != nil {
		return err
	}
	settings := map[string][]map[string]any{}
	for name, value := range ServerSettings {
		settings[name] = []map[string]any{{"value": value}}
	}
	text, err := json.Marshal(settings) // which is YAML as well
	if err != nil {
		return err
	}
	file := filepath.Join(s.cfg.Logs, "temporal-settings.yaml")
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return fmt.Errorf("writing Temporal's dynamic configuration: %w", err)
	}
	// Of this process's variables none, since many have a meaning to the server.
	env := append(s.postgresql.serverEnv(),
		"LOG_LEVEL=error",
		"DYNAMIC_CONFIG_FILE_PATH="+file,
		"BIND_ON_IP=127.0.0.1",
		"FRONTEND_GRPC_PORT="+strconv.Itoa(s.cfg.TemporalPort))
	s.temporal, err = s.start(command(binary, []string{"--allow-no-auth", "start"}, env), "temporal.log")
	if err != nil {
		return err
	}
	return s.temporal.until(ctx, "is ready", func() error { return s.askTemporal(ctx, prepareNamespace) })
}

// askTemporal puts a question to the server.
func (s *Stack) askTemporal(ctx context.Context, ask func(context.Context, client.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	c, err := client.DialContext(ctx, client.Options{HostPort: s.TemporalAddress(), Logger: log.NewStructuredLogger(slog.New(slog.DiscardHandler))})
	if err != nil {
		return err
	}
	defer c.Close()
	return ask(ctx, c)
}

// askNamespace succeeds when the server knows its namespace, which it does a little after it answers.
func askNamespace(ctx context.Context, c client.Client) error {
	_, err := c.WorkflowService().DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: client.DefaultNamespace})
	return err
}

// prepareNamespace makes the namespace and its search attributes where they are missing. It
// succeeds when the server knows them, which it does a little after they are made, and serves.
func prepareNamespace(ctx context.Context, c client.Client) error {
	err := askNamespace(ctx, c)
	if missing := (*serviceerror.NamespaceNotFound)(nil); errors.As(err, &missing) {
		_, err = c.WorkflowService().RegisterNamespace(ctx, &workflowservice.RegisterNamespaceRequest{
			Namespace: client.DefaultNamespace, WorkflowExecutionRetentionPeriod: durationpb.New(24 * time.Hour),
		})
	}
	if err != nil {
		return err
	}
	known, err := c.OperatorService().ListSearchAttributes(ctx, &operatorservice.ListSearchAttributesRequest{Namespace: client.DefaultNamespace})
	if err != nil {
		return err
	}
	missing := map[string]enums.IndexedValueType{}
	for _, name := range workflows.SearchAttributeNames {
		if _, has := known.GetCustomAttributes()[name]; !has {
			missing[name] = enums.INDEXED_VALUE_TYPE_KEYWORD
		}
	}
	if len(missing) > 0 {
		_, err = c.OperatorService().AddSearchAttributes(ctx, &operatorservice.AddSearchAttributesRequest{
			Namespace: client.DefaultNamespace, SearchAttributes: missing,
		})
		if err != nil {
			return err
		}
	}
	_, err = c.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{
		Query: strings.Join(workflows.SearchAttributeNames, " = '-' OR ") + " = '-'",
	})
	if err != nil {
		return err
	}
	// Task queues are with another service of the server, which the first one has to find again.
	_, err = c.DescribeTaskQueue(ctx, workflows.TaskQueue, enums.TASK_QUEUE_TYPE_WORKFLOW)
	return err
}
