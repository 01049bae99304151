package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ended is what is known of a program that ran to its end.
type ended struct {
	code   int
	stdout []byte
	began  time.Time
	took   time.Duration
	peak   int64 // of its memory, in bytes
}

// program runs a program to its end. An exit code other than 0 is an error, with its last words,
// unless it is one of those that are expected.
func program(ctx context.Context, env []string, stdin io.Reader, expected []int, path string, args ...string) (ended, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = env, stdin, &stdout, &stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	e := ended{began: time.Now()}
	if err := cmd.Start(); err != nil {
		return e, fmt.Errorf("starting %s: %w", path, err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	sample := time.NewTicker(100 * time.Millisecond)
	defer sample.Stop()
	for {
		select {
		case <-sample.C:
			e.peak = max(e.peak, peakMemory(cmd.Process.Pid))
			continue
		case err := <-done:
			e.took, e.stdout = time.Since(e.began), stdout.Bytes()
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				return e, fmt.Errorf("running %s: %w", path, err)
			}
			e.code = cmd.ProcessState.ExitCode()
			for _, code := range append(expected, 0) {
				if e.code == code {
					return e, nil
				}
			}
			words := bytes.TrimSpace(stderr.Bytes())
			return e, fmt.Errorf("%s %s: exit %d: %s", filepath.Base(path), strings.Join(args, " "), e.code, words[max(0, len(words)-2000):])
		}
	}
}

// peakMemory is the most memory that the process had, in bytes; 0 where the system does not tell.
func peakMemory(pid int) int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if size, is := strings.CutPrefix(line, "VmHWM:"); is {
			kilobytes, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(size), " kB"), 10, 64)
			return kilobytes * 1024
		}
	}
	return 0
}
