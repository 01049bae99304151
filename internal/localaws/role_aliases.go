package localaws

import (
	"strconv"
	"time"
)

const roleAliasKind = "rolealias"

// How long credentials may be valid for, in seconds (AWS IoT API model, CreateRoleAlias).
const (
	minDuration     = 900
	maxDuration     = 43200
	defaultDuration = 3600
)

type roleAlias struct {
	roleARN  string
	duration int // of the credentials, in seconds
	created  time.Time
	modified time.Time
}

type roleAliasInput struct {
	RoleARN  *string `json:"roleArn"`
	Duration *int    `json:"credentialDurationSeconds"`
	Tags     []tag   `json:"tags"`
}

func (in *roleAliasInput) read(q *request) error {
	if err := q.decode(in); err != nil {
		return err
	}
	if in.RoleARN != nil {
		if err := checkIoT(roleARNRule, "roleArn", *in.RoleARN); err != nil {
			return err
		}
	}
	if d := in.Duration; d != nil {
		switch {
		case *d < minDuration:
			return invalidRequest("%s", violationOf(strconv.Itoa(*d), "credentialDurationSeconds", "Member must have value greater than or equal to 900"))
		case *d > maxDuration:
			return invalidRequest("%s", violationOf(strconv.Itoa(*d), "credentialDurationSeconds", "Member must have value less than or equal to 43200"))
		}
	}
	return nil
}

func (r *region) roleAliasNamed(name string) (*roleAlias, error) {
	a, ok := r.roleAliases.get(name)
	if !ok {
		return nil, notFound("Role alias %s not found", name)
	}
	return a, nil
}

func (r *region) roleAliasAnswer(name string) any {
	return struct {
		Name string `json:"roleAlias"`
		ARN  string `json:"roleAliasArn"`
	}{name, r.arn(roleAliasKind, name)}
}

func (r *region) addRoleAlias(name, roleARN string, duration int) {
	now := r.now()
	r.roleAliases.put(name, &roleAlias{roleARN, duration, now, now})
}

// createRoleAlias refuses a name that is there, even with the same role.
func (r *region) createRoleAlias(q *request) (any, error) {
	name := q.PathValue("roleAlias")
	var in roleAliasInput
	if err := in.read(q); err != nil {
		return nil, err
	}
	if in.RoleARN == nil {
		return nil, invalidRequest("1 validation error detected: Value null at 'roleArn' failed to satisfy constraint: Member must not be null")
	}
	arn := r.arn(roleAliasKind, name)
	if r.roleAliases.has(name) {
		return nil, alreadyExists(name, arn, "Role alias %s already exists", name)
	}
	duration := defaultDuration
	if in.Duration != nil {
		duration = *in.Duration
	}
	r.addRoleAlias(name, *in.RoleARN, duration)
	r.setTags(arn, in.Tags)
	return r.roleAliasAnswer(name), nil
}

func (r *region) describeRoleAlias(q *request) (any, error) {
	name := q.PathValue("roleAlias")
	a, err := r.roleAliasNamed(name)
	if err != nil {
		return nil, err
	}
	type description struct {
		Name     string `json:"roleAlias"`
		ARN      string `json:"roleAliasArn"`
		RoleARN  string `json:"roleArn"`
		Owner    string `json:"owner"`
		Duration int    `json:"credentialDurationSeconds"`
		Created  epoch  `json:"creationDate"`
		Modified epoch  `json:"lastModifiedDate"`
	}
	return struct {
		Description description `json:"roleAliasDescription"`
	}{description{name, r.arn(roleAliasKind, name), a.roleARN, r.server.account, a.duration, epoch(a.created), epoch(a.modified)}}, nil
}

func (r *region) updateRoleAlias(q *request) (any, error) {
	name := q.PathValue("roleAlias")
	var in roleAliasInput
	if err := in.read(q); err != nil {
		return nil, err
	}
	a, err := r.roleAliasNamed(name)
	if err != nil {
		return nil, err
	}
	if in.RoleARN != nil {
		a.roleARN = *in.RoleARN
	}
	if in.Duration != nil {
		a.duration = *in.Duration
	}
	a.modified = r.now()
	return r.roleAliasAnswer(name), nil
}

func (r *region) deleteRoleAlias(q *request) (any, error) {
	name := q.PathValue("roleAlias")
	if _, err := r.roleAliasNamed(name); err != nil {
		return nil, err
	}
	r.roleAliases.remove(name)
	delete(r.tags, r.arn(roleAliasKind, name))
	return struct{}{}, nil
}

func (r *region) listRoleAliases(q *request) (any, error) {
	p, err := q.byMarker()
	if err != nil {
		return nil, err
	}
	aliases := []string{}
	next := r.roleAliases.page(p, func(name string, _ *roleAlias) bool {
		aliases = append(aliases, name)
		return true
	})
	return struct {
		RoleAliases []string `json:"roleAliases"`
		NextMarker  string   `json:"nextMarker,omitempty"`
	}{aliases, token(next)}, nil
}
