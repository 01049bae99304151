package localaws

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
)

var errChunk = errors.New("malformed aws-chunked body")

// unchunk replaces a body in S3's aws-chunked encoding, signed or not, by what it carries.
func unchunk(r *http.Request) {
	if !strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") {
		return
	}
	size := r.Header.Get("X-Amz-Decoded-Content-Length")
	r.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
	r.Header.Set("Content-Length", size)
	if n, err := strconv.ParseInt(size, 10, 64); err == nil {
		r.ContentLength = n
	}
	var encodings []string
	for encoding := range strings.SplitSeq(r.Header.Get("Content-Encoding"), ",") {
		if encoding = strings.TrimSpace(encoding); encoding != "" && encoding != "aws-chunked" {
			encodings = append(encodings, encoding)
		}
	}
	r.Header.Del("Content-Encoding")
	if len(encodings) > 0 {
		r.Header.Set("Content-Encoding", strings.Join(encodings, ","))
	}
	r.Body = struct {
		io.Reader
		io.Closer
	}{&chunkReader{in: bufio.NewReader(r.Body)}, r.Body}
}

// chunkReader reads chunks of the form "SIZE;chunk-signature=…\r\nDATA\r\n" up to the one of size 0; trailers that
// follow it are read and dropped.
type chunkReader struct {
	in   *bufio.Reader
	left int64
	done bool
}

// Read returns the data of the chunks, io.EOF after the last.
func (c *chunkReader) Read(p []byte) (int, error) {
	if c.done {
		return 0, io.EOF
	}
	if c.left == 0 {
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	n, err := c.in.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	if c.left == 0 && err == nil {
		if _, err = c.in.Discard(len("\r\n")); err != nil {
			return n, errChunk
		}
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (c *chunkReader) next() error {
	line, err := c.in.ReadString('\n')
	if err != nil {
		return errChunk
	}
	size, _, _ := strings.Cut(strings.TrimSpace(line), ";")
	if c.left, err = strconv.ParseInt(size, 16, 64); err != nil || c.left < 0 {
		return errChunk
	}
	if c.left == 0 {
		c.done = true
		_, _ = io.Copy(io.Discard, c.in)
		return io.EOF
	}
	return nil
}
