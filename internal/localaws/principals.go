package localaws

const exclusiveThing = "EXCLUSIVE_THING"

// principal is the ARN in the header that IoT carries principals in.
func (q *request) principal() string { return q.Header.Get("X-Amzn-Principal") }

// attachThingPrincipal succeeds when the certificate is attached already. A certificate that belongs to a thing
// exclusively cannot be attached to another.
func (r *region) attachThingPrincipal(q *request) (any, error) {
	thing, principal := q.PathValue("thingName"), q.principal()
	if _, err := r.thingNamed(thing); err != nil {
		return nil, err
	}
	if _, err := r.principalID(principal); err != nil {
		return nil, err
	}
	kind := q.query.Get("thingPrincipalType")
	if kind != "" && kind != exclusiveThing && kind != "NON_EXCLUSIVE_THING" {
		return nil, invalidRequest("%s", violationOf(kind, "thingPrincipalType", "Member must satisfy enum value set: [EXCLUSIVE_THING, NON_EXCLUSIVE_THING]"))
	}
	for _, other := range r.principals.froms(principal) {
		if other != thing && (kind == exclusiveThing || r.principals.get(other, principal).exclusive) {
			return nil, invalidRequest("Principal %s cannot be attached to %s: it is attached to thing %s", principal, thing, other)
		}
	}
	r.principals.attach(thing, principal, kind == exclusiveThing, r.now())
	return struct{}{}, nil
}

// detachThingPrincipal takes effect after a while, and succeeds when the certificate is not attached.
func (r *region) detachThingPrincipal(q *request) (any, error) {
	thing, principal := q.PathValue("thingName"), q.principal()
	if _, err := r.thingNamed(thing); err != nil {
		return nil, err
	}
	if _, err := r.principalID(principal); err != nil {
		return nil, err
	}
	r.principals.detach(thing, principal, r.now())
	return struct{}{}, nil
}

func (r *region) listThingPrincipals(q *request) (any, error) {
	thing := q.PathValue("thingName")
	if _, err := r.thingNamed(thing); err != nil {
		return nil, err
	}
	p, err := q.byToken()
	if err != nil {
		return nil, err
	}
	principals := []string{}
	next := r.principals.page(r.principals.from[thing], p, r.now(), func(arn string) { principals = append(principals, arn) })
	return struct {
		Principals []string `json:"principals"`
		NextToken  string   `json:"nextToken,omitempty"`
	}{principals, token(next)}, nil
}

func (r *region) listPrincipalThings(q *request) (any, error) {
	principal := q.principal()
	if _, err := r.principalID(principal); err != nil {
		return nil, err
	}
	p, err := q.byToken()
	if err != nil {
		return nil, err
	}
	things := []string{}
	next := r.principals.page(r.principals.to[principal], p, r.now(), func(thing string) { things = append(things, thing) })
	return struct {
		Things    []string `json:"things"`
		NextToken string   `json:"nextToken,omitempty"`
	}{things, token(next)}, nil
}
