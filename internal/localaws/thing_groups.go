package localaws

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

const thingGroupKind = "thinggroup"

type thingGroup struct {
	id          string
	parent      string
	description string
	attributes  map[string]string
	version     int64
	created     time.Time
	children    int
}

type groupReference struct {
	Name string `json:"groupName"`
	ARN  string `json:"groupArn"`
}

func (r *region) groupReference(name string) groupReference {
	return groupReference{name, r.arn(thingGroupKind, name)}
}

func (r *region) groupNamed(name string) (*thingGroup, error) {
	g, ok := r.groups.get(name)
	if !ok {
		return nil, notFound("Thing group %s not found", name)
	}
	return g, nil
}

// ancestors are the groups above one, the root first.
func (r *region) ancestors(g *thingGroup) []string {
	var above []string
	for g.parent != "" {
		above = append(above, g.parent)
		g, _ = r.groups.get(g.parent) // there: a group with children cannot be deleted
	}
	slices.Reverse(above)
	return above
}

// createThingGroup succeeds when the same group is there already, as AWS's does.
func (r *region) createThingGroup(q *request) (any, error) {
	name := q.PathValue("thingGroupName")
	var in struct {
		ParentGroupName string `json:"parentGroupName"`
		Properties      struct {
			Description      string            `json:"thingGroupDescription"`
			AttributePayload *attributePayload `json:"attributePayload"`
		} `json:"thingGroupProperties"`
		Tags []tag `json:"tags"`
	}
	if err := q.decode(&in); err != nil {
		return nil, err
	}
	if err := in.Properties.AttributePayload.check(); err != nil {
		return nil, err
	}
	wanted := &thingGroup{
		parent: in.ParentGroupName, description: in.Properties.Description,
		attributes: in.Properties.AttributePayload.applied(nil), version: 1,
	}
	if n := len(wanted.attributes); n > maxAttributes {
		return nil, invalidRequest("Thing group can have at most %d attributes, %d given", maxAttributes, n)
	}
	arn := r.arn(thingGroupKind, name)
	existing, exists := r.groups.get(name)
	if exists {
		if existing.parent != wanted.parent || existing.description != wanted.description || !maps.Equal(existing.attributes, wanted.attributes) {
			return nil, alreadyExists(existing.id, arn, "Thing Group %s already exists in current account with different properties", name)
		}
	} else {
		if wanted.parent != "" {
			parent, err := r.groupNamed(wanted.parent)
			if err != nil {
				return nil, err
			}
			parent.children++
		}
		wanted.id, wanted.created = requestID(), r.now()
		r.groups.put(name, wanted)
		r.setTags(arn, in.Tags)
		existing = wanted
	}
	return struct {
		Name string `json:"thingGroupName"`
		ARN  string `json:"thingGroupArn"`
		ID   string `json:"thingGroupId"`
	}{name, arn, existing.id}, nil
}

func (r *region) describeThingGroup(q *request) (any, error) {
	name := q.PathValue("thingGroupName")
	g, err := r.groupNamed(name)
	if err != nil {
		return nil, err
	}
	type properties struct {
		Description      string           `json:"thingGroupDescription,omitempty"`
		AttributePayload attributePayload `json:"attributePayload"`
	}
	type metadata struct {
		Parent       string           `json:"parentGroupName,omitempty"`
		FromRoot     []groupReference `json:"rootToParentThingGroups,omitempty"`
		CreationDate epoch            `json:"creationDate"`
	}
	about := metadata{Parent: g.parent, CreationDate: epoch(g.created)}
	for _, ancestor := range r.ancestors(g) {
		about.FromRoot = append(about.FromRoot, r.groupReference(ancestor))
	}
	return struct {
		Name       string     `json:"thingGroupName"`
		ID         string     `json:"thingGroupId"`
		ARN        string     `json:"thingGroupArn"`
		Version    int64      `json:"version"`
		Properties properties `json:"thingGroupProperties"`
		Metadata   metadata   `json:"thingGroupMetadata"`
	}{
		name, g.id, r.arn(thingGroupKind, name), g.version,
		properties{g.description, attributePayload{Attributes: orEmpty(g.attributes)}}, about,
	}, nil
}

// deleteThingGroup succeeds when the group is not there, and refuses while it has child groups; its things stay.
func (r *region) deleteThingGroup(q *request) (any, error) {
	name := q.PathValue("thingGroupName")
	g, ok := r.groups.get(name)
	if !ok {
		return struct{}{}, nil
	}
	if expected := q.query.Get("expectedVersion"); expected != "" && expected != strconv.FormatInt(g.version, 10) {
		return nil, failure("VersionConflictException", 409, "The version for thing group %s does not match the expected version %s.", name, expected)
	}
	if g.children > 0 {
		return nil, invalidRequest("Cannot delete thing group %s: it has child groups", name)
	}
	if parent, ok := r.groups.get(g.parent); ok {
		parent.children--
	}
	arn := r.arn(thingGroupKind, name)
	r.members.cutFrom(name)
	r.policyTargets.cutTo(arn)
	r.groups.remove(name)
	delete(r.tags, arn)
	return struct{}{}, nil
}

func (r *region) listThingGroups(q *request) (any, error) {
	p, err := q.byToken()
	if err != nil {
		return nil, err
	}
	prefix, parent := q.query.Get("namePrefixFilter"), q.query.Get("parentGroup")
	recursive := q.query.Get("recursive") != "false"
	if parent != "" {
		if _, err := r.groupNamed(parent); err != nil {
			return nil, err
		}
	}
	groups := []groupReference{}
	next := r.groups.page(p, func(name string, g *thingGroup) bool {
		fits := strings.HasPrefix(name, prefix)
		if recursive {
			fits = fits && (parent == "" || slices.Contains(r.ancestors(g), parent))
		} else {
			fits = fits && g.parent == parent
		}
		if fits {
			groups = append(groups, r.groupReference(name))
		}
		return fits
	})
	return groupsAnswer(groups, next), nil
}

func groupsAnswer(groups []groupReference, next uint64) any {
	return struct {
		ThingGroups []groupReference `json:"thingGroups"`
		NextToken   string           `json:"nextToken,omitempty"`
	}{groups, token(next)}
}

// membership reads the body of AddThingToThingGroup and RemoveThingFromThingGroup: each end by name or by ARN.
func (r *region) membership(q *request) (group, thing string, err error) {
	var in struct {
		ThingGroupName string `json:"thingGroupName"`
		ThingGroupARN  string `json:"thingGroupArn"`
		ThingName      string `json:"thingName"`
		ThingARN       string `json:"thingArn"`
	}
	if err := q.decode(&in); err != nil {
		return "", "", err
	}
	if group, err = r.nameOrARN(thingGroupKind, "thingGroupName", in.ThingGroupName, in.ThingGroupARN); err != nil {
		return "", "", err
	}
	if thing, err = r.nameOrARN(thingKind, "thingName", in.ThingName, in.ThingARN); err != nil {
		return "", "", err
	}
	if _, err := r.groupNamed(group); err != nil {
		return "", "", err
	}
	_, err = r.thingNamed(thing)
	return group, thing, err
}

func (r *region) nameOrARN(kind, member, name, arn string) (string, error) {
	if name == "" && arn != "" {
		var ok bool
		if name, ok = r.named(kind, arn); !ok {
			return "", invalidRequest("Invalid ARN: %s", arn)
		}
	}
	return name, checkIoT(thingNameRule, member, name)
}

func (r *region) addThingToThingGroup(q *request) (any, error) {
	group, thing, err := r.membership(q)
	if err != nil {
		return nil, err
	}
	r.members.attach(group, thing, false, r.now())
	return struct{}{}, nil
}

func (r *region) removeThingFromThingGroup(q *request) (any, error) {
	group, thing, err := r.membership(q)
	if err != nil {
		return nil, err
	}
	r.members.detach(group, thing, r.now())
	return struct{}{}, nil
}

func (r *region) listThingsInThingGroup(q *request) (any, error) {
	name := q.PathValue("thingGroupName")
	if _, err := r.groupNamed(name); err != nil {
		return nil, err
	}
	p, err := q.byToken()
	if err != nil {
		return nil, err
	}
	if q.flag("recursive") {
		return nil, invalidRequest("The local AWS lists the things of one group at a time, not recursively")
	}
	things := []string{}
	next := r.members.page(r.members.from[name], p, r.now(), func(thing string) { things = append(things, thing) })
	return struct {
		Things    []string `json:"things"`
		NextToken string   `json:"nextToken,omitempty"`
	}{things, token(next)}, nil
}

func (r *region) listThingGroupsForThing(q *request) (any, error) {
	name := q.PathValue("thingName")
	if _, err := r.thingNamed(name); err != nil {
		return nil, err
	}
	p, err := q.byToken()
	if err != nil {
		return nil, err
	}
	groups := []groupReference{}
	next := r.members.page(r.members.to[name], p, r.now(), func(group string) { groups = append(groups, r.groupReference(group)) })
	return groupsAnswer(groups, next), nil
}
