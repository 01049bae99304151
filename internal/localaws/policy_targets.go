package localaws

// checkTarget wants the ARN of a certificate or of a thing group that is there.
func (r *region) checkTarget(arn string) error {
	if id, ok := r.named(certificateKind, arn); ok && certificateIDRule.violation("target", id) == "" {
		if !r.certificates.has(id) {
			return notFound("Invalid Target: the certificate does not exist (arn=%s)", arn)
		}
		return nil
	}
	if name, ok := r.named(thingGroupKind, arn); ok && thingNameRule.violation("target", name) == "" {
		if !r.groups.has(name) {
			return notFound("Invalid Target: the thing group does not exist (arn=%s)", arn)
		}
		return nil
	}
	return invalidRequest("Invalid Target: %s", arn)
}

func (q *request) target() (string, error) {
	var in struct {
		Target string `json:"target"`
	}
	err := q.decode(&in)
	return in.Target, err
}

// attachPolicy succeeds when the policy is attached already.
func (r *region) attachPolicy(q *request) (any, error) {
	name := q.PathValue("policyName")
	target, err := q.target()
	if err != nil {
		return nil, err
	}
	if _, err := r.policyNamed(name); err != nil {
		return nil, err
	}
	if err := r.checkTarget(target); err != nil {
		return nil, err
	}
	r.policyTargets.attach(name, target, false, r.now())
	return nil, nil
}

// detachPolicy succeeds when the policy is not attached, or not there at all; a target that is not there is an
// InvalidRequestException, and ResourceNotFoundException is not among its errors (AWS IoT API model).
func (r *region) detachPolicy(q *request) (any, error) {
	target, err := q.target()
	if err != nil {
		return nil, err
	}
	if r.checkTarget(target) != nil {
		return nil, invalidRequest("Invalid Target: %s", target)
	}
	r.policyTargets.detach(q.PathValue("policyName"), target, r.now())
	return nil, nil
}

func (r *region) listAttachedPolicies(q *request) (any, error) {
	target := q.PathValue("target")
	if err := r.checkTarget(target); err != nil {
		return nil, err
	}
	p, err := q.byMarker()
	if err != nil {
		return nil, err
	}
	policies := []policyReference{}
	next := r.policyTargets.page(r.policyTargets.to[target], p, r.now(), func(name string) {
		policies = append(policies, policyReference{name, r.arn(policyKind, name)})
	})
	return policiesAnswer(policies, next), nil
}

func (r *region) listTargetsForPolicy(q *request) (any, error) {
	name := q.PathValue("policyName")
	if _, err := r.policyNamed(name); err != nil {
		return nil, err
	}
	p, err := q.byMarker()
	if err != nil {
		return nil, err
	}
	targets := []string{}
	next := r.policyTargets.page(r.policyTargets.from[name], p, r.now(), func(target string) { targets = append(targets, target) })
	return struct {
		Targets    []string `json:"targets"`
		NextMarker string   `json:"nextMarker,omitempty"`
	}{targets, token(next)}, nil
}

// policiesOf are the documents in force for a certificate: its own, and those of the groups of its things and of
// the groups above them.
func (r *region) policiesOf(certificateARN string) []*policyDocument {
	targets := []string{certificateARN}
	for _, thing := range r.principals.froms(certificateARN) {
		for _, name := range r.members.froms(thing) {
			targets = append(targets, r.arn(thingGroupKind, name))
			if g, ok := r.groups.get(name); ok {
				for _, above := range r.ancestors(g) {
					targets = append(targets, r.arn(thingGroupKind, above))
				}
			}
		}
	}
	var documents []*policyDocument
	for _, target := range targets {
		for _, name := range r.policyTargets.froms(target) {
			if p, ok := r.policies.get(name); ok {
				documents = append(documents, p.document())
			}
		}
	}
	return documents
}
