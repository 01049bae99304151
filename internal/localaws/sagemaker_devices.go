package localaws

import (
	"net/http"
	"time"
)

type device struct {
	fleet, name string
	description string
	thing       string
	registered  time.Time
}

type deviceInput struct {
	DeviceName   string
	Description  *string
	IotThingName string
}

type devicesInput struct {
	DeviceFleetName string
	Devices         []deviceInput
	Tags            []tag
}

type deviceName struct {
	DeviceFleetName string
	DeviceName      string
}

func deviceID(fleet, name string) string { return fleet + "/" + name }

func (r *region) deviceARN(fleet, name string) string {
	return r.fleetARN(fleet) + "/device/" + name
}

// check applies the rules on a device's members, and wants its thing to be there.
func (r *region) checkDevice(d deviceInput) error {
	if err := checkSageMaker(entityNameRule, "devices.member.deviceName", d.DeviceName); err != nil {
		return err
	}
	if d.Description != nil {
		if err := checkSageMaker(deviceDescriptionRule, "devices.member.description", *d.Description); err != nil {
			return err
		}
	}
	if d.IotThingName == "" {
		return nil
	}
	if err := checkSageMaker(deviceThingRule, "devices.member.iotThingName", d.IotThingName); err != nil {
		return err
	}
	if !r.things.has(d.IotThingName) {
		return validation("IoT thing %s of device %s does not exist", d.IotThingName, d.DeviceName)
	}
	return nil
}

// registerDevices enters all devices or none. A device that is there is a ValidationException, as a missing fleet is:
// the API models only ResourceLimitExceeded.
func (r *region) registerDevices(in *devicesInput) (any, error) {
	f, err := r.fleetFor(in.DeviceFleetName)
	if err != nil {
		return nil, err
	}
	if len(in.Devices) == 0 {
		return nil, validation("1 validation error detected: Value '[]' at 'devices' failed to satisfy constraint: Member must have length greater than or equal to 1")
	}
	named := map[string]bool{}
	for _, d := range in.Devices {
		if err := r.checkDevice(d); err != nil {
			return nil, err
		}
		if f.devices.has(d.DeviceName) || named[d.DeviceName] {
			return nil, validation("Device with name %s already exists in DeviceFleet %s", d.DeviceName, in.DeviceFleetName)
		}
		named[d.DeviceName] = true
	}
	if limit := r.server.quotas.limit(devicesQuota); limit > 0 && r.devices.size()+len(in.Devices) > limit {
		return nil, limitExceeded("devices", limit)
	}
	for _, d := range in.Devices {
		added := &device{fleet: in.DeviceFleetName, name: d.DeviceName, thing: d.IotThingName, registered: r.now()}
		if d.Description != nil {
			added.description = *d.Description
		}
		f.devices.put(d.DeviceName, added)
		r.devices.put(deviceID(added.fleet, added.name), added)
		r.setTags(r.deviceARN(added.fleet, added.name), in.Tags)
	}
	return struct{}{}, nil
}

// deregisterDevices succeeds for devices that are not there.
func (r *region) deregisterDevices(in *struct {
	DeviceFleetName string
	DeviceNames     []string
}) (any, error) {
	f, err := r.fleetFor(in.DeviceFleetName)
	if err != nil {
		return nil, err
	}
	for _, name := range in.DeviceNames {
		if err := checkSageMaker(entityNameRule, "deviceNames.member", name); err != nil {
			return nil, err
		}
	}
	for _, name := range in.DeviceNames {
		f.devices.remove(name)
		r.devices.remove(deviceID(in.DeviceFleetName, name))
		delete(r.tags, r.deviceARN(in.DeviceFleetName, name))
	}
	return struct{}{}, nil
}

func (r *region) describeDevice(in *deviceName) (any, error) {
	for member, name := range map[string]string{"deviceFleetName": in.DeviceFleetName, "deviceName": in.DeviceName} {
		if err := checkSageMaker(entityNameRule, member, name); err != nil {
			return nil, err
		}
	}
	d, ok := r.devices.get(deviceID(in.DeviceFleetName, in.DeviceName))
	if !ok {
		return nil, failure("ResourceNotFound", http.StatusBadRequest, "Device with name %s does not exist in DeviceFleet %s", in.DeviceName, in.DeviceFleetName)
	}
	return r.summary(d), nil
}

type deviceSummary struct {
	DeviceName       string
	DeviceARN        string `json:"DeviceArn"`
	Description      string `json:",omitempty"`
	DeviceFleetName  string
	IotThingName     string `json:",omitempty"`
	RegistrationTime epoch
}

func (r *region) summary(d *device) deviceSummary {
	return deviceSummary{d.name, r.deviceARN(d.fleet, d.name), d.description, d.fleet, d.thing, epoch(d.registered)}
}

func (r *region) updateDevices(in *devicesInput) (any, error) {
	f, err := r.fleetFor(in.DeviceFleetName)
	if err != nil {
		return nil, err
	}
	for _, d := range in.Devices {
		if err := r.checkDevice(d); err != nil {
			return nil, err
		}
		if !f.devices.has(d.DeviceName) {
			return nil, validation("Device with name %s does not exist in DeviceFleet %s", d.DeviceName, in.DeviceFleetName)
		}
	}
	for _, d := range in.Devices {
		existing, _ := f.devices.get(d.DeviceName)
		if d.Description != nil {
			existing.description = *d.Description
		}
		if d.IotThingName != "" {
			existing.thing = d.IotThingName
		}
	}
	return struct{}{}, nil
}

func (r *region) listDevices(in *struct {
	listInput
	DeviceFleetName string
}) (any, error) {
	p, err := in.paging()
	if err != nil {
		return nil, err
	}
	devices := &r.devices
	if in.DeviceFleetName != "" {
		f, err := r.fleetFor(in.DeviceFleetName)
		if err != nil {
			return nil, err
		}
		devices = &f.devices
	}
	summaries := []deviceSummary{}
	next := devices.page(p, func(_ string, d *device) bool {
		summaries = append(summaries, r.summary(d))
		return true
	})
	return struct {
		DeviceSummaries []deviceSummary
		NextToken       string `json:",omitempty"`
	}{summaries, token(next)}, nil
}
