package localaws

import (
	"net/http"
	"strconv"
	"time"
)

const (
	policyKind = "policy"
	// maxPolicyVersions is how many versions a policy may have (AWS IoT quotas).
	maxPolicyVersions = 5
)

type policy struct {
	versions catalog[*policyVersion] // by id: "1", "2", …
	current  string                  // the default version
	last     int                     // number of the newest version ever; ids are not used again
	created  time.Time
	modified time.Time
}

type policyVersion struct {
	text     string
	document *policyDocument
	created  time.Time
}

func (p *policy) document() *policyDocument {
	v, _ := p.versions.get(p.current)
	return v.document
}

func (p *policy) add(text string, document *policyDocument, asDefault bool, now time.Time) string {
	p.last++
	id := strconv.Itoa(p.last)
	p.versions.put(id, &policyVersion{text, document, now})
	if asDefault {
		p.current = id
	}
	p.modified = now
	return id
}

func (r *region) policyNamed(name string) (*policy, error) {
	p, ok := r.policies.get(name)
	if !ok {
		return nil, notFound("Policy not found (name=%s)", name)
	}
	return p, nil
}

func (r *region) policyVersionNamed(q *request) (*policy, *policyVersion, error) {
	name, id := q.PathValue("policyName"), q.PathValue("policyVersionId")
	p, err := r.policyNamed(name)
	if err != nil {
		return nil, nil, err
	}
	v, ok := p.versions.get(id)
	if !ok {
		return nil, nil, notFound("Policy version not found (name=%s, id=%s)", name, id)
	}
	return p, v, nil
}

// createPolicy refuses a name that is there, even with the same document.
func (r *region) createPolicy(q *request) (any, error) {
	name := q.PathValue("policyName")
	var in struct {
		Document string `json:"policyDocument"`
		Tags     []tag  `json:"tags"`
	}
	if err := q.decode(&in); err != nil {
		return nil, err
	}
	document, err := parsePolicy(in.Document)
	if err != nil {
		return nil, err
	}
	arn := r.arn(policyKind, name)
	if r.policies.has(name) {
		return nil, alreadyExists(name, arn, "Policy cannot be created - name already exists (name=%s)", name)
	}
	p := &policy{created: r.now()}
	id := p.add(in.Document, document, true, p.created)
	r.policies.put(name, p)
	r.setTags(arn, in.Tags)
	return struct {
		Name      string `json:"policyName"`
		ARN       string `json:"policyArn"`
		Document  string `json:"policyDocument"`
		VersionID string `json:"policyVersionId"`
	}{name, arn, in.Document, id}, nil
}

func (r *region) getPolicy(q *request) (any, error) {
	name := q.PathValue("policyName")
	p, err := r.policyNamed(name)
	if err != nil {
		return nil, err
	}
	v, _ := p.versions.get(p.current)
	return struct {
		Name         string `json:"policyName"`
		ARN          string `json:"policyArn"`
		Document     string `json:"policyDocument"`
		VersionID    string `json:"defaultVersionId"`
		Created      epoch  `json:"creationDate"`
		Modified     epoch  `json:"lastModifiedDate"`
		GenerationID string `json:"generationId"`
	}{name, r.arn(policyKind, name), v.text, p.current, epoch(p.created), epoch(p.modified), p.current}, nil
}

// deletePolicy wants the policy detached, and its default version to be the only one.
func (r *region) deletePolicy(q *request) (any, error) {
	name := q.PathValue("policyName")
	p, err := r.policyNamed(name)
	if err != nil {
		return nil, err
	}
	if p.versions.size() > 1 {
		return nil, deleteConflict("Cannot delete the policy because it has one or more policy versions attached to it (name=%s)", name)
	}
	if r.policyTargets.anyFrom(name, r.now()) {
		return nil, deleteConflict("The policy cannot be deleted as the policy is attached to one or more principals (name=%s)", name)
	}
	r.policies.remove(name)
	delete(r.tags, r.arn(policyKind, name))
	return nil, nil
}

type policyReference struct {
	Name string `json:"policyName"`
	ARN  string `json:"policyArn"`
}

func policiesAnswer(policies []policyReference, next uint64) any {
	return struct {
		Policies   []policyReference `json:"policies"`
		NextMarker string            `json:"nextMarker,omitempty"`
	}{policies, token(next)}
}

func (r *region) listPolicies(q *request) (any, error) {
	p, err := q.byMarker()
	if err != nil {
		return nil, err
	}
	policies := []policyReference{}
	next := r.policies.page(p, func(name string, _ *policy) bool {
		policies = append(policies, policyReference{name, r.arn(policyKind, name)})
		return true
	})
	return policiesAnswer(policies, next), nil
}

func (r *region) createPolicyVersion(q *request) (any, error) {
	name := q.PathValue("policyName")
	var in struct {
		Document string `json:"policyDocument"`
	}
	if err := q.decode(&in); err != nil {
		return nil, err
	}
	p, err := r.policyNamed(name)
	if err != nil {
		return nil, err
	}
	document, err := parsePolicy(in.Document)
	if err != nil {
		return nil, err
	}
	if p.versions.size() >= maxPolicyVersions {
		return nil, failure("VersionsLimitExceededException", http.StatusConflict, "The policy %s already has the maximum number of versions (%d)", name, maxPolicyVersions)
	}
	asDefault := q.flag("setAsDefault")
	id := p.add(in.Document, document, asDefault, r.now())
	return struct {
		ARN       string `json:"policyArn"`
		Document  string `json:"policyDocument"`
		VersionID string `json:"policyVersionId"`
		IsDefault bool   `json:"isDefaultVersion"`
	}{r.arn(policyKind, name), in.Document, id, asDefault}, nil
}

func (r *region) getPolicyVersion(q *request) (any, error) {
	p, v, err := r.policyVersionNamed(q)
	if err != nil {
		return nil, err
	}
	name, id := q.PathValue("policyName"), q.PathValue("policyVersionId")
	return struct {
		ARN          string `json:"policyArn"`
		Name         string `json:"policyName"`
		Document     string `json:"policyDocument"`
		VersionID    string `json:"policyVersionId"`
		IsDefault    bool   `json:"isDefaultVersion"`
		Created      epoch  `json:"creationDate"`
		Modified     epoch  `json:"lastModifiedDate"`
		GenerationID string `json:"generationId"`
	}{r.arn(policyKind, name), name, v.text, id, id == p.current, epoch(v.created), epoch(v.created), id}, nil
}

func (r *region) listPolicyVersions(q *request) (any, error) {
	p, err := r.policyNamed(q.PathValue("policyName"))
	if err != nil {
		return nil, err
	}
	type summary struct {
		VersionID string `json:"versionId"`
		IsDefault bool   `json:"isDefaultVersion"`
		Created   epoch  `json:"createDate"`
	}
	versions := []summary{}
	p.versions.all(func(id string, v *policyVersion) bool {
		versions = append(versions, summary{id, id == p.current, epoch(v.created)})
		return true
	})
	return struct {
		Versions []summary `json:"policyVersions"`
	}{versions}, nil
}

func (r *region) deletePolicyVersion(q *request) (any, error) {
	p, _, err := r.policyVersionNamed(q)
	if err != nil {
		return nil, err
	}
	id := q.PathValue("policyVersionId")
	if id == p.current {
		return nil, deleteConflict("Cannot delete the default version of a policy (name=%s, id=%s)", q.PathValue("policyName"), id)
	}
	p.versions.remove(id)
	return nil, nil
}

func (r *region) setDefaultPolicyVersion(q *request) (any, error) {
	p, _, err := r.policyVersionNamed(q)
	if err != nil {
		return nil, err
	}
	p.current, p.modified = q.PathValue("policyVersionId"), r.now()
	return nil, nil
}
