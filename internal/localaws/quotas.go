package localaws

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"strings"
	"sync"
	"time"
)

// Counts of resources, set through the same interface as the rates; 0 is unlimited.
const (
	deviceFleetsQuota = "sagemaker:DeviceFleets"
	devicesQuota      = "sagemaker:Devices"
)

// assumedRate holds for operations of IoT and SageMaker edge without a published quota, in calls per second.
const assumedRate = 10

// publishedRates are AWS IoT's default quotas, in calls per second per account and region
// (AWS General Reference, "AWS IoT Core endpoints and quotas").
var publishedRates = map[string]float64{
	"iot:CreateThing": 100, "iot:DeleteThing": 100, "iot:UpdateThing": 100, "iot:DescribeThing": 350,
	"iot:CreateThingType": 15, "iot:DeprecateThingType": 15, "iot:DeleteThingType": 15, "iot:DescribeThingType": 100,
	"iot:CreateThingGroup": 25, "iot:AddThingToThingGroup": 100,
	"iot:CreateKeysAndCertificate": 10, "iot:CreateCertificateFromCsr": 15,
	"iot:DescribeCertificate": 10, "iot:ListCertificates": 10, "iot:UpdateCertificate": 10, "iot:DeleteCertificate": 10,
	"iot:AttachPolicy": 15, "iot:DetachPolicy": 15, "iot:ListAttachedPolicies": 15,
	"iot:CreatePolicy": 10, "iot:GetPolicy": 10, "iot:DeletePolicy": 10, "iot:CreatePolicyVersion": 10, "iot:ListTargetsForPolicy": 10,
	"iot:AttachThingPrincipal": 100, "iot:DetachThingPrincipal": 100, "iot:ListThingPrincipals": 20, "iot:ListPrincipalThings": 10,
	"iot:DescribeRoleAlias": 10, "iot:UpdateRoleAlias": 10, "iot:ListThings": 10,
	assumeRoleOperation: 100,
}

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
			t.rates[operation] = assumedRate
		}
	}
	maps.Copy(t.rates, publishedRates)
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
