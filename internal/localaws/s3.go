package localaws

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/johannesboyne/gofakes3"
)

// Objects are encrypted also when nobody asks for it, as S3 has done since 2023.
const (
	encryptionHeader  = "X-Amz-Server-Side-Encryption"
	encryptionKey     = "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id"
	defaultEncryption = "AES256"
)

// objectStore is S3: one, for all regions.
type objectStore struct {
	backend *objects
	handler http.Handler
}

func newObjectStore(buckets []string) (*objectStore, error) {
	backend := newObjects()
	for _, bucket := range buckets {
		if err := gofakes3.ValidateBucketName(bucket); err != nil {
			return nil, fmt.Errorf("bucket %q: %w", bucket, err)
		}
		if err := backend.CreateBucket(bucket); err != nil && !gofakes3.HasErrorCode(err, gofakes3.ErrBucketAlreadyExists) {
			return nil, fmt.Errorf("bucket %q: %w", bucket, err)
		}
	}
	return &objectStore{backend: backend, handler: gofakes3.New(backend).Server()}, nil
}

// s3Route tells an operation by its method, whether a key is named, and the subresource in its query.
type s3Route struct {
	method      string
	key         bool
	subresource string
}

var s3Routes = map[s3Route]string{
	{"GET", false, ""}:           "ListObjects",
	{"GET", false, "location"}:   "GetBucketLocation",
	{"GET", false, "uploads"}:    "ListMultipartUploads",
	{"GET", false, "versioning"}: "GetBucketVersioning",
	{"GET", false, "versions"}:   "ListObjectVersions",
	{"HEAD", false, ""}:          "HeadBucket",
	{"PUT", false, ""}:           "CreateBucket",
	{"PUT", false, "versioning"}: "PutBucketVersioning",
	{"POST", false, "delete"}:    "DeleteObjects",
	{"DELETE", false, ""}:        "DeleteBucket",
	{"GET", true, ""}:            "GetObject",
	{"GET", true, "uploadId"}:    "ListParts",
	{"HEAD", true, ""}:           "HeadObject",
	{"PUT", true, ""}:            "PutObject",
	{"PUT", true, "uploadId"}:    "UploadPart",
	{"POST", true, "uploads"}:    "CreateMultipartUpload",
	{"POST", true, "uploadId"}:   "CompleteMultipartUpload",
	{"DELETE", true, ""}:         "DeleteObject",
	{"DELETE", true, "uploadId"}: "AbortMultipartUpload",
}

// bucketMakers are the operations that make the bucket they write to.
var bucketMakers = map[string]bool{"PutObject": true, "CopyObject": true, "CreateMultipartUpload": true, "PutBucketVersioning": true}

// s3Subresources change the meaning of a request by standing in its query.
var s3Subresources = []string{
	"uploadId", "uploads", "versioning", "versions", "location", "delete",
	"acl", "accelerate", "analytics", "attributes", "cors", "encryption", "intelligent-tiering", "inventory", "legal-hold",
	"lifecycle", "logging", "metrics", "notification", "object-lock", "ownershipControls", "policy", "policyStatus",
	"publicAccessBlock", "replication", "requestPayment", "restore", "retention", "select", "session", "tagging", "torrent", "website",
}

func s3Operations() []string {
	operations := []string{"ListBuckets", "ListObjectsV2", "CopyObject"}
	for _, operation := range s3Routes {
		operations = append(operations, operation)
	}
	return operations
}

// s3Operation names the operation of a request, "" if it is not one that the local AWS has.
func s3Operation(r *http.Request, bucket, key string, query url.Values) string {
	subresource := ""
	for _, name := range s3Subresources {
		if query.Has(name) {
			subresource = name
			break
		}
	}
	if bucket == "" {
		if r.Method == http.MethodGet && subresource == "" {
			return "ListBuckets"
		}
		return ""
	}
	operation := s3Routes[s3Route{r.Method, key != "", subresource}]
	switch {
	case operation == "ListObjects" && query.Get("list-type") == "2":
		return "ListObjectsV2"
	case operation == "PutObject" && r.Header.Get("X-Amz-Copy-Source") != "":
		return "CopyObject"
	case operation == "UploadPart" && r.Header.Get("X-Amz-Copy-Source") != "":
		return "" // gofakes3 would store an empty part
	}
	return operation
}

func (s *Server) serveS3(w http.ResponseWriter, r *http.Request) {
	hostToPath(r)
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	query := r.URL.Query()
	operation := s3Operation(r, bucket, key, query)
	if operation == "" {
		s3XML.refuse(w, failure("NotImplemented", http.StatusNotImplemented, "A header or query you provided implies functionality that is not implemented: %s %s", r.Method, r.URL))
		return
	}
	s.serve(w, r, exchange{
		operation: "s3:" + operation,
		protocol:  s3XML,
		names:     func() string { return s3Names(r, query) },
		work: func(w http.ResponseWriter) {
			if bucketMakers[operation] && gofakes3.ValidateBucketName(bucket) == nil {
				_ = s.store.backend.CreateBucket(bucket) // it may be there
			}
			s.store.do(w, r, operation)
		},
	})
}

// do has gofakes3 do an operation, and mends what it leaves out.
func (o *objectStore) do(w http.ResponseWriter, r *http.Request, operation string) {
	unchunk(r)
	switch operation {
	case "GetObject":
		w = &ifMatch{ResponseWriter: w, want: r.Header.Get("If-Match")}
	case "PutObject", "CopyObject", "CreateMultipartUpload":
		w.Header().Set(encryptionHeader, orDefault(r.Header.Get(encryptionHeader), defaultEncryption))
		if key := r.Header.Get(encryptionKey); key != "" {
			w.Header().Set(encryptionKey, key)
		}
	case "HeadObject":
		if r.URL.Query().Has("versionId") { // gofakes3 looks at versions only for GET; net/http drops the body
			r = r.Clone(r.Context())
			r.Method = http.MethodGet
		}
	}
	o.handler.ServeHTTP(w, r)
}

// ifMatch refuses an object of another ETag than was asked for, which gofakes3 does only for PUT.
type ifMatch struct {
	http.ResponseWriter
	want           string // "" and "*": any
	begun, refused bool
}

func (w *ifMatch) WriteHeader(status int) {
	w.begun = true
	etag := strings.Trim(w.Header().Get("ETag"), `"`)
	if w.want == "" || w.want == "*" || etag == "" || etag == strings.Trim(w.want, `"`) {
		w.ResponseWriter.WriteHeader(status)
		return
	}
	w.refused = true
	for _, header := range []string{"ETag", "Last-Modified", "Content-Length", "Content-Range", "Accept-Ranges"} {
		w.Header().Del(header)
	}
	s3XML.refuse(w.ResponseWriter, failure("PreconditionFailed", http.StatusPreconditionFailed, "At least one of the pre-conditions you specified did not hold"))
}

func (w *ifMatch) Write(b []byte) (int, error) {
	if !w.begun {
		w.WriteHeader(http.StatusOK)
	}
	if w.refused {
		return len(b), nil
	}
	return w.ResponseWriter.Write(b)
}

// hostToPath puts the bucket of a virtual-hosted request (BUCKET.localhost) where a path style request has it.
func hostToPath(r *http.Request) {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	if bucket, ok := strings.CutSuffix(host, "."+defaultCredentialsHost); ok {
		r.URL.Path = "/" + strings.TrimPrefix(bucket+r.URL.Path, "/")
		r.URL.RawPath = ""
	}
}

// s3Names are the keys in a request: in its path and query, its copy source, and in the body of DeleteObjects.
func s3Names(r *http.Request, query url.Values) string {
	parts := []string{r.URL.Path, r.Header.Get("X-Amz-Copy-Source"), query.Get("prefix")}
	if query.Has("delete") {
		body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
		if err == nil {
			parts = append(parts, string(body))
		}
		r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), r.Body))
	}
	return strings.Join(parts, "\n")
}
