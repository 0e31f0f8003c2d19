package edit

import (
	"strings"

	"gopkg.in/yaml.v3"
)

// kustomization finds the entries of "images" that stand for the change's repository.
func (f *file) kustomization() error {
	for _, doc := range f.docs {
		if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
			continue
		}
		images := resolve(field(doc.Content[0], "images"))
		if images == nil || images.Kind != yaml.SequenceNode {
			continue
		}
		for _, entry := range images.Content {
			if err := f.entry(entry); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *file) entry(entry *yaml.Node) error {
	merged := entry.Kind == yaml.AliasNode
	fields := flatten(entry, &merged, 0)
	// newName is what will run; name only says what to look for in the manifests.
	name := fields["newName"]
	if name == nil || name.Value == "" {
		name = fields["name"]
	}
	if name == nil || name.Value != f.change.Subject.Repository.String() {
		return nil
	}
	switch {
	case merged:
		return f.refuse(entry.Line, "this images entry uses an alias or a merge key; write its fields out")
	case f.shared[entry]:
		return f.refuse(entry.Line, "this images entry is used elsewhere through an alias; write its fields out")
	case duplicate(entry):
		return f.refuse(entry.Line, "this images entry has the same field twice")
	}
	if tag := fields["newTag"]; tag != nil && f.change.Tag != "" {
		if err := f.replace(tag, f.change.Tag); err != nil {
			return err
		}
	}
	if digest := fields["digest"]; digest != nil {
		return f.replace(digest, f.change.Subject.Digest.String())
	}
	return f.insert(entry, "digest", f.change.Subject.Digest.String())
}

// replace wants another value for a scalar.
func (f *file) replace(n *yaml.Node, value string) error {
	inside, _, reason := f.scalarSpan(n)
	if reason != "" {
		return f.refuse(n.Line, "%s; write it on one line, plain or in quotes", reason)
	}
	if !quotable.MatchString(value) {
		return f.refuse(n.Line, "%q cannot be written into YAML as it is", value)
	}
	f.wanted = append(f.wanted, want{node: n, span: inside, value: value})
	return nil
}

// insert wants a new field, behind the last field of the mapping that stands on one line.
func (f *file) insert(mapping *yaml.Node, key, value string) error {
	flow := mapping.Style&yaml.FlowStyle != 0
	for i := len(mapping.Content) - 1; i > 0; i -= 2 {
		_, end, reason := f.scalarSpan(mapping.Content[i])
		if reason != "" {
			continue
		}
		if !flow {
			end = f.lineEnd(end)
		}
		f.wanted = append(f.wanted, want{span: span{end, end}, value: value, mapping: mapping, after: i + 1, key: key})
		return nil
	}
	return f.refuse(mapping.Line, "no place for a %s field in this images entry; add one by hand", key)
}

// field returns the value of a key, nil if there is none.
func field(mapping *yaml.Node, key string) *yaml.Node {
	mapping = resolve(mapping)
	if mapping == nil || mapping.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return mapping.Content[i+1]
		}
	}
	return nil
}

// flatten returns the scalar fields of an entry as a reader sees them, following aliases and merge keys.
func flatten(n *yaml.Node, merged *bool, depth int) map[string]*yaml.Node {
	fields := map[string]*yaml.Node{}
	n = resolve(n)
	if n == nil || n.Kind != yaml.MappingNode || depth > 8 {
		return fields
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Tag == "!!merge" {
			*merged = true
			sources := []*yaml.Node{value}
			if s := resolve(value); s != nil && s.Kind == yaml.SequenceNode {
				sources = s.Content
			}
			for _, s := range sources {
				for k, v := range flatten(s, merged, depth+1) {
					if fields[k] == nil {
						fields[k] = v
					}
				}
			}
		}
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if key := n.Content[i]; key.Kind == yaml.ScalarNode && key.Tag != "!!merge" {
			fields[key.Value] = n.Content[i+1]
			if key.Value == "name" || key.Value == "newName" {
				fields[key.Value] = resolve(n.Content[i+1])
			}
		}
	}
	return fields
}

func duplicate(mapping *yaml.Node) bool {
	seen := map[string]bool{}
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		key := strings.TrimSpace(mapping.Content[i].Value)
		if seen[key] {
			return true
		}
		seen[key] = true
	}
	return false
}

// resolve follows an alias.
func resolve(n *yaml.Node) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}
