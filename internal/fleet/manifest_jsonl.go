package fleet

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"
)

// jsonManifest reads JSON Lines.
type jsonManifest struct{}

func (jsonManifest) attribute(name string) string { return "attributes." + name }

func (jsonManifest) parse(m *manifestReader, text []byte) bool {
	if !json.Valid(text) {
		column, reason := 0, "the line is no JSON object"
		var syntax *json.SyntaxError
		if err := json.Unmarshal(text, new(json.RawMessage)); errors.As(err, &syntax) {
			column, reason = columnAt(text, int(syntax.Offset)-1), reason+": "+syntax.Error()
		}
		m.add(m.line, column, "", "%s", reason)
		return false
	}
	if kind := jsonKind(bytes.TrimSpace(text)); kind != "an object" {
		m.add(m.line, 0, "", "the line must be a JSON object, but is %s", kind)
		return false
	}
	m.members(text, text, "", func(key string, value []byte) {
		switch key {
		case "device":
			m.row.device = m.text(text, key, value)
		case "thing":
			m.row.thing = m.text(text, key, value)
		case "csr":
			m.row.csr = m.text(text, key, value)
		case "attributes":
			if kind := jsonKind(value); kind != "an object" {
				m.fail(0, key, "must be an object, but is %s", kind)
				return
			}
			m.members(text, value, "attributes.", func(name string, value []byte) {
				m.row.attributes[name] = m.text(text, "attributes."+name, value)
			})
		default:
			m.fail(0, key, "is no field of a manifest; the fields are device, thing, csr and attributes")
		}
	})
	return true
}

// members calls visit for each member of an object that is valid JSON, in the line's text. Names
// that stand twice are reported: which value was meant is anybody's guess.
func (m *manifestReader) members(text, object []byte, prefix string, visit func(key string, value []byte)) {
	decoder := json.NewDecoder(bytes.NewReader(object))
	decoder.Token() // {
	seen := map[string]bool{}
	for decoder.More() {
		token, _ := decoder.Token()
		key, _ := token.(string)
		var value json.RawMessage
		if decoder.Decode(&value) != nil {
			return // not in valid JSON
		}
		switch {
		case strings.ContainsRune(key, utf8.RuneError):
			m.add(m.line, notUTF8(text), strings.TrimSuffix(prefix, "."), "the name of a field %s", notUTF8Reason)
		case seen[key]:
			m.fail(0, prefix+key, "stands twice in the object")
		default:
			seen[key] = true
			visit(key, value)
		}
	}
}

// text is the value of a field that must be a text.
func (m *manifestReader) text(line []byte, field string, value []byte) (s string) {
	switch kind := jsonKind(value); {
	case kind == "null":
		m.fail(0, field, "must be a text, but is null; a field that is not set is left out")
	case kind != "a text":
		m.fail(0, field, "must be a text, but is %s", kind)
	case !utf8.Valid(value):
		m.fail(notUTF8(line), field, "%s", notUTF8Reason)
	default:
		if err := json.Unmarshal(value, &s); err != nil {
			m.fail(0, field, "is no text: %s", err)
		}
	}
	return s
}

// jsonKind is what valid JSON is, by its first byte.
func jsonKind(value []byte) string {
	switch value[0] {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return "a text"
	case 't', 'f':
		return "true or false"
	case 'n':
		return "null"
	}
	return "a number"
}
