package fleet

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
)

// rawInput counts and hashes what is read, and keeps the reader's own error: what reading gzip
// makes of it no longer tells whose fault it is.
type rawInput struct {
	in    io.Reader
	bytes int64
	sum   hash.Hash
	err   error
}

func newRawInput(in io.Reader) *rawInput { return &rawInput{in: in, sum: sha256.New()} }

func (r *rawInput) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.in.Read(p)
	r.bytes += int64(n)
	r.sum.Write(p[:n])
	if err != io.EOF {
		r.err = err
	}
	return n, err
}

func (r *rawInput) hex() string { return hex.EncodeToString(r.sum.Sum(nil)) }

// unreadableInput says why an input as a whole cannot be read as a manifest.
type unreadableInput string

func (e unreadableInput) Error() string { return string(e) }

// manifestLines reads a manifest line by line, in memory for one of the longest.
type manifestLines struct {
	raw     *rawInput
	text    *bufio.Reader
	gzipped bool
	number  int // of the last line
}

// manifestLine is a line without its end, good until the next one is read.
type manifestLine struct {
	text    []byte
	tooLong bool // and skipped
}

// otherFiles are what a manifest is taken for by mistake, by the bytes that they begin with.
var otherFiles = []struct{ magic, what string }{
	{"\xff\xfe", "is UTF-16: save it as UTF-8"},
	{"\xfe\xff", "is UTF-16: save it as UTF-8"},
	{"PK\x03\x04", "is a ZIP archive or a workbook: save it as CSV in UTF-8"},
	{"\xd0\xcf\x11\xe0", "is a workbook: save it as CSV in UTF-8"},
	{"\x1f\x8b", "is compressed twice"},
	{"BZh", "is compressed with bzip2: gzip is what is read"},
	{"\xfd7zXZ", "is compressed with xz: gzip is what is read"},
	{"\x28\xb5\x2f\xfd", "is compressed with zstd: gzip is what is read"},
}

func openManifest(raw *rawInput) (*manifestLines, error) {
	in := bufio.NewReader(raw)
	l := &manifestLines{raw: raw}
	var text io.Reader = in
	magic, err := in.Peek(2)
	if err != nil && err != io.EOF {
		return nil, l.cause(err)
	}
	if string(magic) == "\x1f\x8b" {
		l.gzipped = true
		if text, err = gzip.NewReader(in); err != nil {
			return nil, l.cause(err)
		}
	}
	l.text = bufio.NewReaderSize(text, maxManifestLine+len("\r\n"))
	head, err := l.text.Peek(8)
	if err != nil && err != io.EOF {
		return nil, l.cause(err)
	}
	for _, other := range otherFiles {
		if bytes.HasPrefix(head, []byte(other.magic)) {
			return nil, unreadableInput(other.what)
		}
	}
	if bytes.HasPrefix(head, byteOrderMark) {
		_, err = l.text.Discard(len(byteOrderMark))
		return l, err
	}
	return l, nil
}

// next is the next line; the error is io.EOF after the last, or what ended the reading.
func (l *manifestLines) next(ctx context.Context) (manifestLine, error) {
	text, err := l.text.ReadSlice('\n')
	some, tooLong := len(text) > 0, false
	for err == bufio.ErrBufferFull {
		if err := ctx.Err(); err != nil {
			return manifestLine{}, err
		}
		tooLong = true
		_, err = l.text.ReadSlice('\n')
	}
	if err != nil && (err != io.EOF || !some) {
		return manifestLine{}, l.cause(err)
	}
	l.number++
	if tooLong {
		return manifestLine{tooLong: true}, nil
	}
	text = bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
	return manifestLine{text, len(text) > maxManifestLine}, nil
}

// cause tells an input that is at fault from one that could not be read.
func (l *manifestLines) cause(err error) error {
	where := "in its first line"
	if l.number > 0 {
		where = fmt.Sprintf("after line %d", l.number)
	}
	switch {
	case l.raw.err != nil:
		return l.raw.err
	case !l.gzipped || err == io.EOF || err == io.ErrNoProgress:
		return err
	case err == io.ErrUnexpectedEOF:
		if l.number > 0 {
			where += " (or something else follows it)"
		}
		return unreadableInput("the gzip data is cut short, " + where)
	}
	return unreadableInput(fmt.Sprintf("the gzip data is damaged, %s: %s", where, err))
}
