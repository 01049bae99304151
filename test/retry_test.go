package test

import (
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"edgefleet/activities"
	"edgefleet/workflows"
)

func throttled(operation, match string) fault {
	return fault{Operation: operation, Kind: "throttle", Match: match, Times: 2}
}

// lost is work that AWS does, and an answer that nobody gets.
func lost(operation, match string) fault {
	return fault{Operation: operation, Kind: "drop-after", Match: match, Times: 1}
}

// TestRetriedTrouble: what passes by itself costs time and nothing else. All devices are
// provisioned side by side, for most of it is waiting between attempts.
func TestRetriedTrouble(t *testing.T) {
	s := shared(t)
	cases := []struct {
		fleet, registry string
		faults          []fault
	}{
		{"busy-edge", sageMaker, []fault{
			throttled("iot:CreateThing", "busy-edge"), throttled("sagemaker:RegisterDevices", "busy-edge"), throttled("iot:AttachPolicy", "busy-edge")}},
		{"busy-core", iotCore, []fault{
			throttled("iot:CreateThingGroup", "busy-core"), throttled("iot:AddThingToThingGroup", "busy-core"), throttled("iot:UpdateCertificate", "busy-core")}},
		{"lost-fleet", sageMaker, []fault{
			lost("iot:CreateThingType", "lost-fleet"), lost("sagemaker:CreateDeviceFleet", "lost-fleet"), lost("iot:CreatePolicy", "lost-fleet")}},
		{"lost-device", sageMaker, []fault{
			lost("iot:CreateThing", "lost-device"), lost("sagemaker:RegisterDevices", "lost-device"), lost("iot:UpdateCertificate", "lost-device")}},
		{"lost-links", iotCore, []fault{
			lost("iot:CreateRoleAlias", "lost-links"), lost("iot:AttachThingPrincipal", "lost-links"), lost("iot:AttachPolicy", "lost-links")}},
		{"lost-files", iotCore, []fault{
			lost("s3:PutObject", "lost-files-01/private.pem.key"), lost("s3:PutObject", "lost-files-01/device.pem.crt"), lost("s3:PutObject", "lost-files-01/device.json")}},
		{"not-yet", sageMaker, []fault{
			{Operation: "credentials:AssumeRoleWithCertificate", Kind: "error", Code: "AccessDeniedException", Status: 403, Match: "not-yet-01", Times: 3}}},
	}
	outcomes := make([]outcome, len(cases))
	var all sync.WaitGroup
	for i, c := range cases {
		s.fault(t, c.faults...)
		file := spec(t, c.fleet, c.registry)
		all.Go(func() { outcomes[i] = s.starter(t, "provision", "-f", file, c.fleet+"-01", "-o", "json") })
	}
	all.Wait()
	assert.Empty(t, s.pendingFaults(t), "faults that did not strike")
	for i, c := range cases {
		t.Run(c.fleet, func(t *testing.T) {
			o := outcomes[i]
			t.Log(o.took)
			o.exits(t, 0)
			var r workflows.ProvisionResult
			o.decode(t, &r)
			s.assertProvisioned(t, r)
			for _, resource := range r.Resources { // its own earlier attempt is no other's
				assert.Equal(t, activities.Created, resource.Action, resource.Step)
			}
		})
	}
}

// TestLostKey: AWS makes a key and its answer is lost, so the key is. The certificate that nobody
// can use is not ACTIVE, and the device gets another.
func TestLostKey(t *testing.T) {
	s := shared(t)
	before := s.certificates(t)
	s.fault(t, throttled("iot:CreateKeysAndCertificate", ""), lost("iot:CreateKeysAndCertificate", ""))
	r := s.provision(t, spec(t, "lost-key", iotCore), "lost-key-01")
	assert.Empty(t, s.pendingFaults(t), "faults that did not strike")
	s.assertProvisioned(t, r)
	var active []string
	for id, status := range s.certificates(t) {
		if _, old := before[id]; !old && status == types.CertificateStatusActive {
			active = append(active, id)
		}
	}
	assert.Equal(t, []string{r.CertificateID}, active)
}

// certificates are all that there are, by id.
func (s *stack) certificates(t *testing.T) map[string]types.CertificateStatus {
	t.Helper()
	all := map[string]types.CertificateStatus{}
	pages := iot.NewListCertificatesPaginator(s.iot, &iot.ListCertificatesInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		require.NoError(t, err)
		for _, c := range page.Certificates {
			all[*c.CertificateId] = c.Status
		}
	}
	return all
}
