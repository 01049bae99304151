package report

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// clock writes times as the reader of the page's time zone has them.
type clock struct{ zone *time.Location }

func clockOf(h Onboarding) clock { return clock{h.StartedAt.Location()} }

func (c clock) at(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.In(c.zone).Format("2006-01-02 15:04:05")
}

// axis is a time as the charts of the progress have it, as short as it is clear.
func (c clock) axis(t time.Time, p Progress) string {
	layout := "15:04"
	if p.WidthSeconds < 60 {
		layout = "15:04:05"
	}
	if time.Duration(len(p.Buckets))*p.width() > 18*time.Hour {
		layout = "Jan 2 15:04"
	}
	return t.In(c.zone).Format(layout)
}

// duration shows a time as people compare it.
func duration(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d.Round(100*time.Millisecond) < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d.Round(time.Second) < time.Hour:
		d = d.Round(time.Second)
		return fmt.Sprintf("%d min %d s", d/time.Minute, d%time.Minute/time.Second)
	}
	d = d.Round(time.Minute)
	return fmt.Sprintf("%s h %d min", number(int(d/time.Hour)), d%time.Hour/time.Minute)
}

// number groups the digits by three.
func number(n int) string {
	digits := strconv.Itoa(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

func perSecond(rate float64) string {
	if rate > 0 && rate < 1 {
		return strconv.FormatFloat(rate, 'f', 2, 64)
	}
	return strconv.FormatFloat(rate, 'f', 1, 64)
}

// word is a state in a sentence.
func (s State) word() string { return strings.ReplaceAll(string(s), "-", " ") }

// counted is a state with its number, as a sentence about devices has it.
func counted(s State, n int) string {
	verb := "are "
	if n == 1 {
		verb = "is "
	}
	switch s {
	case RolledBack, Canceled, Terminated:
		verb = "was "
		if n != 1 {
			verb = "were "
		}
	case Failed, TimedOut:
		verb = ""
	case RollbackIncomplete:
		return number(n) + " could not be rolled back wholly"
	case Running:
		return number(n) + " " + verb + "under way"
	case NotStarted:
		return number(n) + " " + verb + "not started"
	}
	return number(n) + " " + verb + s.word()
}

// standing says in a sentence or two where the onboarding stands.
func standing(h Onboarding, counts map[State]int, total int) string {
	var text strings.Builder
	switch h.State {
	case "running":
		text.WriteString("Under way: ")
	case "paused":
		text.WriteString("Paused by an operator: ")
	case "stopped":
		text.WriteString("Stopped by itself: ")
	case "canceled":
		text.WriteString("Canceled: ")
	case "completed":
		text.WriteString("Completed: ")
	}
	done, already := counts[Provisioned]+counts[AlreadyProvisioned], counts[AlreadyProvisioned]
	switch {
	case total == 0:
		text.WriteString("the manifest has no devices")
	case done == total && total == 1:
		text.WriteString("the one device is provisioned")
	case done == total:
		fmt.Fprintf(&text, "all %s devices are provisioned", number(total))
	case done == 0:
		fmt.Fprintf(&text, "none of %s devices is provisioned", number(total))
	default:
		verb := "are"
		if done == 1 {
			verb = "is"
		}
		fmt.Fprintf(&text, "%s of %s devices %s provisioned", number(done), number(total), verb)
	}
	switch {
	case already == 0:
	case already == done:
		text.WriteString(", as before")
	default:
		fmt.Fprintf(&text, ", %s of them since before", number(already))
	}
	var rest []string
	for _, s := range States {
		if s != Provisioned && s != AlreadyProvisioned && counts[s] > 0 {
			rest = append(rest, counted(s, counts[s]))
		}
	}
	if len(rest) > 0 {
		text.WriteString("; " + enumerate(rest))
	}
	sentence := text.String() + "."
	return strings.ToUpper(sentence[:1]) + sentence[1:]
}

// enumerate joins parts with commas, and the last one with "and".
func enumerate(parts []string) string {
	if len(parts) < 2 {
		return strings.Join(parts, "")
	}
	return strings.Join(parts[:len(parts)-1], ", ") + " and " + parts[len(parts)-1]
}

// next says what is to be done for the whole onboarding, or nothing.
func next(h Onboarding, counts map[State]int) string {
	var steps []string
	if h.State == "paused" || h.State == "stopped" {
		steps = append(steps, "`starter onboarding resume "+h.Name+"` goes on with the manifest")
	}
	if counts[Held] > 0 {
		steps = append(steps, "`starter resume --fleet "+h.Fleet+" --all --reason …` takes the held devices on from where they stand")
	}
	ended := h.State == "completed" || h.State == "canceled"
	if missing := sum(counts, failures); ended && missing+counts[NotStarted] > 0 {
		steps = append(steps, "onboarding the same manifest again does the devices that are missing, and only those")
	}
	if len(steps) == 0 {
		return ""
	}
	return "When the cause is mended, " + strings.Join(steps, "; ") + "."
}

// advice says what to do about a device that is not provisioned. Words between backquotes are commands.
func (o Outcome) advice(h Onboarding) string {
	const again = "onboard the manifest again."
	switch o.State {
	case Held:
		return "Mend the cause, then `starter resume " + o.Device + " --reason …`; or give it up: `starter rollback " + o.Device + " --reason …`."
	case RollbackIncomplete:
		return "Mend the cause, then `starter decommission " + o.Device + "` removes what is left, then " + again
	case Running:
		return "Not at its end: `starter status " + o.Device + "`."
	case NotStarted:
		switch h.State {
		case "running":
			return "Its turn comes."
		case "paused", "stopped":
			return "`starter onboarding resume " + h.Name + "`."
		}
		return "O" + again[1:]
	}
	if !o.RetrySafe {
		return "`starter status " + o.Device + "` tells what there is; `starter decommission " + o.Device + "` clears it. Then " + again
	}
	if o.State == Terminated || o.State == TimedOut {
		return "O" + again[1:] + " It goes on from what there is."
	}
	return "Mend the cause, then " + again
}
