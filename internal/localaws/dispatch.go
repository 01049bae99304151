package localaws

import (
	"io"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"
)

// maxBody bounds the JSON and query requests, in bytes; S3 objects are not bound by it.
const maxBody = 1 << 20

// dispatch sends a request to the service that its signature names.
func (s *Server) dispatch(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, controlPrefix) {
		s.control.ServeHTTP(w, r)
		return
	}
	signed, refusal := scopeOf(r)
	if refusal != nil {
		if p := s.speaks(r); p == s3XML {
			p.refuse(w, failure("AuthorizationHeaderMalformed", http.StatusBadRequest, "The authorization header is malformed; %s", refusal.message))
		} else {
			p.refuse(w, refusal)
		}
		return
	}
	if signed == nil {
		if p := s.speaks(r); p == s3XML {
			p.refuse(w, failure("AccessDenied", http.StatusForbidden, "Access Denied"))
		} else {
			p.refuse(w, failure("MissingAuthenticationTokenException", http.StatusForbidden, "Missing Authentication Token"))
		}
		return
	}
	switch signed.service {
	case "iot", "execute-api":
		s.iot.ServeHTTP(w, r.WithContext(withRegion(r.Context(), s.region(signed.region))))
	case "sagemaker":
		s.serveSageMaker(w, r, s.region(signed.region))
	case "s3":
		s.serveS3(w, r)
	case "sts", "iam":
		s.serveSTS(w, r, signed)
	default:
		s.speaks(r).refuse(w, failure("InvalidSignatureException", http.StatusForbidden,
			"Credential should be scoped to correct service: the local AWS has iot, sagemaker, s3 and sts, not '%s'.", signed.service))
	}
}

// speaks guesses the protocol of a request whose signature does not tell the service.
func (s *Server) speaks(r *http.Request) *protocol {
	switch {
	case strings.HasPrefix(r.Header.Get("X-Amz-Target"), sageMakerTarget):
		return json11
	case r.Method == http.MethodPost && strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded"):
		return queryXML
	case s.isIoT(r):
		return restJSON
	}
	return s3XML
}

// exchange is one call: what it is called, whom it concerns and how to do it.
type exchange struct {
	operation string // "iot:CreateThing"
	region    string
	protocol  *protocol
	names     func() string // the resource names in it, asked for only if a fault wants to know
	work      func(http.ResponseWriter)
}

// serve counts a call, lets a fault have it, holds it to its quota and does it.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, x exchange) {
	now := time.Now()
	s.calls.note(x.operation, now)
	f := s.faults.strike(x.operation, x.names)
	if f != nil {
		s.log.Debug("fault", zap.String("operation", x.operation), zap.String("kind", f.Kind), zap.Int("fault", f.ID))
		switch f.Kind {
		case faultError:
			x.protocol.refuse(w, f.answer(x.protocol))
			return
		case faultThrottle:
			s.calls.noteThrottled(x.operation)
			x.protocol.refuse(w, x.protocol.throttled)
			return
		case faultDropBefore:
			cutConnection()
		case faultHang:
			// Reading the body to its end is what makes the server notice a client that gives up.
			_, _ = io.Copy(io.Discard, r.Body)
			f.wait(r, s.closing, nil)
			cutConnection()
		case faultDelay:
			timer := time.NewTimer(time.Duration(f.DelayMs) * time.Millisecond)
			defer timer.Stop()
			f.wait(r, s.closing, timer.C)
		}
	}
	if !s.quotas.allow(x.operation, x.region, time.Now()) {
		s.calls.noteThrottled(x.operation)
		x.protocol.refuse(w, x.protocol.throttled)
		return
	}
	if f != nil && f.Kind == faultDropAfter {
		x.work(nowhere{})
		cutConnection()
	}
	x.work(w)
}

// cutConnection closes the client's connection without an answer; nothing may have been written before.
func cutConnection() {
	panic(http.ErrAbortHandler)
}

// nowhere takes the answer that a drop-after fault keeps from the client.
type nowhere http.Header

// Header returns headers that nobody sees.
func (n nowhere) Header() http.Header { return http.Header(n) }

// Write forgets the answer's body.
func (n nowhere) Write(p []byte) (int, error) { return len(p), nil }

// WriteHeader forgets the answer's status.
func (n nowhere) WriteHeader(int) {}

// readBody reads a request's body; too large or broken is an error in the service's protocol.
func readBody(w http.ResponseWriter, r *http.Request, p *protocol) ([]byte, bool) {
	if r.ContentLength == 0 {
		return nil, true
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil || len(body) > maxBody {
		p.refuse(w, failure("RequestEntityTooLargeException", http.StatusRequestEntityTooLarge, "The request body could not be read or exceeds %d bytes", maxBody))
		return nil, false
	}
	return body, true
}
