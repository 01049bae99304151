package localaws

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// scope is what a SigV4 signature says about a request: who, where and which service.
type scope struct {
	accessKey, region, service string
}

var (
	plausibleRegion = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-\d+$`)
	signatureHex    = regexp.MustCompile(`^[0-9a-f]{64}$`)
	scopeDate       = regexp.MustCompile(`^\d{8}$`)
)

const algorithm = "AWS4-HMAC-SHA256"

// scopeOf reads the signature of a header or of a presigned URL. The signature itself is not verified: any
// secret will do. nil, nil means that the request is not signed at all.
func scopeOf(r *http.Request) (*scope, *apiError) {
	credential, signedHeaders, signature := "", "", ""
	if header := r.Header.Get("Authorization"); header != "" {
		parameters, ok := strings.CutPrefix(header, algorithm+" ")
		if !ok {
			return nil, incomplete("Authorization header requires algorithm %q. Authorization=%s", algorithm, firstWord(header))
		}
		for parameter := range strings.SplitSeq(parameters, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(parameter), "=")
			switch name {
			case "Credential":
				credential = value
			case "SignedHeaders":
				signedHeaders = value
			case "Signature":
				signature = value
			}
		}
	} else {
		query := r.URL.Query()
		if key := query.Get("AWSAccessKeyId"); key != "" && query.Has("Signature") {
			return &scope{accessKey: key, region: "us-east-1", service: "s3"}, nil // boto3 still presigns S3 so
		}
		if credential, signedHeaders, signature = presigned(query); credential == "" {
			return nil, nil
		}
	}

	for _, required := range [][2]string{{"Credential", credential}, {"Signature", signature}, {"SignedHeaders", signedHeaders}} {
		if required[1] == "" {
			return nil, incomplete("Authorization header requires '%s' parameter.", required[0])
		}
	}
	parts := strings.Split(credential, "/")
	if len(parts) != 5 || parts[0] == "" || parts[3] == "" || parts[4] != "aws4_request" || !scopeDate.MatchString(parts[1]) {
		return nil, incomplete("Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '%s'", credential)
	}
	if !signatureHex.MatchString(signature) {
		return nil, failure("InvalidSignatureException", http.StatusForbidden,
			"The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
	}
	if !plausibleRegion.MatchString(parts[2]) {
		return nil, failure("InvalidSignatureException", http.StatusForbidden, "Credential should be scoped to a valid region.")
	}
	return &scope{accessKey: parts[0], region: parts[2], service: parts[3]}, nil
}

func presigned(query url.Values) (credential, signedHeaders, signature string) {
	return query.Get("X-Amz-Credential"), query.Get("X-Amz-SignedHeaders"), query.Get("X-Amz-Signature")
}

func incomplete(format string, args ...any) *apiError {
	return failure("IncompleteSignatureException", http.StatusForbidden, format, args...)
}

func firstWord(s string) string {
	word, _, _ := strings.Cut(s, " ")
	return word
}
