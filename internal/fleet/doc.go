// Package fleet is the domain: the fleet specification, devices, and the rules that their
// names follow. It knows neither AWS's SDK nor Temporal.
package fleet
