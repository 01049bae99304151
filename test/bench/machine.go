package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"
)

// describeMachine says, as rows of name and value, where the figures come from.
func describeMachine(ctx context.Context, binaries string) [][2]string {
	return [][2]string{
		{"date", time.Now().UTC().Format(time.DateOnly)},
		{"processors", fmt.Sprintf("%d, %s", runtime.NumCPU(), firstMatch("/proc/cpuinfo", `model name\s*: (.*)`))},
		{"memory", gigabytes(firstMatch("/proc/meminfo", `MemTotal:\s*(\d+) kB`))},
		{"kernel", firstMatch("/proc/sys/kernel/osrelease", `(.*)`)},
		{"an fsync of 8 KiB", fsyncTime()},
		{"Go", runtime.Version()},
		{"Temporal, SQLite", version(ctx, filepath.Join(binaries, "temporal"))},
		{"Temporal, PostgreSQL", version(ctx, filepath.Join(binaries, "temporal-server"))},
		{"PostgreSQL", version(ctx, "postgres")},
	}
}

const unknown = "unknown"

func firstMatch(file, pattern string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return unknown
	}
	if found := regexp.MustCompile(pattern).FindSubmatch(text); found != nil {
		return string(found[1])
	}
	return unknown
}

func gigabytes(kilobytes string) string {
	var n float64
	if _, err := fmt.Sscan(kilobytes, &n); err != nil {
		return unknown
	}
	return fmt.Sprintf("%.0f GiB", n/1024/1024)
}

// version is the first line that a program says of its version.
func version(ctx context.Context, program string) string {
	out, err := exec.CommandContext(ctx, program, "--version").Output()
	if err != nil {
		return unknown
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line)
}

// fsyncTime is the median of what the directory for temporary files, where the stores are, takes to
// have a page on the disk: what PostgreSQL waits for at each commit.
func fsyncTime() string {
	f, err := os.CreateTemp("", "edgefleet-bench-")
	if err != nil {
		return unknown
	}
	defer os.Remove(f.Name())
	defer f.Close()
	page := make([]byte, 8192)
	var times []time.Duration
	for range 101 {
		begun := time.Now()
		if _, err := f.Write(page); err != nil {
			return unknown
		}
		if err := f.Sync(); err != nil {
			return unknown
		}
		times = append(times, time.Since(begun))
	}
	slices.Sort(times)
	return times[len(times)/2].Round(time.Microsecond).String()
}
