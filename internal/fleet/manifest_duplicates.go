package fleet

import (
	"bufio"
	"bytes"
	"cmp"
	"container/heap"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"
)

// seenNamesChunk is how many names are held in memory, a device's and its thing's: some 15 MB with
// the longest names, 2 MB with usual ones.
const seenNamesChunk = 1 << 16

const (
	seenDevice = byte('d')
	seenThing  = byte('t')
)

// seenName is a name and the line that it stands on.
type seenName struct {
	kind  byte // seenDevice or seenThing
	name  []byte
	owner []byte // the device, where the name is a thing's
	line  int
}

func (n seenName) compare(other seenName) int {
	return cmp.Or(cmp.Compare(n.kind, other.kind), bytes.Compare(n.name, other.name), cmp.Compare(n.line, other.line))
}

// seenNames finds the names that stand on several lines, however far apart, in memory for one
// chunk of them: chunks are sorted and written to a temporary file, and merged in the end.
type seenNames struct {
	chunkLen int
	chunk    []seenRef
	text     []byte   // the names of the chunk
	file     *os.File // the sorted chunks before it, if any
	ends     []int64  // of each of them in the file
}

// seenRef is a seenName whose texts are in the chunk's.
type seenRef struct {
	start             uint32
	nameLen, ownerLen uint16
	line              int
}

func (s *seenNames) name(r seenRef) seenName {
	kind, text := s.text[r.start], s.text[r.start+1:]
	return seenName{kind, text[:r.nameLen], text[r.nameLen : r.nameLen+r.ownerLen], r.line}
}

// add takes a name that follows its rule, and so is short.
func (s *seenNames) add(kind byte, name, owner string, line int) error {
	if len(s.chunk) == s.chunkLen {
		if err := s.spill(); err != nil {
			return fmt.Errorf("writing names to the temporary file of a long manifest: %w", err)
		}
	}
	s.chunk = append(s.chunk, seenRef{uint32(len(s.text)), uint16(len(name)), uint16(len(owner)), line})
	s.text = append(append(append(s.text, kind), name...), owner...)
	return nil
}

// spill empties the chunk into the file.
func (s *seenNames) spill() error {
	if s.file == nil {
		file, err := os.CreateTemp("", "edgefleet-manifest-")
		if err != nil {
			return err
		}
		s.file = file
		// It goes with the last handle, also if the process is killed.
		if err := os.Remove(file.Name()); err != nil {
			return err
		}
	}
	out := bufio.NewWriter(s.file)
	s.writeSorted(out)
	if err := out.Flush(); err != nil {
		return err
	}
	end, err := s.file.Seek(0, io.SeekCurrent)
	s.ends = append(s.ends, end)
	s.chunk, s.text = s.chunk[:0], s.text[:0]
	return err
}

// writeSorted leaves errors to the writer's Flush.
func (s *seenNames) writeSorted(out *bufio.Writer) {
	slices.SortFunc(s.chunk, func(a, b seenRef) int { return s.name(a).compare(s.name(b)) })
	var buf []byte
	for _, ref := range s.chunk {
		n := s.name(ref)
		buf = append(buf[:0], n.kind)
		buf = append(binary.AppendUvarint(buf, uint64(len(n.name))), n.name...)
		buf = append(binary.AppendUvarint(buf, uint64(len(n.owner))), n.owner...)
		out.Write(binary.AppendUvarint(buf, uint64(n.line)))
	}
}

// duplicates calls report for each name that stands on an earlier line already, with the first of
// these. The bytes of both are good during the call.
func (s *seenNames) duplicates(ctx context.Context, report func(first, again seenName)) error {
	var last bytes.Buffer
	out := bufio.NewWriter(&last)
	s.writeSorted(out)
	out.Flush()
	runs := []io.Reader{&last}
	start := int64(0)
	for _, end := range s.ends {
		runs = append(runs, io.NewSectionReader(s.file, start, end-start))
		start = end
	}
	var merge seenMerge
	for _, run := range runs {
		r := &seenRun{in: bufio.NewReader(run)}
		switch more, err := r.next(); {
		case err != nil:
			return err
		case more:
			merge = append(merge, r)
		}
	}
	heap.Init(&merge)
	var first seenName
	for len(merge) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		run := merge[0]
		if again := run.seenName; again.kind == first.kind && bytes.Equal(again.name, first.name) {
			report(first, again)
		} else {
			first = seenName{again.kind, append(first.name[:0], again.name...), append(first.owner[:0], again.owner...), again.line}
		}
		switch more, err := run.next(); {
		case err != nil:
			return err
		case more:
			heap.Fix(&merge, 0)
		default:
			heap.Pop(&merge)
		}
	}
	return nil
}

func (s *seenNames) close() {
	if s.file != nil {
		s.file.Close() // it was removed when it was made
	}
}

// seenRun is a sorted chunk; its seenName is where the merge stands in it.
type seenRun struct {
	seenName
	in *bufio.Reader
}

// next goes to the next name; false after the last.
func (r *seenRun) next() (more bool, err error) {
	if r.kind, err = r.in.ReadByte(); err == io.EOF {
		return false, nil
	}
	for _, into := range []*[]byte{&r.name, &r.owner} {
		var n uint64
		if err == nil {
			n, err = binary.ReadUvarint(r.in)
		}
		if err == nil {
			*into = slices.Grow((*into)[:0], int(n))[:n]
			_, err = io.ReadFull(r.in, *into)
		}
	}
	var line uint64
	if err == nil {
		line, err = binary.ReadUvarint(r.in)
		r.line = int(line)
	}
	if err != nil {
		return false, fmt.Errorf("reading names back from the temporary file of a long manifest: %w", err)
	}
	return true, nil
}

// seenMerge is a heap of runs, by the names where they stand.
type seenMerge []*seenRun

func (m seenMerge) Len() int           { return len(m) }
func (m seenMerge) Less(i, j int) bool { return m[i].compare(m[j].seenName) < 0 }
func (m seenMerge) Swap(i, j int)      { m[i], m[j] = m[j], m[i] }
func (m *seenMerge) Push(x any)        { *m = append(*m, x.(*seenRun)) }
func (m *seenMerge) Pop() any {
	last := (*m)[len(*m)-1]
	*m = (*m)[:len(*m)-1]
	return last
}
