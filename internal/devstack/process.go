package devstack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"
)

// process is a program that was started; its output goes to a file.
type process struct {
	cmd     *exec.Cmd
	logFile string
	ended   chan struct{} // closed when it has ended
	err     error         // how; read after ended
	told    atomic.Bool   // that it was told to end
}

var lookPath = exec.LookPath

// command is a program in a process group of its own, so that Ctrl-C on a terminal reaches only us:
// we stop it in order. It does not outlive us, however we end.
func command(binary string, args, env []string) *exec.Cmd {
	cmd := exec.Command(binary, args...)
	cmd.Env, cmd.SysProcAttr = env, childAttributes()
	return cmd
}

// start starts the command; its output goes to the log.
func (s *Stack) start(cmd *exec.Cmd, logName string) (*process, error) {
	logFile := filepath.Join(s.cfg.Logs, logName)
	out, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the log of %s: %w", cmd.Path, err)
	}
	p := &process{cmd: cmd, logFile: logFile, ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = out, out
	started := make(chan error)
	go func() {
		// The kernel ties a child's fate to the thread that started it: keep that thread.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer out.Close()
		err := p.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.err = p.cmd.Wait()
		close(p.ended)
		if !p.told.Load() {
			s.failures <- p.failure()
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", cmd.Path, err)
	}
	return p, nil
}

// PID is the process's id.
func (p *process) PID() int { return p.cmd.Process.Pid }

// LogFile is where its output goes.
func (p *process) LogFile() string { return p.logFile }

// until waits for a condition on the process; the error of one that ends before shows its last words.
func (p *process) until(ctx context.Context, what string, condition func() error) error {
	deadline := time.NewTimer(startTimeout)
	defer deadline.Stop()
	for {
		err := condition()
		if err == nil {
			return nil
		}
		select {
		case <-p.ended:
			return p.failure()
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline.C:
			return fmt.Errorf("waiting until %s %s: %w; see %s", p.cmd.Path, what, err, p.logFile)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// failure says how the process ended, with the end of its output.
func (p *process) failure() error {
	output, _ := os.ReadFile(p.logFile) // without it the error says less
	const most = 2000
	if len(output) > most {
		output = output[len(output)-most:]
	}
	how := "ended"
	if p.err != nil {
		how = "ended: " + p.err.Error()
	}
	return fmt.Errorf("%s %s. Its last words (%s):\n%s", p.cmd.Path, how, p.logFile, bytes.TrimSpace(output))
}

// stop asks the process to end, and kills it when it has not within the time.
func (p *process) stop(signal os.Signal, within time.Duration) error {
	p.told.Store(true)
	if err := p.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.ended:
		return nil
	case <-time.After(within):
		return errors.Join(fmt.Errorf("%s did not stop within %s and was killed", p.cmd.Path, within), p.kill())
	}
}

func (p *process) kill() error {
	p.told.Store(true)
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.ended
	return nil
}
