package yamltext

import (
	"regexp"
	"strconv"

	"go.yaml.in/yaml/v3"

	"github.com/pratique-dev/pratique"
)

// Location is the object that contains a node, and its field, such as spec.containers[0].image. The
// object is the innermost mapping with a kind and metadata, as in Kubernetes, which may be an item
// of a list; otherwise it is the document.
type Location struct {
	Object pratique.Object
	Field  string
}

// maxField bounds a field, in bytes.
const maxField = 256

// The forms that kinds and names have in Kubernetes. What has another one, such as a template, is
// left out.
var (
	kindForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]{0,62}$`)
	nameForm = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._:-]{0,251}[A-Za-z0-9])?$`)
)

// step is one step from a document down to a node.
type step struct {
	up     *step
	key    *yaml.Node // of a mapping
	index  int        // of a sequence, where key is nil
	object *yaml.Node // the mapping that begins an object here
}

// Locations returns the location of each node.
func (t *Text) Locations(nodes ...*yaml.Node) map[*yaml.Node]Location {
	all := make(map[*yaml.Node]Location, len(nodes))
	if len(nodes) == 0 {
		return all
	}
	wanted := make(map[*yaml.Node]bool, len(nodes))
	for _, n := range nodes {
		wanted[n] = true
	}
	var visit func(n *yaml.Node, at *step)
	visit = func(n *yaml.Node, at *step) {
		if len(all) == len(wanted) {
			return
		}
		if wanted[n] {
			all[n] = at.where()
		}
		switch n.Kind {
		case yaml.MappingNode:
			if at.object == nil && begins(n) {
				at.object = n
			}
			for i := 0; i+1 < len(n.Content); i += 2 {
				visit(n.Content[i+1], &step{up: at, key: n.Content[i]})
			}
		case yaml.SequenceNode:
			for i, child := range n.Content {
				visit(child, &step{up: at, index: i})
			}
		}
	}
	for _, root := range t.Roots() {
		visit(root, &step{object: root})
	}
	return all
}

// begins reports whether a mapping is an object.
func begins(n *yaml.Node) bool {
	kind, metadata := child(n, "kind"), child(n, "metadata")
	return kind != nil && kind.Kind == yaml.ScalarNode && metadata != nil &&
		metadata.Kind == yaml.MappingNode
}

// child returns the value of a key, nil if there is none.
func child(n *yaml.Node, key string) *yaml.Node {
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// plainKey is a key that needs no quotes in a field.
var plainKey = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func (s *step) where() Location {
	var w Location
	from := s
	for ; from.object == nil; from = from.up {
		part := "[" + strconv.Itoa(from.index) + "]"
		if from.key != nil {
			if part = "." + from.key.Value; !plainKey.MatchString(from.key.Value) {
				part = "[" + strconv.Quote(pratique.Excerpt(from.key.Value, 64)) + "]"
			}
		}
		if len(part)+len(w.Field) > maxField {
			w.Field = "…" + w.Field
			for from.object == nil {
				from = from.up
			}
			break
		}
		w.Field = part + w.Field
	}
	if len(w.Field) > 0 && w.Field[0] == '.' {
		w.Field = w.Field[1:]
	}
	w.Object.Kind = text(child(from.object, "kind"), kindForm)
	if m := child(from.object, "metadata"); m != nil {
		w.Object.Namespace, w.Object.Name = text(child(m, "namespace"), nameForm),
			text(child(m, "name"), nameForm)
	}
	return w
}

// text is the value of a scalar, if it has the form.
func text(n *yaml.Node, form *regexp.Regexp) string {
	if n == nil || n.Kind != yaml.ScalarNode || !form.MatchString(n.Value) {
		return ""
	}
	return n.Value
}
