package activities

import (
	"context"
	"errors"
	"net"
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"edgefleet/internal/fleet"
	"edgefleet/internal/quota"
)

// describeWith is the error of a call on a way to AWS.
func describeWith(t *testing.T, next http.RoundTripper) error {
	t.Helper()
	a := newAccount(t, fleet.IoTCore)
	a.wire.next = next
	_, err := a.iot.DescribeEndpoint(t.Context(), &iot.DescribeEndpointInput{})
	require.Error(t, err)
	return AWSError(`creating thing "cam-01"`, err)
}

func TestTypesOfAWSErrors(t *testing.T) {
	for _, c := range []struct {
		code    string
		status  int
		message string
		want    string
	}{
		{"InvalidRequestException", 400, "bad name", InvalidInput},
		{"ValidationException", 400, "bad value", InvalidInput},
		{"MalformedPolicyException", 400, "bad policy", InvalidInput},
		{"UnauthorizedException", 401, "no", AccessDenied},
		{"AccessDeniedException", 403, "not authorized to perform: iot:CreateThing", AccessDenied},
		{"AccessDenied", 403, "Access Denied", AccessDenied},
		{"ExpiredTokenException", 403, "expired", Unavailable},
		{"UnrecognizedClientException", 403, "invalid token", AccessDenied},
		{"ResourceAlreadyExistsException", 409, "exists", Conflict},
		{"ResourceInUse", 400, "exists", Conflict},
		{"ResourceNotFoundException", 404, "missing", NotFound},
		{"ResourceNotFound", 400, "missing", NotFound},
		{"NoSuchBucket", 404, "missing", NotFound},
		{"LimitExceededException", 410, "too many", QuotaExceeded},
		{"ResourceLimitExceeded", 400, "too many", QuotaExceeded},
		{"CertificateStateException", 406, "active", StateConflict},
		{"DeleteConflictException", 409, "attached", StateConflict},
		{"ThrottlingException", 429, "Rate exceeded", Throttled},
		{"ThrottlingException", 400, "slow down", Throttled},
		{"TooManyRequestsException", 429, "slow down", Throttled},
		{"SlowDown", 503, "Please reduce your request rate.", Throttled},
		{"LimitExceededException", 400, "Rate exceeded", Throttled},
		{"BadRequest", 400, "Rate exceeded", Throttled},
		{"InternalFailureException", 500, "oops", Unavailable},
		{"ServiceUnavailableException", 503, "oops", Unavailable},
		{"RequestTimeout", 400, "idle", Unavailable},
		// A code that says nothing: the status does.
		{"Unheard", 400, "x", InvalidInput},
		{"Unheard", 401, "x", AccessDenied},
		{"Unheard", 403, "x", AccessDenied},
		{"Unheard", 404, "x", NotFound},
		{"Unheard", 408, "x", Unavailable},
		{"Unheard", 409, "x", StateConflict},
		{"Unheard", 429, "x", Throttled},
		{"Unheard", 500, "x", Unavailable},
		{"Unheard", 502, "x", Unavailable},
	} {
		err := describeWith(t, roundTrip(func(*http.Request) (*http.Response, error) {
			return answer(c.status, map[string]string{"X-Amzn-ErrorType": c.code, "X-Amzn-RequestId": "req-1", "Content-Type": "application/json"},
				`{"message":"`+c.message+`"}`), nil
		}))
		final := requireType(t, err, c.want)
		require.Equal(t, `creating thing "cam-01": AWS said `+c.code+": "+c.message+
			" (request id req-1). What to do: "+errorTypes[c.want].advice+".", final.Message())
		var details ErrorDetails
		require.NoError(t, final.Details(&details))
		require.Equal(t, ErrorDetails{`creating thing "cam-01"`, c.code, "req-1"}, details)
	}
}

// Only what a retry can mend is retried, and every type says what to do.
func TestErrorTypes(t *testing.T) {
	retried := map[string]bool{Throttled: true, Unavailable: true, NotYetEffective: true}
	for name := range retried {
		require.Contains(t, errorTypes, name)
	}
	for name, kind := range errorTypes {
		require.Equal(t, retried[name], kind.retried, name)
		require.NotEmpty(t, kind.advice, name)
	}
	for code, kind := range typeOfCode {
		require.Contains(t, errorTypes, kind, code)
	}
}

// An answer that is not AWS's own, or none at all, is told by what there is.
func TestAnswersWithoutCode(t *testing.T) {
	html := func(status int) roundTrip {
		return func(*http.Request) (*http.Response, error) {
			return answer(status, map[string]string{"Content-Type": "text/html"}, "<html>gateway</html>"), nil
		}
	}
	requireType(t, describeWith(t, html(502)), Unavailable)
	requireType(t, describeWith(t, html(429)), Throttled)
	requireType(t, describeWith(t, html(403)), AccessDenied)
	requireType(t, describeWith(t, html(200)), Unavailable)
	requireType(t, describeWith(t, roundTrip(func(*http.Request) (*http.Response, error) {
		return answer(200, map[string]string{"Content-Type": "application/json"}, `{"endpointAddr`), nil
	})), Unavailable)

	final := requireType(t, describeWith(t, roundTrip(func(*http.Request) (*http.Response, error) {
		return nil, &net.DNSError{Err: "no such host", Name: "iot.nowhere", IsNotFound: true}
	})), Unavailable)
	require.Contains(t, final.Message(), `there is no host "iot.nowhere"`)
	final = requireType(t, describeWith(t, roundTrip(func(*http.Request) (*http.Response, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	})), Unavailable)
	require.Contains(t, final.Message(), "no answer: dial tcp: connection refused")
}

func TestNoCredentials(t *testing.T) {
	a := newAccount(t, fleet.IoTCore)
	a.cfg.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{}, errors.New("the profile has none")
	})
	a.Activities = New(a.cfg, "", quota.Unlimited())
	_, err := run[string](a, a.DescribeEndpoint)
	require.Contains(t, requireType(t, err, Unavailable).Message(), "there are no AWS credentials: the profile has none")
}

// That Temporal or the worker cancels is not AWS's word.
func TestCanceledIsPassedOn(t *testing.T) {
	a := newAccount(t, fleet.IoTCore)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := a.iot.DescribeEndpoint(ctx, &iot.DescribeEndpointInput{})
	got := AWSError("looking", err)
	require.ErrorIs(t, got, context.Canceled)
	_, isFinal := errors.AsType[*temporal.ApplicationError](got)
	require.False(t, isFinal)
	require.NoError(t, AWSError("looking", nil))
}
