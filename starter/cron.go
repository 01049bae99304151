package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// cronField is a field of a cron expression as Temporal reads it, which is not as cron libraries do: it
// takes 7 for Sunday, and years.
type cronField struct {
	name     string
	min, max int
	names    []string // for values from min on
}

var (
	cronSecond  = cronField{"second", 0, 59, nil}
	cronMinute  = cronField{"minute", 0, 59, nil}
	cronHour    = cronField{"hour", 0, 23, nil}
	cronDay     = cronField{"day of the month", 1, 31, nil}
	cronMonth   = cronField{"month", 1, 12, []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}}
	cronWeekday = cronField{"day of the week", 0, 7, []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}}
	cronYear    = cronField{"year", 2000, 2100, nil}
)

var cronNames = []string{"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"}

// checkCron tells everything that is wrong with a cron expression, field by field.
func checkCron(text string) (wrong []string) {
	text = strings.TrimSpace(text)
	switch {
	case slices.Contains(cronNames, text):
		return nil
	case strings.HasPrefix(text, "@every"):
		return []string{"an interval is given with --every"}
	case strings.HasPrefix(text, "@"):
		return []string{fmt.Sprintf("%q is none of %s", text, strings.Join(cronNames, ", "))}
	case strings.Contains(text, "TZ="):
		return []string{"the time zone is given with --time-zone"}
	}
	fields := []cronField{cronMinute, cronHour, cronDay, cronMonth, cronWeekday}
	parts := strings.Fields(text)
	switch len(parts) {
	case 5:
	case 6:
		fields = append(fields, cronYear)
	case 7:
		fields = append(append([]cronField{cronSecond}, fields...), cronYear)
	default:
		return []string{fmt.Sprintf(`%q has %s: it must have five (minute, hour, day of the month, month, day of the week, as in "0 2 * * *"), six (a year behind them), or seven (a second before them, too)`, text, count(len(parts), "field"))}
	}
	for i, f := range fields {
		for item := range strings.SplitSeq(parts[i], ",") {
			if err := f.check(item); err != nil {
				wrong = append(wrong, fmt.Sprintf("%s, field %d, %q: %s", f.name, i+1, parts[i], err))
			}
		}
	}
	return wrong
}

// check reads an item of a field: *, a value or a range, each with a step or none.
func (f cronField) check(item string) error {
	span, step, stepped := strings.Cut(item, "/")
	if stepped {
		if n, err := strconv.Atoi(step); err != nil || n < 1 || n > f.max {
			return fmt.Errorf("the step %q is none from 1 to %d", step, f.max)
		}
	}
	if span == "*" {
		return nil
	}
	first, last, isRange := strings.Cut(span, "-")
	from, err := f.value(first)
	if err != nil || !isRange {
		return err
	}
	to, err := f.value(last)
	if err == nil && to < from {
		err = fmt.Errorf("the range %s begins behind its end", span)
	}
	return err
}

func (f cronField) value(text string) (int, error) {
	if i := slices.Index(f.names, strings.ToLower(text)); i >= 0 {
		return f.min + i, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < f.min || n > f.max {
		named := ""
		if len(f.names) > 0 {
			named = fmt.Sprintf(", or from %s to %s", strings.ToUpper(f.names[0]), strings.ToUpper(f.names[len(f.names)-1]))
		}
		return 0, fmt.Errorf("%q is none from %d to %d%s", text, f.min, f.max, named)
	}
	return n, nil
}
