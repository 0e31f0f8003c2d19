package registry

import (
	"context"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/pratique-dev/pratique"
)

const (
	// maxIndexDepth bounds the nesting of indexes.
	maxIndexDepth = 3
	// indexFetches is the number of entries of an index that are read at a time.
	indexFetches = 4
)

// indexReader finds out what a runtime may run from an index. Only this type decides what is left
// out.
//
// A runtime chooses an entry by its platform, fetches it by digest and uses the bytes. The entry's
// media type, subject and annotations in the index do not prevent that. So every entry is fetched,
// with one of three results: an image that can be inspected; nothing, because its platform is
// unknown/unknown, which no runtime asks for, or because no runtime can run its bytes; or an
// uninspected entry.
//
// The bounds apply to the index and all nested indexes together.
type indexReader struct {
	client  *Client
	target  target
	mu      sync.Mutex
	counted int
	bytes   int64
}

// listing is the result of an index, or of one entry.
type listing struct {
	children    []pratique.Child
	uninspected []pratique.Uninspected
	// unwanted counts the images for platforms that are not configured.
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

// index reads the entries of an index, in order. above is the platform by which a runtime finds
// this index.
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

// entry reads one entry. A temporary failure is an error, since the next attempt may succeed; a
// permanent one makes the entry uninspected.
func (r *indexReader) entry(ctx context.Context, d descriptor, above platform,
	depth int) (listing, error) {
	listed := above
	if d.Platform != nil {
		if d.Platform.unknown() {
			return listing{}, nil
		}
		if !d.Platform.empty() {
			listed = *d.Platform
		}
	}
	found, own, err := r.read(ctx, d, listed, depth)
	if err == nil {
		return found, nil
	}
	if r.exceeded() {
		return listing{}, err
	}
	if !r.client.wantsPlatform(listed, own) {
		return listing{unwanted: 1}, nil
	}
	if kind := pratique.KindOf(err); kind != pratique.Invalid && kind != pratique.NotFound &&
		kind != pratique.Exhausted {
		return listing{}, err
	}
	platform := listed.name()
	if platform == "" {
		platform = own.name()
	}
	return listing{uninspected: []pratique.Uninspected{{Digest: pratique.Clip(d.Digest),
		Platform: platform, Reason: reason(err)}}}, nil
}

// read fetches an entry and evaluates its bytes. With an error it also returns the platform in the
// image's configuration, if that was read.
func (r *indexReader) read(ctx context.Context, d descriptor, listed platform,
	depth int) (found listing, own platform, err error) {
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
			return listing{}, own, pratique.Errorf(pratique.Invalid, opParse,
				"indexes within indexes, more than %d deep", maxIndexDepth)
		}
		found, err = r.index(ctx, m, listed, depth+1)
		return found, own, err
	case m.inert():
		return listing{}, own, nil
	case !m.runnable():
		return listing{}, own, pratique.Errorf(pratique.Invalid, opParse,
			"a runtime may run it, but it is not an image that can be inspected: %s", m.notImage())
	}
	descriptors, err := r.client.descriptors(m)
	if err != nil {
		// Its configuration may still name the platform.
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
	if !r.client.wantsPlatform(listed, own) {
		return listing{unwanted: 1}, own, nil
	}
	if err := r.client.requireSHA256(ctx, r.target, doc, id); err != nil {
		return listing{}, own, err
	}
	child, err := newChild(pratique.DigestOf(doc.raw), listed, own)
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

// newChild takes the platform from the index if that names it in full, otherwise from the
// configuration.
func newChild(digest pratique.Digest, listed, own platform) (pratique.Child, error) {
	child := pratique.Child{Digest: digest, Platform: listed.name()}
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
		return child, pratique.Errorf(pratique.Invalid, opParse,
			"neither the index nor the configuration names the platform")
	}
	return child, nil
}

// addEntries counts entries before they are read.
func (r *indexReader) addEntries(entries int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.counted += entries; r.counted > r.client.limits.IndexChildren {
		return pratique.Errorf(pratique.Exhausted, opParse,
			"the index names %d manifests, including nested indexes, the limit is %d (inspect.indexEntries)",
			r.counted, r.client.limits.IndexChildren)
	}
	return nil
}

func (r *indexReader) addBytes(bytes int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bytes += int64(bytes); r.bytes > r.client.limits.IndexBytes {
		return pratique.Errorf(pratique.Exhausted, opParse,
			"the manifests and configurations of the index have more than %d bytes together",
			r.client.limits.IndexBytes)
	}
	return nil
}

// exceeded reports whether the index as a whole is too large, rather than one entry.
func (r *indexReader) exceeded() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counted > r.client.limits.IndexChildren || r.bytes > r.client.limits.IndexBytes
}

// wantsPlatform reports whether an image may run on a configured platform. Runtimes use the
// platform in the index, but an image whose own configuration names a configured platform counts as
// well.
func (c *Client) wantsPlatform(listed, own platform) bool {
	if len(c.platforms) == 0 || listed.empty() {
		return true
	}
	return slices.ContainsFunc(c.platforms, listed.raw().MayRunOn) || !own.empty() &&
		slices.ContainsFunc(c.platforms, own.raw().MayRunOn)
}
