package activities

import (
	"context"
	"fmt"

	"edgefleet/internal/fleet"
)

// registry is where devices are enrolled. The two differ in nothing else than these calls.
type registry interface {
	// createFleet makes the device fleet, or adopts the one that fits.
	createFleet(context.Context, fleet.Spec) (Resource, error)
	// findRoleAlias returns the fleet's role alias, made or found, checked to be for the fleet's role.
	findRoleAlias(context.Context, fleet.Spec) (Resource, error)
	// register enrols the device in the fleet.
	register(context.Context, RegisterInput) (Resource, error)
	// deregister takes the device out of the fleet.
	deregister(context.Context, DeregisterInput) (Removal, error)
}

func (a *Activities) registry(r fleet.Registry) (registry, error) {
	switch r {
	case fleet.SageMakerEdge:
		return sageMakerEdge{a}, nil
	case fleet.IoTCore:
		return iotCore{a}, nil
	}
	return nil, failed(InvalidInput, "choosing the registry", "%q is none", r)
}

// CreateDeviceFleet makes the fleet in its registry, or adopts the one that fits.
func (a *Activities) CreateDeviceFleet(ctx context.Context, spec fleet.Spec) (Resource, error) {
	r, err := a.registry(spec.Registry)
	if err != nil {
		return Resource{}, err
	}
	return r.createFleet(ctx, spec)
}

// FindRoleAlias returns the fleet's role alias: SageMaker makes it with the fleet, for iot-core it
// is made here.
func (a *Activities) FindRoleAlias(ctx context.Context, spec fleet.Spec) (Resource, error) {
	r, err := a.registry(spec.Registry)
	if err != nil {
		return Resource{}, err
	}
	return r.findRoleAlias(ctx, spec)
}

// RegisterInput is what RegisterDevice needs.
type RegisterInput struct {
	Registry fleet.Registry `json:"registry"`
	Fleet    string         `json:"fleet"`
	Device   string         `json:"device"`
	Thing    Thing          `json:"thing"`
	Run      string         `json:"run"`
}

func (in RegisterInput) doing() string {
	return fmt.Sprintf("registering device %q in fleet %q", in.Device, in.Fleet)
}

// RegisterDevice enrols the device in the fleet's registry, or adopts its registration when that
// names the same thing.
func (a *Activities) RegisterDevice(ctx context.Context, in RegisterInput) (Resource, error) {
	r, err := a.registry(in.Registry)
	if err != nil {
		return Resource{}, err
	}
	return r.register(ctx, in)
}

// DeregisterInput is what DeregisterDevice needs.
type DeregisterInput struct {
	Registry fleet.Registry `json:"registry"`
	Fleet    string         `json:"fleet"`
	Device   string         `json:"device"`
	Thing    string         `json:"thing"`
	Run      string         `json:"run,omitempty"` // only a registration of this run; empty: of any
}

func (in DeregisterInput) doing() string {
	return fmt.Sprintf("deregistering device %q from fleet %q", in.Device, in.Fleet)
}

// DeregisterDevice takes the device out of its fleet's registry, and says what became of the
// registration. A missing one, or a missing fleet, is no error.
func (a *Activities) DeregisterDevice(ctx context.Context, in DeregisterInput) (Removal, error) {
	r, err := a.registry(in.Registry)
	if err != nil {
		return "", err
	}
	return r.deregister(ctx, in)
}
