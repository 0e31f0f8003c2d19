package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"slices"
	"sort"
	"strconv"

	"github.com/pratique-dev/pratique"
	"go.yaml.in/yaml/v3"
)

// Problem is a mistake in a configuration, with its place.
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

// maxFile bounds the file, in case the path is wrong.
const maxFile = 4 << 20

// Load reads, checks and resolves a file. The error joins all problems.
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
		return Config{}, pratique.Errorf(pratique.Invalid, "read configuration",
			"%s is larger than 4 MiB", file)
	}
	return Parse(file, content)
}

// Parse is [Load] for content in memory. The file name is only for messages.
func Parse(file string, content []byte) (Config, error) {
	c, lines, problems := decode(file, content)
	if len(problems) == 0 {
		check := checker{file: file, lines: lines}
		check.secrets(reflect.ValueOf(&c).Elem(), "")
		check.config(&c)
		problems = check.problems
	}
	if len(problems) == 0 {
		c.warnings = warnings(file, lines, c)
		return c, nil
	}
	sort.SliceStable(problems, func(i, j int) bool { return problems[i].Line < problems[j].Line })
	all := make([]error, len(problems))
	for i, p := range problems {
		all[i] = p
	}
	return Config{}, &pratique.Error{Op: "configuration", Kind: pratique.Invalid,
		Err: errors.Join(all...)}
}

// decode reads one strict YAML document, and the line of each key.
func decode(file string, content []byte) (Config, map[string]int, []Problem) {
	var c Config
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	decoder.KnownFields(true)
	err := decoder.Decode(&c)
	if errors.Is(err, io.EOF) { // an empty file is an empty configuration
		return c, nil, nil
	}
	keys := keysOf(content)
	if err == nil && len(keys) > 0 {
		err = &yaml.TypeError{Errors: slices.Sorted(maps.Keys(keys))}
	}
	if err != nil {
		return c, nil, yamlProblems(file, err, keys)
	}
	var second yaml.Node
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		return c, nil, []Problem{{File: file, Line: second.Line, Message: "more than one YAML document"}}
	}
	var root yaml.Node
	if err := yaml.Unmarshal(content, &root); err != nil {
		return c, nil, yamlProblems(file, err, nil)
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
