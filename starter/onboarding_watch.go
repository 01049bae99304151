package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"go.temporal.io/sdk/client"

	"edgefleet/workflows"
)

const (
	watchInterval          = 500 * time.Millisecond
	onboardingLineInterval = 5 * time.Second  // without a terminal
	rateWindow             = 20 * time.Second // that a rate is measured over
)

// watchOnboarding shows an onboarding until it launches nothing more, or only announces it.
func (a *app) watchOnboarding(ctx context.Context, t *temporal, run client.WorkflowRun, joined, noWait bool) error {
	if noWait {
		return a.printStarted(run, joined)
	}
	a.announce(run, joined)
	status, err := a.followOnboarding(ctx, t, run.GetID())
	if err != nil {
		return err
	}
	a.settleHeld(ctx, t, &status)
	if a.json {
		if err := a.printJSON(status); err != nil {
			return err
		}
	} else {
		a.printOnboarding(status)
	}
	if status.State != workflows.Completed || status.Counts.Held+status.Counts.Failed > 0 {
		return reportedError{errors.New("not every device is provisioned")}
	}
	return nil
}

// followOnboarding returns where the onboarding stands once it has ended or the line has stopped.
func (a *app) followOnboarding(ctx context.Context, t *temporal, id string) (onboardingStatus, error) {
	status, err := t.onboardingStatus(ctx, id)
	if err != nil {
		return status, err
	}
	view := a.newOnboardingView(status)
	defer func() { view.end() }()
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	for {
		view.show(status)
		if status.ClosedAt != nil || status.State == workflows.Stopped && (status.InFlight == 0 || status.Stuck) {
			return status, nil
		}
		select {
		case <-ctx.Done():
			view.end()
			return status, fmt.Errorf("stopped watching; the onboarding goes on. Watch it again: starter status onboarding %s --watch", status.Name)
		case <-ticker.C:
		}
		next, err := t.onboardingStatus(ctx, id)
		if err != nil && ctx.Err() == nil {
			return status, fmt.Errorf("%w. The onboarding goes on by itself; watch it again: starter status onboarding %s --watch", err, status.Name)
		}
		if err == nil {
			status = next
		}
	}
}

// onboardingView shows an onboarding's progress: a bar on a terminal, otherwise a line now and then.
type onboardingView interface {
	show(onboardingStatus)
	end()
}

func (a *app) newOnboardingView(s onboardingStatus) onboardingView {
	switch {
	case a.json:
		return silentView{}
	case isInteractive(a.out):
		return newBarView(a, s)
	}
	return &lineView{app: a}
}

type silentView struct{}

func (silentView) show(onboardingStatus) {}
func (silentView) end()                  {}

// pace measures how many devices end a second.
type pace struct {
	seen []struct {
		at    time.Time
		ended int
	}
}

func (p *pace) add(ended int, now time.Time) {
	p.seen = append(p.seen, struct {
		at    time.Time
		ended int
	}{now, ended})
	for len(p.seen) > 2 && now.Sub(p.seen[1].at) >= rateWindow {
		p.seen = p.seen[1:]
	}
}

func (p *pace) perSecond() float64 {
	first, last := p.seen[0], p.seen[len(p.seen)-1]
	if took := last.at.Sub(first.at).Seconds(); took > 0 {
		return float64(last.ended-first.ended) / took
	}
	return 0
}

// counted is what became of the devices so far.
func counted(s onboardingStatus) string {
	return fmt.Sprintf("%d/%d done, %d held, %d failed, %d in flight",
		s.Counts.Provisioned+s.Counts.Already, s.Devices, s.Counts.Held, s.Counts.Failed, s.InFlight)
}

// speed is the pace against the ceiling, and the time that is left at it.
func (p *pace) speed(s onboardingStatus) string {
	rate := p.perSecond()
	text := fmt.Sprintf("%.1f devices/s", rate)
	if s.Ceiling > 0 {
		text += fmt.Sprintf(" of %g", s.Ceiling)
	}
	switch {
	case s.State != workflows.Running:
		text += ", " + string(s.State)
	case s.Retrying == "" && rate > 0:
		left := time.Duration(float64(s.Devices-s.Counts.Ended()) / rate * float64(time.Second))
		text += ", " + left.Round(time.Second).String() + " left"
	}
	return text
}

// trouble is what keeps an onboarding that runs from launching.
func trouble(s onboardingStatus) string {
	if s.State != workflows.Running || s.Retrying == "" {
		return ""
	}
	return ", trying again: " + s.Retrying
}

type lineView struct {
	*app
	pace pace
	told time.Time
	last string
}

func (v *lineView) show(s onboardingStatus) {
	now := time.Now()
	v.pace.add(s.Counts.Ended(), now)
	final := s.ClosedAt != nil
	if now.Sub(v.told) < onboardingLineInterval && !final {
		return
	}
	if line := counted(s) + ", " + v.pace.speed(s) + trouble(s); line != v.last {
		fmt.Fprintln(v.out, line)
		v.told, v.last = now, line
	}
}

func (v *lineView) end() {}

type barView struct {
	progress *mpb.Progress
	bar      *mpb.Bar
	pace     pace
	drawn    atomic.Pointer[barText] // by another goroutine
	ended    bool
}

// barText is what stands beside the bar, and below it.
type barText struct{ beside, below string }

func newBarView(a *app, s onboardingStatus) *barView {
	v := &barView{progress: mpb.New(mpb.WithOutput(a.out), mpb.WithWidth(36), mpb.WithRefreshRate(watchInterval))}
	v.drawn.Store(&barText{})
	below := mpb.BarFillerFunc(func(w io.Writer, terminal decor.Statistics) error {
		text := []rune(v.drawn.Load().below)
		_, err := fmt.Fprintln(w, string(text[:min(len(text), terminal.AvailableWidth)]))
		return err
	})
	v.bar = v.progress.AddBar(int64(s.Devices), mpb.BarExtender(below, false),
		mpb.PrependDecorators(decor.NewPercentage("%d")),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return v.drawn.Load().beside })))
	return v
}

func (v *barView) show(s onboardingStatus) {
	v.pace.add(s.Counts.Ended(), time.Now())
	v.drawn.Store(&barText{v.pace.speed(s), counted(s) + trouble(s)})
	v.bar.SetCurrent(int64(s.Counts.Ended()))
}

// end leaves the bar as it is, and its line to what follows.
func (v *barView) end() {
	if v.ended {
		return
	}
	v.ended = true
	v.bar.Abort(false)
	v.progress.Wait()
}
