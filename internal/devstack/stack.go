// Package devstack starts what edgefleet needs on this machine: a Temporal server, the local AWS
// and workers, for `starter dev` and for the tests that need the whole stack. All of it listens on
// loopback only.
package devstack

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"edgefleet/internal/localaws"
)

// Config says what to start. A port of 0 means a free one.
type Config struct {
	TemporalPort    int
	UIPort          int
	AWSPort         int
	CredentialsPort int
	MetricsPort     int    // of the first worker; further ones take free ports
	NoUI            bool   // saves its start where nobody looks
	TemporalDB      string // the server's SQLite file; empty: it keeps all in memory
	PostgreSQL      bool   // a server without UI, on a PostgreSQL cluster of its own, instead of the dev server
	KeyPool         int    // see localaws.Config
	Workers         int    // processes
	Buckets         []string
	Binaries        string // the directory of `temporal` and `worker`; elsewhere they are looked for on PATH
	Logs            string // the directory for the processes' output
}

// Stack is what was started.
type Stack struct {
	AWS     *localaws.Server
	Workers []*Worker

	cfg        Config
	temporal   *process
	postgresql *postgresql // nil: another store
	failures   chan error
}

// Region is the one that the local AWS is used in.
const Region = "us-east-1"

const (
	startTimeout = 90 * time.Second // a cold start on a busy machine; a wait ends when its condition holds
	stopTimeout  = 30 * time.Second
)

// Start starts everything and returns when a run could be started. What had been started is
// stopped when it fails. Ports in use are all named before anything is started.
func Start(ctx context.Context, cfg Config) (_ *Stack, err error) {
	if err := cfg.choosePorts(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Logs, 0o755); err != nil {
		return nil, fmt.Errorf("making the directory for logs: %w", err)
	}
	s := &Stack{cfg: cfg, failures: make(chan error, 8)}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Stop())
		}
	}()
	s.AWS, err = localaws.Start(localaws.Config{
		Address:            loopback(cfg.AWSPort),
		CredentialsAddress: loopback(cfg.CredentialsPort),
		Buckets:            cfg.Buckets,
		KeyPool:            cfg.KeyPool,
	})
	if err != nil {
		return nil, fmt.Errorf("starting the local AWS: %w", err)
	}
	if cfg.PostgreSQL {
		if err := s.startPostgreSQL(ctx); err != nil {
			return nil, err
		}
	}
	if err := s.StartTemporal(ctx); err != nil {
		return nil, err
	}
	for range cfg.Workers {
		if _, err := s.StartWorker(ctx); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Failures tells of processes that ended without being told to.
func (s *Stack) Failures() <-chan error { return s.failures }

// TemporalAddress is the HOST:PORT of the Temporal server.
func (s *Stack) TemporalAddress() string { return loopback(s.cfg.TemporalPort) }

// UIURL is where the Temporal UI is.
func (s *Stack) UIURL() string { return "http://" + loopback(s.cfg.UIPort) }

// Exports are the variables with which worker, starter and AWS's own tools reach this stack.
func (s *Stack) Exports() []string {
	return []string{
		"TEMPORAL_ADDRESS=" + s.TemporalAddress(),
		"TEMPORAL_NAMESPACE=default",
		"AWS_ENDPOINT_URL=" + s.AWS.URL(),
		"AWS_REGION=" + Region,
		"AWS_DEFAULT_REGION=" + Region, // the AWS CLI reads only this one
		"AWS_ACCESS_KEY_ID=local",
		"AWS_SECRET_ACCESS_KEY=local",
		"EDGEFLEET_ROOT_CA_URL=" + s.AWS.URL() + "/_localaws/AmazonRootCA1.pem",
		"EDGEFLEET_QUOTAS=" + s.AWS.URL() + "/_localaws/quotas",
	}
}

// Env is this process's environment with the stack's variables instead of any that would lead
// elsewhere: the user's Temporal and AWS settings are for the real ones.
func (s *Stack) Env(extra ...string) []string {
	var env []string
	for _, variable := range os.Environ() {
		ours := strings.HasPrefix(variable, "EDGEFLEET_") && !strings.HasPrefix(variable, "EDGEFLEET_HOOK_") // secrets of hooks stay
		if !strings.HasPrefix(variable, "TEMPORAL_") && !strings.HasPrefix(variable, "AWS_") && !ours {
			env = append(env, variable)
		}
	}
	env = append(env, s.Exports()...)
	env = append(env,
		"TEMPORAL_CONFIG_FILE="+os.DevNull,
		"AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull, "AWS_EC2_METADATA_DISABLED=true")
	return append(env, extra...)
}

// Worker is a worker process.
type Worker struct {
	*process
	URL string // of its /metrics and /healthz
}

// StartWorker starts a worker process and returns once it serves.
func (s *Stack) StartWorker(ctx context.Context) (*Worker, error) {
	binary, err := s.cfg.binary("worker")
	if err != nil {
		return nil, err
	}
	port := s.cfg.MetricsPort
	if len(s.Workers) > 0 {
		if port, err = freePort(); err != nil {
			return nil, err
		}
	}
	address := loopback(port)
	p, err := s.start(command(binary, nil, s.Env("EDGEFLEET_METRICS_ADDRESS="+address)), fmt.Sprintf("worker-%d.log", len(s.Workers)+1))
	if err != nil {
		return nil, err
	}
	w := &Worker{process: p, URL: "http://" + address}
	s.Workers = append(s.Workers, w)
	return w, p.until(ctx, "serves", func() error { return askURL(ctx, w.URL+"/healthz") })
}

// Kill kills the worker at once (SIGKILL).
func (w *Worker) Kill() error { return w.kill() }

// Stop stops the worker in order.
func (w *Worker) Stop() error { return w.stop(os.Interrupt, stopTimeout) }

// Stop stops everything in order: workers, Temporal, its database, the local AWS.
func (s *Stack) Stop() error {
	var errs []error
	for _, w := range s.Workers {
		errs = append(errs, w.Stop())
	}
	if s.temporal != nil {
		errs = append(errs, s.StopTemporal())
	}
	if s.postgresql != nil {
		errs = append(errs, s.postgresql.close())
	}
	if s.AWS != nil {
		errs = append(errs, s.AWS.Close())
	}
	return errors.Join(errs...)
}

// binary finds a program beside the others that were built, or on PATH.
func (c *Config) binary(name string) (string, error) {
	beside := filepath.Join(c.Binaries, name)
	if _, err := os.Stat(beside); err == nil {
		return beside, nil
	}
	path, err := lookPath(name)
	if err != nil {
		return "", fmt.Errorf("no program %q in %s or on PATH: `make bin/%s` makes it", name, c.Binaries, name)
	}
	return path, nil
}

// choosePorts takes free ports for those that are 0, and names all that are in use.
func (c *Config) choosePorts() error {
	named := []struct {
		what, flag string
		port       *int
	}{
		{"Temporal", "--temporal-port", &c.TemporalPort},
		{"the Temporal UI", "--ui-port", &c.UIPort},
		{"the local AWS", "--aws-port", &c.AWSPort},
		{"the credential provider", "--credentials-port", &c.CredentialsPort},
		{"the worker's metrics", "--metrics-port", &c.MetricsPort},
	}
	var errs []error
	for _, p := range named {
		listener, err := listen(*p.port)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s cannot listen on %s: %w. Stop what listens there (another `starter dev`?), or choose with %s",
				p.what, loopback(*p.port), rootCause(err), p.flag))
			continue
		}
		defer listener.Close() // not before all are chosen: each needs another one
		*p.port = listener.Addr().(*net.TCPAddr).Port
	}
	return errors.Join(errs...)
}

func rootCause(err error) error {
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next
	}
	return err
}

func freePort() (int, error) {
	listener, err := listen(0)
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

// lastPort is the latest of the free ports that were chosen.
var lastPort atomic.Int32

// listen listens on the port; 0 means a free one. It chooses that below those that the kernel gives to
// outgoing connections: one of these could have it before the program that it was chosen for. So could
// another process that chooses at the same time: the UDP port of that number, which nothing here needs,
// is held as long as this process lives, and says that the number is taken.
func listen(port int) (net.Listener, error) {
	if port != 0 {
		return net.Listen("tcp", loopback(port))
	}
	const lowest, count = 12000, 20000
	lastPort.CompareAndSwap(0, rand.Int32N(count)) // other processes begin elsewhere
	for range count {
		port := lowest + int(lastPort.Add(1)%count)
		mark, err := net.ListenPacket("udp", loopback(port))
		if err != nil {
			continue
		}
		listener, err := net.Listen("tcp", loopback(port))
		if err == nil {
			chosen.Store(port, mark) // a reference, or it would be collected and closed
			return listener, nil
		}
		mark.Close()
	}
	return nil, fmt.Errorf("no free port from %d to %d", lowest, lowest+count-1)
}

// chosen are the marks of the ports that this process chose.
var chosen sync.Map

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// askURL succeeds when the URL answers 200.
func askURL(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 500)) // only explains the status
		return fmt.Errorf("%s: %s", res.Status, text)
	}
	return nil
}

// ControlAWS calls the local AWS's control interface; in and out, what is sent and answered, may be nil.
func (s *Stack) ControlAWS(ctx context.Context, method, what string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, s.AWS.URL()+"/_localaws/"+what, bytes.NewReader(body))
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %s", method, what, res.Status, answer)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer, out)
}
