package activities

import (
	"maps"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/stretchr/testify/require"

	"edgefleet/internal/fleet"
)

func (a *account) findInput() FindInput {
	return FindInput{a.spec.Registry, a.spec.Name, a.device.Name, a.spec.PolicyName(), a.bundle()}
}

func (a *account) find() FoundDevice {
	a.Helper()
	found, err := run[FoundDevice](a, a.FindDevice, a.findInput())
	require.NoError(a, err)
	return found
}

// A device is found from whatever is left of it.
func TestFindDevice(t *testing.T) {
	whole := func(a *account) { a.awaitAttachments("") }
	withoutBundle := func(a *account) {
		whole(a)
		_, err := run[Removal](a, a.RemoveBundle, RemoveBundleInput{Bundle: a.bundle()})
		require.NoError(a, err)
	}
	withoutThing := func(a *account) {
		whole(a)
		must(a, a.iot.DetachThingPrincipal, &iot.DetachThingPrincipalInput{ThingName: &a.device.Thing, Principal: &a.certificate.ARN})
		r := removal{do: func(a *account, run string) (any, error) { return a.deleteThing(run) }}
		_, err := r.whole(a, thisRun)
		require.NoError(a, err)
	}
	for _, c := range []struct {
		name     string
		registry fleet.Registry
		left     func(*account)
		thing    bool // by its own name, or else by the device's
		known    bool // its certificate is
	}{
		{"all of it", fleet.IoTCore, whole, true, true},
		{"all of it", fleet.SageMakerEdge, whole, true, true},
		{"its record only", fleet.IoTCore, func(a *account) { withoutThing(a); a.remove(CertificateFile) }, true, true},
		{"its certificate file only", fleet.IoTCore, func(a *account) { withoutThing(a); a.remove(RecordFile) }, false, true},
		{"a record that cannot be read", fleet.SageMakerEdge, func(a *account) {
			whole(a)
			require.NoError(a, a.put(a.Context(), a.bundle(), RecordFile, []byte("x"), thisRun, false))
		}, true, true},
		{"no bundle", fleet.SageMakerEdge, withoutBundle, true, true}, // the registration names the thing
		{"no bundle", fleet.IoTCore, withoutBundle, false, false},
		{"no bundle and no registration", fleet.SageMakerEdge, func(a *account) {
			withoutBundle(a)
			_, err := a.deregister("")
			require.NoError(a, err)
		}, false, false},
	} {
		t.Run(string(c.registry)+"/"+c.name, func(t *testing.T) {
			t.Parallel()
			a := newAccount(t, c.registry).upTo("", thisRun)
			c.left(a)
			want := FoundDevice{Thing: a.device.Name}
			if c.thing {
				want.Thing = a.device.Thing
			}
			if c.known {
				want.Certificates = []string{a.certificate.ID}
			}
			require.Equal(t, want, a.find())
		})
	}
	t.Run("nothing", func(t *testing.T) {
		for _, registry := range []fleet.Registry{fleet.SageMakerEdge, fleet.IoTCore} {
			a := newAccount(t, registry)
			require.Equal(t, FoundDevice{Thing: a.device.Name}, a.find())
			a.upTo("CreateThing", thisRun)
			require.Equal(t, FoundDevice{Thing: a.device.Name}, a.find())
		}
	})
}

// Where nothing but AWS knows the device, its thing's certificates are its own, if they have the
// fleet's policy, and the thing is one that a run made.
func TestFindDeviceByItsThing(t *testing.T) {
	a := newAccount(t, fleet.IoTCore)
	a.device.Thing = a.device.Name
	a.upTo("", thisRun)
	foreign := must(a, a.iot.CreateKeysAndCertificate, &iot.CreateKeysAndCertificateInput{})
	must(a, a.iot.AttachThingPrincipal, &iot.AttachThingPrincipalInput{ThingName: &a.device.Thing, Principal: foreign.CertificateArn})
	a.awaitDetachments()
	_, err := run[Removal](a, a.RemoveBundle, RemoveBundleInput{Bundle: a.bundle()})
	require.NoError(t, err)
	require.Equal(t, FoundDevice{a.device.Name, []string{a.certificate.ID}}, a.find())

	must(a, a.iot.UpdateThing, &iot.UpdateThingInput{ThingName: &a.device.Thing,
		AttributePayload: &types.AttributePayload{Attributes: map[string]string{"site": "osaka"}}})
	require.Equal(t, FoundDevice{Thing: a.device.Name}, a.find(), "a thing that no run made")
}

// Looking changes nothing, and a look that fails is done again.
func TestFindDeviceFails(t *testing.T) {
	a := newAccount(t, fleet.SageMakerEdge).upTo("", thisRun)
	a.awaitAttachments("")
	a.remove(RecordFile)
	files := a.files()
	var want FoundDevice
	calls := a.callsDuring(func() { want = a.find() })
	require.NotEmpty(t, want.Certificates)
	for operation := range maps.Keys(calls) {
		for _, m := range mishaps {
			m.fault.Operation = operation
			a.arm(m.fault)
			_, err := run[FoundDevice](a, a.FindDevice, a.findInput())
			requireType(t, err, m.kind)
			a.requireStruck("")
			got, err := again[FoundDevice](a, a.FindDevice, a.findInput())
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
	}
	require.Equal(t, files, a.files())
}

// The files may be kept, all but the private key.
func TestRemoveBundleIntoArchive(t *testing.T) {
	a := newAccount(t, fleet.IoTCore)
	a.version()
	a.upTo("", thisRun)
	archive := ArchivedBundle(a.spec, a.device.Name, otherRun)
	require.Error(t, fleet.DeviceName.Check("_archive"), "no device has it for its bundle")
	want := map[string]string{FleetBundle(a.spec).Location.Key(rootCAFile): a.files()[FleetBundle(a.spec).Location.Key(rootCAFile)]}
	for _, name := range []string{CertificateFile, rootCAFile, RecordFile} {
		want[archive.Location.Key(name)] = a.files()[a.bundle().Location.Key(name)]
	}
	got, err := run[Removal](a, a.RemoveBundle, RemoveBundleInput{a.bundle(), &archive})
	require.NoError(t, err)
	require.Equal(t, Removed, got)
	require.Equal(t, want, a.files())
	require.Len(t, a.versions(), len(want))
	for name, text := range a.files() {
		require.NotContains(t, text, "PRIVATE KEY", name)
	}
	got, err = run[Removal](a, a.RemoveBundle, RemoveBundleInput{a.bundle(), &archive})
	require.NoError(t, err)
	require.Equal(t, Gone, got)
	require.Equal(t, want, a.files())
}

// A decommission from end to end, as the workflow does it: only what the fleet shares is left.
func TestDecommission(t *testing.T) {
	for _, registry := range []fleet.Registry{fleet.SageMakerEdge, fleet.IoTCore} {
		t.Run(string(registry), func(t *testing.T) {
			a := newAccount(t, registry).upTo("CreateThing", thisRun)
			before, files := a.inventory(), a.files()
			a.upTo("", thisRun)
			a.awaitAttachments("")
			for range 2 {
				found := a.find()
				if registry == fleet.SageMakerEdge {
					_, err := run[Removal](a, a.DeregisterDevice, DeregisterInput{Registry: registry, Fleet: a.spec.Name, Device: a.device.Name, Thing: found.Thing})
					require.NoError(t, err)
					require.Empty(t, must(a, a.sagemaker.ListDevices, &sagemaker.ListDevicesInput{}).DeviceSummaries)
				}
				for _, id := range found.Certificates {
					r := removal{do: func(a *account, _ string) (any, error) {
						return again[Removal](a, a.RetireCertificate, RetireInput{CertificateID: id})
					}}
					_, err := r.whole(a, "")
					require.NoError(t, err)
				}
				_, err := run[Removal](a, a.DeleteThing, DeleteThingInput{Thing: found.Thing, Fleet: a.spec.Name})
				require.NoError(t, err)
				_, err = run[Removal](a, a.RemoveBundle, RemoveBundleInput{Bundle: a.bundle()})
				require.NoError(t, err)
			}
			require.Equal(t, before, a.inventory())
			require.Equal(t, files, a.files())
		})
	}
}

// A device whose decommission began no longer counts as provisioned, though its record is there yet; proven again,
// it does.
func TestRetractRecord(t *testing.T) {
	a := proving(t)
	retract := func() error {
		_, err := run[any](a, a.RetractRecord, RetractInput{a.bundle()})
		return err
	}
	require.NoError(t, retract(), "there is none")
	_, err := a.prove(thisRun)
	require.NoError(t, err)
	proven, err := a.ProvenRecord(t.Context(), a.bundle())
	require.NoError(t, err)

	require.NoError(t, retract())
	_, err = a.ProvenRecord(t.Context(), a.bundle())
	require.True(t, IsNotThere(err))
	first, err := a.getRecord(t.Context(), a.bundle())
	require.NoError(t, err)
	require.False(t, first.RetractedAt.IsZero())
	require.NoError(t, retract(), "another decommission goes on")
	second, err := a.getRecord(t.Context(), a.bundle())
	require.NoError(t, err)
	require.Equal(t, first, second)
	require.Equal(t, []string{a.certificate.ID}, a.find().Certificates)

	proof, err := a.prove(otherRun)
	require.NoError(t, err)
	require.Equal(t, Created, proof.Record)
	again, err := a.ProvenRecord(t.Context(), a.bundle())
	require.NoError(t, err)
	require.Equal(t, proven.CertificateID, again.CertificateID)

	require.NoError(t, a.put(t.Context(), a.bundle(), RecordFile, []byte("x"), thisRun, false))
	require.NoError(t, retract(), "one that cannot be read proves nothing")
}
