package registry

import (
	"sync"

	"github.com/pratique-dev/pratique"
)

// maxDocumentBytes is what the client keeps in memory, so that inspecting a subject does not ask again for
// what resolving it has just read.
const maxDocumentBytes = 16 << 20

// documents remembers manifests and configurations by repository and digest; the oldest go first. The
// repository is part of the key because access is given per repository.
type documents struct {
	mu    sync.Mutex
	held  map[pratique.Subject]document
	order []pratique.Subject
	bytes int
}

func (d *documents) get(repo pratique.Repository, digest pratique.Digest) (document, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	doc, ok := d.held[pratique.Subject{Repository: repo, Digest: digest}]
	return doc, ok
}

func (d *documents) put(repo pratique.Repository, digest pratique.Digest, doc document) {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := pratique.Subject{Repository: repo, Digest: digest}
	if _, ok := d.held[key]; ok || len(doc.raw) > maxDocumentBytes/4 {
		return
	}
	if d.held == nil {
		d.held = map[pratique.Subject]document{}
	}
	d.held[key], d.order, d.bytes = doc, append(d.order, key), d.bytes+len(doc.raw)
	for d.bytes > maxDocumentBytes {
		oldest := d.order[0]
		d.order, d.bytes = d.order[1:], d.bytes-len(d.held[oldest].raw)
		delete(d.held, oldest)
	}
}
