package test

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"edgefleet/activities"
)

// all says that nothing is left out to save time: `make chaos` does.
var all = os.Getenv("EDGEFLEET_CHAOS") == "all"

// matrix is what became of the cells.
type matrix struct {
	mu     sync.Mutex
	begun  map[string]int
	passed map[string]int
	lost   []lostCell
}

// lostCell has left certificates whose keys nobody has, for `starter sweep`.
type lostCell struct {
	cell
	*lane
	device
}

// TestCrashMatrix has each AWS operation that a provisioning, a rollback and a decommission call
// fail in each way, and looks at what comes of it.
func TestCrashMatrix(t *testing.T) {
	n := 6
	if all {
		n = 8
	}
	pool := newLanes(t, n)
	cells := cleanCells(t, pool)
	m := &matrix{begun: map[string]int{}, passed: map[string]int{}}
	for _, scenario := range scenarios {
		t.Run(scenario, func(t *testing.T) {
			for _, c := range cells {
				if c.scenario == scenario && (all || c.inReducedMatrix()) {
					t.Run(c.name(), func(t *testing.T) { c.run(t, pool, m) })
				}
			}
		})
	}
	m.sweep(t)
	m.print(t)
}

func (c cell) run(t *testing.T, pool *lanes, m *matrix) {
	t.Parallel()
	m.count(m.begun, c)
	s := pool.take(t)
	defer func() {
		if t.Failed() {
			t.Logf("repeat with: EDGEFLEET_CHAOS=all go test -count=1 ./test/ -run 'TestCrashMatrix/%s/%s$'", c.scenario, regexp.QuoteMeta(c.name()))
		} else {
			m.count(m.passed, c)
		}
	}()
	d := newDevice(t, c.registry, c.keys.spec())
	before := s.certificates(t)
	left := 0
	switch c.scenario {
	case provision:
		left = 1
		run := c.strike(t, s, func(f fault) client.WorkflowRun {
			s.fault(t, f)
			return s.beginProvision(t, d)
		})
		s.provisioned(t, run)
	case rollback:
		run := c.strike(t, s, func(f fault) client.WorkflowRun { return s.refused(t, d, f) })
		s.rolledBack(t, run, activities.AccessDenied)
	case decommission:
		s.provisioned(t, s.beginProvision(t, d))
		s.remember(t, d)
		run := c.strike(t, s, func(f fault) client.WorkflowRun {
			s.fault(t, f)
			return s.beginDecommission(t, d)
		})
		s.decommissioned(t, run)
	}
	assert.Empty(t, s.pendingFaults(t), "the fault did not strike")

	// Everything else is what the audit finds: lost certificates, and only those.
	made := s.certificates(t)
	maps.DeleteFunc(made, func(id string, _ types.CertificateStatus) bool { return before[id] != "" })
	lost := 0
	for id, kind := range s.audit(t, d) {
		assert.Equal(t, "orphaned-certificate", kind, id)
		if made[id] == types.CertificateStatusInactive {
			lost++
			s.lost[id] = true
		}
		assert.True(t, s.lost[id], "the audit found %s", id)
	}
	assert.Len(t, made, left+lost, "certificates")
	assert.Equal(t, c.losesKey(), lost > 0, "%d certificates were lost", lost)
	if lost > 0 {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.lost = append(m.lost, lostCell{c, s, d})
	}
	if c.scenario != provision {
		assert.Empty(t, s.objects(t, activities.DeviceBundle(d.spec, d.Name).Location.Key("")))
	}
}

// strike has the cell's fault strike a run, and what must be done that it can go on.
func (c cell) strike(t *testing.T, s *lane, start func(fault) client.WorkflowRun) client.WorkflowRun {
	t.Helper()
	f := fault{Operation: c.operation, Match: c.match, Times: 1, Kind: c.kind}
	switch c.kind {
	case "error":
		f.Code, f.Status = "InternalFailureException", 500
	case "drop-before", "drop-after":
		if c.reads() {
			f.Times = 2 // Go's HTTP client repeats it on another connection, and nobody would notice
		}
	case kill:
		f.Kind = "hang"
	case killLate:
		f.Kind, f.DelayMS = "delay", int(patience.Milliseconds()) // does the work when it loses the worker
	}
	run := start(f)
	s.struck(t)
	if c.kind == kill || c.kind == killLate {
		s.replaceWorker(t, func() { s.clearFaults(t) })
	}
	return run
}

// sweep removes what lost answers left, and nothing else is left then.
func (m *matrix) sweep(t *testing.T) {
	var done sync.WaitGroup
	for _, l := range m.lost {
		l.file = writeFile(t, "fleet.yaml", l.text)
		done.Go(func() {
			o := l.starter(t, "sweep", "-f", l.file, "--delete", "-o", "json")
			if !assert.Equal(t, 0, o.code, "%s", o) {
				return
			}
			assert.Contains(t, o.stdout, `"removed": true`, "%s: %s", l.cell, o)
			assert.Empty(t, l.audit(t, l.device), "%s: after the sweep", l.cell)
		})
	}
	done.Wait()
	if len(m.lost) > 0 {
		t.Logf("%d cells left certificates without keys, INACTIVE and attached to nothing; sweep removed them", len(m.lost))
	}
}

func (m *matrix) count(counts map[string]int, c cell) {
	m.mu.Lock()
	defer m.mu.Unlock()
	counts[c.scenario+" "+c.operation+" "+c.kind]++
}

// print shows for each operation and way of failing how many cells ended as they should.
func (m *matrix) print(t *testing.T) {
	operations := map[string]bool{}
	for key := range m.begun {
		var scenario, operation string
		_, err := fmt.Sscanf(key, "%s %s", &scenario, &operation)
		require.NoError(t, err)
		operations[scenario+" "+operation] = true
	}
	text, total, good := fmt.Sprintf("\n%-55s", ""), 0, 0
	for _, kind := range kinds {
		text += fmt.Sprintf("%12s", kind)
	}
	for _, operation := range slices.Sorted(maps.Keys(operations)) {
		text += fmt.Sprintf("\n%-55s", operation)
		for _, kind := range kinds {
			begun, passed := m.begun[operation+" "+kind], m.passed[operation+" "+kind]
			total, good = total+begun, good+passed
			if begun == 0 {
				text += fmt.Sprintf("%12s", "·")
			} else {
				text += fmt.Sprintf("%12s", fmt.Sprintf("%d/%d", passed, begun))
			}
		}
	}
	t.Logf("%s\n%d of %d cells ended as they should", text, good, total)
}
