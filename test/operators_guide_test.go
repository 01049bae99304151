package test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflowservice/v1"

	"edgefleet/workflows"
)

// TestOperatorsGuide: its queries are ones that Temporal takes, every error has its line, every
// picture is there.
func TestOperatorsGuide(t *testing.T) {
	s := shared(t)
	text, err := os.ReadFile("../docs/operators.md")
	require.NoError(t, err)
	guide := string(text)
	queries := regexp.MustCompile("(?m)^\\| [^|]+ \\| `(Provision[^`]+)` \\|$").FindAllStringSubmatch(guide, -1)
	require.GreaterOrEqual(t, len(queries), 5)
	for _, query := range queries {
		_, err := s.temporal.CountWorkflow(t.Context(), &workflowservice.CountWorkflowExecutionsRequest{Query: query[1]})
		assert.NoError(t, err, query[1])
	}
	for _, kind := range workflows.ErrorTypes() {
		assert.Equal(t, 1, strings.Count(guide, "\n| `"+kind+"` |"), "lines for %s", kind)
	}
	pictures := regexp.MustCompile(`!\[[^\]]+\]\(([^)]+)\)`).FindAllStringSubmatch(guide, -1)
	require.NotEmpty(t, pictures)
	for _, picture := range pictures {
		assert.FileExists(t, "../docs/"+picture[1])
	}
}
