package onboarding

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"edgefleet/internal/report"
)

// snapshot keeps the outcomes of each page as they were when they were first read: a report reads them more than
// once, and an onboarding that runs writes them anew each second. They are in a file, so that memory does not grow
// with the manifest; it has no name, and goes with the process.
type snapshot struct {
	file  *os.File
	pages []extent
	end   int64
}

type extent struct{ at, size int64 }

// has tells whether the page is in it; pages are added in their order.
func (s *snapshot) has(page int) bool { return page < len(s.pages) }

func (s *snapshot) add(outcomes []report.Outcome) error {
	if s.file == nil {
		file, err := os.CreateTemp("", "edgefleet-report-")
		if err != nil {
			return fmt.Errorf("keeping the outcomes in a temporary file (TMPDIR says where): %w", err)
		}
		s.file = file
		_ = os.Remove(file.Name()) // one that cannot be removed while it is open stays
	}
	text, err := json.Marshal(outcomes)
	if err == nil {
		_, err = s.file.WriteAt(text, s.end)
	}
	if err != nil {
		return fmt.Errorf("keeping the outcomes in %s: %w", s.file.Name(), err)
	}
	s.pages = append(s.pages, extent{s.end, int64(len(text))})
	s.end += int64(len(text))
	return nil
}

func (s *snapshot) read(page int) (outcomes []report.Outcome, err error) {
	e := s.pages[page]
	if err := json.NewDecoder(io.NewSectionReader(s.file, e.at, e.size)).Decode(&outcomes); err != nil {
		return nil, fmt.Errorf("reading the outcomes again from %s: %w", s.file.Name(), err)
	}
	return outcomes, nil
}
