package report

import (
	"slices"
	"sort"
	"time"
)

// Progress is how many devices came to their outcome, over time. Those whose outcome has no time are
// not in it.
type Progress struct {
	WidthSeconds int64    `json:"widthSeconds"` // of each bucket
	Buckets      []Bucket `json:"buckets"`      // without a gap
}

// Bucket is how many devices came to their outcome in one stretch of time.
type Bucket struct {
	At                 time.Time `json:"at"` // its beginning
	Provisioned        int       `json:"provisioned"`
	AlreadyProvisioned int       `json:"alreadyProvisioned"`
	Held               int       `json:"held"`
	Failed             int       `json:"failed"` // whatever the run ended with
}

func (b *Bucket) add(other Bucket) {
	b.Provisioned += other.Provisioned
	b.AlreadyProvisioned += other.AlreadyProvisioned
	b.Held += other.Held
	b.Failed += other.Failed
}

// maxBuckets is how many a chart can show.
const maxBuckets = 180

// widths of a bucket in seconds. Each divides the next, so that buckets can be put together.
var widths = []int64{1, 5, 10, 30, 60, 120, 600, 1800, 3600, 7200, 21600, 43200, 86400}

// timeline puts outcomes, in any order of time, into at most maxBuckets: it makes them wider when there
// are more.
type timeline struct {
	width       int64            // in seconds
	first, last int64            // Unix seconds
	buckets     map[int64]Bucket // by their number since 1970
}

func newTimeline() *timeline { return &timeline{width: widths[0], buckets: map[int64]Bucket{}} }

func (t *timeline) add(o Outcome) {
	var one Bucket
	switch {
	case o.EndedAt.IsZero():
		return
	case o.State == Provisioned:
		one.Provisioned = 1
	case o.State == AlreadyProvisioned:
		one.AlreadyProvisioned = 1
	case o.State == Held:
		one.Held = 1
	case slices.Contains(failures, o.State):
		one.Failed = 1
	default:
		return
	}
	at := o.EndedAt.Unix()
	if len(t.buckets) == 0 {
		t.first, t.last = at, at
	}
	t.first, t.last = min(t.first, at), max(t.last, at)
	for t.last/t.width-t.first/t.width >= maxBuckets {
		t.widen()
	}
	one.add(t.buckets[at/t.width])
	t.buckets[at/t.width] = one
}

func (t *timeline) widen() {
	from := t.width
	t.width *= 2
	if i := slices.Index(widths, from); i >= 0 && i+1 < len(widths) {
		t.width = widths[i+1]
	}
	narrow := t.buckets
	t.buckets = map[int64]Bucket{}
	for number, b := range narrow {
		wide := number * from / t.width
		b.add(t.buckets[wide])
		t.buckets[wide] = b
	}
}

func (t *timeline) progress() Progress {
	p := Progress{WidthSeconds: t.width, Buckets: []Bucket{}}
	if len(t.buckets) == 0 {
		return p
	}
	for number := t.first / t.width; number <= t.last/t.width; number++ {
		b := t.buckets[number]
		b.At = time.Unix(number*t.width, 0).UTC()
		p.Buckets = append(p.Buckets, b)
	}
	return p
}

const (
	// stopped is how long no device is under way before the onboarding counts as standing still.
	stopped = 10 * time.Second
	// longRun is a run that was held in between: provisioning waits 15 minutes at most for what takes
	// effect late. Only its end counts.
	longRun = 30 * time.Minute
)

// spans are the stretches of time in which runs were under way, in their order, apart by more than
// stopped.
type spans []span

type span struct{ from, to time.Time }

func (s *spans) addRun(o Outcome) {
	from, to := o.StartedAt, o.EndedAt
	switch {
	case from.IsZero() && to.IsZero():
		return
	case from.IsZero() || from.Before(to.Add(-longRun)):
		from = to
	case to.Before(from): // not at its end
		to = from
	}
	s.add(from, to)
}

func (s *spans) add(from, to time.Time) {
	all := *s
	// Those from i up to, not including, j are near enough to become one with it.
	i := sort.Search(len(all), func(i int) bool { return !all[i].to.Before(from.Add(-stopped)) })
	j := i
	for ; j < len(all) && !all[j].from.After(to.Add(stopped)); j++ {
		if all[j].from.Before(from) {
			from = all[j].from
		}
		if all[j].to.After(to) {
			to = all[j].to
		}
	}
	*s = slices.Replace(all, i, j, span{from, to})
}

func (s *spans) total() (d time.Duration) {
	for _, one := range *s {
		d += one.to.Sub(one.from)
	}
	return d
}
