package localaws

import (
	"reflect"
	"time"
)

// deprecationTime must pass between DeprecateThingType and DeleteThingType (AWS IoT API reference, DeleteThingType).
const deprecationTime = 5 * time.Minute

const thingTypeKind = "thingtype"

type thingType struct {
	id         string
	properties thingTypeProperties
	created    time.Time
	deprecated time.Time // zero while it may be used
}

type thingTypeProperties struct {
	Description          string   `json:"thingTypeDescription,omitempty"`
	SearchableAttributes []string `json:"searchableAttributes,omitempty"`
}

type thingTypeMetadata struct {
	Deprecated      bool   `json:"deprecated"`
	DeprecationDate *epoch `json:"deprecationDate,omitempty"`
	CreationDate    epoch  `json:"creationDate"`
}

func (t *thingType) metadata() thingTypeMetadata {
	m := thingTypeMetadata{CreationDate: epoch(t.created)}
	if !t.deprecated.IsZero() {
		m.Deprecated, m.DeprecationDate = true, new(epoch(t.deprecated))
	}
	return m
}

// useThingType counts a thing in, if its type is there and not deprecated.
func (r *region) useThingType(name string) error {
	if name != "" {
		t, ok := r.thingTypes.get(name)
		if !ok {
			return notFound("Thing type %s not found", name)
		}
		if !t.deprecated.IsZero() {
			return invalidRequest("Can not create thing with deprecated thing type %s", name)
		}
	}
	r.typeUse[name]++
	return nil
}

func (r *region) thingTypeNamed(name string) (*thingType, error) {
	t, ok := r.thingTypes.get(name)
	if !ok {
		return nil, notFound("Thing type %s not found", name)
	}
	return t, nil
}

// createThingType succeeds when the same type is there already, as AWS's does.
func (r *region) createThingType(q *request) (any, error) {
	name := q.PathValue("thingTypeName")
	var in struct {
		Properties thingTypeProperties `json:"thingTypeProperties"`
		Tags       []tag               `json:"tags"`
	}
	if err := q.decode(&in); err != nil {
		return nil, err
	}
	for _, attribute := range in.Properties.SearchableAttributes {
		if err := checkIoT(attributeNameRule, "thingTypeProperties.searchableAttributes.member", attribute); err != nil {
			return nil, err
		}
	}
	if n := len(in.Properties.SearchableAttributes); n > maxAttributesNoType {
		return nil, invalidRequest("A thing type can have at most %d searchable attributes, %d given", maxAttributesNoType, n)
	}
	arn := r.arn(thingTypeKind, name)
	existing, exists := r.thingTypes.get(name)
	if exists {
		if !reflect.DeepEqual(existing.properties, in.Properties) {
			return nil, alreadyExists(existing.id, arn, "Thing type %s already exists in account %s with different properties", name, r.server.account)
		}
	} else {
		existing = &thingType{id: requestID(), properties: in.Properties, created: r.now()}
		r.thingTypes.put(name, existing)
		r.setTags(arn, in.Tags)
	}
	return struct {
		Name string `json:"thingTypeName"`
		ARN  string `json:"thingTypeArn"`
		ID   string `json:"thingTypeId"`
	}{name, arn, existing.id}, nil
}

func (r *region) describeThingType(q *request) (any, error) {
	name := q.PathValue("thingTypeName")
	t, err := r.thingTypeNamed(name)
	if err != nil {
		return nil, err
	}
	return struct {
		Name       string              `json:"thingTypeName"`
		ID         string              `json:"thingTypeId"`
		ARN        string              `json:"thingTypeArn"`
		Properties thingTypeProperties `json:"thingTypeProperties"`
		Metadata   thingTypeMetadata   `json:"thingTypeMetadata"`
	}{name, t.id, r.arn(thingTypeKind, name), t.properties, t.metadata()}, nil
}

func (r *region) deprecateThingType(q *request) (any, error) {
	t, err := r.thingTypeNamed(q.PathValue("thingTypeName"))
	if err != nil {
		return nil, err
	}
	var in struct {
		Undo bool `json:"undoDeprecate"`
	}
	if err := q.decode(&in); err != nil {
		return nil, err
	}
	switch {
	case in.Undo:
		t.deprecated = time.Time{}
	case t.deprecated.IsZero():
		t.deprecated = r.now()
	}
	return struct{}{}, nil
}

// deleteThingType wants the type deprecated for five minutes and used by no thing.
func (r *region) deleteThingType(q *request) (any, error) {
	name := q.PathValue("thingTypeName")
	t, err := r.thingTypeNamed(name)
	if err != nil {
		return nil, err
	}
	switch {
	case t.deprecated.IsZero():
		return nil, invalidRequest("Thing type %s must be deprecated before it can be deleted", name)
	case r.now().Sub(t.deprecated) < deprecationTime:
		return nil, invalidRequest("Please wait for 5 minutes after deprecation and then retry to delete thing type %s", name)
	case r.typeUse[name] > 0:
		return nil, invalidRequest("Cannot delete. Thing type %s is still associated with one or more things", name)
	}
	r.thingTypes.remove(name)
	delete(r.typeUse, name)
	delete(r.tags, r.arn(thingTypeKind, name))
	return struct{}{}, nil
}

func (r *region) listThingTypes(q *request) (any, error) {
	p, err := q.byToken()
	if err != nil {
		return nil, err
	}
	type summary struct {
		Name       string              `json:"thingTypeName"`
		ARN        string              `json:"thingTypeArn"`
		Properties thingTypeProperties `json:"thingTypeProperties"`
		Metadata   thingTypeMetadata   `json:"thingTypeMetadata"`
	}
	wanted := q.query.Get("thingTypeName")
	types := []summary{}
	next := r.thingTypes.page(p, func(name string, t *thingType) bool {
		fits := wanted == "" || wanted == name
		if fits {
			types = append(types, summary{name, r.arn(thingTypeKind, name), t.properties, t.metadata()})
		}
		return fits
	})
	return struct {
		ThingTypes []summary `json:"thingTypes"`
		NextToken  string    `json:"nextToken,omitempty"`
	}{types, token(next)}, nil
}
