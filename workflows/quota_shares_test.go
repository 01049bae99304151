package workflows

import (
	"maps"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/testsuite"
)

// At no time do two workers have leases that overlap, whoever comes, asks and dies when.
func TestLeasesNeverOverlap(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	s := &quotaShares{}
	now := time.Unix(0, 0)
	held := map[string]Member{} // as the workers know it
	for range 20_000 {
		now = now.Add(time.Duration(random.IntN(900)) * time.Millisecond)
		name := strconv.Itoa(random.IntN(1 + random.IntN(6)))
		held[name] = Member{name, s.lease(LeaseRequest{name, random.IntN(3) > 0}, now), now.Add(LeaseTime)}
		maps.DeleteFunc(held, func(_ string, m Member) bool { return !now.Before(m.Until) })
		for a, m := range held {
			require.LessOrEqual(t, m.Lease.To, 1.0)
			for b, o := range held {
				if a != b && m.Lease.To > m.Lease.From && o.Lease.To > o.Lease.From {
					require.True(t, m.Lease.To <= o.Lease.From || o.Lease.To <= m.Lease.From, "%v and %v", m, o)
				}
			}
		}
	}
}

// Workers that stay come to equal parts of the whole; a dead one's part goes to the others.
func TestLeasesBecomeEqual(t *testing.T) {
	s := &quotaShares{}
	now := time.Unix(0, 0)
	require.Equal(t, Lease{0, 0.5}, s.lease(LeaseRequest{"a", false}, now), "one that is not busy leaves some")
	require.Equal(t, Lease{0.5, 1}, s.lease(LeaseRequest{"b", false}, now), "to the next, at once")
	got := map[string]Lease{}
	ask := func(workers ...string) {
		for range 4 {
			now = now.Add(2 * time.Second)
			for _, w := range workers {
				got[w] = s.lease(LeaseRequest{w, true}, now)
			}
		}
	}
	ask("a", "b", "c")
	for w, lease := range got {
		require.InDelta(t, 1.0/3, lease.To-lease.From, 1e-9, w)
	}
	ask("b", "c")
	require.InDelta(t, 1, got["b"].To-got["b"].From+got["c"].To-got["c"].From, 1e-9)
	ask("b")
	require.Equal(t, Lease{0, 1}, got["b"])
}

// The workflow ends when nobody asks any more.
func TestQuotaSharesEnds(t *testing.T) {
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestWorkflowEnvironment()
	env.RegisterWorkflow(QuotaShares)
	var lease Lease
	env.RegisterDelayedCallback(func() {
		env.UpdateWorkflow(LeaseUpdate, "1", &testsuite.TestUpdateCallback{
			OnAccept:   func() {},
			OnReject:   func(err error) { t.Error(err) },
			OnComplete: func(result any, err error) { lease = result.(Lease) },
		}, LeaseRequest{"a", true})
	}, 30*time.Second)
	env.ExecuteWorkflow(QuotaShares, []Member(nil))
	require.True(t, env.IsWorkflowCompleted())
	require.NoError(t, env.GetWorkflowError())
	require.Equal(t, Lease{0, 1}, lease)
}
