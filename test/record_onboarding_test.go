package test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/workflows"
)

// TestRecordOnboardingHistories is TestRecordHistories for what an onboarding adds.
func TestRecordOnboardingHistories(t *testing.T) {
	if os.Getenv("EDGEFLEET_RECORD") != "1" {
		t.Skip("records only with EDGEFLEET_RECORD=1")
	}
	s := shared(t)
	onboard := func(name, keys string, code int, more ...string) string {
		file := writeFile(t, "fleet.yaml", specText(name, iotCore)+"keys: "+keys+"\n")
		manifest := writeFile(t, "m.csv", "device\n"+name+"-1\n")
		s.starter(t, append([]string{"onboard", "-f", file, manifest, "--name", name, "--stop-in-a-row", "1"}, more...)...).exits(t, code)
		return workflows.DeviceWorkflowID(name, name+"-1")
	}
	s.saveHistory(t, onboard("onboarded-aws", "aws", 0), "provision_device", "onboarded", "aws")
	s.saveHistory(t, workflows.OnboardingWorkflowID("onboarded-aws", "onboarded-aws"), "onboard_fleet", "completed")
	s.saveHistory(t, onboard("onboarded-csr", "csr", 0), "provision_device", "onboarded-local", "csr")

	s.fault(t, throttled("iot:AttachPolicy", "onboarded-retried"))
	s.saveHistory(t, onboard("onboarded-retried", "aws", 0), "provision_device", "onboarded", "retried")

	denial := denied("iot:AttachPolicy", 1)
	denial.Match = "onboarded-undone"
	s.fault(t, denial)
	s.saveHistory(t, onboard("onboarded-undone", "aws", 1, "--on-failure", "rollback"), "provision_device", "onboarded", "rolled-back")
	denial.Match = "onboarded-held"
	s.fault(t, denial)
	s.saveHistory(t, onboard("onboarded-held", "aws", 1), "provision_device", "onboarded", "held")
	s.saveHistory(t, workflows.OnboardingWorkflowID("onboarded-held", "onboarded-held"), "onboard_fleet", "stopped")
	s.starter(t, "resume", "--fleet", "onboarded-held", "--all", "--reason", "mended").exits(t, 0)
	id := workflows.OnboardingWorkflowID("onboarded-held", "onboarded-held")
	require.NoError(t, s.temporal.GetWorkflow(t.Context(), id, "").Get(t.Context(), nil))
	s.saveHistory(t, id, "onboard_fleet", "resumed")
}

// TestRecordSteeredHistories is that for onboardings that were told something in the middle of a shift, and for a
// decommission that marks the record first.
func TestRecordSteeredHistories(t *testing.T) {
	if os.Getenv("EDGEFLEET_RECORD") != "1" {
		t.Skip("records only with EDGEFLEET_RECORD=1")
	}
	s := shared(t)
	for _, decision := range []string{workflows.PauseOnboarding, workflows.CancelOnboarding} {
		name := "steered-" + decision
		file := writeFile(t, "fleet.yaml", specText(name, iotCore)+"keys: csr\n")
		s.fault(t, fault{Operation: "iot:AttachPolicy", Kind: "delay", DelayMS: 500, Times: -1})
		s.starter(t, "onboard", "-f", file, manifestOf(t, name, 8), "--name", name, "--in-flight", "2", "--no-wait").exits(t, 0)
		s.onboardingIs(t, name, func(o onboarded) bool { return o.Counts.Provisioned > 0 })
		s.starter(t, "onboarding", decision, name, "--reason", "for a test").exits(t, 0)
		if decision == workflows.PauseOnboarding {
			s.onboardingIs(t, name, func(o onboarded) bool { return o.State == workflows.Paused && o.InFlight == 0 })
			s.starter(t, "onboarding", "resume", name).exits(t, 0)
		}
		s.clearFaults(t)
		id := workflows.OnboardingWorkflowID(name, name)
		require.NoError(t, s.temporal.GetWorkflow(t.Context(), id, "").Get(t.Context(), nil))
		s.saveHistory(t, id, "onboard_fleet", decision+"-in-a-shift")
	}
	device := newDevice(t, iotCore, "")
	s.provision(t, device.file, device.Name)
	s.decommission(t, device)
	s.saveHistory(t, workflows.DeviceWorkflowID(device.spec.Name, device.Name), "decommission_device", iotCore, "retracted")
}
