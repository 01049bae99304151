package fleet

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// Hook is whom the fleet's scheduled runs tell what they did: by a POST to URL, signed with the secret
// that the worker's environment has under the name SecretEnv. The secret itself is in no specification.
type Hook struct {
	URL       string `json:"url"`
	SecretEnv string `json:"secretEnv"`
}

// hookSecretRule keeps a specification from having other variables of the worker's used as keys.
var hookSecretRule = newNameRule("name of a hook's secret", `EDGEFLEET_HOOK_[A-Z0-9_]+`, 128)

// DefaultHookSecret is the variable that holds the secret where the specification names none.
const DefaultHookSecret = "EDGEFLEET_HOOK_SECRET"

var hookFields = []string{"url", "secretEnv"}

// check finds what is wrong with the hook's values and reports each with report.
func (h *Hook) check(report func(field string, err error)) {
	if h == nil {
		return
	}
	if err := hookSecretRule.Check(h.SecretEnv); err != nil {
		report("hook.secretEnv", err)
	}
	if err := checkHookURL(h.URL); err != nil {
		report("hook.url", err)
	}
}

func checkHookURL(text string) error {
	if text == "" {
		return errors.New("is missing")
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		return fmt.Errorf("%s is no URL to post to: it must read https://HOST/PATH", quote(text))
	case u.User != nil:
		return errors.New("may not hold a user name or password: everyone who may look at a run could read them. The signature says who posts")
	case len(text) > 2048:
		return fmt.Errorf("has %d characters; at most 2048 are allowed", len(text))
	}
	return nil
}

// hook reads the mapping of a hook.
func (r *specReader) hook(field string, v ast.Node) *Hook {
	h := &Hook{SecretEnv: DefaultHookSecret}
	fields := map[string]*string{"url": &h.URL, "secretEnv": &h.SecretEnv}
	r.at[field+".url"] = v.GetToken().Position // where it is missing, if it is
	read := r.each(field, v, func(key string, pos *token.Position, value ast.Node) {
		name := field + "." + key
		target, known := fields[key]
		if !known {
			r.add(pos.Line, pos.Column, name, "is not a field of a hook; the fields are %s", strings.Join(hookFields, ", "))
			return
		}
		r.at[name] = value.GetToken().Position
		*target = r.text(name, value)
	})
	if !read || v.Type() == ast.NullType {
		return nil
	}
	return h
}
