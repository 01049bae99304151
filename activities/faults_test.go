package activities

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"

	"edgefleet/internal/fleet"
)

// mishaps are what may befall any call, and the type of error that tells of it.
var mishaps = []struct {
	fault fault
	kind  string
}{
	{fault{Kind: "drop-before"}, Unavailable},
	{fault{Kind: "drop-after"}, Unavailable},
	{fault{Kind: "error"}, Unavailable},
	{fault{Kind: "throttle"}, Throttled},
}

// absorbed are calls whose failing does not fail the attempt: a key that AWS made exists nowhere
// else yet, so the attempt itself tries again; and a root CA that cannot be read is written.
var absorbed = map[string]string{"IssueCertificate": "s3:PutObject", "FetchRootCA": "s3:GetObject"}

// Whatever call of a step's first attempt fails or loses its answer, the attempt fails with an
// error that is retried, and the second comes to the same as if nothing had happened.
func TestFirstAttemptFails(t *testing.T) {
	for _, c := range []struct {
		registry fleet.Registry
		keys     waysToKeys
		only     []string // nil: every step
	}{
		{fleet.SageMakerEdge, allKeys[0], nil},
		{fleet.IoTCore, allKeys[0], []string{"CreateDeviceFleet", "FindRoleAlias", "CreateThing", "RegisterDevice"}},
		{fleet.IoTCore, allKeys[1], []string{"IssueCertificate"}},
		{fleet.IoTCore, allKeys[2], []string{"IssueCertificate"}},
	} {
		for _, s := range steps {
			if c.only != nil && !slices.Contains(c.only, s.name) {
				continue
			}
			t.Run(fmt.Sprintf("%s/%s/%s", c.registry, c.keys.name, s.name), func(t *testing.T) {
				prepared := func() *account {
					a := newAccount(t, c.registry)
					c.keys.use(a)
					return a.upTo(s.name, thisRun)
				}
				undisturbed := prepared()
				var result any
				var err error
				calls := undisturbed.callsDuring(func() { result, err = undisturbed.do(s, thisRun) })
				require.NoError(t, err)
				require.NotEmpty(t, calls)

				var disturbed []*account
				for operation := range maps.Keys(calls) {
					for _, m := range mishaps {
						if operation == "iot:CreateKeysAndCertificate" && m.kind == Unavailable {
							continue // its answer holds the key: TestLostKey
						}
						what := fmt.Sprintf("%s of %s", m.fault.Kind, operation)
						a := prepared()
						m.fault.Operation = operation
						a.arm(m.fault)
						got, err := a.do(s, thisRun)
						a.requireStruck("")
						if !(operation == absorbed[s.name] && c.keys.keys == fleet.KeysAWS) {
							require.Error(t, err, what)
							requireType(t, err, m.kind)
							got, err = s.do(a, thisRun)
						}
						require.NoError(t, err, what)
						require.Equal(t, undisturbed.same(result), a.same(got), what)
						disturbed = append(disturbed, a)
					}
				}
				undisturbed.awaitAttachments(s.name)
				want := undisturbed.same(undisturbed.inventory())
				for _, a := range disturbed {
					a.requireHolds(want)
				}
			})
		}
	}
}

// awaitAttachments waits until AWS's lists, which lag, show what was attached by the steps up to
// the one of that name.
func (a *account) awaitAttachments(last string) {
	a.Helper()
	for _, s := range steps {
		shown := ""
		switch {
		case s.name == "RegisterDevice" && a.spec.Registry == fleet.IoTCore:
			shown = "thing group FLEET of [THING]"
		case s.name == "AttachThing":
			shown = "thing THING has arn"
		case s.name == "AttachPolicy":
			shown = "with 1 policies"
		}
		if shown != "" {
			require.True(a, a.await(func() bool { return strings.Contains(a.same(a.inventory()), shown) }), shown)
		}
		if s.name == last {
			return
		}
	}
}

// A run that adopts comes to the same when any call fails at first: what it finds does not become
// its own by trying twice.
func TestFirstAttemptToAdoptFails(t *testing.T) {
	for _, registry := range []fleet.Registry{fleet.SageMakerEdge, fleet.IoTCore} {
		t.Run(string(registry), func(t *testing.T) {
			a := newAccount(t, registry).upTo("", otherRun)
			a.awaitAttachments("") // what a list does not show yet would be taken for our own
			for _, s := range steps {
				var result any
				var err error
				calls := a.callsDuring(func() { result, err = a.do(s, thisRun) })
				require.NoError(t, err)
				for operation := range maps.Keys(calls) {
					for _, m := range mishaps {
						what := fmt.Sprintf("%s of %s in %s", m.fault.Kind, operation, s.name)
						m.fault.Operation = operation
						a.arm(m.fault)
						got, err := a.do(s, thisRun)
						a.requireStruck("")
						if operation != absorbed[s.name] {
							requireType(t, err, m.kind)
							got, err = s.do(a, thisRun)
						}
						require.NoError(t, err, what)
						require.Equal(t, a.same(result), a.same(got), what)
					}
				}
			}
			require.Len(t, a.certificates(), 1)
		})
	}
}

// certificates are the ids of the account's certificates and their statuses.
func (a *account) certificates() map[string]string {
	a.Helper()
	all := map[string]string{}
	for _, c := range must(a, a.iot.ListCertificates, &iot.ListCertificatesInput{}).Certificates {
		all[*c.CertificateId] = string(c.Status)
	}
	return all
}

// object is the text of a file in the device's bundle.
func (a *account) object(name string) string {
	a.Helper()
	o, err := a.get(a.Context(), a.bundle(), name)
	require.NoError(a, err, name)
	return string(o.body)
}

// files are the texts of all objects in the account's bucket, by key.
func (a *account) files() map[string]string {
	a.Helper()
	all := map[string]string{}
	root := Bundle{Location: fleet.S3URI{Bucket: a.spec.Bundles.Bucket}}
	for _, o := range must(a, a.s3.ListObjectsV2, &s3.ListObjectsV2Input{Bucket: &a.spec.Bundles.Bucket}).Contents {
		stored, err := a.get(a.Context(), root, *o.Key)
		require.NoError(a, err, *o.Key)
		all[*o.Key] = stored.run + "\n" + string(stored.body)
	}
	return all
}

func (a *account) remove(name string) {
	a.Helper()
	b := a.bundle().Location
	key := b.Key(name)
	must(a, a.s3.DeleteObject, &s3.DeleteObjectInput{Bucket: &b.Bucket, Key: &key})
}
