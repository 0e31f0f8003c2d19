package edit

import (
	"go.yaml.in/yaml/v3"
)

// kustomization finds the entries of "images" that stand for the change's repository.
func (f *file) kustomization() {
	for _, doc := range f.docs {
		if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
			continue
		}
		key, value := spelled(doc.Content[0], keyImages)
		images := resolve(value)
		if images == nil || images.Kind != yaml.SequenceNode {
			continue
		}
		for _, entry := range images.Content {
			f.entry(entry, key)
		}
	}
}

// entry wants what one entry of a list asks for, whose key is given.
func (f *file) entry(entry, list *yaml.Node) {
	e := f.identify(entry, 0)
	if e.deep {
		f.problem(entry.Line, true, "this images entry uses merge keys that are nested deeper than %d; write its fields out", mergeDepth)
		return
	}
	if e.odd && e.merged { // which of two spellings has the word depends on their order
		f.problem(entry.Line, true, "this images entry uses merge keys, and keys that are not spelled as they are meant; write its fields out")
		return
	}
	// newName is what will run; name only says what to look for in the manifests.
	name := e.newName
	if name == nil || name.Value == "" {
		name = e.name
	}
	if name == nil || name.Kind != yaml.ScalarNode || !same(name.Value, f.change.Subject.Repository) {
		return
	}
	if odd, meant := misspelled(entry, list); odd != nil {
		f.problem(odd.Line, true, "kustomize takes the key %.128q for %s, as it does not tell upper from lower case, and other readers do not: write %s", odd.Value, meant, meant)
		return
	}
	switch {
	case e.merged:
		f.problem(entry.Line, true, "this images entry uses an alias or a merge key; write its fields out")
		return
	case f.shared[entry]:
		f.problem(entry.Line, true, "this images entry is used elsewhere through an alias; write its fields out")
		return
	}
	// Both fields are written, or neither is: a tag beside the digest of another image would mislead people.
	var wanted []want
	if tag := field(entry, keyNewTag); tag != nil && f.change.Tag != "" {
		value, reason := tagFor(tag.Value, f.change)
		w, reason := f.over(tag, value, reason)
		if reason != "" {
			f.problem(tag.Line, true, "%s", reason)
			return
		}
		wanted = append(wanted, w)
	}
	digest := f.change.Subject.Digest.String()
	if old := field(entry, keyDigest); old != nil {
		_, reason := digestFor(old.Value, f.change)
		w, reason := f.over(old, digest, reason)
		if reason != "" {
			f.problem(old.Line, true, "%s", reason)
			return
		}
		wanted = append(wanted, w)
	} else {
		w, ok := f.behind(entry, keyDigest, digest)
		if !ok {
			f.problem(entry.Line, true, "no place for a digest field in this images entry; add one by hand")
			return
		}
		wanted = append(wanted, w)
	}
	f.wanted = append(f.wanted, wanted...)
}

// behind wants a new field, behind the last field of the mapping that stands on one line.
func (f *file) behind(mapping *yaml.Node, key, value string) (want, bool) {
	flow := mapping.Style&yaml.FlowStyle != 0
	for i := len(mapping.Content) - 1; i > 0; i -= 2 {
		_, end, reason := f.scalarSpan(mapping.Content[i])
		if reason != "" {
			continue
		}
		if !flow {
			end = f.lineEnd(end)
		}
		return want{span: span{end, end}, value: value, mapping: mapping, after: i + 1, key: key}, true
	}
	return want{}, false
}

// identity is what an images entry stands for, as a reader sees it who follows aliases and merge keys.
type identity struct {
	name, newName *yaml.Node
	merged        bool // at least one alias or merge key was followed
	odd           bool // a key is spelled in another way
	deep          bool // there are more of them, one within the other, than are followed
}

// mergeDepth bounds how aliases and merge keys within another are followed.
const mergeDepth = 100

// identify reads the two names of an entry. What it finds out of a node is kept: aliases can make few lines of text
// stand for more mappings than anybody could visit.
func (f *file) identify(n *yaml.Node, depth int) identity {
	if known, ok := f.identities[n]; ok {
		return known
	}
	if depth > mergeDepth {
		return identity{merged: true, deep: true}
	}
	if f.identities == nil {
		f.identities = map[*yaml.Node]identity{}
	}
	f.identities[n] = identity{} // a node that leads to itself adds nothing
	var id identity
	switch n.Kind {
	case yaml.AliasNode:
		id = f.identify(n.Alias, depth+1)
		id.merged = true
	case yaml.SequenceNode: // of a merge key: the first one has the word
		for _, source := range n.Content {
			id.add(f.identify(source, depth+1))
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			id.odd = id.odd || strange(key)
			switch {
			case key.Tag == mergeTag:
			case means(key, keyName):
				id.name = resolve(value)
			case means(key, keyNewName):
				id.newName = resolve(value)
			}
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Tag == mergeTag {
				id.add(f.identify(n.Content[i+1], depth+1))
				id.merged = true
			}
		}
	}
	f.identities[n] = id
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

// resolve follows an alias.
func resolve(n *yaml.Node) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}
