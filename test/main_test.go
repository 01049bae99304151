// Package test holds what needs the whole stack: the programs of `make build` as processes, on a
// real Temporal server and the local AWS.
package test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"

	"edgefleet/internal/devstack"
)

// binaries is where `make build` puts the programs.
var binaries = mustAbs("../bin")

func mustAbs(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		panic(err)
	}
	return abs
}

func TestMain(m *testing.M) {
	for _, name := range []string{"starter", "worker", "temporal"} {
		if _, err := os.Stat(filepath.Join(binaries, name)); err != nil {
			fmt.Fprintf(os.Stderr, "bin/%s is missing: run make build\n", name)
			os.Exit(1)
		}
	}
	flag.Parse()
	// What runs in parallel here waits more than it works.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	code := m.Run()
	if err := finish(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// stack is a devstack with the clients that the tests look at it through.
type stack struct {
	*devstack.Stack
	logs      string
	temporal  client.Client
	iot       *iot.Client
	sagemaker *sagemaker.Client
	s3        *s3.Client
}

// bucket is the one that the examples use.
const bucket = "edge-bucket"

// startStack starts a stack without the Temporal UI, which only the browser test looks at.
func startStack(cfg devstack.Config) (*stack, error) {
	cfg.NoUI = true
	return startWith(cfg)
}

func startWith(cfg devstack.Config) (*stack, error) {
	logs, err := os.MkdirTemp("", "edgefleet-test-")
	if err != nil {
		return nil, err
	}
	cfg.Workers, cfg.Buckets, cfg.Binaries, cfg.Logs = 1, []string{bucket}, binaries, logs
	started, err := devstack.Start(context.Background(), cfg)
	if err != nil {
		return nil, err
	}
	s := &stack{Stack: started, logs: logs}
	s.temporal, err = client.NewLazyClient(client.Options{
		HostPort: s.TemporalAddress(),
		Logger:   log.NewStructuredLogger(slog.New(slog.DiscardHandler)),
	})
	if err != nil {
		return nil, errors.Join(err, s.stop())
	}
	s.useAWS(s.AWS.URL())
	return s, nil
}

func (s *stack) useAWS(url string) {
	cfg := aws.Config{
		Region:       devstack.Region,
		BaseEndpoint: &url,
		Credentials:  credentials.NewStaticCredentialsProvider("test", "test", ""),
		Retryer: func() aws.Retryer { // beside workers that use the quotas up
			return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts = 20 })
		},
	}
	s.iot = iot.NewFromConfig(cfg)
	s.sagemaker = sagemaker.NewFromConfig(cfg)
	s.s3 = s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true })
}

// stop stops the stack; its logs stay when it fails.
func (s *stack) stop() error {
	s.temporal.Close()
	if err := s.Stack.Stop(); err != nil {
		return fmt.Errorf("%w (logs: %s)", err, s.logs)
	}
	return os.RemoveAll(s.logs)
}

// sharedStack is the one of all tests that do not disturb each other: each has fleets of its own.
var sharedStack struct {
	once sync.Once
	*stack
	err error
}

func shared(t *testing.T) *stack {
	t.Helper()
	sharedStack.once.Do(func() {
		sharedStack.stack, sharedStack.err = startStack(devstack.Config{})
	})
	if sharedStack.err != nil {
		t.Fatal(sharedStack.err)
	}
	return sharedStack.stack
}

// finish stops the shared stack, after a last look for private keys in what all tests left behind.
func finish() error {
	s := sharedStack.stack
	if s == nil {
		return nil
	}
	found, searched, err := s.searchForKeys(context.Background())
	if testing.Verbose() {
		fmt.Println("at the end:", searched)
	}
	for _, leak := range found {
		err = errors.Join(err, errors.New(leak))
	}
	return errors.Join(err, s.stop())
}
