package fleet

import (
	"fmt"
	"sort"
	"strings"
)

// Problem is one thing that is wrong with an input, and where.
type Problem struct {
	Source string `json:"source"`           // the file, or the flag or argument
	Line   int    `json:"line,omitempty"`   // counted from 1; 0 where there are no lines
	Column int    `json:"column,omitempty"` // counted from 1; 0 where it is not known
	Field  string `json:"field,omitempty"`  // the key or column at fault
	Reason string `json:"reason"`           // what is wrong and what would be right
}

func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.Source)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
		if p.Column > 0 {
			fmt.Fprintf(&b, ":%d", p.Column)
		}
	}
	b.WriteString(": ")
	if p.Field != "" {
		b.WriteString(p.Field + ": ")
	}
	b.WriteString(p.Reason)
	return b.String()
}

// InvalidInput is an input that was refused before anything was started, with everything that
// is wrong with it.
type InvalidInput []Problem

func (e InvalidInput) Error() string {
	lines := make([]string, len(e))
	for i, p := range e {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// OrNil is the input's error, nil when nothing is wrong with it.
func (e InvalidInput) OrNil() error {
	if len(e) == 0 {
		return nil
	}
	return e
}

// problems collects what is wrong with one source.
type problems struct {
	source string
	most   int // how many are told, the first of the source; 0: all
	total  int
	found  InvalidInput
}

func (ps *problems) add(line, column int, field, format string, args ...any) {
	ps.total++
	ps.found = append(ps.found, Problem{ps.source, line, column, field, fmt.Sprintf(format, args...)})
	if ps.most > 0 && len(ps.found) == 2*ps.most {
		ps.sort()
		ps.found = ps.found[:ps.most]
	}
}

// err returns what was found in the order of the source, or nil.
func (ps *problems) err() error {
	if ps.total == 0 {
		return nil
	}
	ps.sort()
	if ps.most == 0 || ps.total <= ps.most {
		return ps.found
	}
	more := fmt.Sprintf("and %d more problems", ps.total-ps.most)
	if ps.total-ps.most == 1 {
		more = "and 1 more problem"
	}
	return append(ps.found[:ps.most:ps.most], Problem{Source: ps.source, Reason: more})
}

func (ps *problems) sort() {
	sort.SliceStable(ps.found, func(i, j int) bool {
		a, b := ps.found[i], ps.found[j]
		if a.Line != b.Line {
			return a.Line < b.Line
		}
		return a.Column < b.Column
	})
}
