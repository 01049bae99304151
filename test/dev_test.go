package test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"edgefleet/workflows"
)

var freePorts = []string{"--temporal-port", "0", "--ui-port", "0", "--aws-port", "0", "--credentials-port", "0", "--metrics-port", "0"}

// TestDev: the addresses that `starter dev` prints lead to what works, its exports are all that
// another terminal needs, and Ctrl-C ends it in order.
func TestDev(t *testing.T) {
	t.Parallel()
	dev := startDev(t, freePorts...)
	dev.untilReady(t)
	for _, what := range []string{"Temporal ", "Temporal UI ", "local AWS ", "credential provider ", "worker ", "logs "} {
		assert.Contains(t, dev.printed(), "\n"+what)
	}
	addresses := dev.addresses()
	assert.Len(t, addresses, 5)
	for _, address := range addresses {
		assert.NoError(t, dial(address), "nobody listens")
	}
	var exports []string
	for _, line := range strings.Split(dev.printed(), "\n") {
		if variable, is := strings.CutPrefix(line, "export "); is {
			exports = append(exports, variable)
		}
	}
	env := append([]string{"HOME=" + t.TempDir()}, exports...) // no more than what was printed
	o := run(t, env, "starter", "provision", "-f", "../examples/fleet.yaml", "cam-01", "-o", "json")
	o.exits(t, 0)
	var r workflows.ProvisionResult
	o.decode(t, &r)
	assert.Equal(t, workflows.Provisioned, r.State)
	_, ui, _ := strings.Cut(dev.printed(), "Temporal UI")
	status, page, err := get(t.Context(), strings.Fields(ui)[0])
	require.NoError(t, err)
	assert.Equal(t, 200, status, "%s", page)

	require.NoError(t, dev.cmd.Process.Signal(syscall.SIGINT))
	begun := time.Now()
	o = dev.wait(t)
	o.exits(t, 0)
	assert.Empty(t, o.stderr)
	assert.Less(t, time.Since(begun), time.Minute)
	dev.assertGone(t)
	assertClosed(t, addresses)
}

// assertClosed wants nobody to listen at the addresses. A process that was killed may hold its sockets
// for a moment after it is gone from the list of processes.
func assertClosed(t *testing.T, addresses []string) {
	t.Helper()
	for _, address := range addresses {
		eventually(t, "nobody listens at "+address, func() error {
			if dial(address) == nil {
				return errors.New("somebody does")
			}
			return nil
		})
	}
}

// TestDevKilled: not even then anything is left behind.
func TestDevKilled(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux ends a child with its parent")
	}
	t.Parallel()
	dev := startDev(t, freePorts...)
	dev.untilReady(t)
	assert.GreaterOrEqual(t, len(dev.alive(t)), 3, "starter, temporal and worker")
	addresses := dev.addresses()
	require.NoError(t, dev.cmd.Process.Kill())
	dev.wait(t)
	dev.assertGone(t)
	assertClosed(t, addresses)
}

// TestDevInterruptedEarly: Ctrl-C while the servers start.
func TestDevInterruptedEarly(t *testing.T) {
	t.Parallel()
	dev := startDev(t, freePorts...)
	eventually(t, "a first child", func() error {
		if len(dev.alive(t)) < 2 {
			return errors.New("none yet")
		}
		return nil
	})
	require.NoError(t, dev.cmd.Process.Signal(syscall.SIGINT))
	o := dev.wait(t)
	if strings.Contains(o.stdout, "Ready") { // it was faster than the signal
		assert.Equal(t, 0, o.code, "%s", o)
	} else {
		o.exits(t, 1, "interrupted before all had started")
	}
	dev.assertGone(t)
}

// devProcess is a running `starter dev`, in a session of its own: so what it leaves is found.
type devProcess struct {
	cmd            *exec.Cmd
	stdout, stderr string // files
	begun          time.Time
	ended          chan struct{}
}

func startDev(t *testing.T, args ...string) *devProcess {
	t.Helper()
	dir := t.TempDir()
	d := &devProcess{
		cmd:    exec.Command(filepath.Join(binaries, "starter"), append([]string{"dev"}, args...)...),
		stdout: filepath.Join(dir, "stdout"), stderr: filepath.Join(dir, "stderr"),
		begun: time.Now(), ended: make(chan struct{}),
	}
	stdout, err := os.Create(d.stdout)
	require.NoError(t, err)
	defer stdout.Close()
	stderr, err := os.Create(d.stderr)
	require.NoError(t, err)
	defer stderr.Close()
	d.cmd.Stdout, d.cmd.Stderr = stdout, stderr
	d.cmd.Env = with(os.Environ(), "TMPDIR="+dir) // for its logs
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	require.NoError(t, d.cmd.Start())
	go func() {
		_ = d.cmd.Wait() // its exit code tells
		close(d.ended)
	}()
	t.Cleanup(func() {
		_ = d.cmd.Process.Kill() // it has ended, unless the test failed
		<-d.ended
	})
	return d
}

func (d *devProcess) printed() string {
	text, _ := os.ReadFile(d.stdout) // what is not there was not printed
	return string(text)
}

func (d *devProcess) untilReady(t *testing.T) {
	t.Helper()
	eventually(t, "starter dev is ready", func() error {
		select {
		case <-d.ended:
			t.Fatalf("it ended\n%s", d.wait(t))
		default:
		}
		if !strings.Contains(d.printed(), "\nReady.") {
			return errors.New(d.printed())
		}
		return nil
	})
	t.Logf("ready after %s", time.Since(d.begun).Round(time.Millisecond))
}

// wait returns when it has ended.
func (d *devProcess) wait(t *testing.T) outcome {
	t.Helper()
	select {
	case <-d.ended:
	case <-time.After(patience):
		t.Fatalf("starter dev did not end within %s\n%s", patience, d.printed())
	}
	stderr, err := os.ReadFile(d.stderr)
	require.NoError(t, err)
	record(d.printed(), string(stderr))
	return outcome{d.cmd.ProcessState.ExitCode(), d.printed(), string(stderr), time.Since(d.begun)}
}

var loopbackAddress = regexp.MustCompile(`(?:127\.0\.0\.1|localhost):\d+`)

// addresses are all HOST:PORT that were printed, each once.
func (d *devProcess) addresses() []string {
	found := loopbackAddress.FindAllString(d.printed(), -1)
	slices.Sort(found)
	return slices.Compact(found)
}

func dial(address string) error {
	c, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		return err
	}
	return c.Close()
}

// alive are the processes of its session.
func (d *devProcess) alive(t *testing.T) []string {
	t.Helper()
	if runtime.GOOS != "linux" {
		return nil
	}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	require.NoError(t, err)
	var alive []string
	for _, stat := range stats {
		text, err := os.ReadFile(stat)
		if err != nil {
			continue // ended meanwhile
		}
		// pid (name) state ppid pgrp session …; the name may hold anything.
		name, rest, _ := strings.Cut(string(text), ") ")
		fields := strings.Fields(rest)
		if len(fields) > 3 && fields[0] != "Z" && fields[0] != "X" && fields[3] == strconv.Itoa(d.cmd.Process.Pid) {
			alive = append(alive, name+")")
		}
	}
	return alive
}

// assertGone waits until nothing of it runs: the kernel ends killed processes in its own time.
func (d *devProcess) assertGone(t *testing.T) {
	t.Helper()
	eventually(t, "all processes gone", func() error {
		if left := d.alive(t); len(left) > 0 {
			return fmt.Errorf("left: %s", strings.Join(left, ", "))
		}
		return nil
	})
}
