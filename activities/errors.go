package activities

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	"go.temporal.io/sdk/temporal"

	"edgefleet/internal/quota"
)

// The types of the application errors that activities fail with. The first seven cannot be
// mended by retrying; the last three are retried with backoff.
const (
	InvalidInput    = "InvalidInput"
	AccessDenied    = "AccessDenied"
	Conflict        = "Conflict" // exists and differs
	NotFound        = "NotFound"
	QuotaExceeded   = "QuotaExceeded" // a count, not a rate
	RegistryRetired = "RegistryRetired"
	StateConflict   = "StateConflict" // exists, in a state that does not allow the call

	Throttled       = "Throttled"
	Unavailable     = "Unavailable"
	NotYetEffective = "NotYetEffective"
)

// errorType is what an error of a type means for retrying, and what a person can do about it.
type errorType struct {
	retried bool
	advice  string
	causes  string // the likely ones, for whoever finds a run held by it
}

var errorTypes = map[string]errorType{
	InvalidInput: {false, "correct the fleet specification or the manifest",
		"a value that AWS refuses, such as a role that does not exist; or a bucket of another region. A wrong roleArn or bundles can be corrected with the resume, anything else needs a rollback and a new run"},
	AccessDenied: {false, "check the worker's AWS credentials and region, and that its IAM policy allows this call",
		"the worker's IAM policy lacks this action or resource; a service control policy or the bucket's policy denies it; the credentials are another account's, or were revoked"},
	Conflict: {false, "make the specification fit what exists, or remove what exists if nothing uses it",
		"the name is in use, for another type, role or thing; or something was changed by hand after another run had made it"},
	NotFound: {false, "check the name, AWS_REGION and the account; `starter fleet apply` makes what the fleet needs",
		"something that the fleet shares was deleted (bucket, policy, role alias, device fleet); or the worker's region or account is another one"},
	QuotaExceeded: {false, "have the quota raised in Service Quotas, or remove what is no longer used",
		"the account has as many devices, fleets or certificates as it may have"},
	RegistryRetired: {false, "AWS ended SageMaker Edge Manager on 2024-04-26: set `registry: iot-core` in the fleet specification",
		"the fleet's registry is sagemaker-edge, and this AWS no longer has it. No resume helps: roll back, and provision with registry: iot-core"},
	StateConflict: {false, "look at the resource's state in AWS and mend it",
		"a certificate was revoked or deleted by hand, or a bundle has lost one of its files"},
	Throttled: {true, "it is retried; if it lasts, other programs use up the account's quota",
		"other programs use the same APIs of this account and region; or the account's quotas are lower than those that the workers keep"},
	Unavailable: {true, "it is retried; if it lasts, check AWS_ENDPOINT_URL, AWS_REGION, the network and the AWS Health Dashboard",
		"AWS is, or was, out of reach for longer than the step's time; or no worker ran"},
	NotYetEffective: {true, "it is retried: a detach takes seconds to take effect, a policy 6 to 8 minutes; if it lasts, check what is attached to the certificate and that its status is right",
		"the role does not trust credentials.iot.amazonaws.com; the fleet's policy is for another role alias; the certificate was made INACTIVE, or its policy or thing detached, by hand"},
}

// IsErrorType tells the type of an error that an activity fails with from whatever else ends a run.
func IsErrorType(kind string) bool {
	_, known := errorTypes[kind]
	return known
}

// LikelyCauses are those of an error that made a run hold, by its type; empty for a type that is not ours.
func LikelyCauses(kind string) string { return errorTypes[kind].causes }

// ErrorTypes are all types of errors that activities fail with.
func ErrorTypes() []string { return slices.Sorted(maps.Keys(errorTypes)) }

// ErrorDetails travel with an application error for programs; people read its message.
type ErrorDetails struct {
	Doing     string `json:"doing"`               // what was tried, on which resource
	Code      string `json:"code,omitempty"`      // AWS's error code
	RequestID string `json:"requestId,omitempty"` // AWS's, for its support
}

// Unfinished travels as a second detail with an error of IssueCertificate or DiscardCertificate: what
// there is yet.
type Unfinished struct {
	Note      AttemptNote `json:"note,omitzero"`       // a certificate that could be neither stored nor deleted
	FilesOnly bool        `json:"filesOnly,omitempty"` // the certificate is gone
	Retry     bool        `json:"retry,omitempty"`     // the error is one that retrying may mend
}

// leaving adds to an application error what there is yet. Such an error is not retried by the
// server, which would drop what it says if the run were cancelled between two attempts: the workflow
// retries it, where Retry says so.
func leaving(err error, what Unfinished) error {
	var final *temporal.ApplicationError
	var details ErrorDetails
	if !errors.As(err, &final) || final.Details(&details) != nil {
		return err
	}
	what.Retry = !final.NonRetryable()
	return temporal.NewApplicationErrorWithOptions(final.Message(), final.Type(), temporal.ApplicationErrorOptions{
		NonRetryable: true,
		Details:      []any{details, what},
	})
}

// typeOfCode names the type of each AWS error code that says what it is. Codes that are not here
// are told by their HTTP status.
var typeOfCode = map[string]string{
	"InvalidRequestException":  InvalidInput,
	"ValidationException":      InvalidInput,
	"ValidationError":          InvalidInput,
	"MalformedPolicyException": InvalidInput,
	"InvalidBucketName":        InvalidInput,
	"PermanentRedirect":        InvalidInput,

	"AccessDenied":                         AccessDenied,
	"AccessDeniedException":                AccessDenied,
	"UnauthorizedException":                AccessDenied,
	"UnrecognizedClientException":          AccessDenied,
	"InvalidClientTokenId":                 AccessDenied,
	"InvalidSignatureException":            AccessDenied,
	"SignatureDoesNotMatch":                AccessDenied,
	"IncompleteSignature":                  AccessDenied,
	"MissingAuthenticationTokenException":  AccessDenied,
	"InvalidAccessKeyId":                   AccessDenied,
	"InvalidToken":                         AccessDenied,
	"ExpiredToken":                         Unavailable,
	"ExpiredTokenException":                Unavailable,
	"AuthorizationHeaderMalformed":         AccessDenied,
	"KMS.DisabledException":                AccessDenied,
	"KMS.AccessDeniedException":            AccessDenied,
	"OptInRequired":                        AccessDenied,
	"ResourceAlreadyExistsException":       Conflict,
	"ResourceInUse":                        Conflict,
	"ResourceRegistrationFailureException": Conflict,
	"ResourceNotFoundException":            NotFound,
	"ResourceNotFound":                     NotFound,
	"NoSuchBucket":                         NotFound,
	"NoSuchKey":                            NotFound,
	"NotFound":                             NotFound,
	"KMS.NotFoundException":                NotFound,
	"ResourceLimitExceeded":                QuotaExceeded,
	"LimitExceededException":               QuotaExceeded,
	"VersionsLimitExceededException":       QuotaExceeded,
	"CertificateStateException":            StateConflict,
	"DeleteConflictException":              StateConflict,
	"InvalidStateTransitionException":      StateConflict,
	"VersionConflictException":             StateConflict,
	"ConflictingResourceUpdateException":   StateConflict,
	"ThrottlingException":                  Throttled,
	"Throttling":                           Throttled,
	"TooManyRequestsException":             Throttled,
	"RequestLimitExceeded":                 Throttled,
	"SlowDown":                             Throttled,
	"RequestTimeout":                       Unavailable,
	"RequestTimeTooSkewed":                 AccessDenied,
	"InternalFailureException":             Unavailable,
	"InternalException":                    Unavailable,
	"InternalServerException":              Unavailable,
	"ServiceUnavailableException":          Unavailable,
}

// typeOfStatus is the type of an answer whose code says nothing.
func typeOfStatus(status int) string {
	switch {
	case status == http.StatusTooManyRequests:
		return Throttled
	case status >= 500 || status == http.StatusRequestTimeout:
		return Unavailable
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return AccessDenied
	case status == http.StatusNotFound:
		return NotFound
	case status == http.StatusConflict:
		return StateConflict
	default:
		return InvalidInput
	}
}

// AWSError translates what an AWS client returned, once, into the error that the activity fails
// with. doing says what was tried and on which resource, as in `creating thing "cam-01"`.
func AWSError(doing string, err error) error {
	var canceled *smithy.CanceledError
	if err == nil || errors.As(err, &canceled) || errors.Is(err, context.Canceled) {
		return err // canceled: by Temporal, or the worker stops; not AWS's word
	}
	kind, text, details := classify(err)
	details.Doing = doing
	return newError(kind, text, details)
}

// classify tells the type of an AWS client's error, and what was said.
func classify(err error) (kind, text string, details ErrorDetails) {
	var (
		answer   smithy.APIError
		response *awshttp.ResponseError
		status   int
		dns      *net.DNSError
	)
	if errors.As(err, &response) {
		details.RequestID, status = response.ServiceRequestID(), response.HTTPStatusCode()
	}
	if errors.As(err, &answer) {
		details.Code = answer.ErrorCode()
		kind, known := typeOfCode[details.Code]
		if !known {
			kind = typeOfStatus(status)
		}
		// "Rate exceeded" comes under more codes than one, with status 400 at times (AWS documents it so).
		if strings.Contains(answer.ErrorMessage(), "Rate exceeded") {
			kind = Throttled
		}
		return kind, strings.TrimRight(fmt.Sprintf("AWS said %s: %s", details.Code, answer.ErrorMessage()), ": "), details
	}
	if busy := (quota.BusyError{}); errors.As(err, &busy) {
		return Throttled, busy.Error(), details
	}
	switch raw := err.Error(); {
	case strings.Contains(raw, "get credentials"), strings.Contains(raw, "get identity"):
		// Also a hiccup of what hands them out; that there are none at all, the worker says at its start.
		return Unavailable, "there are no AWS credentials: " + rootCause(err), details
	case errors.As(err, &dns) && dns.IsNotFound:
		return Unavailable, fmt.Sprintf("there is no host %q", dns.Name), details
	case status >= 200 && status < 300: // done, but what AWS said of it cannot be read
		return Unavailable, fmt.Sprintf("the answer, HTTP status %d, broke off or is not AWS's: %s", status, rootCause(err)), details
	case status != 0:
		return typeOfStatus(status), fmt.Sprintf("AWS answered with HTTP status %d and no error of its own", status), details
	}
	return Unavailable, "no answer: " + rootCause(err), details
}

// rootCause leaves out the layers that repeat the operation's name; the last one says what happened.
func rootCause(err error) string {
	var netErr *net.OpError
	if errors.As(err, &netErr) {
		return netErr.Error()
	}
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next
	}
	return err.Error()
}

// newError makes the application error of a type. Its message says what was being done, what was
// said, by which request, and what to do.
func newError(kind, said string, details ErrorDetails) error {
	t := errorTypes[kind]
	message := details.Doing + ": " + said
	if details.RequestID != "" {
		message += " (request id " + details.RequestID + ")"
	}
	message += ". What to do: " + t.advice + "."
	return temporal.NewApplicationErrorWithOptions(message, kind, temporal.ApplicationErrorOptions{
		NonRetryable: !t.retried,
		Details:      []any{details},
	})
}

// failed makes the application error for what we found ourselves, where AWS raised no error.
func failed(kind, doing, format string, args ...any) error {
	return newError(kind, fmt.Sprintf(format, args...), ErrorDetails{Doing: doing})
}

// existsOr is errExists when AWS said that the resource exists, otherwise AWSError.
func existsOr(doing string, err error) error {
	if hasCode(err, "ResourceAlreadyExistsException", "ResourceInUse") {
		return errExists
	}
	return AWSError(doing, err)
}

// hasCode tells whether AWS answered with one of the codes.
func hasCode(err error, codes ...string) bool {
	var said smithy.APIError
	if !errors.As(err, &said) {
		return false
	}
	for _, code := range codes {
		if said.ErrorCode() == code {
			return true
		}
	}
	return false
}

// said tells whether AWS's answer, an API error, holds one of the texts, in any case.
func said(err error, texts ...string) bool {
	var answer smithy.APIError
	if !errors.As(err, &answer) {
		return false
	}
	message := strings.ToLower(answer.ErrorMessage())
	for _, text := range texts {
		if strings.Contains(message, text) {
			return true
		}
	}
	return false
}
