package report

import (
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"
)

var (
	//go:embed report.html.tmpl
	pageText string
	//go:embed draw.js
	drawJS string
	// Apache ECharts with bars, lines, legend and tooltip, as its authors built it (echarts/NOTICE).
	//go:embed echarts/echarts.common.min.js
	echartsJS string

	page = template.Must(template.New("report.html").Funcs(template.FuncMap{"number": number, "code": code, "shorten": shorten}).Parse(pageText))
)

const (
	mostDevices = 2000 // in the table of the page
	mostOthers  = 200  // of them that are only not at their end
	mostListed  = 50   // causes in the table of the page
	longestText = 800  // of an error's message on the page, in bytes
)

// view is what the page shows.
type view struct {
	Onboarding
	Policy         string // what the page may load: nothing but its own two scripts
	ECharts, Draw  template.JS
	Standing, Next string
	Facts          []fact
	Parts          []part
	Figures        []figure
	Charts         map[string]options
	Width          string // of a bucket of the progress
	Steps          []latencyRow
	Causes         []Cause
	MoreCauses     int
	Devices        []deviceRow
	MoreDevices    int
	Made, Zone     string
}

type fact struct{ Name, Text string }

// part is one piece of the bar that shows how far the onboarding is.
type part struct {
	Kind    string
	Percent float64
	Text    string
}

type figure struct{ Kind, Number, Name, Note string }

type latencyRow struct {
	Step               string
	Whole              bool // not a step, but all of them
	Devices            int
	P50, P95, P99, Max string
}

type deviceRow struct {
	Outcome
	Kind, Word, Advice   string
	Started, Ended, Took string
}

// WriteHTML writes a page that needs nothing but itself: what ran, where it stands, charts, and the
// devices that are not provisioned, at most 2,000 of them, those first that are held or failed.
func WriteHTML(w io.Writer, heading Onboarding, summary Summary, outcomes iter.Seq2[Outcome, error]) error {
	exceptional, more, err := exceptions(outcomes)
	if err != nil {
		return err
	}
	v := newView(heading, summary)
	clock := clockOf(heading)
	for _, o := range exceptional {
		v.Devices = append(v.Devices, rowOf(o, heading, clock))
	}
	v.MoreDevices = more
	if err := page.Execute(w, v); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}

// exceptions are the devices for the table, in the order of their lines, and how many there are more.
func exceptions(outcomes iter.Seq2[Outcome, error]) (chosen []Outcome, more int, err error) {
	var others []Outcome // that are only not at their end
	for o, err := range outcomes {
		if err != nil {
			return nil, 0, err
		}
		switch {
		case o.State == Provisioned || o.State == AlreadyProvisioned:
		case (o.State == Running || o.State == NotStarted) && len(others) < mostOthers:
			others = append(others, o)
		case o.State != Running && o.State != NotStarted && len(chosen) < mostDevices:
			chosen = append(chosen, o)
		default:
			more++
		}
	}
	room := min(mostDevices-len(chosen), len(others))
	more += len(others) - room
	chosen = append(chosen, others[:room]...)
	slices.SortStableFunc(chosen, func(a, b Outcome) int { return a.Line - b.Line })
	return chosen, more, nil
}

func newView(h Onboarding, s Summary) view {
	clock := clockOf(h)
	total := max(h.Devices, s.Devices)
	counts := map[State]int{NotStarted: total - s.Devices}
	for state, n := range s.States {
		counts[state] += n
	}
	v := view{
		Onboarding: h,
		Policy:     "default-src 'none'; style-src 'unsafe-inline'; script-src " + hashOf(echartsJS) + " " + hashOf(drawJS),
		ECharts:    template.JS(echartsJS), Draw: template.JS(drawJS),
		Standing: standing(h, counts, total), Next: next(h, counts),
		Facts: facts(h, clock), Parts: parts(counts, total), Figures: figures(h, s, counts),
		Charts: map[string]options{},
		Causes: s.Causes[:min(len(s.Causes), mostListed)], MoreCauses: max(len(s.Causes)-mostListed, 0),
		Made: clock.at(time.Now()), Zone: h.StartedAt.Format("MST"),
	}
	if len(s.Progress.Buckets) > 0 {
		v.Charts["progress"] = progressChart(s.Progress, clock)
		v.Width = s.Progress.widthText()
	}
	if s.Count(Provisioned) > 0 && len(s.Progress.Buckets) > 1 {
		v.Charts["rate"] = rateChart(s.Progress, h.CeilingPerSecond, clock)
	}
	if len(s.Steps) > 0 {
		v.Charts["latency"] = latencyChart(s.Steps)
	}
	if len(s.Causes) > 0 {
		v.Charts["causes"] = causesChart(s.Causes[:min(len(s.Causes), mostCauses)])
	}
	if s.Total.Devices > 0 {
		for _, l := range append(slices.Clone(s.Steps), s.Total) {
			v.Steps = append(v.Steps, latencyRow{
				Step: cmp.Or(l.Step, "the whole run"), Whole: l.Step == "", Devices: l.Devices,
				P50: ms(l.P50MS), P95: ms(l.P95MS), P99: ms(l.P99MS), Max: ms(l.MaxMS),
			})
		}
	}
	return v
}

// hashOf is a script as a content security policy names it.
func hashOf(script string) string {
	sum := sha256.Sum256([]byte(script))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

func facts(h Onboarding, clock clock) []fact {
	all := []fact{{"Fleet", h.Fleet}, {"Registry", h.Registry}, {"Manifest", h.Manifest}, {"Started", clock.at(h.StartedAt)}}
	if !h.EndedAt.IsZero() {
		ended := clock.at(h.EndedAt)
		if !h.StartedAt.IsZero() {
			ended += ", after " + duration(h.EndedAt.Sub(h.StartedAt))
		}
		all = append(all, fact{"Ended", ended})
	}
	return slices.DeleteFunc(all, func(f fact) bool { return f.Text == "" })
}

// groups are the states as the page shows them together.
var groups = []struct {
	kind, name, note string
	always           bool
	states           []State
}{
	{"provisioned", "provisioned", "by this onboarding", true, []State{Provisioned}},
	{"already", "already there", "provisioned before", true, []State{AlreadyProvisioned}},
	{"held", "held", "wait for an operator", true, []State{Held}},
	{"failed", "failed", "", true, failures},
	{"running", "under way", "", false, []State{Running}},
	{"waiting", "not started", "", false, []State{NotStarted}},
}

func kindOf(s State) string {
	for _, g := range groups {
		if slices.Contains(g.states, s) {
			return g.kind
		}
	}
	return ""
}

func parts(counts map[State]int, total int) (all []part) {
	for _, g := range groups {
		if n := sum(counts, g.states); n > 0 {
			all = append(all, part{g.kind, 100 * float64(n) / float64(total), number(n) + " " + g.name})
		}
	}
	return all
}

func figures(h Onboarding, s Summary, counts map[State]int) (all []figure) {
	for _, g := range groups {
		n := sum(counts, g.states)
		if n == 0 && !g.always {
			continue
		}
		note := g.note
		if g.kind == "failed" && n > 0 {
			var each []string
			for _, state := range failures {
				if counts[state] > 0 {
					each = append(each, number(counts[state])+" "+state.word())
				}
			}
			note = enumerate(each)
		}
		all = append(all, figure{g.kind, number(n), g.name, note})
	}
	if s.DevicesPerSecond == 0 {
		return all
	}
	note := "the quotas set no limit"
	if h.CeilingPerSecond > 0 {
		note = fmt.Sprintf("%.0f%% of the %s that the quotas allow", 100*s.DevicesPerSecond/h.CeilingPerSecond, strconv.FormatFloat(round(h.CeilingPerSecond), 'f', -1, 64))
	}
	return append(all, figure{"rate", perSecond(s.DevicesPerSecond), "devices per second", note})
}

func sum(counts map[State]int, states []State) (n int) {
	for _, s := range states {
		n += counts[s]
	}
	return n
}

func rowOf(o Outcome, h Onboarding, clock clock) deviceRow {
	row := deviceRow{
		Outcome: o, Kind: kindOf(o.State), Word: o.State.word(), Advice: o.advice(h),
		Started: clock.at(o.StartedAt), Ended: clock.at(o.EndedAt),
	}
	if took := o.took(); took > 0 {
		row.Took = duration(took)
	}
	return row
}

func shorten(text string) string {
	if len(text) <= longestText {
		return text
	}
	return strings.ToValidUTF8(text[:longestText], "") + " …"
}

func ms(n int64) string { return duration(time.Duration(n) * time.Millisecond) }

// code escapes a text for the page and marks what stands between backquotes as code.
func code(text string) template.HTML {
	var b strings.Builder
	for i, piece := range strings.Split(text, "`") {
		piece = template.HTMLEscapeString(piece)
		if i%2 == 1 {
			piece = "<code>" + piece + "</code>"
		}
		b.WriteString(piece)
	}
	return template.HTML(b.String())
}
