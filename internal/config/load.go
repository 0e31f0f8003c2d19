package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"sort"
	"strconv"
	"strings"

	"github.com/pratique-dev/pratique"
	"gopkg.in/yaml.v3"
)

// Problem is one thing that is wrong with a configuration, and where.
type Problem struct {
	File string
	Line int
	// Key is the path of the value, for example receivers[0].secrets; empty for syntax errors.
	Key     string
	Message string
}

// Error returns "file:line: key: message".
func (p Problem) Error() string {
	s := p.File
	if p.Line > 0 {
		s += ":" + strconv.Itoa(p.Line)
	}
	if p.Key != "" {
		s += ": " + p.Key
	}
	return s + ": " + p.Message
}

// maxFile bounds the file: a configuration is never this large, a mistaken path may be.
const maxFile = 4 << 20

// Load reads, checks and resolves the file. The error joins every [Problem] that was found.
func Load(file string) (Config, error) {
	f, err := os.Open(file)
	if err != nil {
		return Config{}, pratique.Wrap(pratique.Invalid, "read configuration", "", err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return Config{}, pratique.Wrap(pratique.Invalid, "read configuration", "", err)
	}
	if len(content) > maxFile {
		return Config{}, pratique.Errorf(pratique.Invalid, "read configuration", "%s is larger than 4 MiB", file)
	}
	return Parse(file, content)
}

// Parse is [Load] for content that is in memory; file is only for messages.
func Parse(file string, content []byte) (Config, error) {
	c, lines, problems := decode(file, content)
	if len(problems) == 0 {
		check := checker{file: file, lines: lines}
		check.secrets(reflect.ValueOf(&c).Elem(), "")
		check.config(&c)
		problems = check.problems
	}
	if len(problems) == 0 {
		return c, nil
	}
	sort.SliceStable(problems, func(i, j int) bool { return problems[i].Line < problems[j].Line })
	all := make([]error, len(problems))
	for i, p := range problems {
		all[i] = p
	}
	return Config{}, &pratique.Error{Op: "configuration", Kind: pratique.Invalid, Err: errors.Join(all...)}
}

// decode reads one strict YAML document, and the line of each key path.
func decode(file string, content []byte) (Config, map[string]int, []Problem) {
	var c Config
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	decoder.KnownFields(true)
	err := decoder.Decode(&c)
	if errors.Is(err, io.EOF) { // an empty file is an empty configuration
		return c, nil, nil
	}
	if err != nil {
		return c, nil, yamlProblems(file, err)
	}
	var second yaml.Node
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		return c, nil, []Problem{{File: file, Line: second.Line, Message: "more than one YAML document"}}
	}
	var root yaml.Node
	if err := yaml.Unmarshal(content, &root); err != nil {
		return c, nil, yamlProblems(file, err)
	}
	lines := map[string]int{}
	keyLines(&root, "", lines)
	return c, lines, nil
}

func keyLines(node *yaml.Node, path string, lines map[string]int) {
	switch node.Kind {
	case yaml.DocumentNode:
		for _, child := range node.Content {
			keyLines(child, path, lines)
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			key := join(path, node.Content[i].Value)
			lines[key] = node.Content[i].Line
			keyLines(node.Content[i+1], key, lines)
		}
	case yaml.SequenceNode:
		for i, child := range node.Content {
			key := fmt.Sprintf("%s[%d]", path, i)
			lines[key] = child.Line
			keyLines(child, key, lines)
		}
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

var (
	yamlLine    = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)$`)
	yamlUnknown = regexp.MustCompile(`^field (\S+) not found in type config\.(\w+)$`)
	yamlType    = regexp.MustCompile("^cannot unmarshal !!(\\w+) (?:`(.*)` )?into (.+)$")
)

// yamlProblems turns the errors of yaml.v3 into ours: its own speak of Go types.
func yamlProblems(file string, err error) []Problem {
	messages := []string{err.Error()}
	var typed *yaml.TypeError
	if errors.As(err, &typed) {
		messages = typed.Errors
	}
	var problems []Problem
	for _, message := range messages {
		p := Problem{File: file, Message: strings.TrimPrefix(message, "yaml: ")}
		if m := yamlLine.FindStringSubmatch(message); m != nil {
			p.Line, _ = strconv.Atoi(m[1]) // the pattern matched digits only
			p.Message = m[2]
		}
		if m := yamlUnknown.FindStringSubmatch(p.Message); m != nil {
			p.Key, p.Message = m[1], "unknown key; known here: "+strings.Join(knownKeys(m[2]), ", ")
		} else if m := yamlType.FindStringSubmatch(p.Message); m != nil {
			p.Message = "want " + kindWord(m[3])
			if plain := m[3] == "bool" || strings.HasPrefix(m[3], "int"); plain { // anything else may be a secret
				p.Message += fmt.Sprintf(", not %q", m[2])
			}
		}
		problems = append(problems, p)
	}
	return problems
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
