package edit

import (
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/pratique-dev/pratique/internal/jsonname"
)

// The keys of a kustomization that say which image runs. Kustomize makes JSON of the file and reads that as Go does, so other
// spellings mean the same to it. Here they are understood, so that no place is overlooked, and never written to.
const (
	keyImages  = "images"
	keyName    = "name"
	keyNewName = "newName"
	keyNewTag  = "newTag"
	keyDigest  = "digest"
)

// means reports whether kustomize takes a key for that name. It may be an alias.
func means(key *yaml.Node, name string) bool {
	key = resolve(key)
	return key.Kind == yaml.ScalarNode && (key.Value == name || jsonname.Fold(key.Value) == jsonname.Fold(name))
}

// spelled returns a key in whatever spelling, and its value; nil if there is none.
func spelled(mapping *yaml.Node, name string) (key, value *yaml.Node) {
	mapping = resolve(mapping)
	if mapping == nil || mapping.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if means(mapping.Content[i], name) {
			return resolve(mapping.Content[i]), mapping.Content[i+1]
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
	return slices.ContainsFunc([]string{keyName, keyNewName, keyNewTag, keyDigest}, func(name string) bool {
		return means(key, name) && resolve(key).Value != name
	})
}

// misspelled returns the key of an entry, or that of its list, that is not spelled as it is meant.
func misspelled(entry, list *yaml.Node) (key *yaml.Node, meant string) {
	if list.Value != keyImages {
		return list, keyImages
	}
	for _, name := range []string{keyName, keyNewName, keyNewTag, keyDigest} {
		if key, _ := spelled(entry, name); key != nil && key.Value != name {
			return key, name
		}
	}
	return nil, ""
}

// folded returns two keys that are one for kustomize: of a document, or of an entry of its images.
func (f *file) folded() (first, second *yaml.Node) {
	for _, doc := range f.docs {
		if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
			continue
		}
		if a, b := twins(doc.Content[0]); b != nil {
			return a, b
		}
		images := resolve(field(doc.Content[0], keyImages))
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
	mapping = resolve(mapping)
	if mapping == nil || mapping.Kind != yaml.MappingNode {
		return nil, nil
	}
	seen := make(map[string]*yaml.Node, len(mapping.Content)/2)
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		key := resolve(mapping.Content[i])
		if key.Kind != yaml.ScalarNode || key.Tag == mergeTag {
			continue
		}
		name := jsonname.Fold(key.Value)
		if seen[name] != nil {
			return seen[name], key
		}
		seen[name] = key
	}
	return nil, nil
}
