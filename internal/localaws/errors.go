package localaws

import (
	"fmt"
	"net/http"
	"strings"
)

// apiError is an AWS error answer before it is put into a protocol.
type apiError struct {
	code        string
	status      int
	message     string
	resourceID  string // of ResourceAlreadyExistsException
	resourceARN string
}

func (e *apiError) Error() string { return e.code + ": " + e.message }

func failure(code string, status int, format string, args ...any) *apiError {
	return &apiError{code: code, status: status, message: fmt.Sprintf(format, args...)}
}

func invalidRequest(format string, args ...any) *apiError {
	return failure("InvalidRequestException", http.StatusBadRequest, format, args...)
}

func notFound(format string, args ...any) *apiError {
	return failure("ResourceNotFoundException", http.StatusNotFound, format, args...)
}

func deleteConflict(format string, args ...any) *apiError {
	return failure("DeleteConflictException", http.StatusConflict, format, args...)
}

func certificateState(format string, args ...any) *apiError {
	return failure("CertificateStateException", http.StatusNotAcceptable, format, args...)
}

func versionConflict(name string, expected int64) *apiError {
	return failure("VersionConflictException", http.StatusConflict, "The version for thing %s does not match the expected version %d.", name, expected)
}

// alreadyExists carries the id and ARN of what is in the way, as AWS does.
func alreadyExists(id, arn, format string, args ...any) *apiError {
	e := failure("ResourceAlreadyExistsException", http.StatusConflict, format, args...)
	e.resourceID, e.resourceARN = id, arn
	return e
}

func malformedPolicy(format string, args ...any) *apiError {
	return failure("MalformedPolicyException", http.StatusBadRequest, "Policy document is Malformed: "+format, args...)
}

// validation is SageMaker's answer to nearly everything it does not like.
func validation(format string, args ...any) *apiError {
	return failure("ValidationException", http.StatusBadRequest, format, args...)
}

// statusOf picks the HTTP status that fits an error code, for faults that name only the code.
func statusOf(code string) int {
	for _, known := range []struct {
		part   string
		status int
	}{
		{"CertificateState", http.StatusNotAcceptable},
		{"Unauthorized", http.StatusUnauthorized},
		{"AccessDenied", http.StatusForbidden},
		{"Forbidden", http.StatusForbidden},
		{"Token", http.StatusForbidden},
		{"Signature", http.StatusForbidden},
		{"NotFound", http.StatusNotFound},
		{"NoSuch", http.StatusNotFound},
		{"AlreadyExists", http.StatusConflict},
		{"VersionsLimit", http.StatusConflict},
		{"Conflict", http.StatusConflict},
		{"LimitExceededException", http.StatusGone},
		{"PreconditionFailed", http.StatusPreconditionFailed},
		{"SlowDown", http.StatusServiceUnavailable},
		{"Unavailable", http.StatusServiceUnavailable},
		{"Throttl", http.StatusTooManyRequests},
		{"TooManyRequests", http.StatusTooManyRequests},
		{"Internal", http.StatusInternalServerError},
	} {
		if strings.Contains(code, known.part) {
			return known.status
		}
	}
	return http.StatusBadRequest
}
