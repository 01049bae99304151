package audit

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/stretchr/testify/require"

	"edgefleet/internal/fleet"
)

var registries = []fleet.Registry{fleet.SageMakerEdge, fleet.IoTCore}

// A fleet that is as it should be, beyond one page of every list.
func TestCleanFleet(t *testing.T) {
	for registry, devices := range map[fleet.Registry]int{fleet.SageMakerEdge: 110, fleet.IoTCore: 260} { // its pages are of 100
		t.Run(string(registry), func(t *testing.T) {
			t.Parallel()
			a := newAccount(t, registry)
			a.requireFound()
			a.provisionMany(devices)
			a.requireFound()
			in, err := a.takeInventory(t.Context())
			require.NoError(t, err)
			for name, count := range map[string]int{"devices": len(in.devices), "things": len(in.things), "registered": len(in.registered),
				"certificates": len(in.certificates), "with policy": len(in.withPolicy)} {
				require.Equal(t, devices, count, name)
			}
		})
	}
}

// A fleet that nobody prepared has nothing that could not fit.
func TestNoFleet(t *testing.T) {
	for _, registry := range registries {
		a := newAccount(t, registry)
		spec := a.spec
		spec.Name = "unprepared"
		a.fleetOf(spec).requireFound()
		spec.Bundles.Bucket = "no-such-bucket"
		a.fleetOf(spec).requireFound()
	}
}

// Each thing that does not fit is found, and nothing else with it.
func TestFindings(t *testing.T) {
	const name, thing = "cam-0000", "thing:cam-0000"
	type certificate = *iot.CreateKeysAndCertificateOutput
	for _, c := range []struct {
		name  string
		spoil func(a *account, c certificate) []string
		only  fleet.Registry
	}{
		{"certificate in no bundle", func(a *account, _ certificate) []string {
			orphan := a.certificate(false)
			a.attachPolicy(orphan)
			return []string{"orphaned-certificate " + *orphan.CertificateId}
		}, ""},
		{"a file is missing", func(a *account, _ certificate) []string {
			a.drop(a.inBundle(name, "private.pem.key"))
			return []string{"bundle-incomplete " + a.bundle(name) + "/private.pem.key of " + name}
		}, ""},
		{"no record", func(a *account, _ certificate) []string {
			a.drop(a.inBundle(name, "device.json"))
			return []string{"unproven-device " + a.bundle(name) + " of " + name}
		}, ""},
		{"record that cannot be read", func(a *account, _ certificate) []string {
			a.put(a.inBundle(name, "device.json"), "<html>")
			return []string{"unproven-device " + a.bundle(name) + " of " + name}
		}, ""},
		{"record without proof", func(a *account, c certificate) []string {
			record := a.record(name, c)
			record.ProvenAt = time.Time{}
			a.putJSON(a.inBundle(name, "device.json"), record)
			return []string{"unproven-device " + a.bundle(name) + " of " + name}
		}, ""},
		{"a decommission that did not get far", func(a *account, c certificate) []string {
			record := a.record(name, c)
			record.RetractedAt = time.Now()
			a.putJSON(a.inBundle(name, "device.json"), record)
			return []string{"unproven-device " + a.bundle(name) + " of " + name}
		}, ""},
		{"a key is all that is in the bundle", func(a *account, _ certificate) []string {
			a.put(a.inBundle("cam-new", "private.pem.key"), "x")
			return []string{"unproven-device " + a.bundle("cam-new") + " of cam-new"}
		}, ""},
		{"another device's certificate on the thing", func(a *account, c certificate) []string {
			a.attachThing(a.provision("cam-0001"), thing)
			return []string{"two-active-certificates " + thing + " of " + name}
		}, ""},
		{"no thing", func(a *account, c certificate) []string {
			a.detachThing(c, thing)
			require.Eventually(a, func() bool {
				_, err := a.iot.DeleteThing(a.Context(), &iot.DeleteThingInput{ThingName: aws.String(thing)})
				return err == nil
			}, soon, 20*time.Millisecond)
			want := []string{"bundle-without-thing " + thing + " of " + name}
			if a.spec.Registry == fleet.IoTCore { // its membership goes with it
				want = append(want, "device-not-registered "+name+" of "+name)
			}
			return want
		}, ""},
		{"thing in no bundle", func(a *account, _ certificate) []string {
			a.thing("left", map[string]string{fleet.RunMark: "run", fleet.FleetMark: a.spec.Name})
			return []string{"thing-without-bundle left"}
		}, ""},
		{"no certificate", func(a *account, c certificate) []string {
			a.setStatus(c, types.CertificateStatusInactive)
			a.detachThing(c, thing)
			must(a, a.iot.DetachPolicy, &iot.DetachPolicyInput{PolicyName: aws.String(a.spec.PolicyName()), Target: c.CertificateArn})
			require.Eventually(a, func() bool {
				_, err := a.iot.DeleteCertificate(a.Context(), &iot.DeleteCertificateInput{CertificateId: c.CertificateId})
				return err == nil
			}, soon, 20*time.Millisecond)
			return []string{"bundle-without-certificate " + *c.CertificateId + " of " + name}
		}, ""},
		{"INACTIVE", func(a *account, c certificate) []string {
			a.setStatus(c, types.CertificateStatusInactive)
			return []string{"certificate-not-active " + *c.CertificateId + " of " + name}
		}, ""},
		{"REVOKED", func(a *account, c certificate) []string {
			a.setStatus(c, types.CertificateStatusRevoked)
			return []string{"certificate-not-active " + *c.CertificateId + " of " + name}
		}, ""},
		{"certificate not on the thing", func(a *account, c certificate) []string {
			a.detachThing(c, thing)
			return []string{"certificate-not-attached " + *c.CertificateId + " of " + name}
		}, ""},
		{"no policy", func(a *account, c certificate) []string {
			must(a, a.iot.DetachPolicy, &iot.DetachPolicyInput{PolicyName: aws.String(a.spec.PolicyName()), Target: c.CertificateArn})
			return []string{"policy-not-attached " + *c.CertificateId + " of " + name}
		}, ""},
		{"not registered", func(a *account, _ certificate) []string {
			a.deregister(name, thing)
			return []string{"device-not-registered " + name + " of " + name}
		}, ""},
		{"registered with another thing", func(a *account, _ certificate) []string {
			a.thing("another", nil)
			a.deregister(name, thing)
			a.register(name, "another")
			return []string{"device-not-registered " + name + " of " + name}
		}, fleet.SageMakerEdge},
		{"registration without a bundle", func(a *account, _ certificate) []string {
			a.thing("ghost", nil)
			a.register("ghost", "ghost")
			return []string{"registration-without-bundle ghost of ghost"}
		}, ""},
		{"bundle removed by hand", func(a *account, c certificate) []string {
			a.drop(a.inBundle(name, "device.json"))
			for _, file := range []string{"private.pem.key", "AmazonRootCA1.pem"} {
				a.drop(a.inBundle(name, file))
			}
			a.drop(a.inBundle(name, "device.pem.crt"))
			want := []string{"orphaned-certificate " + *c.CertificateId, "thing-without-bundle " + thing}
			if a.spec.Registry == fleet.IoTCore {
				return append(want, "registration-without-bundle "+thing+" of "+thing)
			}
			return append(want, "registration-without-bundle "+name+" of "+name)
		}, ""},
	} {
		for _, registry := range registries {
			if c.only != "" && c.only != registry {
				continue
			}
			t.Run(fmt.Sprintf("%s/%s", registry, c.name), func(t *testing.T) {
				t.Parallel()
				a := newAccount(t, registry)
				made := a.provision(name)
				a.provision("cam-0002")
				a.requireFound()
				a.requireFound(c.spoil(a, made)...)
			})
		}
	}
}

func (a *account) bundle(device string) string {
	return "s3://" + a.spec.Bundles.Bucket + "/" + a.inBundle(device, "")[:len(a.inBundle(device, ""))-1]
}

// With keys: device only the device can prove itself, so that nobody did is no finding.
func TestKeyOfDeviceNeedsNoProof(t *testing.T) {
	t.Parallel()
	a := newAccount(t, fleet.IoTCore)
	a.spec.Keys = fleet.KeysDevice
	record := a.record("cam", a.provision("cam"))
	record.ProvenAt = time.Time{}
	a.putJSON(a.inBundle("cam", "device.json"), record)
	a.requireFound()
}

// What others have in the account is not the fleet's.
func TestForeignResources(t *testing.T) {
	t.Parallel()
	for _, registry := range registries {
		a := newAccount(t, registry)
		a.provision("cam")
		for i, active := range []bool{true, false, true} {
			thing := fmt.Sprintf("foreign-%d", i)
			a.thing(thing, []map[string]string{nil, {fleet.FleetMark: "cameras-2", fleet.RunMark: "run"}, {"site": a.spec.Name}}[i])
			a.attachThing(a.certificate(active), thing)
			a.certificate(active)
			a.attachThing(a.certificate(active), "thing:cam") // without the fleet's policy it is of no use here
		}
		a.put(a.spec.Bundles.Key(a.spec.Name, "_archive", "cam", "run", "device.json"), "x")
		a.put(a.spec.Bundles.Key("cameras-2", "cam-2", "device.json"), "x")
		a.requireFound()
	}
}

// Fleets that share the account, the thing type, the bucket and devices' names are told apart.
func TestTwoFleets(t *testing.T) {
	t.Parallel()
	for _, registry := range registries {
		a := newAccount(t, registry)
		spec := a.spec
		spec.Name = "cameras-2"
		b := a.fleetOf(spec)
		b.prepare()
		a.provision("cam")
		b.provision("cam-b")
		a.requireFound()
		b.requireFound()
		b.drop(b.inBundle("cam-b", "device.json"))
		b.requireFound("unproven-device " + b.bundle("cam-b") + " of cam-b")
		a.requireFound()
	}
}

// What AWS's lists do not show yet is looked at again before it is told.
func TestStaleLists(t *testing.T) {
	t.Parallel()
	for _, registry := range registries {
		a := newAccount(t, registry)
		a.provision("cam")
		waited := 0
		a.pause = func(_ context.Context, d time.Duration) error {
			waited++
			require.Equal(t, settleTime, d)
			require.Eventually(t, func() bool {
				found, err := a.once(t.Context())
				return err == nil && len(found) == 0
			}, soon, 20*time.Millisecond)
			return nil
		}
		found, err := a.Audit(t.Context())
		require.NoError(t, err)
		require.Empty(t, found)
		require.Equal(t, 1, waited)
		found, err = a.Audit(t.Context())
		require.NoError(t, err)
		require.Empty(t, found)
		require.Equal(t, 1, waited, "with nothing found there is nothing to look at again")
	}
	a := newAccount(t, fleet.IoTCore)
	a.thing("left", map[string]string{fleet.FleetMark: a.spec.Name})
	ctx, cancel := context.WithCancel(t.Context())
	a.pause = func(ctx context.Context, d time.Duration) error { cancel(); return pause(ctx, d) }
	_, err := a.Audit(ctx)
	require.ErrorIs(t, err, context.Canceled)
}
