package test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"edgefleet/internal/devstack"
)

// TestTemporalKilled: the Temporal server is killed while devices are each in another step, and
// started again on what its file holds. All end provisioned, without help.
func TestTemporalKilled(t *testing.T) {
	started, err := startStack(devstack.Config{KeyPool: 2, TemporalDB: filepath.Join(t.TempDir(), "temporal.db")})
	require.NoError(t, err)
	s := &lane{started, map[string]bool{}}
	defer s.close(t)
	steps := []fault{
		{Operation: "iot:CreateThing"},
		{Operation: "sagemaker:RegisterDevices"},
		{Operation: "iot:CreateCertificateFromCsr"},
		{Operation: "s3:PutObject"},
		{Operation: "iot:AttachThingPrincipal"},
		{Operation: "iot:AttachPolicy"},
		{Operation: "iot:UpdateCertificate"},
		{Operation: "credentials:AssumeRoleWithCertificate"},
	}
	for name, kind := range map[string]string{"calls without an answer": "hang", "calls that are answered meanwhile": "delay"} {
		t.Run(name, func(t *testing.T) {
			fleet := newDevice(t, sageMaker, "keys: csr\n")
			var devices []device
			var runs []client.WorkflowRun
			for i, f := range steps {
				d := fleet.sibling(t, fmt.Sprintf("%s-%d", fleet.Name, i))
				f.Kind, f.Match, f.Times = kind, d.Name, 1
				if kind == "delay" {
					f.DelayMS = int(patience.Milliseconds())
				}
				s.fault(t, f)
				devices = append(devices, d)
			}
			for _, d := range devices {
				runs = append(runs, s.beginProvision(t, d))
			}
			s.struck(t)
			require.NoError(t, s.KillTemporal())
			s.clearFaults(t)
			require.NoError(t, s.StartTemporal(t.Context()))
			for i, d := range devices {
				eventually(t, d.Name+" is provisioned", func() error { return runs[i].Get(t.Context(), nil) })
				s.provisioned(t, runs[i])
			}
			assert.Empty(t, s.audit(t, fleet))
		})
	}
	assert.Len(t, s.certificates(t), 2*len(steps), "each device has one")
}
