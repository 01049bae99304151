package localaws

import "fmt"

// describeEndpoint tells where the credential provider is; the other endpoints are plausible, but not there.
func (r *region) describeEndpoint(q *request) (any, error) {
	var address string
	switch kind := q.query.Get("endpointType"); kind {
	case "iot:CredentialProvider":
		address = r.server.CredentialsAddress()
	case "iot:Data-ATS":
		address = fmt.Sprintf("a1b2c3d4e5f6g7-ats.iot.%s.amazonaws.com", r.name)
	case "iot:Data", "":
		address = fmt.Sprintf("a1b2c3d4e5f6g7.iot.%s.amazonaws.com", r.name)
	case "iot:Jobs":
		address = fmt.Sprintf("a1b2c3d4e5f6g7.jobs.iot.%s.amazonaws.com", r.name)
	default:
		return nil, invalidRequest("Invalid endpointType: %s", kind)
	}
	return struct {
		Address string `json:"endpointAddress"`
	}{address}, nil
}
