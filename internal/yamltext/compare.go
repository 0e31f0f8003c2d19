package yamltext

import "go.yaml.in/yaml/v3"

// Duplicate returns a duplicate key of a mapping, nil if there is none. Readers disagree about such
// a file.
func (t *Text) Duplicate() *yaml.Node {
	const few = 16
	for _, n := range t.Nodes {
		if n.Kind != yaml.MappingNode {
			continue
		}
		var seen map[string]bool
		if len(n.Content) > 2*few {
			seen = make(map[string]bool, len(n.Content)/2)
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			if key.Kind != yaml.ScalarNode {
				continue
			}
			if seen != nil {
				if seen[key.Value] {
					return key
				}
				seen[key.Value] = true
				continue
			}
			for j := 0; j < i; j += 2 {
				if n.Content[j].Kind == yaml.ScalarNode && n.Content[j].Value == key.Value {
					return key
				}
			}
		}
	}
	return nil
}

// Difference returns the line of the first node of got that differs from t, 0 if there is none.
func (t *Text) Difference(got *Text) (line int) {
	if len(t.Docs) != len(got.Docs) {
		return 1
	}
	for i := range t.Docs {
		if n := difference(t.Docs[i], got.Docs[i]); n != nil {
			return max(n.Line, 1)
		}
	}
	return 0
}

func difference(want, got *yaml.Node) *yaml.Node {
	if want.Kind != got.Kind || want.Value != got.Value || want.ShortTag() != got.ShortTag() ||
		want.Anchor != got.Anchor || len(want.Content) != len(got.Content) {
		return got
	}
	for i := range want.Content {
		if n := difference(want.Content[i], got.Content[i]); n != nil {
			return n
		}
	}
	return nil
}
