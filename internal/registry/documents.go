package registry

import (
	"sync"

	"github.com/pratique-dev/pratique"
)

// maxDocumentBytes is what the client keeps in memory, so that inspecting a subject does not ask again for
// what resolving it has just read.
const maxDocumentBytes = 16 << 20

// documentKey is a document in a repository.
type documentKey struct {
	repository pratique.Repository
	id         pratique.ContentID
}

// documentCache remembers manifests and configurations by repository and digest; the oldest go first. The
// repository is part of the key because access is given per repository.
type documentCache struct {
	mu    sync.Mutex
	held  map[documentKey]document
	order []documentKey
	bytes int
}

func (d *documentCache) get(repo pratique.Repository, id pratique.ContentID) (document, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	doc, ok := d.held[documentKey{repo, id}]
	return doc, ok
}

func (d *documentCache) put(repo pratique.Repository, id pratique.ContentID, doc document) {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := documentKey{repo, id}
	if _, ok := d.held[key]; ok || len(doc.raw) > maxDocumentBytes/4 {
		return
	}
	if d.held == nil {
		d.held = map[documentKey]document{}
	}
	d.held[key], d.order, d.bytes = doc, append(d.order, key), d.bytes+len(doc.raw)
	for d.bytes > maxDocumentBytes {
		oldest := d.order[0]
		d.order, d.bytes = d.order[1:], d.bytes-len(d.held[oldest].raw)
		delete(d.held, oldest)
	}
}
