package workflows

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"
)

// At no time do two workers have leases that overlap, whoever comes, asks and dies when: also where a worker
// does not learn of its new one, and for as long as its calls count.
func TestLeasesNeverOverlap(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	s := &quotaShares{}
	now := time.Unix(0, 0)
	given := map[string][]GivenUp{}
	var useful int
	for range 20_000 {
		now = now.Add(time.Duration(random.IntN(900)) * time.Millisecond)
		name := strconv.Itoa(random.IntN(1 + random.IntN(6)))
		lease := s.lease(LeaseRequest{name, random.IntN(3) > 0}, now)
		if lease.To <= lease.From {
			continue
		}
		useful++
		require.LessOrEqual(t, lease.To, 1.0)
		for other, all := range given {
			given[other] = slices.DeleteFunc(all, func(g GivenUp) bool { return !now.Before(g.Until) })
			for _, g := range given[other] {
				if other != name {
					require.True(t, lease.To <= g.Lease.From || g.Lease.To <= lease.From, "%s gets %v and %s has %v", name, lease, other, g)
				}
			}
		}
		given[name] = append(given[name], GivenUp{lease, now.Add(LeaseTime + settleTime)})
	}
	require.Greater(t, useful, 10_000)
}

// Workers that stay come to equal parts of the whole; a dead one's part goes to the others.
func TestLeasesBecomeEqual(t *testing.T) {
	s := &quotaShares{}
	now := time.Unix(0, 0)
	require.Equal(t, Lease{0, 0.5}, s.lease(LeaseRequest{"a", false}, now), "one that is not busy leaves some")
	require.Equal(t, Lease{0.5, 1}, s.lease(LeaseRequest{"b", false}, now), "to the next, at once")
	got := map[string]Lease{}
	ask := func(workers ...string) {
		for range 8 {
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

// More leases than Temporal allows updates to a run, in less than the time between two looks: it goes on as new
// before, with what each worker has.
func TestQuotaSharesGoesOn(t *testing.T) {
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestWorkflowEnvironment()
	env.RegisterWorkflow(QuotaShares)
	asked := 0
	var ask func() // one after the other: the environment takes few at a time
	ask = func() {
		if asked++; asked > sharesPerRun+1 {
			return
		}
		env.UpdateWorkflow(LeaseUpdate, strconv.Itoa(asked), &testsuite.TestUpdateCallback{
			OnAccept: func() {}, OnReject: func(err error) { t.Error(err) },
			OnComplete: func(any, error) { env.RegisterDelayedCallback(ask, time.Millisecond) },
		}, LeaseRequest{"a", true})
	}
	env.RegisterDelayedCallback(ask, time.Millisecond)
	begun := env.Now()
	env.ExecuteWorkflow(QuotaShares, []Member(nil))
	require.True(t, workflow.IsContinueAsNewError(env.GetWorkflowError()), "%v", env.GetWorkflowError())
	require.Less(t, env.Now().Sub(begun), shareLook)
}
