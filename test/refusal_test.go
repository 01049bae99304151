package test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/stretchr/testify/require"

	"edgefleet/activities"
	"edgefleet/workflows"
)

// situations are what there is of a device before a run.
var situations = map[string]func(*testing.T, *lane, device){
	"nothing": func(*testing.T, *lane, device) {},
	"a thing with more attributes": func(t *testing.T, s *lane, d device) {
		_, err := s.iot.CreateThing(t.Context(), &iot.CreateThingInput{
			ThingName: &d.Thing, ThingTypeName: &d.spec.ThingType,
			AttributePayload: &types.AttributePayload{Attributes: map[string]string{"site": "osaka", "owner": "somebody"}},
		})
		require.NoError(t, err)
	},
	"a complete device": func(t *testing.T, s *lane, d device) {
		s.provisioned(t, s.beginProvision(t, d))
	},
}

// TestRefusal: whatever AWS refuses for good, the account is afterwards what it was before the run.
func TestRefusal(t *testing.T) {
	pool := newLanes(t, 4)
	variants := []cell{{registry: sageMaker, keys: "aws"}, {registry: iotCore, keys: "csr"}}
	if all {
		variants = append(variants, cell{registry: sageMaker, keys: "csr"})
	}
	for _, variant := range variants {
		for situation, prepare := range situations {
			t.Run("keys-"+string(variant.keys)+","+variant.registry+"/"+situation, func(t *testing.T) {
				t.Parallel()
				s := pool.take(t)
				first := newDevice(t, variant.registry, variant.keys.spec())
				s.provisioned(t, s.beginProvision(t, first)) // its fleet is prepared, and has a neighbour to leave alone
				clean := first.sibling(t, first.Name+"-clean")
				prepare(t, s, clean)
				counted := s.calls(t)
				run := s.beginProvision(t, clean)
				require.NoError(t, run.Get(t.Context(), nil))
				operations := s.calls(t)
				s.provisioned(t, run)
				maps.DeleteFunc(operations, func(operation string, n int) bool { return n == counted[operation] })
				require.NotEmpty(t, operations)
				t.Logf("each refused in turn: %v", slices.Sorted(maps.Keys(operations)))
				for operation := range operations {
					for _, match := range filesOf(operation) {
						d := first.sibling(t, fmt.Sprintf("%s-%d", first.Name, fleetNumber.Add(1)))
						t.Run(operation+"("+match+")", func(t *testing.T) { refuse(t, s, d, operation, match, prepare) })
					}
				}
			})
		}
	}
}

// filesOf are the files of a bundle that an operation is about.
func filesOf(operation string) []string {
	if operation == "s3:PutObject" || operation == "s3:GetObject" {
		return bundleFiles
	}
	return []string{""}
}

func refuse(t *testing.T, s *lane, d device, operation, file string, prepare func(*testing.T, *lane, device)) {
	prepare(t, s, d)
	earlier := s.settled(t)
	f := denied(operation, 1)
	if file != "" {
		f.Match = d.Name + "/" + file
	}
	kind := activities.AccessDenied
	in := workflows.ProvisionInput{Fleet: d.spec, Device: d.Device}
	if operation == "credentials:AssumeRoleWithCertificate" {
		// This refusal may be a policy's that has yet to take effect: it is final with the deadline.
		f.Times, kind, in.Deadline = -1, activities.NotYetEffective, 10*time.Second
	}
	s.fault(t, f)
	run := s.begin(t, d, "ProvisionDevice", in)
	result, err := ending[workflows.ProvisionResult](t, run)
	if len(s.pendingFaults(t)) > 0 && f.Times > 0 {
		s.clearFaults(t)
		s.provisioned(t, run) // this file is not read or written in this situation
		return
	}
	require.Error(t, err)
	require.Equal(t, workflows.RolledBack, result.State, "%v", err)
	s.rolledBack(t, run, kind)
	s.clearFaults(t)
	require.Equal(t, earlier, s.settled(t), "the account is what it was")
}
