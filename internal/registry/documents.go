package registry

import (
	"sync"

	"github.com/pratique-dev/pratique"
)

// maxDocumentBytes bounds the documents in memory. They spare the inspection of a subject the
// requests that resolving it has just made.
const maxDocumentBytes = 16 << 20

// documentKey identifies a document in a repository.
type documentKey struct {
	repository pratique.Repository
	id         pratique.ContentID
}

// documentCache keeps manifests and configurations by repository and digest; the oldest are dropped
// first. The key has the repository because access is granted per repository.
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
