package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"
)

// document is a page as a browser takes it apart.
type document struct {
	text string
	root *html.Node
}

func pageOf(t *testing.T, h Onboarding, outcomes iter.Seq2[Outcome, error]) document {
	t.Helper()
	s, err := Summarize(outcomes)
	require.NoError(t, err)
	var b bytes.Buffer
	require.NoError(t, WriteHTML(&b, h, s, outcomes))
	root, err := html.Parse(bytes.NewReader(b.Bytes()))
	require.NoError(t, err)
	return document{b.String(), root}
}

func (d document) all(tag string) (found []*html.Node) {
	for n := range d.root.Descendants() {
		if n.Type == html.ElementNode && n.Data == tag {
			found = append(found, n)
		}
	}
	return found
}

func (d document) withClass(class string) *html.Node {
	for n := range d.root.Descendants() {
		if n.Type == html.ElementNode && attribute(n, "class") == class {
			return n
		}
	}
	return nil
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func textOf(n *html.Node) string {
	if n == nil {
		return ""
	}
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data)
		}
	}
	return b.String()
}

// rows are the texts of the cells of the devices' table.
func (d document) rows() (rows [][]string) {
	table := d.withClass("devices")
	if table == nil {
		return nil
	}
	for n := range table.Descendants() {
		if n.Data == "tr" && n.FirstChild.Data == "td" {
			var row []string
			for cell := range n.ChildNodes() {
				row = append(row, textOf(cell))
			}
			rows = append(rows, row)
		}
	}
	return rows
}

// drawn is what of a chart's options the tests look at.
type drawn struct {
	Series []struct {
		Name, Type, Stack string
		Data              []struct{ Value float64 }
	}
	XAxis, YAxis []struct{ Data []string }
}

func (d document) charts(t *testing.T) map[string]drawn {
	t.Helper()
	var charts map[string]drawn
	scripts := d.all("script")
	require.Len(t, scripts, 3)
	require.Equal(t, "application/json", attribute(scripts[0], "type"))
	require.NoError(t, json.Unmarshal([]byte(textOf(scripts[0])), &charts))
	return charts
}

func (c drawn) values(t *testing.T, name string) (values []float64) {
	t.Helper()
	for _, s := range c.Series {
		if s.Name == name {
			for _, d := range s.Data {
				values = append(values, d.Value)
			}
			return values
		}
	}
	require.Fail(t, "the chart has no series "+name)
	return nil
}

func TestHTMLNeedsNothingButItself(t *testing.T) {
	d := pageOf(t, heading(3000), sample(3000))
	for n := range d.root.Descendants() {
		for _, a := range n.Attr {
			switch a.Key {
			case "src", "href", "srcset", "data", "action", "poster", "background":
				require.Fail(t, "it refers to something", "<%s %s=%q>", n.Data, a.Key, a.Val)
			}
		}
	}
	for _, tag := range []string{"link", "base", "iframe", "img", "object", "embed", "form"} {
		require.Empty(t, d.all(tag), tag)
	}
	style := textOf(d.all("style")[0])
	require.NotContains(t, style, "url(")
	require.NotContains(t, style, "@import")

	// The browser is told to hold the page to that: nothing is loaded, and only these two scripts run.
	policy := attribute(d.all("meta")[1], "content")
	require.Contains(t, policy, "default-src 'none';")
	scripts := d.all("script")
	for _, script := range scripts[1:] {
		require.Contains(t, policy, hashOf(textOf(script)), "the page's own script would not run")
	}
	require.Equal(t, 2, strings.Count(policy, "sha256-"))
	require.NotContains(t, policy, "script-src 'unsafe-inline'")
	require.Contains(t, textOf(scripts[1])[:100], "Apache Software Foundation", "ECharts comes without its licence")
}

func TestHTMLIsNotBrokenByWhatDevicesSay(t *testing.T) {
	const evil = `</script><script>alert(1)</script><img src=x onerror=alert(1)> & "q" 'q' ` + "`<b>`" + ` <!-- {{.}}`
	o := Outcome{
		Line: 1, Device: "d" + evil, Thing: "t" + evil, State: Held, Step: "s" + evil, ErrorType: "e" + evil, Error: "m" + evil,
		CertificateID: "c" + evil, WorkflowID: "w" + evil, RunID: "r" + evil, EndedAt: began, Steps: []StepTime{{evil, 5}},
	}
	done := Outcome{Line: 2, Device: "cam-2", State: Provisioned, EndedAt: began, Steps: []StepTime{{"s" + evil, 5}}}
	h := heading(2)
	h.Name, h.Fleet, h.Registry, h.Manifest, h.State, h.Why = "n"+evil, "f"+evil, "r"+evil, "m"+evil, "stopped", "w"+evil
	d := pageOf(t, h, listed(o, done))
	require.Empty(t, d.all("img"))
	require.Empty(t, d.all("b")[1:], "more than the state is bold")
	charts := d.charts(t) // and so there are three scripts, as ever
	require.Equal(t, []string{"s" + evil + ": e" + evil}, charts["causes"].YAxis[0].Data)
	require.Equal(t, []string{"s" + evil}, charts["latency"].YAxis[0].Data)
	shown := strings.ReplaceAll(evil, "`", "") // what stands between backquotes is set as code
	row := d.rows()[0]
	require.Equal(t, "d"+evil+"thing t"+evil, row[1])
	require.Contains(t, row[2], "s"+evil)
	require.Contains(t, row[2], "e"+evil)
	require.Contains(t, row[3], "m"+shown)
	require.Contains(t, row[3], "certificate c"+evil)
	require.Contains(t, row[3], "run w"+evil+", r"+evil)
	require.Contains(t, textOf(d.withClass("why")), "w"+shown)
	require.Contains(t, textOf(d.all("title")[0]), "n"+evil)
}

func TestHTMLShowsWhatIsNotProvisioned(t *testing.T) {
	at := began.Add(time.Minute)
	d := pageOf(t, heading(5), listed(
		Outcome{Line: 1, Device: "cam-1", State: Provisioned, EndedAt: at},
		Outcome{Line: 2, Device: "cam-2", State: AlreadyProvisioned},
		Outcome{Line: 3, Device: "cam-3", Thing: "thing-3", State: Held, Step: "AttachPolicy", ErrorType: "AccessDenied", Error: "Run `starter fleet apply`.",
			RetrySafe: true, CertificateID: "cert-3", WorkflowID: "device/cameras/cam-3", RunID: "run-3", StartedAt: began, EndedAt: at, DurationMS: 60_000},
		Outcome{Line: 4, Device: "cam-4", State: Terminated, StartedAt: began},
		Outcome{Line: 5, Device: "cam-5", Thing: "cam-5", State: Running, StartedAt: began, RetrySafe: true}))
	require.Equal(t, [][]string{
		{"3", "cam-3thing thing-3", "heldAttachPolicyAccessDenied", "Run starter fleet apply.certificate cert-3run device/cameras/cam-3, run-3",
			"Mend the cause, then starter resume cam-3 --reason …; or give it up: starter rollback cam-3 --reason ….provisioning again is safe", "2026-11-23 14:04:05after 1 min 0 s"},
		{"4", "cam-4", "terminated", "", "starter status cam-4 tells what there is; starter decommission cam-4 clears it. Then onboard the manifest again." +
			"provisioning again is not yet safe", "2026-11-23 14:03:05began"},
		{"5", "cam-5", "running", "", "Not at its end: starter status cam-5.provisioning again is safe", "2026-11-23 14:03:05began"},
	}, d.rows())
	require.Contains(t, textOf(d.all("footer")[0]), "starter report osaka-line-3 -o csv")
	require.Contains(t, textOf(d.withClass("facts")), "Ended2026-11-23 14:03:05, after 510 ms")
}

func TestHTMLCharts(t *testing.T) {
	h := heading(6)
	d := pageOf(t, h, listed(
		ran(1, Provisioned, 0, 1), ran(2, Provisioned, 0, 1.5), ran(3, AlreadyProvisioned, 0, 2), ran(4, Held, 0, 4),
		Outcome{Line: 5, Device: "cam-5", State: RolledBack, Step: "CreateThing", ErrorType: "Conflict", EndedAt: began.Add(4 * time.Second)},
		Outcome{Line: 6, Device: "cam-6", State: Provisioned, EndedAt: began.Add(4 * time.Second), Steps: []StepTime{{"CreateThing", 41}, {"ProveDevice", 3000}}}))
	charts := d.charts(t)
	require.Len(t, charts, 4)
	for name := range charts {
		require.Contains(t, d.text, fmt.Sprintf("id=%q", name), "the chart has no place on the page")
	}
	progress := charts["progress"]
	require.Equal(t, []string{"14:03:06", "14:03:07", "14:03:08", "14:03:09", "14:03:10"}, progress.XAxis[0].Data)
	require.Equal(t, []float64{0, 2, 2, 2, 3}, progress.values(t, "provisioned"))
	require.Equal(t, []float64{0, 0, 1, 1, 1}, progress.values(t, "already there"))
	require.Equal(t, []float64{0, 0, 0, 0, 1}, progress.values(t, "held"))
	require.Equal(t, []float64{0, 0, 0, 0, 1}, progress.values(t, "failed"))
	for _, s := range progress.Series {
		require.Equal(t, "devices", s.Stack)
	}
	rate := charts["rate"]
	require.Equal(t, []float64{2, 0, 0, 1}, rate.values(t, "provisioned per second"))
	require.Equal(t, []float64{10, 10, 10, 10}, rate.values(t, "what the quotas allow"))
	require.Equal(t, "line", rate.Series[1].Type)
	latency := charts["latency"]
	require.Equal(t, []string{"CreateThing", "ProveDevice"}, latency.YAxis[0].Data)
	for _, percentile := range []string{"p50, s", "p95, s", "p99, s"} {
		require.Equal(t, []float64{0.04, 3}, latency.values(t, percentile))
	}
	causes := charts["causes"]
	require.Equal(t, []string{"held", "CreateThing: Conflict"}, causes.YAxis[0].Data)
	require.Equal(t, []float64{1, 0}, causes.values(t, "held"))
	require.Equal(t, []float64{0, 1}, causes.values(t, "failed"))
}

func TestHTMLChartsOnlyWhatThereIs(t *testing.T) {
	h := heading(2)
	h.CeilingPerSecond = 0
	d := pageOf(t, h, listed(ran(1, Provisioned, 0, 1), ran(2, Provisioned, 1, 1)))
	charts := d.charts(t)
	require.NotContains(t, charts, "causes")
	require.NotContains(t, charts, "latency", "no outcome tells of steps")
	require.Len(t, charts["rate"].Series, 1, "there is no ceiling")
	require.Len(t, charts["progress"].Series, 1)
	require.Empty(t, d.rows())
	require.Contains(t, textOf(d.withClass("rate")), "1.0devices per secondthe quotas set no limit")

	nothing := pageOf(t, Onboarding{Name: "empty", State: "completed"}, listed())
	require.Empty(t, nothing.charts(t))
	require.Equal(t, "Completed: the manifest has no devices.", textOf(nothing.withClass("standing")))
}

func TestHTMLStaysSmall(t *testing.T) {
	big := func(yield func(Outcome, error) bool) {
		for line := 1; line <= 20_000; line++ {
			o := Outcome{Line: line, Device: fmt.Sprintf("cam-%05d", line), State: Provisioned, CertificateID: strings.Repeat("c", 64)}
			switch {
			case line%5 == 0:
				o.State, o.ErrorType, o.Error = Held, "AccessDenied", strings.Repeat("no é", 1000)
			case line%5 == 1:
				o.State = NotStarted
			case line == 19_999:
				o.State = Terminated
			}
			if !yield(o, nil) {
				return
			}
		}
	}
	d := pageOf(t, heading(25_000), big)
	require.Less(t, len(d.text), 5<<20)
	rows := d.rows()
	require.Len(t, rows, mostDevices)
	require.Equal(t, "5", rows[0][0], "what is not started takes the place of what is held")
	require.Contains(t, d.text, "These are 2,000; 6,001 more are in the full list.")
	require.NotContains(t, d.text, "cam-00002")
	require.NotContains(t, d.text, "\ufffd", "a message is cut inside a character")
	require.Contains(t, attribute(d.withClass("bar"), "aria-label"), "9,000 not started", "5,000 lines have no outcome yet")

	few := pageOf(t, heading(1000), func(yield func(Outcome, error) bool) {
		for line := 1; line <= 1000; line++ {
			o := Outcome{Line: line, Device: "cam", State: NotStarted}
			if line == 500 {
				o.State = Failed
			}
			if !yield(o, nil) {
				return
			}
		}
	})
	require.Len(t, few.rows(), mostOthers+1)
	require.Equal(t, "500", few.rows()[mostOthers][0])
	require.Contains(t, few.text, "These are 201; 799 more")
}

func TestHTMLHasTheReadersTime(t *testing.T) {
	h := heading(1)
	h.StartedAt = h.StartedAt.In(time.FixedZone("JST", 9*3600))
	d := pageOf(t, h, listed(Outcome{Line: 1, Device: "cam-1", State: Held, EndedAt: began}))
	require.Equal(t, "2026-11-23 23:03:05", d.rows()[0][5])
	require.Equal(t, "23:03:05", d.charts(t)["progress"].XAxis[0].Data[0])
	require.Contains(t, textOf(d.all("footer")[0]), "all times are JST")
}
