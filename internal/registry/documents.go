package registry

import (
	"sync"

	"github.com/pratique-dev/pratique"
)

// maxDocumentBytes is what the client keeps in memory, so that inspecting a subject does not ask again for
// what resolving it has just read.
const maxDocumentBytes = 16 << 20

// filed is a document in a repository.
type filed struct {
	repository pratique.Repository
	id         pratique.ContentID
}

// documents remembers manifests and configurations by repository and digest; the oldest go first. The
// repository is part of the key because access is given per repository.
type documents struct {
	mu    sync.Mutex
	held  map[filed]document
	order []filed
	bytes int
}

func (d *documents) get(repo pratique.Repository, id pratique.ContentID) (document, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	doc, ok := d.held[filed{repo, id}]
	return doc, ok
}

func (d *documents) put(repo pratique.Repository, id pratique.ContentID, doc document) {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := filed{repo, id}
	if _, ok := d.held[key]; ok || len(doc.raw) > maxDocumentBytes/4 {
		return
	}
	if d.held == nil {
		d.held = map[filed]document{}
	}
	d.held[key], d.order, d.bytes = doc, append(d.order, key), d.bytes+len(doc.raw)
	for d.bytes > maxDocumentBytes {
		oldest := d.order[0]
		d.order, d.bytes = d.order[1:], d.bytes-len(d.held[oldest].raw)
		delete(d.held, oldest)
	}
}
