package localaws

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"strings"
	"sync"
	"time"

	"edgefleet/internal/quota"
)

// Counts of resources, set through the same interface as the rates; 0 is unlimited.
const (
	deviceFleetsQuota = "sagemaker:DeviceFleets"
	devicesQuota      = "sagemaker:Devices"
)

// quotaTable holds calls to their quotas: in no period of a second does it let more through than the rate,
// which is what a hard quota per second means, while a burst of up to a second's worth passes.
type quotaTable struct {
	mu      sync.Mutex
	rates   map[string]float64
	windows map[quotaKey]*window
}

type quotaKey struct{ operation, region string }

func (t *quotaTable) init() {
	t.windows = map[quotaKey]*window{}
	t.rates = map[string]float64{deviceFleetsQuota: 0, devicesQuota: 0}
	for _, operation := range allOperations() {
		switch service, _, _ := strings.Cut(operation, ":"); service {
		case "s3", "sts":
			t.rates[operation] = 0
		default:
			t.rates[operation] = quota.Assumed
		}
	}
	maps.Copy(t.rates, quota.Published())
}

// allow reports whether a call is within its quota, and if so counts it.
func (t *quotaTable) allow(operation, region string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	rate := t.rates[operation]
	if rate == 0 {
		return true
	}
	// A rate below one a second, or a broken one, is kept over a longer or shorter period than a second.
	calls := max(1, math.Floor(rate))
	period := time.Duration(calls / rate * float64(time.Second))
	key := quotaKey{operation, region}
	w, ok := t.windows[key]
	if !ok {
		w = &window{}
		t.windows[key] = w
	}
	if float64(w.forget(now, period)) >= calls {
		return false
	}
	w.add(now, period)
	return true
}

// limit is a count of resources, 0 for unlimited.
func (t *quotaTable) limit(name string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return int(t.rates[name])
}

// set merges changes; "*" stands for every API and yields to the ones named beside it. If one is wrong, nothing changes.
func (t *quotaTable) set(changes map[string]*float64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if changes == nil {
		return errors.New("body: want an object of quotas")
	}
	for name, rate := range changes {
		if rate == nil || *rate < 0 {
			return fmt.Errorf("quota %q: want a number, 0 for unlimited or more", name)
		}
		if _, known := t.rates[name]; !known && name != everyOperation {
			return fmt.Errorf("quota %q: no such operation", name)
		}
	}
	if rate, ok := changes[everyOperation]; ok {
		for name := range t.rates {
			if name != deviceFleetsQuota && name != devicesQuota {
				t.rates[name] = *rate
			}
		}
	}
	for name, rate := range changes {
		if name != everyOperation {
			t.rates[name] = *rate
		}
	}
	return nil
}

func (t *quotaTable) snapshot() map[string]float64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.rates)
}
