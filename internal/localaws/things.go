package localaws

import (
	"maps"
	"strconv"
	"strings"
)

// How many attributes a thing may have (AWS IoT quotas, "things").
const (
	maxAttributes       = 50
	maxAttributesNoType = 3
	thingKind           = "thing"
	removedAttribute    = "" // an empty value removes an attribute
)

type thing struct {
	id           string
	typeName     string
	billingGroup string
	attributes   map[string]string // never changed in place: answers share it
	version      int64
}

type attributePayload struct {
	Attributes map[string]string `json:"attributes"`
	Merge      bool              `json:"merge,omitempty"`
}

// check applies the rules on names and values.
func (p *attributePayload) check() error {
	if p == nil {
		return nil
	}
	for name, value := range p.Attributes {
		if err := checkIoT(attributeNameRule, "attributePayload.attributes", name); err != nil {
			return err
		}
		if err := checkIoT(attributeValueRule, "attributePayload.attributes."+name+".member", value); err != nil {
			return err
		}
	}
	return nil
}

// applied are the attributes after the payload was put onto existing ones.
func (p *attributePayload) applied(existing map[string]string) map[string]string {
	if p == nil {
		return existing
	}
	result := map[string]string{}
	if p.Merge {
		maps.Copy(result, existing)
	}
	maps.Copy(result, p.Attributes)
	maps.DeleteFunc(result, func(_, value string) bool { return value == removedAttribute })
	return result
}

func checkAttributeCount(attributes map[string]string, typeName string) error {
	if limit := maxAttributes; len(attributes) > limit {
		return invalidRequest("Thing can have at most %d attributes, %d given", limit, len(attributes))
	}
	if typeName == "" && len(attributes) > maxAttributesNoType {
		return invalidRequest("Thing without a thing type can have at most %d attributes, %d given", maxAttributesNoType, len(attributes))
	}
	return nil
}

// thingNamed returns a thing, or the error of one that is not there.
func (r *region) thingNamed(name string) (*thing, error) {
	t, ok := r.things.get(name)
	if !ok {
		return nil, notFound("Thing %s not found", name)
	}
	return t, nil
}

// createThing succeeds when the same thing is there already, as AWS's does.
func (r *region) createThing(q *request) (any, error) {
	name := q.PathValue("thingName")
	var in struct {
		ThingTypeName    string            `json:"thingTypeName"`
		AttributePayload *attributePayload `json:"attributePayload"`
		BillingGroupName string            `json:"billingGroupName"`
	}
	if err := q.decode(&in); err != nil {
		return nil, err
	}
	if err := in.AttributePayload.check(); err != nil {
		return nil, err
	}
	wanted := &thing{
		typeName: in.ThingTypeName, billingGroup: in.BillingGroupName,
		attributes: in.AttributePayload.applied(nil), version: 1,
	}
	if err := checkAttributeCount(wanted.attributes, wanted.typeName); err != nil {
		return nil, err
	}
	existing, exists := r.things.get(name)
	if exists {
		if existing.typeName != wanted.typeName || existing.billingGroup != wanted.billingGroup || !maps.Equal(existing.attributes, wanted.attributes) {
			return nil, alreadyExists(existing.id, r.arn(thingKind, name), "Thing %s already exists in account %s with different attributes", name, r.server.account)
		}
	} else {
		if err := r.useThingType(wanted.typeName); err != nil {
			return nil, err
		}
		wanted.id = requestID()
		r.things.put(name, wanted)
		existing = wanted
	}
	return struct {
		ThingName string `json:"thingName"`
		ThingARN  string `json:"thingArn"`
		ThingID   string `json:"thingId"`
	}{name, r.arn(thingKind, name), existing.id}, nil
}

func (r *region) describeThing(q *request) (any, error) {
	name := q.PathValue("thingName")
	t, err := r.thingNamed(name)
	if err != nil {
		return nil, err
	}
	return struct {
		DefaultClientID  string            `json:"defaultClientId"`
		ThingName        string            `json:"thingName"`
		ThingID          string            `json:"thingId"`
		ThingARN         string            `json:"thingArn"`
		ThingTypeName    string            `json:"thingTypeName,omitempty"`
		Attributes       map[string]string `json:"attributes"`
		Version          int64             `json:"version"`
		BillingGroupName string            `json:"billingGroupName,omitempty"`
	}{name, name, t.id, r.arn(thingKind, name), t.typeName, orEmpty(t.attributes), t.version, t.billingGroup}, nil
}

func (r *region) updateThing(q *request) (any, error) {
	name := q.PathValue("thingName")
	var in struct {
		ThingTypeName    string            `json:"thingTypeName"`
		AttributePayload *attributePayload `json:"attributePayload"`
		ExpectedVersion  *int64            `json:"expectedVersion"`
		RemoveThingType  bool              `json:"removeThingType"`
	}
	if err := q.decode(&in); err != nil {
		return nil, err
	}
	if err := in.AttributePayload.check(); err != nil {
		return nil, err
	}
	t, err := r.thingNamed(name)
	if err != nil {
		return nil, err
	}
	if in.ExpectedVersion != nil && *in.ExpectedVersion != t.version {
		return nil, versionConflict(name, *in.ExpectedVersion)
	}
	updated := &thing{id: t.id, typeName: t.typeName, billingGroup: t.billingGroup, attributes: in.AttributePayload.applied(t.attributes), version: t.version + 1}
	switch {
	case in.RemoveThingType && in.ThingTypeName != "":
		return nil, invalidRequest("A thing type cannot be given together with removeThingType")
	case in.RemoveThingType:
		updated.typeName = ""
	case in.ThingTypeName != "":
		updated.typeName = in.ThingTypeName
	}
	if err := checkAttributeCount(updated.attributes, updated.typeName); err != nil {
		return nil, err
	}
	if updated.typeName != t.typeName {
		if err := r.useThingType(updated.typeName); err != nil {
			return nil, err
		}
		r.typeUse[t.typeName]--
	}
	*t = *updated
	return struct{}{}, nil
}

// deleteThing succeeds when the thing is not there, and refuses while a principal is attached.
func (r *region) deleteThing(q *request) (any, error) {
	name := q.PathValue("thingName")
	t, ok := r.things.get(name)
	if !ok {
		return struct{}{}, nil
	}
	if expected := q.query.Get("expectedVersion"); expected != "" {
		version, err := strconv.ParseInt(expected, 10, 64)
		if err != nil {
			return nil, invalidRequest("Invalid expectedVersion: %s", expected)
		}
		if version != t.version {
			return nil, versionConflict(name, version)
		}
	}
	if r.principals.anyFrom(name, r.now()) {
		return nil, invalidRequest("Cannot delete. Thing %s is still attached to one or more principals", name)
	}
	r.members.cutTo(name)
	r.typeUse[t.typeName]--
	r.things.remove(name)
	delete(r.tags, r.arn(thingKind, name))
	return struct{}{}, nil
}

func (r *region) listThings(q *request) (any, error) {
	p, err := q.byToken()
	if err != nil {
		return nil, err
	}
	type summary struct {
		ThingName     string            `json:"thingName"`
		ThingTypeName string            `json:"thingTypeName,omitempty"`
		ThingARN      string            `json:"thingArn"`
		Attributes    map[string]string `json:"attributes"`
		Version       int64             `json:"version"`
	}
	attribute, value, typeName := q.query.Get("attributeName"), q.query.Get("attributeValue"), q.query.Get("thingTypeName")
	byPrefix := q.flag("usePrefixAttributeValue")
	if value != "" && attribute == "" {
		return nil, invalidRequest("attributeValue needs an attributeName")
	}
	things := []summary{}
	next := r.things.page(p, func(name string, t *thing) bool {
		has, ok := t.attributes[attribute]
		fits := (typeName == "" || t.typeName == typeName) &&
			(attribute == "" || ok && (value == "" || has == value || byPrefix && strings.HasPrefix(has, value)))
		if fits {
			things = append(things, summary{name, t.typeName, r.arn(thingKind, name), orEmpty(t.attributes), t.version})
		}
		return fits
	})
	return struct {
		Things    []summary `json:"things"`
		NextToken string    `json:"nextToken,omitempty"`
	}{things, token(next)}, nil
}

func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}
