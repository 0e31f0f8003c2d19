package locate

import (
	"bytes"
	"fmt"
	"path"

	"go.yaml.in/yaml/v3"

	"github.com/pratique-dev/pratique/deploy/edit"
	"github.com/pratique-dev/pratique/internal/yamltext"
)

// kustomize locates the entries of "images" in a kustomization.
type kustomize struct{}

// Relevant implements [edit.Locator].
func (kustomize) Relevant(name string) bool { return isKustomization(name) }

func isKustomization(name string) bool {
	switch path.Base(name) {
	case "kustomization.yaml", "kustomization.yml", "Kustomization":
		return true
	}
	return false
}

// Syntax implements [edit.Locator].
func (kustomize) Syntax() edit.Syntax { return yamlSyntax{} }

// Screen implements [edit.Locator]. A name can be written so that its bytes do not show it: with a
// backslash in a quoted text, with a tag that says that it is something else, or with every second
// byte of something else.
func (kustomize) Screen(content []byte, image edit.Image) edit.Look {
	switch {
	case image.NamedIn(content):
		return edit.Named
	case bytes.ContainsAny(content, `\!`), yamltext.IsUTF16(content):
		return edit.Hidden
	}
	return edit.Nothing
}

// kustomization is a kustomization that is being read.
type kustomization struct {
	*yamlSource
	identities map[*yaml.Node]identity
	found      edit.Found
	entries    []*yaml.Node // of each site
}

// Locate implements [edit.Locator].
func (kustomize) Locate(source edit.Source) edit.Found {
	k := &kustomization{yamlSource: source.(*yamlSource), identities: map[*yaml.Node]identity{}}
	if a, b := k.folded(); b != nil {
		return edit.Found{Line: b.Line,
			Stopped: fmt.Sprintf("the keys %.128q in line %d and %.128q in line %d are one for kustomize, "+
				"which does not tell upper from lower case; keep one of them", a.Value, a.Line, b.Value,
				b.Line)}
	}
	for _, root := range k.Roots() {
		key, value := spelled(root, keyImages)
		images := yamltext.Resolve(value)
		if images == nil || images.Kind != yaml.SequenceNode {
			continue
		}
		for _, entry := range images.Content {
			if s := k.site(entry, key); s != nil {
				k.found.Sites, k.entries = append(k.found.Sites, *s), append(k.entries, entry)
			}
		}
	}
	k.locate()
	return k.found
}

// locate fills in where the values are.
func (k *kustomization) locate() {
	where := k.Locations(k.entries...)
	for i, entry := range k.entries {
		at := where[entry]
		if at.Object.Kind == "" {
			at.Object.Kind = "Kustomization" // as kustomize has it
		}
		for v := range k.found.Sites[i].Values {
			value := &k.found.Sites[i].Values[v]
			value.Object, value.Field = at.Object, at.Field+"."+keyDigest
			if value.Form == edit.Tag {
				value.Field = at.Field + "." + keyNewTag
			}
		}
	}
}

// site is what one entry of a list asks for, whose key is given; nil if that is no image.
func (k *kustomization) site(entry, list *yaml.Node) *edit.Site {
	e := k.identify(entry, 0)
	s := &edit.Site{Line: entry.Line}
	if e.deep {
		s.Any, s.Reason = true,
			fmt.Sprintf("this images entry uses merge keys that are nested deeper than %d; write its fields out", mergeDepth)
		return s
	}
	if e.odd && e.merged { // which of two spellings has the word depends on their order
		s.Any, s.Reason = true,
			"this images entry uses merge keys, and keys that are not spelled as they are meant; write its fields out"
		return s
	}
	// newName is the image that will run; name only selects images in the manifests.
	name := e.newName
	if name == nil || yamltext.Value(name) == "" {
		name = e.name
	}
	if name == nil || name.Kind != yaml.ScalarNode {
		return nil
	}
	s.Image = yamltext.Value(name)
	if odd, reason := misspelled(entry, list); odd != nil {
		s.Line, s.Reason = odd.Line, reason
		return s
	}
	switch {
	case yamltext.IsBinary(name):
		s.Line, s.Reason = name.Line, hidden
	case e.merged:
		s.Reason = "this images entry uses an alias or a merge key; write its fields out"
	case k.Shared(entry):
		s.Reason = "this images entry is used elsewhere through an alias; write its fields out"
	}
	if s.Reason != "" {
		return s
	}
	// Both fields are written, or neither is: a tag beside the digest of another image would
	// mislead people.
	if tag := field(entry, keyNewTag); tag != nil {
		v := k.value(edit.Tag, tag)
		v.Optional = true
		s.Values = append(s.Values, v)
	}
	if digest := field(entry, keyDigest); digest != nil {
		s.Values = append(s.Values, k.value(edit.Digest, digest))
		return s
	}
	room, ok := k.behind(edit.Digest, entry, keyDigest)
	if !ok {
		room = edit.Value{Form: edit.Digest, Line: entry.Line,
			Reason: "no place for a digest field in this images entry; add one by hand"}
	}
	s.Values = append(s.Values, room)
	return s
}

// identity is the image of an images entry after aliases and merge keys are followed.
type identity struct {
	name, newName *yaml.Node
	merged        bool // at least one alias or merge key was followed
	odd           bool // a key is spelled in another way
	deep          bool // there are more of them, one within the other, than are followed
}

// mergeDepth bounds how aliases and merge keys within another are followed.
const mergeDepth = 100

// identify reads the two names of an entry. What it finds out of a node is kept: aliases can make
// few lines of text stand for more mappings than anybody could visit.
func (k *kustomization) identify(n *yaml.Node, depth int) identity {
	if known, ok := k.identities[n]; ok {
		return known
	}
	if depth > mergeDepth {
		return identity{merged: true, deep: true}
	}
	k.identities[n] = identity{} // a node that leads to itself adds nothing
	var id identity
	switch n.Kind {
	case yaml.AliasNode:
		id = k.identify(n.Alias, depth+1)
		id.merged = true
	case yaml.SequenceNode: // of a merge key: the first one has the word
		for _, source := range n.Content {
			id.add(k.identify(source, depth+1))
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			id.odd = id.odd || strange(key)
			switch {
			case key.Tag == mergeTag:
			case means(key, keyName):
				id.name = yamltext.Resolve(value)
			case means(key, keyNewName):
				id.newName = yamltext.Resolve(value)
			}
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Tag == mergeTag {
				id.add(k.identify(n.Content[i+1], depth+1))
				id.merged = true
			}
		}
	}
	k.identities[n] = id
	return id
}

// mergeTag is the tag of the key <<.
const mergeTag = "!!merge"

// add fills in what is not known yet.
func (id *identity) add(other identity) {
	if id.name == nil {
		id.name = other.name
	}
	if id.newName == nil {
		id.newName = other.newName
	}
	id.merged = id.merged || other.merged
	id.odd = id.odd || other.odd
	id.deep = id.deep || other.deep
}
