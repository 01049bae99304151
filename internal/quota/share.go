package quota

import (
	"math"
	"time"
)

// Share is the part of every quota that a process may use: the interval from From to To of [0, 1].
// Processes whose intervals do not overlap keep every quota together, whatever its number of calls is
// divided by.
type Share struct {
	From, To float64
	Until    time.Time // zero: for good
}

// Whole is all of every quota, for a process that is alone.
var Whole = Share{From: 0, To: 1}

func (s Share) valid(now time.Time) bool {
	return s.To > s.From && (s.Until.IsZero() || now.Before(s.Until))
}

// allowance is how many calls may fall into any period so long.
type allowance struct {
	calls  int
	period time.Duration
}

// of is the share's part of a rate in calls per second. A rate below one a second is kept over a
// longer period. Where there are fewer calls than sharers, each gets one over a
// longer period: then the sum keeps the rate on average only.
func (s Share) of(rate float64) allowance {
	calls := max(1, math.Floor(rate))
	period := calls / rate // seconds
	const tiny = 1e-9      // a third of 3 is 1
	mine := math.Floor(calls*s.To+tiny) - math.Floor(calls*s.From+tiny)
	if part := calls * (s.To - s.From); part < 1-tiny { // so are all others', when they are equal
		mine, period = 1, period/part
	}
	return allowance{int(mine), time.Duration(period * float64(time.Second))}
}
