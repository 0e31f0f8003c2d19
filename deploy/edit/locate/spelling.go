package locate

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/pratique-dev/pratique/internal/jsonname"
	"github.com/pratique-dev/pratique/internal/yamltext"
)

// The keys of a kustomization that say which image runs. Kustomize makes JSON of the file and reads
// that as Go does, so other spellings mean the same to it. Here they are understood, so that no
// place is overlooked, and never written to.
const (
	keyImages  = "images"
	keyName    = "name"
	keyNewName = "newName"
	keyNewTag  = "newTag"
	keyDigest  = "digest"
)

// means reports whether kustomize takes a key for that name. It may be an alias.
func means(key *yaml.Node, name string) bool {
	key = yamltext.Resolve(key)
	return key.Kind == yaml.ScalarNode && strings.EqualFold(yamltext.Value(key), name)
}

// spelled returns a key in whatever spelling, and its value; nil if there is none.
func spelled(mapping *yaml.Node, name string) (key, value *yaml.Node) {
	mapping = yamltext.Resolve(mapping)
	if mapping == nil || mapping.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if means(mapping.Content[i], name) {
			return yamltext.Resolve(mapping.Content[i]), mapping.Content[i+1]
		}
	}
	return nil, nil
}

// field returns the value of a key, nil if there is none.
func field(mapping *yaml.Node, name string) *yaml.Node {
	_, value := spelled(mapping, name)
	return value
}

// strange reports whether a key is a name of an image in another spelling.
func strange(key *yaml.Node) bool {
	return slices.ContainsFunc([]string{keyName, keyNewName, keyNewTag, keyDigest},
		func(name string) bool {
			return means(key, name) && yamltext.Resolve(key).Value != name
		})
}

// hidden is why values that are tagged as binary are not edited.
const hidden = "this images entry is written as !!binary, which hides what it names; write it as text"

// misspelled returns a key of an entry, or of its list, with an unusual spelling, and what to do.
func misspelled(entry, list *yaml.Node) (key *yaml.Node, reason string) {
	check := func(key *yaml.Node, meant string) string {
		switch {
		case key == nil || key.Value == meant && !yamltext.IsBinary(key):
			return ""
		case yamltext.IsBinary(key):
			return hidden
		}
		return fmt.Sprintf("kustomize takes the key %.128q for %s, as it does not tell upper from lower case, and other readers do not: write %s", key.Value, meant, meant)
	}
	if reason := check(list, keyImages); reason != "" {
		return list, reason
	}
	for _, name := range []string{keyName, keyNewName, keyNewTag, keyDigest} {
		key, _ := spelled(entry, name)
		if reason := check(key, name); reason != "" {
			return key, reason
		}
	}
	return nil, ""
}

// folded returns two keys that are one for kustomize: of a document, or of an entry of its images.
func (k *kustomization) folded() (first, second *yaml.Node) {
	for _, root := range k.Roots() {
		if a, b := twins(root); b != nil {
			return a, b
		}
		images := yamltext.Resolve(field(root, keyImages))
		if images == nil || images.Kind != yaml.SequenceNode {
			continue
		}
		for _, entry := range images.Content {
			if a, b := twins(entry); b != nil {
				return a, b
			}
		}
	}
	return nil, nil
}

// twins returns two keys of a mapping that are one for kustomize.
func twins(mapping *yaml.Node) (first, second *yaml.Node) {
	mapping = yamltext.Resolve(mapping)
	if mapping == nil || mapping.Kind != yaml.MappingNode {
		return nil, nil
	}
	seen := make(map[string]*yaml.Node, len(mapping.Content)/2)
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		key := yamltext.Resolve(mapping.Content[i])
		if key.Kind != yaml.ScalarNode || key.Tag == mergeTag {
			continue
		}
		name := jsonname.Fold(yamltext.Value(key))
		if seen[name] != nil {
			return seen[name], key
		}
		seen[name] = key
	}
	return nil, nil
}
