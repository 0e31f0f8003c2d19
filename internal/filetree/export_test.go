package filetree

// Walk visits everything in the tree, in no order.
func (t *Tree) Walk(visit func(path string, n *Node)) { t.root.walk("", visit) }

// Hold has the memory keep another layer.
func (m *Cache) Hold(l *Layer) { m.layers = append(m.layers, l) }

// Held counts the headers that the memory keeps.
func (m *Cache) Held() int {
	n := 0
	for _, l := range m.layers {
		n += len(l.Entries)
	}
	return n
}
