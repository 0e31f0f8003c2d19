package registry

import (
	"context"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/pratique-dev/pratique"
)

const (
	// maxIndexDepth is how many indexes may stand within one another.
	maxIndexDepth = 3
	// indexFetches is how many entries of one index are read at a time.
	indexFetches = 4
)

// indexReader finds out what an index makes a runtime run. It is the one place that decides what is left out.
//
// A runtime picks an entry by its platform, fetches it by its digest and goes by the bytes: what the index says the
// entry's type is, what it says the entry is about, and how it is annotated hide nothing. So every entry is fetched,
// and goes one of three ways: it is an image that can be inspected; it is left out, because its platform is
// unknown/unknown, which no runtime asks for, or because no runtime can run its bytes; or it is named as uninspected.
//
// The bounds hold for the index and all indexes within it together.
type indexReader struct {
	client  *Client
	target  target
	mu      sync.Mutex
	counted int
	bytes   int64
}

// listing is what an index, or one entry of it, comes to.
type listing struct {
	children    []pratique.Child
	uninspected []pratique.Uninspected
	// unwanted counts the images that run on none of the platforms that the configuration asks for.
	unwanted int
}

func (l *listing) add(other listing) {
	for _, child := range other.children {
		if !slices.Contains(l.children, child) {
			l.children = append(l.children, child)
		}
	}
	for _, u := range other.uninspected {
		if !slices.Contains(l.uninspected, u) {
			l.uninspected = append(l.uninspected, u)
		}
	}
	l.unwanted += other.unwanted
}

// index reads the entries of an index, in its order. Of what is around it, above is the platform under which a runtime
// finds it.
func (r *indexReader) index(ctx context.Context, m manifest, above platform, depth int) (listing, error) {
	if err := r.addEntries(len(m.Manifests)); err != nil {
		return listing{}, err
	}
	entries := make([]listing, len(m.Manifests))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(indexFetches)
	for i, d := range m.Manifests {
		group.Go(func() (err error) {
			defer pratique.Caught(pratique.Corrupt, opParse, &err)
			entries[i], err = r.entry(ctx, d, above, depth)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return listing{}, err
	}
	var all listing
	for _, entry := range entries {
		all.add(entry)
	}
	return all, nil
}

// entry reads one entry. Trouble on the way is an error, since the next try may find out more; what stays as it is
// makes the entry uninspected.
func (r *indexReader) entry(ctx context.Context, d descriptor, above platform, depth int) (listing, error) {
	said := above
	if d.Platform != nil {
		if d.Platform.unknown() {
			return listing{}, nil
		}
		if !d.Platform.empty() {
			said = *d.Platform
		}
	}
	found, own, err := r.read(ctx, d, said, depth)
	if err == nil {
		return found, nil
	}
	if r.exceeded() {
		return listing{}, err
	}
	if !r.client.wantsPlatform(said, own) {
		return listing{unwanted: 1}, nil
	}
	if kind := pratique.KindOf(err); kind != pratique.Invalid && kind != pratique.NotFound && kind != pratique.Exhausted {
		return listing{}, err
	}
	platform := said.name()
	if platform == "" {
		platform = own.name()
	}
	return listing{uninspected: []pratique.Uninspected{{Digest: pratique.Clip(d.Digest), Platform: platform, Reason: reason(err)}}}, nil
}

// read fetches an entry and goes by its bytes. With an error it returns the platform that the image's own configuration
// names, as far as it was read.
func (r *indexReader) read(ctx context.Context, d descriptor, said platform, depth int) (found listing, own platform, err error) {
	id, err := d.id()
	if err != nil {
		return listing{}, own, err
	}
	doc, err := r.client.manifestOf(ctx, r.target, id)
	if err != nil {
		return listing{}, own, err
	}
	if err := r.addBytes(len(doc.raw)); err != nil {
		return listing{}, own, err
	}
	m, err := parse(doc)
	switch {
	case err != nil:
		return listing{}, own, err
	case m.Manifests != nil || m.isIndex():
		if depth == maxIndexDepth {
			return listing{}, own, pratique.Errorf(pratique.Invalid, opParse, "indexes within indexes, more than %d deep", maxIndexDepth)
		}
		found, err = r.index(ctx, m, said, depth+1)
		return found, own, err
	case m.inert():
		return listing{}, own, nil
	case !m.runnable():
		return listing{}, own, pratique.Errorf(pratique.Invalid, opParse, "a runtime may run it, and it is no image that can be inspected: %s", m.notImage())
	}
	descriptors, err := r.client.descriptors(m)
	if err != nil {
		// Its configuration may still say for what platform it is.
		if cfg, e := r.config(ctx, m); e == nil {
			own = cfg.platform
		}
		return listing{}, own, err
	}
	cfg, err := r.config(ctx, m)
	if err != nil {
		return listing{}, own, err
	}
	own = cfg.platform
	if err := cfg.setDiffIDs(descriptors); err != nil {
		return listing{}, own, err
	}
	if !r.client.wantsPlatform(said, own) {
		return listing{unwanted: 1}, own, nil
	}
	if err := r.client.requireSHA256(ctx, r.target, doc, id); err != nil {
		return listing{}, own, err
	}
	child, err := newChild(pratique.DigestOf(doc.raw), said, own)
	return listing{children: []pratique.Child{child}}, own, err
}

func (r *indexReader) config(ctx context.Context, m manifest) (config, error) {
	raw, err := r.client.config(ctx, r.target, *m.Config)
	if err != nil {
		return config{}, err
	}
	if err := r.addBytes(len(raw)); err != nil {
		return config{}, err
	}
	return parseConfig(raw)
}

// newChild names the platform as the index does, if it does so in full, else as the configuration does.
func newChild(digest pratique.Digest, said, own platform) (pratique.Child, error) {
	child := pratique.Child{Digest: digest, Platform: said.name()}
	configured, err := own.text()
	switch {
	case err != nil:
		return child, err
	case child.Platform == "":
		child.Platform = configured
	case !child.Platform.Agrees(configured):
		child.Configured = configured
	}
	if child.Platform == "" {
		return child, pratique.Errorf(pratique.Invalid, opParse, "nothing says for which platform it is")
	}
	return child, nil
}

// addEntries counts entries before they are read.
func (r *indexReader) addEntries(entries int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.counted += entries; r.counted > r.client.limits.IndexChildren {
		return pratique.Errorf(pratique.Exhausted, opParse, "the index names %d manifests, those of indexes within it counted, the limit is %d (inspect.indexEntries)",
			r.counted, r.client.limits.IndexChildren)
	}
	return nil
}

func (r *indexReader) addBytes(bytes int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bytes += int64(bytes); r.bytes > r.client.limits.IndexBytes {
		return pratique.Errorf(pratique.Exhausted, opParse, "the manifests and configurations of the index have more than %d bytes together", r.client.limits.IndexBytes)
	}
	return nil
}

// exceeded reports whether the index as a whole is too large, and not one entry.
func (r *indexReader) exceeded() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counted > r.client.limits.IndexChildren || r.bytes > r.client.limits.IndexBytes
}

// wantsPlatform reports whether an image may be run on one of the platforms that the configuration asks for. Runtimes go by
// what the index says; an image that calls itself wanted counts all the same.
func (c *Client) wantsPlatform(said, own platform) bool {
	if len(c.platforms) == 0 || said.empty() {
		return true
	}
	return slices.ContainsFunc(c.platforms, said.raw().MayRunOn) || !own.empty() && slices.ContainsFunc(c.platforms, own.raw().MayRunOn)
}
