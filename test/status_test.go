package test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"edgefleet/workflows"
)

type deviceStatus struct {
	Fleet, Device, State, WorkflowID, RunID, ErrorType, Error string
	StartedAt                                                 time.Time
	ClosedAt                                                  *time.Time
	Steps                                                     []struct {
		Step, State, Action string
		DurationMS          int64
	}
	Result *workflows.ProvisionResult
}

// TestStatus: where devices stand, as a table and as JSON, of all and of one.
func TestStatus(t *testing.T) {
	s := shared(t)
	file := spec(t, "status", iotCore)
	s.provision(t, file, "status-01")
	s.fault(t,
		fault{Operation: "iot:AttachPolicy", Kind: "error", Code: "AccessDeniedException", Status: 403, Match: "edgefleet-status", Times: 1},
		fault{Operation: "iot:CreateThing", Kind: "throttle", Match: "status-03", Times: -1})
	s.starter(t, "provision", "-f", file, "status-02", "--on-failure", "rollback").exits(t, 1, "AccessDenied")
	s.starter(t, "provision", "-f", file, "status-03", "--no-wait").exits(t, 0)
	s.provision(t, file, "status-01") // its latest run is what counts

	t.Run("of a fleet", func(t *testing.T) {
		var devices []deviceStatus
		eventually(t, "all devices in the list", func() error { // visibility lags
			devices = nil
			o := s.starter(t, "status", "--fleet", "status", "-o", "json")
			o.exits(t, 0)
			o.decode(t, &devices)
			var states []string
			for _, d := range devices {
				states = append(states, d.Device+" "+d.State)
			}
			return differ([]string{"status-01 provisioned", "status-02 rolled-back", "status-03 running"}, states)
		})
		for _, d := range devices {
			assert.Equal(t, "status", d.Fleet)
			assert.Equal(t, workflows.DeviceWorkflowID("status", d.Device), d.WorkflowID)
			assert.WithinDuration(t, time.Now(), d.StartedAt, patience)
			assert.Equal(t, d.State == "running", d.ClosedAt == nil)
		}

		o := s.starter(t, "status", "--fleet", "status")
		o.exits(t, 0)
		assert.Regexp(t, `FLEET +DEVICE +STATE +STARTED +TOOK`, o.stdout)
		for _, want := range []string{"status-01 +provisioned", "status-02 +rolled-back", "status-03 +running"} {
			assert.Regexp(t, want, o.stdout)
		}
		assert.Contains(t, o.stdout, "3 devices: 1 provisioned, 1 rolled-back, 1 running\n")
		assert.Equal(t, 1, strings.Count(o.stdout, "status-01"), "a device is listed once")
	})
	t.Run("of all", func(t *testing.T) {
		s.provision(t, spec(t, "status-other", iotCore), "status-other-01")
		o := s.starter(t, "status")
		o.exits(t, 0)
		assert.Regexp(t, `(?m)^status +status-01`, o.stdout)
		assert.Regexp(t, `(?m)^status-other +status-other-01`, o.stdout)
		assert.Less(t, strings.Index(o.stdout, "\nstatus "), strings.Index(o.stdout, "\nstatus-other "), "by fleet, then device\n%s", o)
	})
	t.Run("of one device", func(t *testing.T) {
		var one deviceStatus
		o := s.starter(t, "status", "status-01", "-o", "json")
		o.exits(t, 0)
		o.decode(t, &one)
		assert.Equal(t, string(workflows.Provisioned), one.State)
		assert.Len(t, one.Steps, 1+len(deviceSteps))
		require.NotNil(t, one.Result)
		assert.Equal(t, "status-01", one.Result.Device)

		o = s.starter(t, "status", "status-01", "--fleet", "status")
		o.exits(t, 0)
		assert.Contains(t, o.stdout, "status-01: provisioned")
		assert.Equal(t, 1+len(deviceSteps), strings.Count(o.stdout, "✓"), "%s", o)
		assert.Contains(t, o.stdout, "curl --cert status-01/device.pem.crt")
	})
	t.Run("of one that failed", func(t *testing.T) {
		var one deviceStatus
		o := s.starter(t, "status", "status-02", "-o", "json")
		o.exits(t, 0)
		o.decode(t, &one)
		assert.Equal(t, "rolled-back", one.State)
		assert.Equal(t, "AccessDenied", one.ErrorType)
		assert.Contains(t, one.Error, "request id")
		assert.Nil(t, one.Result)

		o = s.starter(t, "status", "status-02")
		o.exits(t, 0)
		assert.Contains(t, o.stdout, "status-02: rolled-back")
		assert.Contains(t, o.stdout, "✗ AttachPolicy")
		assert.Contains(t, o.stdout, "What to do: ")
	})
	t.Run("of one that is retried", func(t *testing.T) {
		eventually(t, "the attempt that failed", func() error {
			o := s.starter(t, "status", "status-03")
			o.exits(t, 0)
			require.Contains(t, o.stdout, "status-03: running")
			if !strings.Contains(o.stderr, "CreateThing: attempt") || !strings.Contains(o.stderr, "Rate exceeded") {
				return differ("a note on the attempt", o.String())
			}
			return nil
		})
	})
	s.clearFaults(t)
	o := s.starter(t, "provision", "-f", file, "status-03") // joins the run that goes on
	o.exits(t, 0, "running already")
}

func TestStatusOfNothing(t *testing.T) {
	s := shared(t)
	s.starter(t, "status", "nobody").exits(t, 1, `no run of a device "nobody"`)
	s.starter(t, "status", "nobody", "--fleet", "nothing").exits(t, 1, `no run of device "nobody" in fleet "nothing"`)
	o := s.starter(t, "status", "--fleet", "nothing")
	o.exits(t, 0)
	assert.Contains(t, o.stdout, "No device has been provisioned here yet")
	o = s.starter(t, "status", "--fleet", "nothing", "-o", "json")
	o.exits(t, 0)
	assert.Equal(t, "[]\n", o.stdout)
}

// TestStatusOfAmbiguousDevice: a device's name says which only with its fleet.
func TestStatusOfAmbiguousDevice(t *testing.T) {
	s := shared(t)
	// The same thing type: two fleets can have the same device then, and so share its thing.
	for _, fleet := range []string{"twins-a", "twins-b"} {
		text := strings.Replace(specText(fleet, iotCore), "thingType: type-of-"+fleet, "thingType: twin", 1)
		s.provision(t, writeFile(t, "fleet.yaml", text), "twin-01")
	}
	s.starter(t, "status", "twin-01").exits(t, 1, "in 2 fleets (twins-a, twins-b)", "--fleet")
	s.starter(t, "status", "twin-01", "--fleet", "twins-b").exits(t, 0)
}
