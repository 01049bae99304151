package localaws

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode"
)

// maxPolicyDocument is in characters, white space not counted (AWS IoT quotas, "policies").
const maxPolicyDocument = 2048

// policyDocument is an IoT policy, as far as the credential provider needs it.
type policyDocument struct {
	Version   string
	Statement oneOrMany[policyStatement]
}

type policyStatement struct {
	Sid         string
	Effect      string
	Action      oneOrMany[string]
	Resource    oneOrMany[string]
	NotAction   json.RawMessage
	NotResource json.RawMessage
	Condition   json.RawMessage
}

// oneOrMany is a list in which a single element may stand for itself.
type oneOrMany[T any] []T

// UnmarshalJSON takes an element or a list of them.
func (l *oneOrMany[T]) UnmarshalJSON(text []byte) error {
	if text = bytes.TrimSpace(text); len(text) > 0 && text[0] == '[' {
		return decodeKnown(text, (*[]T)(l))
	}
	var one T
	if err := decodeKnown(text, &one); err != nil {
		return err
	}
	*l = oneOrMany[T]{one}
	return nil
}

func decodeKnown(text []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	return decoder.Decode(into)
}

// parsePolicy reads and checks a document; what is wrong with it comes as MalformedPolicyException.
func parsePolicy(text string) (*policyDocument, error) {
	size := 0
	for _, c := range text {
		if !unicode.IsSpace(c) {
			size++
		}
	}
	if size > maxPolicyDocument {
		return nil, malformedPolicy("it has %d characters, more than %d", size, maxPolicyDocument)
	}
	var document policyDocument
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&document); err != nil {
		return nil, malformedPolicy("%v", err)
	}
	if decoder.More() {
		return nil, malformedPolicy("something follows the document")
	}
	if document.Version != "2012-10-17" && document.Version != "2008-10-17" {
		return nil, malformedPolicy("Version is %q, not 2012-10-17", document.Version)
	}
	if len(document.Statement) == 0 {
		return nil, malformedPolicy("it has no Statement")
	}
	for _, s := range document.Statement {
		if err := s.check(); err != nil {
			return nil, err
		}
	}
	return &document, nil
}

func (s *policyStatement) check() error {
	switch {
	case s.NotAction != nil || s.NotResource != nil:
		return malformedPolicy("NotAction and NotResource are not allowed")
	case s.Effect != "Allow" && s.Effect != "Deny":
		return malformedPolicy("Effect is %q, neither Allow nor Deny", s.Effect)
	case len(s.Action) == 0:
		return malformedPolicy("a Statement has no Action")
	case len(s.Resource) == 0:
		return malformedPolicy("a Statement has no Resource")
	}
	for _, action := range s.Action {
		if action != "*" && !strings.HasPrefix(action, "iot:") {
			return malformedPolicy("Action %q is not of iot", action)
		}
	}
	for _, resource := range s.Resource {
		if resource != "*" && !strings.HasPrefix(resource, "arn:") {
			return malformedPolicy("Resource %q is not an ARN", resource)
		}
	}
	return nil
}

// allowed reports whether the documents together allow the action: one does and none denies it. A statement with
// a condition counts only if it denies: the local AWS does not evaluate conditions, and the safe answer is no.
func allowed(documents []*policyDocument, action, resource string) bool {
	allow := false
	for _, document := range documents {
		for _, s := range document.Statement {
			if !matchesAny(s.Action, action) || !matchesAny(s.Resource, resource) {
				continue
			}
			if s.Effect == "Deny" {
				return false
			}
			allow = allow || s.Condition == nil
		}
	}
	return allow
}

func matchesAny(patterns []string, value string) bool {
	for _, pattern := range patterns {
		if matches(pattern, value) {
			return true
		}
	}
	return false
}

// matches compares with the wildcards * (any run) and ? (any one character).
func matches(pattern, value string) bool {
	star, mark, i := -1, 0, 0
	for j := 0; j < len(value); {
		switch {
		case i < len(pattern) && pattern[i] == '*':
			star, mark = i, j
			i++
		case i < len(pattern) && (pattern[i] == '?' || pattern[i] == value[j]):
			i++
			j++
		case star >= 0:
			mark++
			i, j = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[i:], "*") == ""
}
