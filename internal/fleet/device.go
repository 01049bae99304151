package fleet

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// RunMark is the thing attribute that says which run created the thing. A retry knows its own
// earlier attempt by it, and undo knows what is ours.
const RunMark = "edgefleet-run"

// FleetMark is the thing attribute that says for which fleet a run created the thing.
const FleetMark = "edgefleet-fleet"

// maxAttributes is IoT's limit for a thing that has a thing type, less the two marks.
const maxAttributes = 48

// Device is one device to provision.
type Device struct {
	Name       string            `json:"device"`
	Thing      string            `json:"thing"`                // the IoT thing's name
	Attributes map[string]string `json:"attributes,omitempty"` // of the thing, the fleet's included
	CSR        string            `json:"csr,omitempty"`        // the device's own certificate request in PEM, with keys: device
}

// NewDevice is the device of that name in the fleet. An empty thing is named as the device is;
// attributes are added to the fleet's and win over them. The error is an InvalidInput with
// everything that is wrong.
func (s Spec) NewDevice(name, thing string, attributes map[string]string) (Device, error) {
	if thing == "" {
		thing = name
	}
	all := maps.Clone(s.Attributes)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, attributes)
	ps := problems{source: "device " + quote(name)}
	report := func(field string, err error) { ps.add(0, 0, field, "%s", err) }
	if err := DeviceName.Check(name); err != nil {
		report("device", err)
	}
	if thing != name { // a device's name that is right is a thing's name as well
		if err := ThingName.Check(thing); err != nil {
			report("thing", err)
		}
	}
	checkAttributes(all, report)
	return Device{Name: name, Thing: thing, Attributes: all}, ps.err()
}

// ParseAttributes reads NAME=VALUE pairs as the command line gives them.
func ParseAttributes(pairs []string) (map[string]string, error) {
	ps := problems{source: "--attribute"}
	attributes := make(map[string]string, len(pairs))
	for _, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		if !ok {
			ps.add(0, 0, "", "%s must read NAME=VALUE", quote(pair))
			continue
		}
		if _, twice := attributes[name]; twice {
			ps.add(0, 0, "", "%s is given twice", quote(name))
		}
		attributes[name] = value
	}
	return attributes, ps.err()
}

func checkAttributes(attributes map[string]string, report func(field string, err error)) {
	if len(attributes) > maxAttributes {
		report("attributes", fmt.Errorf("%d are too many: a thing may have %d beside the marks of its run and fleet", len(attributes), maxAttributes))
	}
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		field := "attributes." + name
		if err := checkAttributeName(name); err != nil {
			report(field, err)
		}
		if err := AttributeValue.Check(attributes[name]); err != nil {
			report(field, err)
		}
	}
}

func checkAttributeName(name string) error {
	if name == RunMark || name == FleetMark {
		return errors.New("the name is reserved: it marks which run created a thing, for which fleet")
	}
	return AttributeName.Check(name)
}
