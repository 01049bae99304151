package localaws

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// protocol is how a service words its errors.
type protocol struct {
	refuse    func(http.ResponseWriter, *apiError)
	throttled *apiError
	broken    *apiError // what a fault of kind error answers unless it says otherwise
}

var (
	restJSON = &protocol{
		refuse:    refuseRESTJSON,
		throttled: failure("ThrottlingException", http.StatusTooManyRequests, "Rate exceeded"),
		broken:    failure("InternalFailureException", http.StatusInternalServerError, "An unexpected error has occurred."),
	}
	json11 = &protocol{
		refuse:    refuseJSON11,
		throttled: failure("ThrottlingException", http.StatusBadRequest, "Rate exceeded"),
		broken:    failure("InternalFailureException", http.StatusInternalServerError, "An unexpected error has occurred."),
	}
	s3XML = &protocol{
		refuse:    refuseS3,
		throttled: failure("SlowDown", http.StatusServiceUnavailable, "Please reduce your request rate."),
		broken:    failure("InternalError", http.StatusInternalServerError, "We encountered an internal error. Please try again."),
	}
	queryXML = &protocol{
		refuse:    refuseQuery,
		throttled: failure("Throttling", http.StatusBadRequest, "Rate exceeded"),
		broken:    failure("InternalFailure", http.StatusInternalServerError, "An unexpected error has occurred."),
	}
	providerJSON = &protocol{
		refuse:    refuseProvider,
		throttled: failure("ThrottlingException", http.StatusTooManyRequests, "Rate exceeded"),
		broken:    failure("InternalFailureException", http.StatusInternalServerError, "An unexpected error has occurred."),
	}
)

func refuseRESTJSON(w http.ResponseWriter, e *apiError) {
	w.Header().Set("x-amzn-ErrorType", e.code)
	writeJSON(w, e.status, "application/json", struct {
		Message     string `json:"message"`
		ResourceID  string `json:"resourceId,omitempty"`
		ResourceARN string `json:"resourceArn,omitempty"`
	}{e.message, e.resourceID, e.resourceARN})
}

func refuseJSON11(w http.ResponseWriter, e *apiError) {
	writeJSON(w, e.status, "application/x-amz-json-1.1", struct {
		Type    string `json:"__type"`
		Message string
	}{e.code, e.message})
}

func refuseProvider(w http.ResponseWriter, e *apiError) {
	w.Header().Set("x-amzn-ErrorType", e.code)
	writeJSON(w, e.status, "application/json", struct {
		Message string `json:"message"`
	}{e.message})
}

func refuseS3(w http.ResponseWriter, e *apiError) {
	id := fmt.Sprintf("%016X", rand.Uint64())
	w.Header().Set("x-amz-request-id", id)
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(e.status)
	writeXML(w, struct {
		XMLName   xml.Name `xml:"Error"`
		Code      string
		Message   string
		RequestID string `xml:"RequestId"`
	}{Code: e.code, Message: e.message, RequestID: id})
}

func refuseQuery(w http.ResponseWriter, e *apiError) {
	type detail struct{ Type, Code, Message string }
	id := requestID()
	w.Header().Set("x-amzn-RequestId", id)
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(e.status)
	writeXML(w, struct {
		XMLName   xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ ErrorResponse"`
		Error     detail
		RequestID string `xml:"RequestId"`
	}{Error: detail{"Sender", e.code, e.message}, RequestID: id})
}

// writeJSON answers with body as JSON; a nil body is an empty answer, as of operations without output.
func writeJSON(w http.ResponseWriter, status int, contentType string, body any) {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			status, text = http.StatusInternalServerError, []byte(`{}`)
		}
	}
	header := w.Header()
	header.Set("Content-Type", contentType)
	header.Set("Content-Length", strconv.Itoa(len(text)))
	header.Set("x-amzn-RequestId", requestID())
	w.WriteHeader(status)
	_, _ = w.Write(text)
}

func writeXML(w io.Writer, body any) {
	_, _ = io.WriteString(w, xml.Header)
	_ = xml.NewEncoder(w).Encode(body)
}

// requestID is a random UUID: it only has to be distinct, not unpredictable.
func requestID() string {
	hi, lo := rand.Uint64(), rand.Uint64()
	return fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x", hi>>32, hi>>16&0xffff, hi&0xfff, lo>>48&0x3fff|0x8000, lo&0xffffffffffff)
}

// epoch is a time as the AWS JSON protocols carry it: seconds since 1970, with milliseconds.
type epoch time.Time

// MarshalJSON writes the seconds as a JSON number.
func (e epoch) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(time.Time(e).UnixMilli())/1000, 'f', 3, 64), nil
}
