package localaws

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// request is a call of an IoT operation.
type request struct {
	*http.Request
	query url.Values
	body  []byte
}

// decode reads the body's JSON; like AWS it ignores members that it does not know.
func (q *request) decode(into any) error {
	if len(q.body) == 0 {
		return nil
	}
	if err := json.Unmarshal(q.body, into); err != nil {
		return failure("SerializationException", http.StatusBadRequest, "%v", err)
	}
	return nil
}

// flag is a boolean of the query, false if absent.
func (q *request) flag(name string) bool { return q.query.Get(name) == "true" }

// paging says which part of a list is asked for.
type paging struct {
	after       uint64
	limit       int
	newestFirst bool
}

const (
	defaultPage = 25
	maxPage     = 250
)

// paging reads the members that a list operation pages by: nextToken and maxResults, or marker and pageSize.
func (q *request) paging(tokenMember, sizeMember string) (paging, error) {
	p := paging{limit: defaultPage}
	if size := q.query.Get(sizeMember); size != "" {
		n, err := strconv.Atoi(size)
		switch {
		case err != nil || n < 1:
			return p, invalidRequest("%s", violationOf(size, sizeMember, "Member must have value greater than or equal to 1"))
		case n > maxPage:
			return p, invalidRequest("%s", violationOf(size, sizeMember, "Member must have value less than or equal to 250"))
		}
		p.limit = n
	}
	if token := q.query.Get(tokenMember); token != "" {
		after, ok := parseToken(token)
		if !ok {
			return p, invalidRequest("Invalid %s: %s", tokenMember, token)
		}
		p.after = after
	}
	return p, nil
}

func (q *request) byToken() (paging, error) { return q.paging("nextToken", "maxResults") }

// byMarker also reads the order, which is newest first unless asked otherwise.
func (q *request) byMarker() (paging, error) {
	p, err := q.paging("marker", "pageSize")
	p.newestFirst = !q.flag("isAscendingOrder")
	return p, err
}

// token is the opaque form of a page's end, "" at the end of the list.
func token(next uint64) string {
	if next == 0 {
		return ""
	}
	return base64.StdEncoding.EncodeToString(strconv.AppendUint([]byte("after "), next, 10))
}

func parseToken(token string) (uint64, bool) {
	text, err := base64.StdEncoding.DecodeString(token)
	if err != nil {
		return 0, false
	}
	number, ok := strings.CutPrefix(string(text), "after ")
	after, err := strconv.ParseUint(number, 10, 64)
	return after, ok && err == nil
}

type regionKey struct{}

func withRegion(ctx context.Context, r *region) context.Context {
	return context.WithValue(ctx, regionKey{}, r)
}

const anyPath = "/"

// iotHandler routes by the method and path of the IoT API model.
func (s *Server) iotHandler() http.Handler {
	mux := http.NewServeMux()
	for _, operation := range iotOperations() {
		mux.Handle(operation.method+" "+operation.path, s.iotOperationHandler(operation))
	}
	mux.HandleFunc(anyPath, func(w http.ResponseWriter, r *http.Request) {
		refuseRESTJSON(w, failure("UnknownOperationException", http.StatusNotFound, "The local AWS has no IoT operation %s %s", r.Method, r.URL.Path))
	})
	return mux
}

func (s *Server) isIoT(r *http.Request) bool {
	_, pattern := s.iot.(*http.ServeMux).Handler(r)
	return pattern != anyPath
}

func (s *Server) iotOperationHandler(operation iotOperation) http.Handler {
	name := "iot:" + operation.name
	members := operation.pathMembers()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reg := r.Context().Value(regionKey{}).(*region)
		body, ok := readBody(w, r, restJSON)
		if !ok {
			return
		}
		q := &request{Request: r, query: r.URL.Query(), body: body}
		s.serve(w, r, exchange{
			operation: name,
			region:    reg.name,
			protocol:  restJSON,
			names:     func() string { return reg.namesIn(q) },
			work: func(w http.ResponseWriter) {
				out, err := reg.do(operation, members, q)
				if err != nil {
					refuseRESTJSON(w, asAPIError(err))
					return
				}
				writeJSON(w, http.StatusOK, "application/json", out)
			},
		})
	})
}

// do checks the names in the path and runs the operation, alone in its region.
func (r *region) do(operation iotOperation, members []string, q *request) (any, error) {
	for _, member := range members {
		if rule, ok := pathRules[member]; ok {
			if err := checkIoT(rule, member, q.PathValue(member)); err != nil {
				return nil, err
			}
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return operation.do(r, q)
}

// asAPIError passes on what an operation refuses and makes anything else an internal failure.
func asAPIError(err error) *apiError {
	if e, ok := errors.AsType[*apiError](err); ok {
		return e
	}
	return failure("InternalFailureException", http.StatusInternalServerError, "%v", err)
}

// namesIn are the names of the resources that a request concerns, for faults to match: its path, query, body and
// headers, and the things that a certificate named in it is attached to.
func (r *region) namesIn(q *request) string {
	parts := []string{q.URL.Path, q.Header.Get("X-Amzn-Principal"), subjectOrBody(q.body)}
	for _, values := range q.query {
		parts = append(parts, values...)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range certificateIDs.FindAllString(strings.Join(parts, "\n"), -1) {
		parts = append(parts, r.principals.froms(r.arn("cert", id))...)
	}
	return strings.Join(slices.DeleteFunc(parts, func(part string) bool { return part == "" }), "\n")
}

// subjectOrBody is a body to search for names, and instead of a certificate request its subject: its base64 would
// match short names by chance.
func subjectOrBody(body []byte) string {
	var in struct {
		CertificateSigningRequest string `json:"certificateSigningRequest"`
	}
	if json.Unmarshal(body, &in) != nil || in.CertificateSigningRequest == "" {
		return string(body)
	}
	if block, _ := pem.Decode([]byte(in.CertificateSigningRequest)); block != nil {
		if csr, err := x509.ParseCertificateRequest(block.Bytes); err == nil {
			return csr.Subject.String()
		}
	}
	return ""
}
