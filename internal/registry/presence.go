package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/layers"
)

const (
	// presenceTTL is how long the presence of a blob is remembered, and maxPresences how many blobs
	// are.
	presenceTTL  = 10 * time.Minute
	maxPresences = 16 << 10
)

// presenceCache remembers which blobs a repository has.
type presenceCache struct {
	mu   sync.Mutex
	seen map[pratique.Subject]time.Time
}

func (p *presenceCache) put(repo pratique.Repository, d pratique.Digest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seen == nil || len(p.seen) >= maxPresences {
		p.seen = map[pratique.Subject]time.Time{} // rare, and costs one request for each blob
	}
	p.seen[pratique.Subject{Repository: repo, Digest: d}] = time.Now()
}

func (p *presenceCache) has(repo pratique.Repository, d pratique.Digest) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, ok := p.seen[pratique.Subject{Repository: repo, Digest: d}]
	return ok && time.Since(at) < presenceTTL
}

// Has returns nil if the repository has the layer. It is for layers that are known from another
// repository: somebody without access to that one must not learn about its layers by naming them,
// and an image without them cannot be pulled. A missing layer is NotFound.
func (c *Client) Has(ctx context.Context, repo pratique.Repository, d layers.Descriptor) error {
	t, err := c.target(repo)
	if err != nil {
		return err
	}
	if c.present.has(t.repo, d.Digest) {
		return nil
	}
	resp, err := c.request(ctx, t, http.MethodHead, "blobs", d.ID().String())
	if err != nil && pratique.KindOf(err) != pratique.Unavailable &&
		pratique.KindOf(err) != pratique.RateLimited {
		// Some proxies and stores answer GET only. The bytes are not read.
		resp, err = c.request(ctx, t, http.MethodGet, "blobs", d.ID().String())
	}
	if err != nil {
		if pratique.KindOf(err) == pratique.NotFound {
			err = errors.Join(fmt.Errorf("it is known from another repository, but repository %s does not have it: push the image again, with its layers", t.repo), err)
			return pratique.Wrap(pratique.NotFound, "find layer", d.ID().String(), err)
		}
		return err
	}
	size := resp.ContentLength
	_ = resp.Body.Close() // the content is not needed
	if size >= 0 && size != d.Size {
		return &pratique.Error{Op: "find layer", Subject: d.ID().String(), Kind: pratique.Corrupt,
			Err: fmt.Errorf("the registry has %d bytes, the manifest says %d", size, d.Size)}
	}
	c.present.put(t.repo, d.Digest)
	return nil
}
