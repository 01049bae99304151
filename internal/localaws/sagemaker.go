package localaws

import (
	"encoding/json"
	"net/http"
	"strings"
)

const sageMakerTarget = "SageMaker."

// sageMakerOperation does an operation on its JSON input.
type sageMakerOperation func(r *region, body []byte) (any, error)

func sageMakerOperations() map[string]sageMakerOperation {
	return map[string]sageMakerOperation{
		"CreateDeviceFleet":   onInput((*region).createDeviceFleet),
		"DescribeDeviceFleet": onInput((*region).describeDeviceFleet),
		"UpdateDeviceFleet":   onInput((*region).updateDeviceFleet),
		"DeleteDeviceFleet":   onInput((*region).deleteDeviceFleet),
		"ListDeviceFleets":    onInput((*region).listDeviceFleets),
		"RegisterDevices":     onInput((*region).registerDevices),
		"DeregisterDevices":   onInput((*region).deregisterDevices),
		"DescribeDevice":      onInput((*region).describeDevice),
		"UpdateDevices":       onInput((*region).updateDevices),
		"ListDevices":         onInput((*region).listDevices),
		"AddTags":             onInput((*region).addSageMakerTags),
		"DeleteTags":          onInput((*region).deleteSageMakerTags),
		"ListTags":            onInput((*region).listSageMakerTags),
	}
}

var sageMaker = sageMakerOperations()

// onInput makes an operation of a function on its decoded input.
func onInput[In any](do func(*region, *In) (any, error)) sageMakerOperation {
	return func(r *region, body []byte) (any, error) {
		in := new(In)
		if err := json.Unmarshal(body, in); err != nil {
			return nil, failure("SerializationException", http.StatusBadRequest, "%v", err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		return do(r, in)
	}
}

func (s *Server) serveSageMaker(w http.ResponseWriter, r *http.Request, reg *region) {
	name, _ := strings.CutPrefix(r.Header.Get("X-Amz-Target"), sageMakerTarget)
	operation, ok := sageMaker[name]
	if !ok {
		json11.refuse(w, failure("UnknownOperationException", http.StatusBadRequest, "The local AWS has no SageMaker operation %q", r.Header.Get("X-Amz-Target")))
		return
	}
	body, ok := readBody(w, r, json11)
	if !ok {
		return
	}
	s.serve(w, r, exchange{
		operation: "sagemaker:" + name,
		region:    reg.name,
		protocol:  json11,
		names:     func() string { return string(body) },
		work: func(w http.ResponseWriter) {
			out, err := operation(reg, body)
			if err != nil {
				json11.refuse(w, asAPIError(err))
				return
			}
			writeJSON(w, http.StatusOK, "application/x-amz-json-1.1", out)
		},
	})
}

// listInput are the members that SageMaker's lists page by.
type listInput struct {
	NextToken  string
	MaxResults *int
}

// maxSageMakerPage is the most, and the default, of ListDeviceFleets and ListDevices.
const maxSageMakerPage = 100

func (in listInput) paging() (paging, error) {
	p := paging{limit: maxSageMakerPage}
	if n := in.MaxResults; n != nil {
		if *n < 1 || *n > maxSageMakerPage {
			return p, validation("1 validation error detected: Value '%d' at 'maxResults' failed to satisfy constraint: Member must have value between 1 and %d", *n, maxSageMakerPage)
		}
		p.limit = *n
	}
	if in.NextToken != "" {
		after, ok := parseToken(in.NextToken)
		if !ok {
			return p, validation("Invalid NextToken: %s", in.NextToken)
		}
		p.after = after
	}
	return p, nil
}

type sageMakerTagsInput struct {
	ResourceARN string `json:"ResourceArn"`
	Tags        []tag
	TagKeys     []string
}

// checkTagged wants the ARN of a device fleet or of a device that is there.
func (r *region) checkTagged(arn string) error {
	name, ok := strings.CutPrefix(arn, r.fleetARN(""))
	if fleet, device, isDevice := strings.Cut(name, "/device/"); isDevice {
		ok = ok && r.devices.has(deviceID(fleet, device))
	} else {
		ok = ok && r.fleets.has(name)
	}
	if !ok {
		return validation("Resource %s does not exist", arn)
	}
	return nil
}

func (r *region) addSageMakerTags(in *sageMakerTagsInput) (any, error) {
	if err := r.checkTagged(in.ResourceARN); err != nil {
		return nil, err
	}
	r.setTags(in.ResourceARN, in.Tags)
	return r.sageMakerTags(in.ResourceARN), nil
}

func (r *region) deleteSageMakerTags(in *sageMakerTagsInput) (any, error) {
	if err := r.checkTagged(in.ResourceARN); err != nil {
		return nil, err
	}
	r.removeTags(in.ResourceARN, in.TagKeys)
	return struct{}{}, nil
}

func (r *region) listSageMakerTags(in *sageMakerTagsInput) (any, error) {
	if err := r.checkTagged(in.ResourceARN); err != nil {
		return nil, err
	}
	return r.sageMakerTags(in.ResourceARN), nil
}

func (r *region) sageMakerTags(arn string) any {
	return struct{ Tags []tag }{r.tagsOf(arn)}
}
