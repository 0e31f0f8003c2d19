package config

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

var (
	yamlLine    = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)$`)
	yamlUnknown = regexp.MustCompile(`^field (\S+) not found in type config\.(\w+)$`)
	yamlType    = regexp.MustCompile("^cannot unmarshal !!(\\w+) (?:`(.*)` )?into (.+)$")
)

// syntaxHint explains the parser's message about broken syntax. The message names the line on which
// the parser noticed.
func syntaxHint(message string) string {
	switch {
	case strings.HasPrefix(message, "did not find expected"):
		return ": look at the indentation of this line and of the next few"
	case strings.HasPrefix(message, "found character that cannot"):
		return ": YAML is indented with spaces, and here stands a tab; or quote the value"
	case strings.HasPrefix(message, "mapping values are not"):
		return ": put a value with a colon and a space in it into quotes, or look at the indentation"
	}
	return ""
}

// yamlProblems turns the errors of yaml.v3 into problems. Its own messages have Go types and no
// keys; the keys are looked up by message.
func yamlProblems(file string, err error, keys map[string]string) []Problem {
	messages := []string{err.Error()}
	var typed *yaml.TypeError
	if errors.As(err, &typed) {
		messages = typed.Errors
	}
	var problems []Problem
	for _, message := range messages {
		p := Problem{File: file, Key: keys[message], Message: strings.TrimPrefix(message, "yaml: ")}
		if m := yamlLine.FindStringSubmatch(message); m != nil {
			p.Line, _ = strconv.Atoi(m[1]) // the pattern matched digits only
			p.Message = m[2]
		}
		p.Message += syntaxHint(p.Message)
		if m := yamlUnknown.FindStringSubmatch(p.Message); m != nil {
			p.Key, p.Message = cmp.Or(p.Key, m[1]), "unknown key; known here: "+
				strings.Join(knownKeys(m[2]), ", ")
			if to := movedTo(p.Key); to != "" {
				p.Message = "moved to " + to
			}
		} else if m := yamlType.FindStringSubmatch(p.Message); m != nil {
			p.Message = "want " + kindWord(m[3])
			// anything else may be a secret
			if plain := m[3] == "bool" || strings.HasPrefix(m[3], "int"); plain {
				p.Message += fmt.Sprintf(", not %q", m[2])
			}
		}
		problems = append(problems, p)
	}
	return problems
}

// keysOf finds the key of each error of decoding content strictly.
func keysOf(content []byte) map[string]string {
	keys := map[string]string{}
	var root yaml.Node
	// then the error is about the syntax
	if err := yaml.Unmarshal(content, &root); err != nil || len(root.Content) == 0 {
		return keys
	}
	locate(root.Content[0], reflect.TypeFor[Config](), "", keys)
	return keys
}

// locate decodes the value at the path piece by piece. If two pieces have the same error, the first
// is named.
func locate(node *yaml.Node, t reflect.Type, path string, keys map[string]string) {
	add := func(message, path string) {
		if _, ok := keys[message]; !ok {
			keys[message] = path
		}
	}
	own := reflect.PointerTo(t).Implements(reflect.TypeFor[yaml.Unmarshaler]())
	switch {
	case !own && t.Kind() == reflect.Struct && node.Kind == yaml.MappingNode:
		types := map[string]reflect.Type{}
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() {
				types[yamlName(f)] = f.Type
			}
		}
		for i := 0; i+1 < len(node.Content); i += 2 {
			key := node.Content[i]
			if field, ok := types[key.Value]; ok {
				locate(node.Content[i+1], field, join(path, key.Value), keys)
			} else {
				add(fmt.Sprintf("line %d: field %s not found in type config.%s", key.Line,
					key.Value, t.Name()), join(path, key.Value))
			}
		}
	case !own && t.Kind() == reflect.Slice && node.Kind == yaml.SequenceNode:
		for i, element := range node.Content {
			locate(element, t.Elem(), fmt.Sprintf("%s[%d]", path, i), keys)
		}
	default:
		if whole := strings.TrimPrefix(t.String(), "*"); !own && strings.HasPrefix(whole, "int") &&
			node.Tag == "!!float" { // the decoder cuts the fraction off, and says nothing
			add(fmt.Sprintf("line %d: cannot unmarshal !!float `%s` into %s", node.Line, node.Value,
				whole), path)
		}
		var typed *yaml.TypeError
		if errors.As(node.Decode(reflect.New(t).Interface()), &typed) {
			for _, message := range typed.Errors {
				add(message, path)
			}
		}
	}
}

// movedTo says where a key is now that has another place than before; empty for all others.
func movedTo(key string) string {
	switch key {
	case "inspect.workers":
		return "workers.inspect: each stage has workers of its own"
	case "inspect.priorities", "inspect.lanes":
		return "priorities, beside inspect: it is for all stages"
	}
	return ""
}

// knownKeys lists the keys of the configuration struct with that name.
func knownKeys(typeName string) []string {
	var found []string
	var visit func(t reflect.Type)
	visit = func(t reflect.Type) {
		for t.Kind() == reflect.Slice {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct || t == reflect.TypeFor[Secret]() {
			return
		}
		for i := range t.NumField() {
			if !t.Field(i).IsExported() {
				continue
			}
			if t.Name() == typeName {
				found = append(found, yamlName(t.Field(i)))
			}
			visit(t.Field(i).Type)
		}
	}
	visit(reflect.TypeFor[Config]())
	return found
}

func yamlName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	return name
}

func kindWord(goType string) string {
	switch {
	case strings.HasPrefix(goType, "[]"):
		return "a list"
	case goType == "bool":
		return "true or false"
	case strings.HasPrefix(goType, "int"):
		return "a whole number"
	case strings.HasPrefix(goType, "config."):
		return "a group of keys"
	default:
		return "text"
	}
}
