package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
)

// What is between the markers is generated; what is around them is written by hand, and stays.
const (
	documentBegin = "<!-- begin: written by `make bench` -->"
	documentEnd   = "<!-- end: written by `make bench` -->"
)

// writeDocument puts the text between the document's markers.
func writeDocument(file, text string) error {
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	written, err := between(string(old), text)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.WriteFile(file, []byte(written), 0o644)
}

func between(old, text string) (string, error) {
	before, rest, begins := strings.Cut(old, documentBegin)
	_, after, ends := strings.Cut(rest, documentEnd)
	if !begins || !ends {
		return "", fmt.Errorf("it lacks a line %q or, after it, %q", documentBegin, documentEnd)
	}
	return before + documentBegin + "\n\n" + strings.TrimSpace(text) + "\n\n" + documentEnd + after, nil
}

// document is all tables, in Markdown.
func document(machine [][2]string, workers int, all []figures) string {
	var b strings.Builder
	section := func(title, text string) { fmt.Fprintf(&b, "### %s\n\n%s\n\n", title, strings.TrimSpace(text)) }
	var rows []table.Row
	for _, row := range machine {
		rows = append(rows, table.Row{row[0], row[1]})
	}
	section("The machine", markdown(table.Row{"", ""}, rows)+
		fmt.Sprintf("\n\nEverything is on it: Temporal and its store, the local AWS, %d workers, the starter.", workers))
	var onboardings, loops []figures
	for _, f := range all {
		if f.Loop {
			loops = append(loops, f)
		} else {
			onboardings = append(onboardings, f)
		}
	}
	section("Throughput", throughput(all))
	if len(onboardings) > 0 {
		section("What a device costs", costs(onboardings))
		section("Commands", commands(onboardings))
		section("Latency per step, in ms (p50 / p95 / p99)", latency(onboardings))
	}
	if len(loops) > 0 {
		section("What the loop leaves", leavings(loops))
	}
	section("Worst second, and throttled calls, per API", apis(all))
	if text := million(onboardings); text != "" {
		section("A million devices", text)
	}
	return b.String()
}

func markdown(header table.Row, rows []table.Row) string {
	t := table.NewWriter()
	t.AppendHeader(header)
	t.AppendRows(rows)
	return t.RenderMarkdown()
}

func throughput(all []figures) string {
	var rows []table.Row
	for _, f := range all {
		top, share := "none", "–"
		if f.Ceiling > 0 {
			top, share = fmt.Sprintf("%.0f/s", f.Ceiling), fmt.Sprintf("%.0f%%", 100*f.Rate/f.Ceiling)
		}
		throttled := 0
		for _, n := range f.Calls {
			throttled += n.Throttled
		}
		rows = append(rows, table.Row{"`" + f.Name + "`", f.Runs, f.Devices, f.Provisioned, fmt.Sprintf("**%.1f**", f.Rate), top, share,
			fmt.Sprintf("%.2f", f.Drift), throttled, seconds(f.Took), three(f.Total)})
	}
	return markdown(table.Row{"configuration", "runs", "devices", "provisioned", "devices/s", "ceiling", "share", "end/begin",
		"throttled", "whole command", "device, ms (p50 / p95 / p99)"}, rows)
}

func costs(onboardings []figures) string {
	var rows []table.Row
	for _, f := range onboardings {
		rows = append(rows, table.Row{"`" + f.Name + "`", fmt.Sprintf("%.1f", f.Events), fmt.Sprintf("%.1f", f.Activities),
			f.Longest, fmt.Sprintf("%.1f KiB", f.StoreBytes/1024), size(f.WorkerPeak), size(f.ClientPeak)})
	}
	return markdown(table.Row{"configuration", "events", "activities", "longest history of the onboarding", "growth of the store",
		"worker, peak", "starter, peak"}, rows)
}

func commands(onboardings []figures) string {
	var rows []table.Row
	for _, f := range onboardings {
		single, found := "–", "–"
		if f.Single > 0 {
			single = seconds(f.Single)
		}
		if f.Findings >= 0 {
			found = fmt.Sprint(f.Findings)
		}
		rows = append(rows, table.Row{"`" + f.Name + "`", seconds(f.First), single, seconds(f.Report), found})
	}
	return markdown(table.Row{"configuration", "from the command to the first device", "`starter provision` in the middle",
		"`starter report`", "`starter audit` finds"}, rows)
}

func latency(onboardings []figures) string {
	header := table.Row{"configuration"}
	var names []string
	for _, f := range onboardings {
		for _, name := range f.StepNames {
			if !slices.Contains(names, name) {
				names = append(names, name)
				header = append(header, name)
			}
		}
	}
	var rows []table.Row
	for _, f := range onboardings {
		row := table.Row{"`" + f.Name + "`"}
		for _, name := range names {
			row = append(row, three(f.Steps[name]))
		}
		rows = append(rows, row)
	}
	return markdown(header, rows)
}

func leavings(loops []figures) string {
	var rows []table.Row
	for _, f := range loops {
		rows = append(rows, table.Row{"`" + f.Name + "`", f.Failed, f.HalfDone, size(f.ClientPeak)})
	}
	return markdown(table.Row{"configuration", "devices that failed", "certificates without a provisioned device", "loop, peak"}, rows)
}

func apis(all []figures) string {
	var rows []table.Row
	for _, f := range all {
		for _, api := range byCalls(f.Calls) {
			if n := f.Calls[api]; n.Calls >= f.Devices/2 && !strings.HasPrefix(api, "s3:") || n.Throttled > 0 {
				rows = append(rows, table.Row{"`" + f.Name + "`", api, n.Calls, n.MaxPerSecond, n.Throttled})
			}
		}
	}
	return markdown(table.Row{"configuration", "API", "calls", "worst second", "throttled"}, rows)
}

// million says what a million devices come to, by what one costs in each store.
func million(onboardings []figures) string {
	const devices = 1e6
	var rows []table.Row
	for _, f := range onboardings {
		if f.Quotas != liftedQuotas {
			continue
		}
		objects := float64(f.Calls["s3:PutObject"].Calls) / float64(f.Devices)
		rows = append(rows, table.Row{"`" + f.Name + "`", fmt.Sprintf("%.0f million", f.Events), fmt.Sprintf("%.0f GiB", devices*f.StoreBytes/(1<<30)),
			fmt.Sprintf("%.1f million", objects), hours(devices / 10), hours(devices / 100), hours(devices / f.Rate)})
	}
	if len(rows) == 0 {
		return ""
	}
	return markdown(table.Row{"by", "events", "store", "S3 objects written", "at 10 devices/s (AWS's quotas)", "at 100 (quotas of 100)", "at this machine's pace, without quotas"}, rows)
}

func three(p percentiles) string { return fmt.Sprintf("%.0f / %.0f / %.0f", p.P50, p.P95, p.P99) }

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

func hours(s float64) string { return fmt.Sprintf("%.1f h", s/3600) }

func size(bytes int64) string {
	if bytes == 0 {
		return "–"
	}
	return fmt.Sprintf("%d MiB", bytes>>20)
}
