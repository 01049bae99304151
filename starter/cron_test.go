package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestCheckCron(t *testing.T) {
	for _, right := range []string{
		"0 2 * * *", "*/15 8-18 * * MON-FRI", "0 0 1,15 jan-jun 7", "0 2 * * * 2026", "30 0 2 * * * 2026-2030/2", "5/10 * * * *", "@daily", " 0  2 * * * ", "0 2 * * sun-sat",
	} {
		assert.Empty(t, checkCron(right), right)
	}
	for wrong, want := range map[string]string{
		"":                      "0 fields",
		"0 2 * *":               "4 fields",
		"0 2 * * * * * *":       "8 fields",
		"60 2 * * *":            `minute, field 1, "60": "60" is none from 0 to 59`,
		"0 24 * * *":            `hour, field 2, "24": "24" is none from 0 to 23`,
		"0 2 0 * *":             "day of the month, field 3",
		"0 2 * 13 *":            "month, field 4",
		"0 2 * * 8":             "day of the week, field 5",
		"0 2 * * FRY":           "from SUN to SAT",
		"0 2 * * * 1999":        "year, field 6",
		"61 0 2 * * * 2026":     "second, field 1",
		"0 5-2 * * *":           "the range 5-2 begins behind its end",
		"*/0 * * * *":           `the step "0" is none`,
		"0 2, * * *":            `"" is none from 0 to 23`,
		"@every 6h":             "--every",
		"@noon":                 "@daily",
		"CRON_TZ=UTC 0 2 * * *": "--time-zone",
		"0 2 L * *":             `"L" is none`,
	} {
		assert.Contains(t, strings.Join(checkCron(wrong), "\n"), want, wrong)
	}
	assert.Len(t, checkCron("60 24 32 13 8"), 5, "all at once")
}
