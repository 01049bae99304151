package fleet

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Registry says where a fleet's devices are enrolled.
type Registry string

const (
	// SageMakerEdge is the documented procedure: a SageMaker device fleet and its devices.
	SageMakerEdge Registry = "sagemaker-edge"
	// IoTCore is the same outcome without SageMaker: a thing group, and a role alias of its own.
	IoTCore Registry = "iot-core"
)

// Keys says who makes a device's private key.
type Keys string

const (
	// KeysAWS lets AWS make key and certificate (CreateKeysAndCertificate), as documented.
	KeysAWS Keys = "aws"
	// KeysCSR lets the worker make the key, and AWS the certificate from its request.
	KeysCSR Keys = "csr"
	// KeysDevice takes the device's own certificate request; no private key exists on our side.
	KeysDevice Keys = "device"
)

// KeyType is the type of a private key that the worker makes.
type KeyType string

const (
	// KeyP256 costs the worker and the device least.
	KeyP256 KeyType = "ec-p256"
	// KeyRSA2048 is what AWS makes.
	KeyRSA2048 KeyType = "rsa-2048"
)

// Spec is a fleet specification: what all devices of a fleet have in common.
type Spec struct {
	Name       string            `json:"name"`               // of the device fleet
	Registry   Registry          `json:"registry"`           // where devices are enrolled
	RoleARN    string            `json:"roleArn"`            // the IAM role whose credentials devices get
	ThingType  string            `json:"thingType"`          // of every device's thing
	Output     S3URI             `json:"output"`             // the SageMaker fleet's output location
	Bundles    S3URI             `json:"bundles"`            // where each device's files go, below FLEET/DEVICE/
	Keys       Keys              `json:"keys"`               // who makes the private keys
	KeyType    KeyType           `json:"keyType,omitempty"`  // with keys: csr
	KMSKeyID   string            `json:"kmsKeyId,omitempty"` // encrypts the bundles' objects; empty: the bucket's default
	Attributes map[string]string `json:"attributes,omitempty"`
	Hook       *Hook             `json:"hook,omitempty"` // whom scheduled runs tell
	// HoldDeadline is how long a run that cannot go on waits for an operator before it rolls back.
	// 0: DefaultHoldDeadline.
	HoldDeadline time.Duration `json:"holdDeadline,omitempty"`
}

// DefaultHoldDeadline is the hold's deadline where the specification names none.
const DefaultHoldDeadline = 7 * 24 * time.Hour

// The least and the most that a hold's deadline may be.
const (
	minHoldDeadline = time.Second
	maxHoldDeadline = 366 * 24 * time.Hour
)

// PolicyName is the IoT policy that lets the fleet's devices assume the fleet's role alias.
// One per fleet, not one per run as documented: the same rights, and CreatePolicy (10 calls a
// second per account) is not needed per device.
func (s Spec) PolicyName() string { return "edgefleet-" + s.Name }

// RoleAliasName is the role alias of a fleet whose registry is iot-core. SageMaker names its own.
func (s Spec) RoleAliasName() string { return "edgefleet-" + s.Name }

// ThingGroupName is the thing group that is the fleet where the registry is iot-core.
func (s Spec) ThingGroupName() string { return s.Name }

// check finds what is wrong with the specification's values and reports each with report.
func (s Spec) check(report func(field string, err error)) {
	rule := func(field string, r NameRule, value string) {
		if err := r.Check(value); err != nil {
			report(field, err)
		}
	}
	rule("name", FleetName, s.Name)
	if s.Registry != SageMakerEdge && s.Registry != IoTCore {
		report("registry", fmt.Errorf("%s is no registry: %s or %s", quote(string(s.Registry)), SageMakerEdge, IoTCore))
	}
	rule("roleArn", RoleARN, s.RoleARN)
	rule("thingType", ThingTypeName, s.ThingType)
	switch s.Keys {
	case KeysAWS, KeysDevice:
		if s.KeyType != "" {
			report("keyType", fmt.Errorf("goes with keys: %s only; with keys: %s the key is made elsewhere", KeysCSR, s.Keys))
		}
	case KeysCSR:
		if s.KeyType != KeyP256 && s.KeyType != KeyRSA2048 {
			report("keyType", fmt.Errorf("%s is no type of key: %s or %s", quote(string(s.KeyType)), KeyP256, KeyRSA2048))
		}
	default:
		report("keys", fmt.Errorf("%s is none of %s, %s, %s", quote(string(s.Keys)), KeysAWS, KeysCSR, KeysDevice))
	}
	if s.KMSKeyID != "" {
		rule("kmsKeyId", kmsKeyIDRule, s.KMSKeyID)
	}
	if d := s.HoldDeadline; d != 0 && (d < minHoldDeadline || d > maxHoldDeadline) {
		report("holdDeadline", fmt.Errorf("%s is no time to hold for: from %s to %d days", d, minHoldDeadline, int(maxHoldDeadline.Hours()/24)))
	}
	checkAttributes(s.Attributes, report)
	s.Hook.check(report)
}

// parseDuration reads a time as Go writes it (1h30m), and days, which Go does not know: 7d.
func parseDuration(text string) (time.Duration, error) {
	if days, isDays := strings.CutSuffix(text, "d"); isDays {
		if n, err := strconv.Atoi(days); err == nil && n >= 0 && n < 100_000 {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	} else if d, err := time.ParseDuration(text); err == nil {
		return d, nil
	}
	return 0, fmt.Errorf("%s is no time: it must read as 7d, 36h or 90m do", quote(text))
}
