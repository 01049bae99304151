package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // time zones are known on every machine

	"github.com/spf13/pflag"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"edgefleet/internal/fleet"
	"edgefleet/workflows"
)

// scheduleFlags are what `starter schedule create` and `update` are told; text, so that all that is wrong
// can be told at once.
type scheduleFlags struct {
	file, manifests, cron, every, zone, jitter, start, end, catchup, overlap, canary string
	pauseOnFailure                                                                   bool
	maxDevices                                                                       int
	note                                                                             string

	set *pflag.FlagSet
}

const (
	mostDevices    = 100_000          // that a run may add: their names are in a worker's memory
	leastCatchup   = 10 * time.Second // Temporal's
	leastInterval  = time.Second
	defaultOverlap = "buffer-one"
)

// overlaps are Temporal's policies for a run that is due while another is under way.
var overlaps = []struct {
	name   string
	policy enums.ScheduleOverlapPolicy
}{
	{"buffer-one", enums.SCHEDULE_OVERLAP_POLICY_BUFFER_ONE},
	{"buffer-all", enums.SCHEDULE_OVERLAP_POLICY_BUFFER_ALL},
	{"skip", enums.SCHEDULE_OVERLAP_POLICY_SKIP},
	{"cancel-other", enums.SCHEDULE_OVERLAP_POLICY_CANCEL_OTHER},
	{"terminate-other", enums.SCHEDULE_OVERLAP_POLICY_TERMINATE_OTHER},
	{"allow-all", enums.SCHEDULE_OVERLAP_POLICY_ALLOW_ALL},
}

func overlapNames() string {
	names := make([]string, len(overlaps))
	for i, o := range overlaps {
		names[i] = o.name
	}
	return strings.Join(names, ", ")
}

func overlapOf(name string) (enums.ScheduleOverlapPolicy, error) {
	for _, o := range overlaps {
		if o.name == name {
			return o.policy, nil
		}
	}
	return 0, fmt.Errorf("%q is none of %s", name, overlapNames())
}

func overlapName(policy enums.ScheduleOverlapPolicy) string {
	for _, o := range overlaps {
		if o.policy == policy {
			return o.name
		}
	}
	return "skip" // Temporal's own default
}

func (f *scheduleFlags) add(set *pflag.FlagSet) {
	f.set = set
	set.StringVar(&f.manifests, "manifests", "", "where the manifests are: s3://BUCKET/PREFIX/, or the URI of one manifest that grows")
	set.StringVar(&f.cron, "cron", "", `when, as a cron expression, as in "0 2 * * *"`)
	set.StringVar(&f.every, "every", "", "when, as an interval, as in 6h")
	set.StringVar(&f.zone, "time-zone", "", "of --cron, --start and --end, as in Asia/Tokyo (default: UTC)")
	set.StringVar(&f.jitter, "jitter", "", "start each run up to so much later, as in 10m")
	set.StringVar(&f.start, "start", "", "no run before, as in 2026-05-01 or 2026-05-01T02:00")
	set.StringVar(&f.end, "end", "", "no run after")
	set.StringVar(&f.catchup, "catchup-window", "", "make up for runs that were missed, when Temporal was down, up to so long ago (default: a year)")
	set.StringVar(&f.overlap, "overlap", defaultOverlap, "what to do with a run that is due while another is under way: "+overlapNames())
	set.BoolVar(&f.pauseOnFailure, "pause-on-failure", false, "pause the schedule when a run fails for whatever reason (when an onboarding stops it always pauses)")
	set.IntVar(&f.maxDevices, "max-devices", mostDevices, "that one run adds at the most; the rest is for the next run")
	set.StringVar(&f.canary, "canary", "", "how many devices of a run must be provisioned before the others start: N or N%")
}

// apply brings a schedule in line with the flags that were given. What is wrong is one InvalidInput.
func (f *scheduleFlags) apply(s *client.Schedule, in *workflows.ExpandInput) error {
	var bad fleet.InvalidInput
	wrong := func(flag string, err error) {
		if err != nil {
			bad = append(bad, fleet.Problem{Source: "--" + flag, Reason: err.Error()})
		}
	}
	given := f.set.Changed
	span := func(flag, text string, least time.Duration, into *time.Duration) {
		if !given(flag) {
			return
		}
		d, err := time.ParseDuration(text)
		if err != nil || d < least {
			wrong(flag, fmt.Errorf("%q is no time from %s on: it must read as 6h or 90m does", text, least))
			return
		}
		*into = d
	}
	if given("cron") && given("every") {
		wrong("cron", errors.New("either --cron or --every says when, not both"))
	}
	if given("cron") {
		for _, text := range checkCron(f.cron) {
			wrong("cron", errors.New(text))
		}
		// Temporal keeps what it made of the expression, and the comment.
		s.Spec.CronExpressions, s.Spec.Calendars, s.Spec.Intervals = []string{f.cron + " # " + f.cron}, nil, nil
	}
	if given("every") {
		var every time.Duration
		span("every", f.every, leastInterval, &every)
		s.Spec.CronExpressions, s.Spec.Calendars, s.Spec.Intervals = nil, nil, []client.ScheduleIntervalSpec{{Every: every}}
	}
	if given("time-zone") {
		s.Spec.TimeZoneName = f.zone
	}
	zone, err := time.LoadLocation(s.Spec.TimeZoneName)
	if err != nil || s.Spec.TimeZoneName == "Local" {
		wrong("time-zone", fmt.Errorf("%q is no time zone: it must be a name of the IANA database, as Asia/Tokyo or UTC is", f.zone))
		zone = time.UTC
	}
	span("jitter", f.jitter, 0, &s.Spec.Jitter)
	span("catchup-window", f.catchup, leastCatchup, &s.Policy.CatchupWindow)
	if given("start") {
		s.Spec.StartAt, err = parseTime(f.start, zone)
		wrong("start", err)
	}
	if given("end") {
		s.Spec.EndAt, err = parseTime(f.end, zone)
		wrong("end", err)
		switch end := s.Spec.EndAt; {
		case err != nil || end.IsZero():
		case !end.After(s.Spec.StartAt):
			wrong("end", fmt.Errorf("%s is not after the start", f.end))
		case end.Before(time.Now()):
			wrong("end", fmt.Errorf("%s has passed: there would be no run", f.end))
		}
	}
	if given("overlap") || s.Policy.Overlap == enums.SCHEDULE_OVERLAP_POLICY_UNSPECIFIED {
		s.Policy.Overlap, err = overlapOf(f.overlap)
		wrong("overlap", err)
	}
	if given("pause-on-failure") {
		s.Policy.PauseOnFailure = f.pauseOnFailure
	}
	if given("max-devices") || in.MaxDevices == 0 {
		in.MaxDevices = f.maxDevices
		if f.maxDevices < 1 || f.maxDevices > mostDevices {
			wrong("max-devices", fmt.Errorf("%d: from 1 to %d devices", f.maxDevices, mostDevices))
		}
	}
	if given("canary") {
		in.Canary, err = parseCanary(f.canary)
		wrong("canary", err)
	}
	if given("manifests") {
		in.Manifests = f.manifests
		_, err := fleet.ParseManifests(f.manifests)
		wrong("manifests", err)
	}
	return bad.OrNil()
}

// parseTime reads a time in the zone; "" is none.
func parseTime(text string, zone *time.Location) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if at, err := time.ParseInLocation(layout, text, zone); err == nil {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time: it must read as 2026-05-01, 2026-05-01T02:00 or 2026-05-01T02:00:00Z do", text)
}

// parseCanary reads N or N%.
func parseCanary(text string) (c workflows.Canary, err error) {
	number, percent := strings.CutSuffix(text, "%")
	n, err := strconv.Atoi(number)
	switch {
	case text == "0" || text == "":
		return c, nil
	case err != nil || n < 1 || percent && n > 100 || n > mostDevices:
		return c, fmt.Errorf("%q: it must be a number of devices, as 5, or a percentage from 1%% to 100%%", text)
	case percent:
		return workflows.Canary{Percent: n}, nil
	}
	return workflows.Canary{Devices: n}, nil
}

func canaryText(c workflows.Canary) string {
	switch {
	case c.Percent > 0:
		return strconv.Itoa(c.Percent) + "%"
	case c.Devices > 0:
		return strconv.Itoa(c.Devices)
	}
	return ""
}

// scheduleName is the rule for names: with a time behind it, it is an onboarding's name.
func checkScheduleName(name string) error {
	const most = 63 - len("-20060102T150405Z")
	err := fleet.DeviceName.Check(name)
	if err == nil && len(name) > most {
		err = fmt.Errorf("%q has %d characters, at most %d are allowed", name, len(name), most)
	}
	if err != nil {
		return fleet.InvalidInput{{Source: "NAME", Reason: strings.Replace(err.Error(), "device name", "schedule name", 1)}}
	}
	return nil
}

// missingFlags are those that a schedule cannot be created without.
func (f *scheduleFlags) missing() error {
	var bad fleet.InvalidInput
	if !f.set.Changed("manifests") {
		bad = append(bad, fleet.Problem{Source: "--manifests", Reason: "says where the manifests are: s3://BUCKET/PREFIX/, or the URI of one manifest that grows"})
	}
	if !slices.ContainsFunc([]string{"cron", "every"}, f.set.Changed) {
		bad = append(bad, fleet.Problem{Source: "--cron", Reason: `says when, as in "0 2 * * *"; or --every does, as in 6h`})
	}
	return bad.OrNil()
}
