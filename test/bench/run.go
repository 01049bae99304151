package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"edgefleet/internal/devstack"
)

const (
	benchFleet = "bench"
	bucket     = "edge-bucket"
	onboarding = "bench" // its name
	// keyPool is how many keys the local AWS deals: to make one for each device is AWS's cost.
	keyPool = 4
)

// bench runs configurations.
type bench struct {
	binaries string
	workers  int
}

// run measures a configuration once, on a stack of its own. The logs stay where it fails.
func (b *bench) run(ctx context.Context, c configuration, audit bool) (m measured, err error) {
	dir, err := os.MkdirTemp("", "edgefleet-bench-")
	if err != nil {
		return m, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w (logs: %s)", err, dir)
		} else {
			err = os.RemoveAll(dir)
		}
	}()
	cfg := devstack.Config{NoUI: true, KeyPool: keyPool, Buckets: []string{bucket}, Binaries: b.binaries, Logs: dir}
	switch c.Store {
	case sqliteStore:
		cfg.TemporalDB = filepath.Join(dir, "temporal.db")
	case postgresqlStore:
		cfg.PostgreSQL = true
	}
	started, err := devstack.Start(ctx, cfg)
	if err != nil {
		return m, err
	}
	s := &stack{Stack: started, starter: filepath.Join(b.binaries, "starter"), fleet: filepath.Join(dir, "fleet.yaml")}
	defer func() { err = errors.Join(err, s.Stop()) }()
	if err := s.prepare(ctx, c, b.workers); err != nil {
		return m, err
	}
	if m.Ceiling, err = s.ceiling(ctx, c); err != nil {
		return m, err
	}
	if c.Loop {
		return m, s.loop(ctx, c, &m)
	}
	return m, s.onboard(ctx, c, audit, &m)
}

// stack is a devstack in use.
type stack struct {
	*devstack.Stack
	starter string
	fleet   string // the specification's file
}

// prepare sets the quotas, starts the workers, which so know them from the beginning, and makes
// what the fleet's devices share. None of that is measured.
func (s *stack) prepare(ctx context.Context, c configuration, workers int) error {
	var inForce map[string]float64
	if err := s.ControlAWS(ctx, http.MethodGet, "quotas", nil, &inForce); err != nil {
		return err
	}
	if err := s.ControlAWS(ctx, http.MethodPut, "quotas", quotasOf(c.Quotas, inForce), nil); err != nil {
		return err
	}
	for range workers {
		if _, err := s.StartWorker(ctx); err != nil {
			return err
		}
	}
	if err := os.WriteFile(s.fleet, []byte(fleetText(c.Keys)), 0o644); err != nil {
		return err
	}
	if _, err := program(ctx, s.Env(), nil, nil, s.starter, "fleet", "apply", "-f", s.fleet); err != nil {
		return err
	}
	return s.ControlAWS(ctx, http.MethodDelete, "calls", nil, nil)
}

func fleetText(keys string) string {
	return "name: " + benchFleet + `
registry: sagemaker-edge
roleArn: arn:aws:iam::123456789012:role/EdgeFleetRole
thingType: bench-camera
output: s3://` + bucket + `/device_output
bundles: s3://` + bucket + `/authorization-files
keys: ` + keys + "\n"
}

func deviceName(n int) string { return fmt.Sprintf("cam-%07d", n) }

func (s *stack) ceiling(ctx context.Context, c configuration) (float64, error) {
	var rates map[string]float64
	if err := s.ControlAWS(ctx, http.MethodGet, "quotas", nil, &rates); err != nil {
		return 0, err
	}
	return ceiling(c.Keys, rates), nil
}

// loop measures the loop over the SDK.
func (s *stack) loop(ctx context.Context, c configuration, m *measured) error {
	in := loopInput{
		Fleet: benchFleet, ThingType: "bench-camera", Policy: "edgefleet-" + benchFleet,
		RoleAlias: "SageMakerEdge-" + benchFleet, Bucket: bucket, // as SageMaker names it
	}
	for n := range c.Devices {
		in.Devices = append(in.Devices, deviceName(n+1))
	}
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	this, err := os.Executable()
	if err != nil {
		return err
	}
	e, err := program(ctx, s.Env(), bytes.NewReader(body), nil, this, loopCommand)
	if err != nil {
		return err
	}
	var out loopOutput
	if err := json.Unmarshal(e.stdout, &out); err != nil {
		return fmt.Errorf("reading what the loop did: %w", err)
	}
	for cause, n := range out.Failed {
		m.Failed += n
		fmt.Fprintf(os.Stderr, "          %d devices failed: %s\n", n, cause)
	}
	if err := s.ControlAWS(ctx, http.MethodGet, "calls", nil, &m.Calls); err != nil {
		return err
	}
	m.Provisioned, m.Took, m.ClientPeak, m.Findings = len(out.Ended), e.took, e.peak, -1
	m.Rate, m.Drift, m.Total = rate(out.Ended), drift(out.Ended), percentilesOf(out.TookMS)
	made := m.Calls["iot:CreateKeysAndCertificate"]
	m.HalfDone = made.Calls - made.Throttled - m.Provisioned
	return nil
}

// onboard measures an onboarding.
func (s *stack) onboard(ctx context.Context, c configuration, audit bool, m *measured) error {
	manifest := filepath.Join(filepath.Dir(s.fleet), "devices.csv")
	var text strings.Builder
	text.WriteString("device\n")
	for n := range c.Devices {
		text.WriteString(deviceName(n+1) + "\n")
	}
	if err := os.WriteFile(manifest, []byte(text.String()), 0o644); err != nil {
		return err
	}
	before, err := s.StoreBytes()
	if err != nil {
		return err
	}
	single := make(chan error, 1)
	during, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { single <- s.single(during, c, m) }()
	e, err := program(ctx, s.Env(), nil, nil, s.starter, "onboard", "-f", s.fleet, manifest, "--name", onboarding)
	cancel()
	if singleErr := <-single; err == nil && !errors.Is(singleErr, context.Canceled) {
		err = singleErr
	}
	if err != nil {
		return err
	}
	m.Took, m.ClientPeak = e.took, e.peak
	for _, w := range s.Workers {
		m.WorkerPeak = max(m.WorkerPeak, peakMemory(w.PID()))
	}
	if err := s.ControlAWS(ctx, http.MethodGet, "calls", nil, &m.Calls); err != nil {
		return err
	}
	if err := s.report(ctx, e.began, c, m); err != nil {
		return err
	}
	if err := s.histories(ctx, c, m); err != nil {
		return err
	}
	m.Findings = -1
	if audit {
		if m.Findings, err = s.audit(ctx); err != nil {
			return err
		}
	}
	for _, w := range s.Workers {
		if err := w.Stop(); err != nil {
			return err
		}
	}
	if err := s.StopTemporal(); err != nil { // which moves the last of SQLite's log into its file
		return err
	}
	after, err := s.StoreBytes()
	m.StoreBytes = float64(after-before) / float64(c.Devices)
	return err
}

// single provisions one device when a third of the others is done, and sees how long that takes.
// Without quotas there is no queue that it could have to wait in.
func (s *stack) single(ctx context.Context, c configuration, m *measured) error {
	if c.Quotas == liftedQuotas {
		return nil
	}
	for {
		var counted map[string]calls
		if err := s.ControlAWS(ctx, http.MethodGet, "calls", nil, &counted); err != nil {
			return err
		}
		if counted["credentials:AssumeRoleWithCertificate"].Calls >= c.Devices/3 {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
	e, err := program(ctx, s.Env(), nil, nil, s.starter, "provision", "-f", s.fleet, "single-1")
	if ctx.Err() != nil {
		return ctx.Err() // the onboarding was done before
	}
	m.Single = e.took
	return err
}

// onboardingReport is what is read of `starter report NAME -o json`.
type onboardingReport struct {
	Devices []struct {
		State      string    `json:"state"`
		StartedAt  time.Time `json:"startedAt"`
		EndedAt    time.Time `json:"endedAt"`
		DurationMS float64   `json:"durationMs"`
		Steps      []struct {
			Step string  `json:"step"`
			MS   float64 `json:"ms"`
		} `json:"steps"`
	} `json:"devices"`
}

func (s *stack) report(ctx context.Context, began time.Time, c configuration, m *measured) error {
	e, err := program(ctx, s.Env(), nil, nil, s.starter, "report", onboarding, "-o", "json")
	if err != nil {
		return err
	}
	m.Report = e.took
	var r onboardingReport
	if err := json.Unmarshal(e.stdout, &r); err != nil {
		return fmt.Errorf("reading the onboarding's report: %w", err)
	}
	return m.read(r, began, c.Devices)
}

// read takes its figures from a report; every device has to be provisioned.
func (m *measured) read(r onboardingReport, began time.Time, devices int) error {
	states := map[string]int{}
	var ended []time.Time
	var total []float64
	steps := map[string][]float64{}
	first := time.Time{}
	for _, d := range r.Devices {
		states[d.State]++
		ended = append(ended, d.EndedAt)
		total = append(total, d.DurationMS)
		if first.IsZero() || d.StartedAt.Before(first) {
			first = d.StartedAt
		}
		for _, step := range d.Steps {
			if _, known := steps[step.Step]; !known {
				m.StepNames = append(m.StepNames, step.Step)
			}
			steps[step.Step] = append(steps[step.Step], step.MS)
		}
	}
	m.Provisioned = states["provisioned"]
	if m.Provisioned != devices {
		return fmt.Errorf("of %d devices, the report says: %v", devices, states)
	}
	m.First, m.Rate, m.Drift, m.Total = first.Sub(began), rate(ended), drift(ended), percentilesOf(total)
	m.Steps = map[string]percentiles{}
	for step, times := range steps {
		m.Steps[step] = percentilesOf(times)
	}
	return nil
}

// audit counts what `starter audit` finds. What it costs is not measured, so it need not keep to quotas.
func (s *stack) audit(ctx context.Context) (int, error) {
	if err := s.ControlAWS(ctx, http.MethodPut, "quotas", map[string]float64{"*": 0}, nil); err != nil {
		return 0, err
	}
	e, err := program(ctx, s.Env(), nil, []int{1}, s.starter, "audit", "-f", s.fleet, "-o", "json")
	if err != nil {
		return 0, err
	}
	var found []json.RawMessage
	if err := json.Unmarshal(e.stdout, &found); err != nil {
		return 0, fmt.Errorf("reading what the audit found: %w", err)
	}
	return len(found), nil
}
