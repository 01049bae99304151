package localaws

import (
	"encoding/xml"
	"net/http"
	"net/url"
)

const callerIdentityOperation = "sts:GetCallerIdentity"

// serveSTS answers GetCallerIdentity; nothing else of STS and IAM is there.
func (s *Server) serveSTS(w http.ResponseWriter, r *http.Request, signed *scope) {
	body, ok := readBody(w, r, queryXML)
	if !ok {
		return
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		queryXML.refuse(w, failure("MalformedQueryString", http.StatusBadRequest, "%v", err))
		return
	}
	action := form.Get("Action")
	if action == "" {
		action = r.URL.Query().Get("Action")
	}
	if action != "GetCallerIdentity" {
		queryXML.refuse(w, failure("InvalidAction", http.StatusBadRequest, "The local AWS has no STS or IAM operation %q", action))
		return
	}
	s.serve(w, r, exchange{
		operation: callerIdentityOperation,
		region:    signed.region,
		protocol:  queryXML,
		names:     func() string { return signed.accessKey },
		work: func(w http.ResponseWriter) {
			type result struct {
				ARN     string `xml:"Arn"`
				UserID  string `xml:"UserId"`
				Account string
			}
			type metadata struct {
				RequestID string `xml:"RequestId"`
			}
			id := requestID()
			w.Header().Set("x-amzn-RequestId", id)
			w.Header().Set("Content-Type", "text/xml")
			writeXML(w, struct {
				XMLName  xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ GetCallerIdentityResponse"`
				Result   result   `xml:"GetCallerIdentityResult"`
				Metadata metadata `xml:"ResponseMetadata"`
			}{Result: result{"arn:aws:iam::" + s.account + ":user/local", "AIDALOCALAWSUSER00000", s.account}, Metadata: metadata{id}})
		},
	})
}
