package report

import (
	"math"
	"strconv"
	"time"

	"github.com/go-echarts/go-echarts/v2/charts"
	"github.com/go-echarts/go-echarts/v2/opts"
	"github.com/go-echarts/go-echarts/v2/types"
)

// The colours of the charts. Those of outcomes are the page's too (report.html.tmpl).
const (
	green  = "#1d7f5b" // provisioned
	mint   = "#a3d5bf" // already provisioned
	amber  = "#e3a008" // held
	red    = "#c53b2c" // failed
	ink    = "#4b5563" // what is written
	grid   = "#e5e7eb"
	indigo = "#2f4b86" // latency, the longer the lighter
	azure  = "#7d99cf"
	sky    = "#c4d1ea"
)

// mostCauses is how many causes the chart shows; the table has more.
const mostCauses = 12

// options are a chart's, as ECharts takes them.
type options map[string]any

// drawing is a chart of the library.
type drawing interface {
	Validate() // puts the axes' data in their place
	JSON() map[string]any
}

func optionsOf(c drawing) options {
	c.Validate()
	o := options(c.JSON())
	o["animation"] = false // a page that is printed at once shows what it will show
	return o
}

// frame is what all charts have in common.
func frame() []charts.GlobalOpts {
	return []charts.GlobalOpts{
		charts.WithTooltipOpts(opts.Tooltip{Show: opts.Bool(true), Trigger: "axis", AxisPointer: &opts.AxisPointer{Type: "shadow"}}),
		charts.WithLegendOpts(opts.Legend{
			Show: opts.Bool(true), Top: "0", Left: "0", Icon: "roundRect", ItemWidth: 14, ItemHeight: 10,
			TextStyle: &opts.TextStyle{Color: ink},
		}),
	}
}

func label(formatter string) *opts.AxisLabel {
	return &opts.AxisLabel{Show: opts.Bool(true), Color: ink, HideOverlap: opts.Bool(true), Formatter: types.FuncStr(formatter)}
}

func splitLine() *opts.SplitLine {
	return &opts.SplitLine{Show: opts.Bool(true), LineStyle: &opts.LineStyle{Color: grid}}
}

// flat is a chart with categories from top to bottom, as the table beside it has them; a value is
// written as formatter has it, "{value} s" say.
func flat(formatter string) []charts.GlobalOpts {
	names := label("")
	names.Width, names.Overflow = 190, "truncate"
	return append(frame(),
		charts.WithGridOpts(opts.Grid{Left: "4", Right: "24", Top: "36", Bottom: "4", ContainLabel: opts.Bool(true)}),
		charts.WithXAxisOpts(opts.XAxis{Type: "value", AxisLabel: label(formatter), SplitLine: splitLine()}),
		charts.WithYAxisOpts(opts.YAxis{Type: "category", Inverse: opts.Bool(true), AxisLabel: names}))
}

// overTime is a chart whose categories are times. Its left edge is that of the other one.
func overTime() []charts.GlobalOpts {
	return append(frame(),
		charts.WithGridOpts(opts.Grid{Left: "64", Right: "24", Top: "36", Bottom: "24"}),
		charts.WithXAxisOpts(opts.XAxis{Type: "category", AxisLabel: label(""), AxisTick: &opts.AxisTick{Show: opts.Bool(false)}}),
		charts.WithYAxisOpts(opts.YAxis{Type: "value", AxisLabel: label(""), SplitLine: splitLine()}))
}

// series is one kind of outcome in the charts over time.
type series struct {
	name, color string
	of          func(Bucket) int
}

var kinds = []series{
	{"provisioned", green, func(b Bucket) int { return b.Provisioned }},
	{"already there", mint, func(b Bucket) int { return b.AlreadyProvisioned }},
	{"held", amber, func(b Bucket) int { return b.Held }},
	{"failed", red, func(b Bucket) int { return b.Failed }},
}

// progressChart stacks the devices that had come to their outcome, over time.
func progressChart(p Progress, clock clock) options {
	line := charts.NewLine()
	line.SetGlobalOptions(overTime()...)
	line.YAxisList[0].MinInterval = 1
	labels := []string{clock.axis(p.Buckets[0].At, p)}
	for _, b := range p.Buckets {
		labels = append(labels, clock.axis(b.At.Add(p.width()), p))
	}
	line.SetXAxis(labels)
	for _, kind := range kinds {
		sum, data := 0, []opts.LineData{{Value: 0}}
		for _, b := range p.Buckets {
			sum += kind.of(b)
			data = append(data, opts.LineData{Value: sum})
		}
		if sum == 0 {
			continue
		}
		line.AddSeries(kind.name, data,
			charts.WithLineChartOpts(opts.LineChart{Stack: "devices", ShowSymbol: opts.Bool(false)}),
			charts.WithLineStyleOpts(opts.LineStyle{Width: 1, Color: kind.color}),
			charts.WithItemStyleOpts(opts.ItemStyle{Color: kind.color}),
			charts.WithAreaStyleOpts(opts.AreaStyle{Color: kind.color, Opacity: opts.Float(1)}))
	}
	return optionsOf(line)
}

// rateChart shows how many devices a second were provisioned, over time, below the ceiling.
func rateChart(p Progress, ceiling float64, clock clock) options {
	bar, line := charts.NewBar(), charts.NewLine()
	bar.SetGlobalOptions(overTime()...)
	var labels []string
	var rates []opts.BarData
	var limit []opts.LineData
	for _, b := range p.Buckets {
		labels = append(labels, clock.axis(b.At, p))
		rates = append(rates, opts.BarData{Value: round(float64(b.Provisioned) / p.width().Seconds())})
		limit = append(limit, opts.LineData{Value: round(ceiling)})
	}
	bar.SetXAxis(labels).AddSeries("provisioned per second", rates,
		charts.WithBarChartOpts(opts.BarChart{BarCategoryGap: "20%"}), charts.WithItemStyleOpts(opts.ItemStyle{Color: green}))
	if ceiling > 0 {
		line.AddSeries("what the quotas allow", limit,
			charts.WithLineChartOpts(opts.LineChart{ShowSymbol: opts.Bool(false)}),
			charts.WithItemStyleOpts(opts.ItemStyle{Color: ink}),
			charts.WithLineStyleOpts(opts.LineStyle{Color: ink, Width: 1.5, Type: "dashed"}))
		bar.Overlap(line)
	}
	return optionsOf(bar)
}

// latencyChart groups the percentiles of each step.
func latencyChart(steps []Latency) options {
	unit, name := time.Millisecond, "ms"
	if longestP99(steps) >= 2*time.Second {
		unit, name = time.Second, "s"
	}
	bar := charts.NewBar()
	bar.SetGlobalOptions(flat("{value} " + name)...)
	var labels []string
	for _, s := range steps {
		labels = append(labels, s.Step)
	}
	bar.SetXAxis(labels).XYReversal()
	for _, percentile := range []struct {
		name, color string
		of          func(Latency) int64
	}{
		{"p50", indigo, func(l Latency) int64 { return l.P50MS }},
		{"p95", azure, func(l Latency) int64 { return l.P95MS }},
		{"p99", sky, func(l Latency) int64 { return l.P99MS }},
	} {
		var data []opts.BarData
		for _, s := range steps {
			took := time.Duration(percentile.of(s)) * time.Millisecond
			data = append(data, opts.BarData{Value: round(float64(took) / float64(unit))})
		}
		bar.AddSeries(percentile.name+", "+name, data, charts.WithItemStyleOpts(opts.ItemStyle{Color: percentile.color}),
			charts.WithBarChartOpts(opts.BarChart{BarGap: "10%", BarCategoryGap: "30%"}))
	}
	return optionsOf(bar)
}

func longestP99(steps []Latency) (longest time.Duration) {
	for _, s := range steps {
		longest = max(longest, time.Duration(s.P99MS)*time.Millisecond)
	}
	return longest
}

// causesChart shows how many devices are held by, or failed with, each cause; the most frequent on top.
func causesChart(causes []Cause) options {
	bar := charts.NewBar()
	bar.SetGlobalOptions(flat("")...)
	bar.XAxisList[0].MinInterval = 1
	var labels []string
	held, failed, sumHeld := []opts.BarData{}, []opts.BarData{}, 0
	for _, c := range causes {
		labels = append(labels, c.name())
		held = append(held, opts.BarData{Value: c.Held})
		failed = append(failed, opts.BarData{Value: c.Devices - c.Held})
		sumHeld += c.Held
	}
	bar.SetXAxis(labels).XYReversal()
	add := func(name, color string, data []opts.BarData) {
		bar.AddSeries(name, data, charts.WithItemStyleOpts(opts.ItemStyle{Color: color}),
			charts.WithBarChartOpts(opts.BarChart{Stack: "devices", BarWidth: "18"}))
	}
	if sumHeld > 0 {
		add("held", amber, held)
	}
	if sumHeld < sumOf(causes) {
		add("failed", red, failed)
	}
	return optionsOf(bar)
}

func sumOf(causes []Cause) (devices int) {
	for _, c := range causes {
		devices += c.Devices
	}
	return devices
}

// name is the cause as a chart has it.
func (c Cause) name() string {
	if c.Step == "" {
		return c.ErrorType
	}
	return c.Step + ": " + c.ErrorType
}

// width is how long each bucket is.
func (p Progress) width() time.Duration { return time.Duration(p.WidthSeconds) * time.Second }

func (p Progress) widthText() string {
	switch n := p.WidthSeconds; {
	case n%3600 == 0:
		return strconv.FormatInt(n/3600, 10) + " h"
	case n%60 == 0:
		return strconv.FormatInt(n/60, 10) + " min"
	default:
		return strconv.FormatInt(n, 10) + " s"
	}
}

func round(v float64) float64 { return math.Round(v*100) / 100 }
