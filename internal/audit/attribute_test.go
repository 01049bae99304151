package audit

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"edgefleet/activities"
)

// A lost answer accounts for one certificate; where there are more, none of them is provably ours.
func TestAttribute(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(minute int) time.Time { return start.Add(time.Duration(minute) * time.Minute) }
	lost := func(run string, from, to int) lostRecord {
		return lostRecord{LostCertificate: activities.LostCertificate{Run: run, Since: at(from), Until: at(to)}}
	}
	made := func(id string, minute int) lostCertificate { return lostCertificate{id: id, made: at(minute)} }

	for name, c := range map[string]struct {
		candidates []lostCertificate
		records    []lostRecord
		runs       map[string]string // of the certificates that are ours
	}{
		"one each":                          {[]lostCertificate{made("a", 1), made("b", 11)}, []lostRecord{lost("r", 0, 2), lost("s", 10, 12)}, map[string]string{"a": "r", "b": "s"}},
		"the narrow answer takes the first": {[]lostCertificate{made("a", 1), made("b", 5)}, []lostRecord{lost("wide", 0, 9), lost("narrow", 0, 2)}, map[string]string{"a": "narrow", "b": "wide"}},
		"an answer that made none":          {[]lostCertificate{made("a", 1)}, []lostRecord{lost("r", 0, 2), lost("s", 0, 3)}, map[string]string{"a": "r"}},
		"one too many":                      {[]lostCertificate{made("a", 1), made("foreign", 1), made("b", 11)}, []lostRecord{lost("r", 0, 2), lost("s", 10, 12)}, map[string]string{"b": "s"}},
	} {
		t.Run(name, func(t *testing.T) {
			ours := map[string]string{}
			for _, got := range attribute(c.candidates, c.records) {
				if !got.doubtful {
					ours[got.id] = got.lost.Run
				}
			}
			require.Equal(t, c.runs, ours)
		})
	}
}
