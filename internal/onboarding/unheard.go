package onboarding

import (
	"context"

	"edgefleet/workflows"
)

// takeUp watches again what was open. One that drains looks for what else was launched, too.
func (s *shift) takeUp(ctx context.Context) error {
	open := s.progress.Open
	s.progress.Open = nil
	if s.drain && s.progress.Unheard {
		last, err := s.lastLaunched(ctx)
		if err != nil {
			return err
		}
		for at := s.progress.Next; at.Page < last.Page || at.Page == last.Page && at.Line < last.Line; {
			p, err := s.page(ctx, at.Page)
			if err != nil {
				return err
			}
			if at.Line >= len(p.lines) {
				at = workflows.Place{Page: at.Page + 1}
				continue
			}
			open = append(open, at) // those between were being launched
			at.Line++
		}
		s.progress.Next, s.progress.Unheard = last, false
	}
	for _, at := range open {
		if err := s.launch(ctx, at, true); err != nil {
			return err
		}
	}
	return nil
}

// lastLaunched is the place after the last line that this onboarding launched, as far as lines from Next on show:
// it ends where so many in a row as may be under way were not.
func (s *shift) lastLaunched(ctx context.Context) (workflows.Place, error) {
	last, at := s.progress.Next, s.progress.Next
	for not := 0; at.Page < s.in.Pages && not < s.mostAhead(); {
		p, err := s.page(ctx, at.Page)
		if err != nil {
			return last, err
		}
		if at.Line >= len(p.lines) {
			at = workflows.Place{Page: at.Page + 1}
			continue
		}
		line := p.lines[at.Line]
		_, ours := p.outcomes[at.Line]
		at.Line++
		if !ours {
			latest, err := s.latest(ctx, workflows.DeviceWorkflowID(s.in.Fleet.Name, line.Name))
			if err != nil {
				return last, err
			}
			ours = startedBy(latest, s.in.Files)
		}
		if not++; ours {
			last, not = at, 0
		}
	}
	return last, nil
}
