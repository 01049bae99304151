package fleet

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// byteOrderMark is what some editors begin a UTF-8 file with.
var byteOrderMark = []byte("\ufeff")

// maxSpecBytes keeps a wrong path (a manifest, an image) from being read into memory.
const maxSpecBytes = 1 << 20

// ReadSpec reads the fleet specification in the file at path. An error that is the input's fault
// is an InvalidInput.
func ReadSpec(path string) (Spec, error) {
	if path == "" {
		return Spec{}, InvalidInput{{Source: "-f", Reason: "names no fleet specification (examples/fleet.yaml shows one)"}}
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return Spec{}, InvalidInput{{Source: path, Reason: "there is no such file; -f names the fleet specification (examples/fleet.yaml shows one)"}}
	case err != nil:
		return Spec{}, InvalidInput{{Source: path, Reason: "cannot be read: " + err.Error()}}
	case info.IsDir():
		return Spec{}, InvalidInput{{Source: path, Reason: "is a directory; -f names the fleet specification's file"}}
	case info.Size() > maxSpecBytes:
		return Spec{}, InvalidInput{{Source: path, Reason: fmt.Sprintf("has %d bytes: too large for a fleet specification (at most %d)", info.Size(), maxSpecBytes)}}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return Spec{}, InvalidInput{{Source: path, Reason: "cannot be read: " + err.Error()}}
	}
	return ParseSpec(path, data)
}

// ParseSpec reads a fleet specification from YAML; source names it in errors. All that is wrong
// is reported at once, each with line and column: so the keys are walked here, where a strict
// decoder would stop at the first.
func ParseSpec(source string, data []byte) (Spec, error) {
	r := specReader{problems: problems{source: source}, at: map[string]*token.Position{}}
	file, err := parser.ParseBytes(bytes.TrimPrefix(data, byteOrderMark), 0)
	if err != nil {
		return Spec{}, syntaxProblem(source, err)
	}
	spec := Spec{Registry: SageMakerEdge, Keys: KeysAWS}
	switch {
	case len(file.Docs) == 0 || file.Docs[0].Body == nil:
		r.add(1, 0, "", "the fleet specification is empty")
		return Spec{}, r.err()
	case len(file.Docs) > 1:
		line := 0
		if start := file.Docs[1].Start; start != nil { // nil after "...", which ends the first one
			line = start.Position.Line
		}
		r.add(line, 0, "", "one file holds one fleet specification; here a second document begins")
		return Spec{}, r.err()
	}
	if r.top(file.Docs[0].Body, &spec) {
		if spec.Keys == KeysCSR && spec.KeyType == "" {
			spec.KeyType = KeyP256
		}
		r.check(spec)
	}
	return spec, r.err()
}

func syntaxProblem(source string, err error) error {
	p := Problem{Source: source, Reason: "is not YAML: " + err.Error()}
	var syntax *yaml.SyntaxError
	if errors.As(err, &syntax) {
		p.Reason = "is not YAML: " + syntax.Message
		if syntax.Token != nil {
			p.Line, p.Column = syntax.Token.Position.Line, syntax.Token.Position.Column
		}
	}
	return InvalidInput{p}
}

// specReader walks the YAML tree and remembers where each field stands, so that a value that is
// wrong can be pointed at.
type specReader struct {
	problems
	at     map[string]*token.Position // where each field's value stands
	failed []string                   // fields that were reported already
}

var specFields = []string{"name", "registry", "roleArn", "thingType", "output", "bundles", "keys", "keyType", "kmsKeyId", "attributes", "holdDeadline", "hook"}

// top reads the fields into spec; false when the file holds no mapping to read them from.
func (r *specReader) top(body ast.Node, spec *Spec) bool {
	text := func(target *string) func(string, ast.Node) {
		return func(field string, v ast.Node) { *target = r.text(field, v) }
	}
	location := func(target *S3URI) func(string, ast.Node) {
		return func(field string, v ast.Node) {
			text := r.text(field, v)
			if slices.Contains(r.failed, field) {
				return // it is no text
			}
			if text == "" {
				delete(r.at, field) // as good as not there, which is right where it is not needed
				return
			}
			uri, err := ParseS3URI(text)
			if err != nil {
				r.fail(field, err)
			}
			*target = uri
		}
	}
	fields := map[string]func(string, ast.Node){
		"name":       text(&spec.Name),
		"registry":   text((*string)(&spec.Registry)),
		"roleArn":    text(&spec.RoleARN),
		"thingType":  text(&spec.ThingType),
		"output":     location(&spec.Output),
		"bundles":    location(&spec.Bundles),
		"keys":       text((*string)(&spec.Keys)),
		"keyType":    text((*string)(&spec.KeyType)),
		"kmsKeyId":   text(&spec.KMSKeyID),
		"attributes": func(field string, v ast.Node) { spec.Attributes = r.attributes(field, v) },
		"holdDeadline": func(field string, v ast.Node) {
			text := r.text(field, v)
			if text == "" || slices.Contains(r.failed, field) {
				return
			}
			var err error
			if spec.HoldDeadline, err = parseDuration(text); err == nil && spec.HoldDeadline == 0 {
				err = errors.New("0 is no time to hold for: with `starter provision --on-failure rollback` a run does not hold")
			}
			if err != nil {
				r.fail(field, err)
			}
		},
		"hook": func(field string, v ast.Node) { spec.Hook = r.hook(field, v) },
	}
	return r.each("", body, func(key string, pos *token.Position, v ast.Node) {
		read, known := fields[key]
		if !known {
			r.add(pos.Line, pos.Column, key, "is not a field of a fleet specification; the fields are %s", strings.Join(specFields, ", "))
			return
		}
		r.at[key] = v.GetToken().Position
		read(key, v)
	})
}

// check reports the values that break a rule, and the fields that are missing.
func (r *specReader) check(spec Spec) {
	required := map[string]bool{"name": true, "roleArn": true, "thingType": true, "bundles": true,
		"output": spec.Registry == SageMakerEdge}
	for _, field := range specFields {
		if required[field] && r.at[field] == nil {
			r.add(0, 0, field, "is missing")
			r.failed = append(r.failed, field)
		}
	}
	spec.check(func(field string, err error) {
		if !slices.Contains(r.failed, field) {
			r.fail(field, err)
		}
	})
}

func (r *specReader) fail(field string, err error) {
	r.failed = append(r.failed, field)
	pos := r.at[field]
	if pos == nil {
		pos = &token.Position{}
	}
	r.add(pos.Line, pos.Column, field, "%s", err)
}

// text is a scalar as it is written: a number or a truth value is taken for its text, so that
// `rack: 007` stays what was meant.
func (r *specReader) text(field string, v ast.Node) string {
	switch n := v.(type) {
	case *ast.StringNode:
		return n.Value
	case *ast.LiteralNode:
		return n.Value.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return v.GetToken().Value
	case *ast.NullNode:
		return ""
	}
	r.fail(field, fmt.Errorf("must be a text, but is of the kind %s", strings.ToLower(v.Type().YAMLName())))
	return ""
}

func (r *specReader) attributes(field string, v ast.Node) map[string]string {
	attributes := map[string]string{}
	r.each(field, v, func(key string, _ *token.Position, value ast.Node) {
		name := field + "." + key
		r.at[name] = value.GetToken().Position
		attributes[key] = r.text(name, value)
	})
	return maps.Clone(attributes)
}

// each calls visit for each pair of a mapping, in the order of the file; false when v is none.
func (r *specReader) each(field string, v ast.Node, visit func(key string, pos *token.Position, value ast.Node)) bool {
	var pairs []*ast.MappingValueNode
	switch n := v.(type) {
	case *ast.MappingNode:
		pairs = n.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{n}
	case *ast.NullNode:
		return true
	default:
		pos := v.GetToken().Position
		r.add(pos.Line, pos.Column, field, "must be a mapping (key: value), but is of the kind %s", strings.ToLower(v.Type().YAMLName()))
		return false
	}
	for _, pair := range pairs {
		key := pair.Key.GetToken()
		visit(key.Value, key.Position, pair.Value)
	}
	return true
}
