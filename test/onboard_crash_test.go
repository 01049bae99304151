package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"edgefleet/internal/devstack"
	"edgefleet/workflows"
)

// Workers are killed again and again, and the Temporal server once: every device is provisioned, with
// one certificate, and the report tells of each line.
func TestOnboardingSurvives(t *testing.T) {
	devices, kills, pause := 60, 2, time.Duration(0)
	if os.Getenv("EDGEFLEET_CHAOS") == "all" {
		devices, kills, pause = 500, 6, 10*time.Second
	}
	started, err := startStack(devstack.Config{TemporalDB: filepath.Join(t.TempDir(), "temporal.db")})
	require.NoError(t, err)
	s := &lane{started, map[string]bool{}}
	defer s.close(t)
	require.NoError(t, s.ControlAWS(t.Context(), "PUT", "quotas", map[string]int{"*": 0}, nil))
	d := newDevice(t, sageMaker, "keys: csr\n")
	// Slow enough to be killed in the middle of everything.
	require.NoError(t, s.ControlAWS(t.Context(), "POST", "faults", fault{Operation: "iot:AttachPolicy", Kind: "delay", DelayMS: 300, Times: -1}, nil))
	s.starter(t, "onboard", "-f", d.file, manifestOf(t, d.Name, devices), "--name", "survivor", "--no-wait", "--in-flight", "8").exits(t, 0)
	for i := range kills {
		more := devices * (i + 1) / (kills + 2)
		s.onboardingIs(t, "survivor", func(o onboarded) bool { return o.Counts.Provisioned >= more })
		s.replaceWorker(t, func() {
			if i == 0 {
				require.NoError(t, s.KillTemporal())
				require.NoError(t, s.StartTemporal(t.Context()))
			}
		})
		<-time.After(pause)
	}
	got := s.onboardingIs(t, "survivor", func(o onboarded) bool { return o.State == workflows.Completed })
	require.Equal(t, devices, got.Counts.Provisioned+got.Counts.Already, "%+v", got)
	require.Len(t, s.certificates(t), devices, "exactly one each")
	s.assertOnboarded(t, d, "survivor", devices)
}

// Two workers together keep each quota, and no call is refused.
func TestQuotasAreKept(t *testing.T) {
	s := newLanes(t, 1).take(t)
	worker, err := s.StartWorker(t.Context())
	require.NoError(t, err)
	defer func() {
		require.NoError(t, worker.Stop())
		s.Workers = s.Workers[:1]
	}()
	const quota = 20
	const reads = 4 * quota // a device reads more often: what reads S3 waits for its turn, too
	limits := map[string]int{"s3:GetObject": reads}
	for _, api := range workflows.DeviceAPIs(newDevice(t, iotCore, "").spec) {
		limits[api] = quota
	}
	require.NoError(t, s.ControlAWS(t.Context(), "PUT", "quotas", limits, nil))
	defer func() { require.NoError(t, s.ControlAWS(t.Context(), "PUT", "quotas", map[string]int{"*": 0}, nil)) }()
	fleets := []device{newDevice(t, iotCore, ""), newDevice(t, iotCore, "")}
	for _, d := range fleets { // a first device, until when the workers know of the quotas
		s.starter(t, "onboard", "-f", d.file, manifestOf(t, d.Name+"-a", 1)).exits(t, 0)
	}
	eventually(t, "the workers know of the quotas", func() error {
		name := fmt.Sprintf("%s-%d", fleets[0].Name, time.Now().UnixNano())
		s.starter(t, "onboard", "-f", fleets[0].file, manifestOf(t, name, 1), "--name", name).exits(t, 0)
		o := s.starter(t, "status", "onboarding", name)
		o.exits(t, 0)
		if !strings.Contains(o.stdout, "the quotas allow    20 a second") {
			return fmt.Errorf("not yet: %s", o.stdout)
		}
		return nil
	})
	require.NoError(t, s.ControlAWS(t.Context(), "DELETE", "calls", nil, nil))
	const devices = 150
	for _, d := range fleets {
		s.starter(t, "onboard", "-f", d.file, manifestOf(t, d.Name, devices), "--name", d.Name, "--no-wait", "--in-flight", "30").exits(t, 0)
	}
	// One device that somebody waits for does not wait behind them.
	single := fleets[0].sibling(t, fleets[0].Name+"-single")
	s.starter(t, "provision", "-f", single.file, single.Name).exits(t, 0)
	for i, d := range fleets {
		got := s.onboardingIs(t, d.Name, func(onboarded) bool { return true })
		require.Less(t, got.Counts.Ended(), devices, "fleet %d", i)
	}
	first := s.onboardingIs(t, fleets[0].Name, func(o onboarded) bool { return o.Counts.Ended() >= devices/2 })
	second := s.onboardingIs(t, fleets[1].Name, func(onboarded) bool { return true })
	require.InDelta(t, first.Counts.Ended(), second.Counts.Ended(), devices/3, "they share evenly")
	for api := range limits {
		if api != "s3:GetObject" {
			limits[api] = quota + 5
		}
	}
	require.NoError(t, s.ControlAWS(t.Context(), "PUT", "quotas", limits, nil))
	for _, d := range fleets { // in the middle of a shift
		s.onboardingIs(t, d.Name, func(o onboarded) bool { return o.Ceiling == quota+5 })
	}
	for _, d := range fleets {
		s.onboardingIs(t, d.Name, func(o onboarded) bool { return o.State == workflows.Completed })
	}
	var calls map[string]struct{ Calls, Throttled, MaxPerSecond int }
	require.NoError(t, s.ControlAWS(t.Context(), "GET", "calls", nil, &calls))
	for api, limit := range limits {
		require.GreaterOrEqual(t, calls[api].Calls, 2*devices, api)
		require.Zero(t, calls[api].Throttled, api)
		require.LessOrEqual(t, calls[api].MaxPerSecond, limit, api)
	}
}
