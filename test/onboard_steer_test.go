package test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"edgefleet/internal/report"
	"edgefleet/workflows"
)

// onboardingIs waits until an onboarding stands as it should.
func (s *stack) onboardingIs(t *testing.T, name string, is func(onboarded) bool) (got onboarded) {
	t.Helper()
	eventually(t, "the onboarding "+name, func() error {
		o := s.starter(t, "status", "onboarding", name, "-o", "json")
		o.exits(t, 0)
		got = onboarded{}
		o.decode(t, &got)
		if !is(got) {
			return fmt.Errorf("it is %+v", got)
		}
		return nil
	})
	return got
}

// The same error again and again stops the line; when its cause is mended, one command resumes all.
func TestOnboardingStops(t *testing.T) {
	s := newLanes(t, 1).take(t)
	for name, flags := range map[string][]string{
		"in a row": {"--stop-in-a-row", "4", "--stop-percent", "0"},
		"percent":  {"--stop-in-a-row", "0", "--stop-percent", "3"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t, sageMaker, "")
			before := len(s.certificates(t))
			s.fault(t, denied("iot:AttachPolicy", -1))
			manifest := manifestOf(t, d.Name, 40)
			o := s.starter(t, append([]string{"onboard", "-f", d.file, manifest, "--name", d.Name, "--in-flight", "3"}, flags...)...)
			o.exits(t, 1)
			require.Contains(t, o.stdout, "AccessDenied at AttachPolicy")
			require.Contains(t, o.stdout, "starter onboarding resume "+d.Name)
			got := s.onboardingIs(t, d.Name, func(o onboarded) bool { return o.State == workflows.Stopped && o.InFlight == 0 })
			require.Less(t, got.Counts.Held, 10, "it did not go on for long")
			require.Equal(t, got.Counts.Held, s.reportOf(t, d.Name).Summary.Count(report.Held))

			s.clearFaults(t)
			s.starter(t, "resume", "--fleet", d.spec.Name, "--all", "--reason", "the policy was mended").exits(t, 0, "had stopped, and goes on")
			s.onboardingIs(t, d.Name, func(o onboarded) bool { return o.State == workflows.Completed })
			s.assertOnboarded(t, d, d.Name, 40)
			require.Len(t, s.certificates(t), before+40)
			s.onboardingIs(t, d.Name, func(o onboarded) bool { return o.Counts == workflows.Counts{Provisioned: 40} && o.InFlight == 0 })
			s.starter(t, "status", "onboarding", d.Name, "--watch").exits(t, 0)
		})
	}
}

// With --on-failure rollback the devices that failed are gone; the manifest does them when it runs again.
func TestOnboardingGoesOnAfterFailures(t *testing.T) {
	s := newLanes(t, 1).take(t)
	d := newDevice(t, iotCore, "")
	s.fault(t, denied("iot:AttachPolicy", -1))
	manifest := manifestOf(t, d.Name, 20)
	args := []string{"-f", d.file, manifest, "--name", d.Name, "--in-flight", "2", "--stop-in-a-row", "3", "--on-failure", "rollback"}
	s.starter(t, append([]string{"onboard"}, args...)...).exits(t, 1)
	s.onboardingIs(t, d.Name, func(o onboarded) bool { return o.State == workflows.Stopped && o.InFlight == 0 })
	s.clearFaults(t)
	s.starter(t, "onboarding", "resume", d.Name, "--reason", "mended").exits(t, 0)
	got := s.onboardingIs(t, d.Name, func(o onboarded) bool { return o.State == workflows.Completed })
	failed := got.Counts.Failed
	require.Positive(t, failed)
	require.Equal(t, 20-failed, got.Counts.Provisioned)
	for _, o := range s.reportOf(t, d.Name).Devices {
		if o.State != report.Provisioned {
			assert.Equal(t, report.RolledBack, o.State)
			assert.Equal(t, "AccessDenied", o.ErrorType)
			assert.Equal(t, "AttachPolicy", o.Step)
			assert.True(t, o.RetrySafe)
		}
	}
	again := s.onboard(t, 0, args...)
	require.Equal(t, workflows.Counts{Provisioned: failed, Already: 20 - failed}, again.Counts)
	s.assertOnboarded(t, d, d.Name, 20)
}

func TestOnboardingIsSteered(t *testing.T) {
	s := newLanes(t, 1).take(t)
	const devices = 100 // more than are done while the test looks
	begin := func(t *testing.T) device {
		d := newDevice(t, iotCore, "")
		s.fault(t, fault{Operation: "iot:AttachPolicy", Kind: "delay", DelayMS: 200, Times: -1})
		s.starter(t, "onboard", "-f", d.file, manifestOf(t, d.Name, devices), "--name", d.Name, "--no-wait", "--in-flight", "2").exits(t, 0)
		s.onboardingIs(t, d.Name, func(o onboarded) bool { return o.Counts.Provisioned > 0 })
		return d
	}
	t.Run("pause and resume", func(t *testing.T) {
		d := begin(t)
		s.starter(t, "onboarding", "resume", d.Name).exits(t, 1, "is running, so there is nothing to resume")
		s.starter(t, "onboarding", "pause", d.Name).exits(t, 0)
		paused := s.onboardingIs(t, d.Name, func(o onboarded) bool { return o.State == workflows.Paused && o.InFlight == 0 })
		require.Less(t, paused.Counts.Ended(), devices)
		s.starter(t, "onboarding", "pause", d.Name).exits(t, 1, "is paused, so there is nothing to pause")
		s.clearFaults(t)
		require.NoError(t, s.temporal.SignalWorkflow(t.Context(), "onboarding/"+d.spec.Name+"/"+d.Name, "", "resume", nil))
		s.onboardingIs(t, d.Name, func(o onboarded) bool { return o.State == workflows.Completed })
		s.assertOnboarded(t, d, d.Name, devices)
	})
	for name, cancel := range map[string]func(t *testing.T, d device){
		"cancel": func(t *testing.T, d device) { s.starter(t, "onboarding", "cancel", d.Name).exits(t, 0) },
		"canceled through Temporal": func(t *testing.T, d device) {
			s.temporalCLI(t, "workflow", "cancel", "-w", "onboarding/"+d.spec.Name+"/"+d.Name).exits(t, 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := begin(t)
			cancel(t, d)
			got := s.onboardingIs(t, d.Name, func(o onboarded) bool { return o.State == workflows.Canceled && o.InFlight == 0 })
			r := s.reportOf(t, d.Name)
			require.Equal(t, got.Counts.Provisioned, r.Summary.Count(report.Provisioned))
			require.Equal(t, devices-got.Counts.Ended(), r.Summary.Count(report.NotStarted))
			require.Empty(t, s.audit(t, d))
			s.starter(t, "onboarding", "resume", d.Name).exits(t, 1)
		})
	}
}
