package workflows

import (
	"cmp"
	"slices"
	"time"

	"go.temporal.io/sdk/workflow"
)

// ShareTaskQueue is where the workers poll for QuotaShares: a queue of its own, since whatever waits
// for a quota must not keep that from being shared out.
const ShareTaskQueue = TaskQueue + "-quota"

// LeaseUpdate is the update by which a worker gets its share, with a LeaseRequest and a Lease.
const LeaseUpdate = "lease"

// LeaseTime is how long a share is good for. A worker that dies leaves its share unused that long.
const LeaseTime = 5 * time.Second

// QuotaSharesID is the workflow id of what shares out a region's quotas.
func QuotaSharesID(region string) string { return "quota/" + region }

// LeaseRequest is a worker that wants its share of the quotas.
type LeaseRequest struct {
	Worker string `json:"worker"`
	// Busy: calls wait. Otherwise the worker leaves some to another that may come.
	Busy bool `json:"busy"`
}

// Lease is a worker's part of every quota, from From to To of [0, 1], for LeaseTime from when it was
// asked for. It may be empty, until others' leases have run out or been renewed.
type Lease struct {
	From float64 `json:"from"`
	To   float64 `json:"to"`
}

// Member is a worker that shares the quotas, in the order of their coming.
type Member struct {
	Worker string    `json:"worker"`
	Lease  Lease     `json:"lease"`
	Until  time.Time `json:"until"`
	// Given is what it gave up lately: it may not know yet, and calls that it made count for a while.
	Given []GivenUp `json:"given,omitempty"`
}

// GivenUp is a lease that was given up, and when nothing that was done by it counts any more.
type GivenUp struct {
	Lease Lease     `json:"lease"`
	Until time.Time `json:"until"`
}

// quotaShares is the state of one QuotaShares.
type quotaShares struct {
	members []Member
	granted int
}

// The workflow looks after itself once in a while: it ends when nobody has asked for long.
const (
	shareLook    = time.Minute
	sharesPerRun = 1500 // of the 2,000 updates that Temporal allows a run
)

// settleTime is how long calls count after the lease that they were made by: a second, as AWS counts, and
// what their way to AWS takes.
const settleTime = 1200 * time.Millisecond

// QuotaShares shares out the quotas of an AWS account and region among the workers that call it. At no
// time do two workers have leases that overlap, so the sum of their calls keeps every quota. It is
// started by the first worker that needs a share, and ends when none does.
func QuotaShares(ctx workflow.Context, members []Member) error {
	s := &quotaShares{members: members}
	err := workflow.SetUpdateHandlerWithOptions(ctx, LeaseUpdate, func(ctx workflow.Context, r LeaseRequest) (Lease, error) {
		return s.lease(r, workflow.Now(ctx)), nil
	}, workflow.UpdateHandlerOptions{Description: "A worker takes or renews its share of AWS's quotas. Not for people."})
	if err != nil {
		return err
	}
	for {
		used := func() bool { return s.granted > sharesPerRun && workflow.AllHandlersFinished(ctx) }
		if _, err := workflow.AwaitWithTimeout(ctx, shareLook, used); err != nil {
			return err
		}
		s.forget(workflow.Now(ctx))
		if !workflow.AllHandlersFinished(ctx) {
			continue
		}
		if len(s.members) == 0 {
			return nil
		}
		if info := workflow.GetInfo(ctx); info.GetContinueAsNewSuggested() || s.granted > sharesPerRun {
			return workflow.NewContinueAsNewError(ctx, QuotaShares, s.members)
		}
	}
}

// forget drops the workers whose leases have run out and settled, and what is settled of the others'.
func (s *quotaShares) forget(now time.Time) {
	s.members = slices.DeleteFunc(s.members, func(m Member) bool { return !now.Before(m.Until.Add(settleTime)) })
	for i := range s.members {
		s.members[i].Given = slices.DeleteFunc(s.members[i].Given, func(g GivenUp) bool { return !now.Before(g.Until) })
	}
}

// lease gives a worker an equal part: the one that its place among the members says, as far as no
// other's lease is in it yet.
func (s *quotaShares) lease(r LeaseRequest, now time.Time) Lease {
	s.granted++
	s.forget(now)
	at := slices.IndexFunc(s.members, func(m Member) bool { return m.Worker == r.Worker })
	if at < 0 {
		at = len(s.members)
		s.members = append(s.members, Member{Worker: r.Worker})
	}
	of := len(s.members)
	if !r.Busy {
		of = max(of, 2)
	}
	lease := Lease{float64(at) / float64(of), float64(at+1) / float64(of)}
	m := &s.members[at]
	had := GivenUp{m.Lease, m.Until.Add(settleTime)}
	m.Lease, m.Until = s.free(lease, at), now.Add(LeaseTime)
	if had.Lease.From < m.Lease.From || had.Lease.To > m.Lease.To {
		m.Given = append(m.Given, had)
	}
	return m.Lease
}

// free is the longest part of the wanted lease that no other member's is in.
func (s *quotaShares) free(wanted Lease, at int) Lease {
	var others []Lease
	for i, m := range s.members {
		if i == at {
			continue
		}
		for _, g := range append(m.Given, GivenUp{Lease: m.Lease}) {
			if g.Lease.To > g.Lease.From {
				others = append(others, g.Lease)
			}
		}
	}
	slices.SortFunc(others, func(a, b Lease) int { return cmp.Compare(a.From, b.From) })
	longest, from := Lease{}, wanted.From
	keep := func(to float64) {
		if l := (Lease{from, min(to, wanted.To)}); l.To-l.From > longest.To-longest.From {
			longest = l
		}
	}
	for _, o := range others {
		keep(o.From)
		from = max(from, o.To)
	}
	keep(wanted.To)
	return longest
}
