package workflows

import (
	"bytes"
	"encoding/binary"
	"slices"
	"sort"
	"time"

	"edgefleet/internal/fleet"
)

// Ledger is what a schedule's runs have taken, carried from each to the next. It is bounded: 8 bytes a
// manifest, for maxLedger manifests.
type Ledger struct {
	// Digests are those of the manifests that need not be looked at again, 8 bytes each, sorted.
	Digests []byte `json:"digests,omitempty"`
	// Before stands for older manifests: all that were last modified then, or earlier, were taken.
	Before time.Time `json:"before,omitzero"`
	// Resume is where the onboarding has its files that has stopped, and may have left devices held.
	Resume fleet.S3URI `json:"resume,omitzero"`
}

// maxLedger is how many manifests a ledger remembers one by one.
const maxLedger = 10_000

const digestLen = 8

// Has tells whether a manifest was taken, or set aside, in this version.
func (l Ledger) Has(m ManifestVersion) bool {
	return !m.Modified.After(l.Before) || l.holds(takenDigest(m)) || l.holds(asideDigest(m))
}

// Prune forgets what is no longer there: kept are the digests of manifests that are, the latest of them,
// and Before stands for the rest, as far as none that is open is older.
func (l *Ledger) Prune(there []ManifestVersion) {
	var known []ManifestVersion
	oldestOpen := time.Time{}
	for _, m := range there {
		switch {
		case !l.Has(m):
			if oldestOpen.IsZero() || m.Modified.Before(oldestOpen) {
				oldestOpen = m.Modified
			}
		case m.Modified.After(l.Before):
			known = append(known, m)
		}
	}
	before := *l
	slices.SortStableFunc(known, func(a, b ManifestVersion) int { return b.Modified.Compare(a.Modified) })
	if len(known) > maxLedger {
		newest := known[maxLedger].Modified
		if !oldestOpen.IsZero() && !newest.Before(oldestOpen) {
			newest = oldestOpen.Add(-time.Nanosecond)
		}
		if newest.After(l.Before) {
			l.Before = newest
		}
		known = known[:maxLedger]
	}
	l.Digests = nil
	for _, m := range known {
		for _, digest := range []uint64{takenDigest(m), asideDigest(m)} {
			if before.holds(digest) {
				l.add(digest)
			}
		}
	}
}

// take notes that a manifest is done. One that is put again is taken again: what failed is tried again.
func (l *Ledger) take(m ManifestVersion) { l.add(takenDigest(m)) }

// setAside notes that a manifest is invalid, which it stays until its ETag changes.
func (l *Ledger) setAside(m ManifestVersion) { l.add(asideDigest(m)) }

func (l Ledger) find(digest uint64) (at int, key []byte) {
	key = binary.BigEndian.AppendUint64(nil, digest)
	return sort.Search(len(l.Digests)/digestLen, func(i int) bool {
		return bytes.Compare(l.Digests[i*digestLen:(i+1)*digestLen], key) >= 0
	}), key
}

func (l Ledger) holds(digest uint64) bool {
	at, key := l.find(digest)
	return bytes.HasPrefix(l.Digests[at*digestLen:], key)
}

func (l *Ledger) add(digest uint64) {
	if at, key := l.find(digest); !bytes.HasPrefix(l.Digests[at*digestLen:], key) {
		l.Digests = slices.Insert(l.Digests, at*digestLen, key...)
	}
}

func takenDigest(m ManifestVersion) uint64 {
	return digestOf(m.Key, m.ETag, m.Modified.UTC().Format(time.RFC3339))
}

func asideDigest(m ManifestVersion) uint64 { return digestOf(m.Key, m.ETag) }

// digestOf is FNV-1a's, 64 bits wide.
func digestOf(parts ...string) uint64 {
	sum := uint64(14695981039346656037)
	for _, part := range parts {
		for i := range len(part) {
			sum = (sum ^ uint64(part[i])) * 1099511628211
		}
		sum = (sum ^ 0xff) * 1099511628211 // which is in no key, so none ends where an ETag begins
	}
	return sum
}
