package quota

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// RatesVariable names the environment variable that says which rates hold. See LoadRates.
const RatesVariable = "EDGEFLEET_QUOTAS"

// everyAPI stands in a table for each API that is not named beside it.
const everyAPI = "*"

// Rates are how often each API may be called, in calls per second; 0 is unlimited.
type Rates struct {
	source string
	table  atomic.Pointer[map[string]float64] // what differs from the published quotas
}

// LoadRates reads rates from what source is: nothing (AWS's default quotas), a JSON object
// {"iot:CreateThing":100,…,"*":10}, or a file or http(s) URL that holds one. In it 0 is unlimited, and
// "*" every API that is not named. Files and URLs are read again by Watch.
func LoadRates(ctx context.Context, source string) (*Rates, error) {
	r := &Rates{source: source}
	r.table.Store(&map[string]float64{})
	return r, r.read(ctx)
}

// Of is an API's rate in calls per second, 0 for unlimited. S3's, thousands a second per prefix,
// are not limited unless named.
func (r *Rates) Of(api string) float64 {
	table := *r.table.Load()
	if rate, named := table[api]; named {
		return rate
	}
	if strings.HasPrefix(api, "s3:") || strings.HasPrefix(api, "sts:") {
		return 0
	}
	if rate, every := table[everyAPI]; every {
		return rate
	}
	if rate, known := published[api]; known {
		return rate
	}
	return Assumed
}

// Slowest is the least of the APIs' rates, 0 when all are unlimited: what a device needs one call of
// each for can be done so often a second.
func (r *Rates) Slowest(apis ...string) float64 {
	slowest := math.Inf(1)
	for _, api := range apis {
		if rate := r.Of(api); rate > 0 {
			slowest = min(slowest, rate)
		}
	}
	if math.IsInf(slowest, 1) {
		return 0
	}
	return slowest
}

// Watch reads a file or URL again every so often until ctx is done; report is told when that fails,
// and the rates stay as they were.
func (r *Rates) Watch(ctx context.Context, every time.Duration, report func(error)) {
	if r.source == "" || isObject(r.source) {
		return
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for failing := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			err := r.read(ctx)
			if err != nil && !failing && ctx.Err() == nil {
				report(err) // once, until it works again
			}
			failing = err != nil
		}
	}
}

func isObject(source string) bool { return strings.HasPrefix(strings.TrimSpace(source), "{") }

func (r *Rates) read(ctx context.Context) error {
	if r.source == "" {
		return nil
	}
	text, err := readSource(ctx, r.source)
	if err == nil {
		var table map[string]float64
		if table, err = parseRates(text); err == nil {
			r.table.Store(&table)
			return nil
		}
	}
	return fmt.Errorf("%s: %w", RatesVariable, err)
}

const maxRatesBytes = 1 << 20

func readSource(ctx context.Context, source string) ([]byte, error) {
	switch {
	case isObject(source):
		return []byte(source), nil
	case strings.HasPrefix(source, "http://"), strings.HasPrefix(source, "https://"):
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, source, nil)
		if err != nil {
			return nil, err
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return nil, err
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("%s answered %s", source, res.Status)
		}
		return io.ReadAll(io.LimitReader(res.Body, maxRatesBytes))
	}
	return os.ReadFile(source)
}

var apiName = regexp.MustCompile(`^[a-z0-9-]+:[A-Za-z0-9]+$`)

// parseRates reads a table and tells all that is wrong with it.
func parseRates(text []byte) (map[string]float64, error) {
	var table map[string]float64
	if err := json.Unmarshal(text, &table); err != nil {
		return nil, fmt.Errorf(`it must be a JSON object of calls per second, as in {"iot:CreateThing": 100, "*": 10}: %w`, err)
	}
	var wrong []string
	for _, api := range slices.Sorted(maps.Keys(table)) {
		switch rate := table[api]; {
		case api != everyAPI && !apiName.MatchString(api):
			wrong = append(wrong, fmt.Sprintf("%q is no API: SERVICE:Operation, as in iot:CreateThing", api))
		case rate < 0:
			wrong = append(wrong, fmt.Sprintf("%s: %g calls a second; 0 is unlimited", api, rate))
		}
	}
	if len(wrong) > 0 {
		return nil, fmt.Errorf("%s", strings.Join(wrong, "; "))
	}
	return table, nil
}
