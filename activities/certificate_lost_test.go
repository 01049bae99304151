package activities

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"edgefleet/internal/fleet"
)

// lost are the records of lost answers, by name.
func (a *account) lost() map[string]LostCertificate {
	a.Helper()
	b := lostBundle(FleetBundle(a.spec))
	prefix := b.Location.Key("")
	all := map[string]LostCertificate{}
	for _, o := range must(a, a.s3.ListObjectsV2, &s3.ListObjectsV2Input{Bucket: &b.Location.Bucket, Prefix: &prefix}).Contents {
		name := strings.TrimPrefix(*o.Key, prefix)
		stored, err := a.get(a.Context(), b, name)
		require.NoError(a, err)
		var r LostCertificate
		require.NoError(a, json.Unmarshal(stored.body, &r))
		all[name] = r
	}
	return all
}

// requireLost wants one record for each of the calls, which were made since then.
func (a *account) requireLost(since time.Time, calls int) {
	a.Helper()
	lost := a.lost()
	require.Len(a, lost, calls)
	for _, r := range lost {
		require.Equal(a, a.device.Name, r.Device)
		require.Equal(a, thisRun, r.Run)
		require.WithinRange(a, r.Since, since.Add(-time.Millisecond), time.Now())
		require.WithinRange(a, r.Until, r.Since, r.Since.Add(2*callTimeout))
	}
}

// The answer of CreateKeysAndCertificate holds the only copy of the key. What it leaves behind
// when it is lost can authenticate nobody: it is INACTIVE and attached to nothing. When that was is
// written down, whether AWS did the work or not: that cannot be told.
func TestLostKey(t *testing.T) {
	for _, m := range mishaps {
		t.Run(m.fault.Kind, func(t *testing.T) {
			a := issuing(t, fleet.KeysAWS)
			m.fault.Operation = "iot:CreateKeysAndCertificate"
			a.arm(m.fault)
			begun := time.Now()
			_, err := run[Certificate](a, a.IssueCertificate, a.issueInput(thisRun))
			requireType(t, err, m.kind)
			lost := a.certificates()
			if m.fault.Kind == "drop-after" {
				require.Len(t, lost, 1)
			} else {
				require.Empty(t, lost)
			}
			records := 1
			if m.kind == Throttled {
				records = 0 // AWS said that it did nothing
			}
			a.requireLost(begun, records)

			c, err := again[Certificate](a, a.IssueCertificate, a.issueInput(thisRun))
			require.NoError(t, err)
			a.requireLost(begun, records)
			for id, status := range lost {
				require.Equal(t, "INACTIVE", status)
				must(a, a.iot.DeleteCertificate, &iot.DeleteCertificateInput{CertificateId: &id}) // nothing holds it
			}
			a.requireOne(c)
		})
	}
}

// An attempt that was killed while it was calling is written down by the next one, and beside it
// what that one loses: no record takes another's place.
func TestEachLostAnswerIsWrittenDown(t *testing.T) {
	a := issuing(t, fleet.KeysAWS)
	begun := time.Now()
	a.heartbeat = AttemptNote{CallingSince: begun}
	a.arm(fault{Operation: "iot:CreateKeysAndCertificate", Kind: "drop-after"})
	_, err := again[Certificate](a, a.IssueCertificate, a.issueInput(thisRun))
	requireType(t, err, Unavailable)
	a.requireLost(begun, 2)
	c, err := again[Certificate](a, a.IssueCertificate, a.issueInput(thisRun))
	require.NoError(t, err)
	a.requireBundle(c)
	require.Len(t, a.certificates(), 2)

	// A third is found by the undo, and the second again.
	for _, note := range []time.Time{begun, time.Now()} {
		_, err = run[Removal](a, a.DiscardCertificate, DiscardInput{CertificateInput: a.issueInput(thisRun), Note: AttemptNote{CallingSince: note}})
		require.NoError(t, err)
	}
	a.requireLost(begun, 3)
	require.Len(t, a.certificates(), 1, "the one whose answer was lost")
}

// What cannot be written down now stays in the attempt's note.
func TestRecordOfLostAnswerCannotBeWritten(t *testing.T) {
	a := issuing(t, fleet.KeysAWS)
	begun := time.Now()
	a.arm(fault{Operation: "iot:CreateKeysAndCertificate", Kind: "drop-after"})
	a.arm(fault{Operation: "s3:PutObject", Kind: "error", Times: 4})
	_, err := run[Certificate](a, a.IssueCertificate, a.issueInput(thisRun))
	requireType(t, err, Unavailable)
	a.requireStruck("")
	require.Empty(t, a.lost())
	_, err = again[Certificate](a, a.IssueCertificate, a.issueInput(thisRun))
	require.NoError(t, err)
	a.requireLost(begun, 1)
}

// untilDone runs an activity in a workflow of its own until an attempt succeeds: unlike again, its
// attempts are numbered.
func untilDone[R any](a *account, fn any, args ...any) (R, error) {
	a.Helper()
	suite := a.suite()
	env := suite.NewTestWorkflowEnvironment()
	env.SetTestTimeout(time.Minute)
	env.RegisterActivity(a.Activities)
	var result R
	env.ExecuteWorkflow(func(ctx workflow.Context) error {
		ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
			StartToCloseTimeout: time.Minute,
			RetryPolicy:         &temporal.RetryPolicy{InitialInterval: time.Millisecond, MaximumAttempts: 5},
		})
		return workflow.ExecuteActivity(ctx, fn, args...).Get(ctx, &result)
	})
	return result, env.GetWorkflowError()
}

// With the device's own key there is nothing in the bundle to tell an earlier attempt by: the
// request itself does.
func TestLostAnswerWithKeyOfDevice(t *testing.T) {
	for _, operation := range []string{"iot:CreateCertificateFromCsr", "s3:GetObject", "s3:PutObject"} {
		for _, m := range mishaps {
			a := issuing(t, fleet.KeysDevice)
			allKeys[3].use(a)
			must(a, a.iot.CreateKeysAndCertificate, &iot.CreateKeysAndCertificateInput{})
			foreign := a.certificates()
			m.fault.Operation = operation
			a.arm(m.fault)
			c, err := untilDone[Certificate](a, a.IssueCertificate, a.issueInput(thisRun))
			require.NoError(t, err)
			a.requireStruck("")
			require.Equal(t, Certificate{ID: c.ID, ARN: c.ARN, Action: Created}, c)
			foreign[c.ID] = "INACTIVE"
			require.Equal(t, foreign, a.certificates(), "%s of %s", m.fault.Kind, operation)
			require.Equal(t, c.ID, CertificateID([]byte(a.object(CertificateFile))))
		}
	}
}

// A second run of the device has the same key, and a certificate of its own.
func TestKeyOfDeviceInAnEarlierRun(t *testing.T) {
	a := issuing(t, fleet.KeysDevice)
	allKeys[3].use(a)
	for _, active := range []bool{true, false} { // one in use, and one from before this run
		must(a, a.iot.CreateCertificateFromCsr, &iot.CreateCertificateFromCsrInput{CertificateSigningRequest: &a.csr, SetAsActive: active})
	}
	before := a.certificates()
	c, err := run[Certificate](a, a.IssueCertificate, a.issueInput(thisRun))
	require.NoError(t, err)
	require.NotContains(t, before, c.ID)
}
