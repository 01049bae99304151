package test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/activities"
	"edgefleet/workflows"
)

// The runs whose calls fail.
const (
	provision    = "provision"
	rollback     = "rollback" // of a provisioning that AWS refused a later step of
	decommission = "decommission"
)

var scenarios = []string{provision, rollback, decommission}

const (
	kill     = "kill"      // of the worker, while AWS has the call and does nothing
	killLate = "kill-late" // of the worker, while AWS has the call: it does the work, and nobody hears of it
)

// kinds are the ways to fail: those of the local AWS, and the worker's.
var kinds = []string{"error", "throttle", "drop-before", "drop-after", "hang", kill, killLate}

type keysOf string

func (k keysOf) spec() string { return "keys: " + string(k) + "\n" }

// cell is one operation that fails in one way in one kind of run.
type cell struct {
	scenario  string
	registry  string
	keys      keysOf
	operation string
	match     string // of the operation's calls, those that concern this
	kind      string
}

// name is the cell's within its scenario.
func (c cell) name() string {
	variant := "keys-" + string(c.keys)
	if c.registry != sageMaker {
		variant += "," + c.registry
	}
	operation := c.operation
	if c.match != "" {
		operation += "(" + c.match + ")"
	}
	return variant + "/" + operation + "/" + c.kind
}

func (c cell) String() string { return c.scenario + "/" + c.name() }

// reads tells an operation that changes nothing.
func (c cell) reads() bool {
	_, name, _ := strings.Cut(c.operation, ":")
	for _, verb := range []string{"Describe", "List", "Get", "Head"} {
		if strings.HasPrefix(name, verb) {
			return true
		}
	}
	return false
}

// losesKey tells that a key of AWS's was made and nobody got it.
func (c cell) losesKey() bool {
	return c.operation == "iot:CreateKeysAndCertificate" && (c.kind == "drop-after" || c.kind == killLate)
}

// inReducedMatrix chooses the cells that every `go test` runs: each create done and not heard of, and
// the worker killed where it has most in its hands.
func (c cell) inReducedMatrix() bool {
	_, name, _ := strings.Cut(c.operation, ":")
	creates := strings.HasPrefix(name, "Create") || name == "RegisterDevices" || name == "AddThingToThingGroup"
	switch c.scenario + " " + c.kind {
	case "provision drop-after":
		// What both kinds of key have in common is done once.
		return creates && (c.keys == "csr" || name == "CreateKeysAndCertificate" || c.registry == iotCore)
	case "provision kill":
		switch name {
		case "CreateKeysAndCertificate", "CreateCertificateFromCsr":
			return true
		case "AttachPolicy", "RegisterDevices":
			return c.keys == "csr"
		case "PutObject":
			return c.keys == "aws" && c.match == "private.pem.key"
		}
	case "provision kill-late":
		return name == "CreateCertificateFromCsr"
	case "provision hang":
		return name == "AttachThingPrincipal" && c.keys == "csr"
	case "provision error", "provision throttle":
		return name == "UpdateCertificate" && c.keys == "aws"
	case "rollback drop-after":
		return name == "DeleteCertificate"
	case "decommission kill":
		return name == "DeleteThing" && c.keys == "csr"
	}
	return false
}

// cleanCells are all cells: of each kind of run, every operation that it calls when nothing fails.
// Its calls are counted, so that no operation is forgotten.
func cleanCells(t *testing.T, pool *lanes) []cell {
	t.Helper()
	s := pool.next(t)
	defer func() { pool.free <- s }()
	known := map[string]bool{}
	var cells []cell
	for _, variant := range []cell{{registry: sageMaker, keys: "aws"}, {registry: sageMaker, keys: "csr"}, {registry: iotCore, keys: "csr"}} {
		for scenario, operations := range cleanCalls(t, s, variant) {
			for _, operation := range operations {
				// iot-core's cells are those of the operations that it alone has.
				id := scenario + " " + operation
				if variant.registry == iotCore && known[id] {
					continue
				}
				known[id] = true
				matches := []string{""}
				if scenario == provision && operation == "s3:PutObject" {
					matches = bundleFiles // each has its own place in the procedure
				}
				for _, match := range matches {
					for _, kind := range kinds {
						c := variant
						c.scenario, c.operation, c.match, c.kind = scenario, operation, match, kind
						if kind != killLate || !c.reads() { // late or not is the same for a read
							cells = append(cells, c)
						}
					}
				}
			}
		}
	}
	return cells
}

// cleanCalls are the operations that each kind of run calls.
func cleanCalls(t *testing.T, s *lane, variant cell) map[string][]string {
	t.Helper()
	calls := map[string][]string{}
	count := func(scenario string, not map[string]int, do func()) {
		before := s.calls(t)
		do()
		after := s.calls(t)
		maps.DeleteFunc(after, func(operation string, n int) bool { return n == before[operation]+not[operation] })
		calls[scenario] = slices.Sorted(maps.Keys(after))
		require.NotEmpty(t, after)
	}
	d := newDevice(t, variant.registry, variant.keys.spec())
	var result workflows.ProvisionResult
	count(provision, nil, func() { require.NoError(t, s.beginProvision(t, d).Get(t.Context(), &result)) })
	s.assertProvisioned(t, result)
	s.assertSmall(t, result)
	count(decommission, nil, func() { s.decommissioned(t, s.beginDecommission(t, d)) })
	run := s.refused(t, d)
	count(rollback, map[string]int{"iot:UpdateCertificate": 1}, func() { s.rolledBack(t, run, activities.AccessDenied) })
	return calls
}
