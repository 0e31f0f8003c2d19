package syft

import (
	"context"
	"errors"
	"sync"

	stereofile "github.com/anchore/stereoscope/pkg/file"
	"github.com/anchore/stereoscope/pkg/image"
	"github.com/anchore/syft/syft"
	"github.com/anchore/syft/syft/file"
	syftsbom "github.com/anchore/syft/syft/sbom"
	"github.com/anchore/syft/syft/source"
	"github.com/anchore/syft/syft/source/stereoscopesource"

	"github.com/pratique-dev/pratique/internal/layers"
)

// catalogued is the catalogue of an image. If its base was known, upper is that of the layers above alone. known makes
// what is remembered of the image, which is nil if nothing is; it may run beside whatever reads the catalogue.
type catalogued struct {
	whole, upper *syftsbom.SBOM
	base         *known
	known        func() *known
	// found are the packages in whole.
	found func() packageSet
}

// catalogue finds the packages in an image. Where it lies on layers that are known, only what is above them is
// read, if that provably gives the same.
func (g *Generator) catalogue(ctx context.Context, img layers.Image) (catalogued, error) {
	plain, err := g.plain(ctx, img)
	if err != nil {
		return catalogued{}, err
	}
	if !plain {
		// What such layers hold depends on those below them, so nothing is remembered and nothing is known.
		c, err := g.full(ctx, img, newTrace(), g.written)
		c.known = func() *known { return nil }
		return c, err
	}
	chain := chainOf(img)
	base := g.memory.base(chain)
	if base == nil {
		if n := g.memory.shared(chain); n > 0 {
			// The second image with these layers at the bottom; there will be more.
			lower, err := part(img, 0, n)
			if err != nil {
				return catalogued{}, err
			}
			c, err := g.full(ctx, lower, newTrace(), nil)
			if err != nil {
				return catalogued{}, err
			}
			g.memory.keep(c.known())
			base = g.memory.base(chain)
		}
	}
	if base != nil {
		c, why, err := g.onBase(ctx, base, img)
		if err != nil || why == "" {
			return c, err
		}
	}
	return g.full(ctx, img, newTrace(), nil)
}

// full reads all layers and notes what is asked about them. Layers are read as they are, but for those that rewrite makes
// files of.
func (g *Generator) full(ctx context.Context, img layers.Image, asked *trace, rewrite rewriter) (c catalogued, err error) {
	read, cleanup, err := open(ctx, img, rewrite)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, cleanup()) }()
	c.whole, err = g.create(ctx, observed{
		Source: stereoscopesource.New(read, reference(img)),
		wrap:   func(r file.Resolver) file.Resolver { return &recorder{Resolver: r, trace: asked} },
	})
	if err != nil {
		return c, err
	}
	c.found = sync.OnceValue(func() packageSet { return packagesOf(c.whole) })
	c.known = func() *known {
		if g.always == nil || len(img.Layers) == 0 {
			return nil
		}
		return newKnown(img, c.whole, c.found(), metadata(read), pathsOf(read), asked, g.always, nil)
	}
	return c, nil
}

// onBase reads the layers above a known image. Without a catalogue and without an error the image has to be
// read whole, for the reason given.
func (g *Generator) onBase(ctx context.Context, base *known, img layers.Image) (c catalogued, why string, err error) {
	n := len(base.chain)
	if n == len(img.Layers) {
		about, err := describe(img, base.layers)
		if err != nil {
			return c, "", err
		}
		return catalogued{whole: base.whole(about), known: func() *known { return nil }, found: func() packageSet { return base.found }}, "", nil
	}
	above, err := part(img, n, len(img.Layers))
	if err != nil {
		return c, "", err
	}
	read, cleanup, err := open(ctx, above, nil)
	if err != nil {
		return c, "", err
	}
	defer func() { err = errors.Join(err, cleanup()) }()
	meta := append(base.layers[:n:n], metadata(read)...)
	about, err := describe(img, meta)
	if err != nil {
		return c, "", err
	}
	ids := map[string]struct{}{}
	for _, l := range above.Layers {
		ids[l.DiffID.String()] = struct{}{}
	}
	for _, d := range base.chain {
		if _, twice := ids[d.String()]; twice {
			return c, "it has a layer of the base again", nil
		}
	}
	src := stereoscopesource.New(read, reference(above))
	resolver, err := src.FileResolver(source.SquashedScope)
	if err != nil {
		return c, "", err
	}
	all := pathsOf(read)
	added, why := base.footprint(read, all, resolver)
	if why != "" {
		return c, why, nil
	}
	view := &masked{Resolver: resolver, base: base, added: added, layers: ids, trace: newTrace(), always: g.always}
	upper, err := g.create(ctx, observed{Source: src, wrap: func(file.Resolver) file.Resolver { return view }, description: &about})
	if why := view.refused(); why != "" {
		return c, "it asks for " + why, nil
	}
	if err != nil {
		return c, "", err
	}
	whole, found, why := compose(base, upper, about, ids)
	if why != "" {
		return c, why, nil
	}
	return catalogued{whole: whole, upper: upper, base: base, found: func() packageSet { return found }, known: func() *known {
		return newKnown(img, whole, found, meta, all, view.trace, g.always, base)
	}}, "", nil
}

// create makes the catalogue. Syft is not told that ctx ends: it would return while it still reads, and leave packages
// out without an error. What it made after the end is not used, and not remembered for the images that come later.
func (g *Generator) create(ctx context.Context, src source.Source) (*syftsbom.SBOM, error) {
	made, err := syft.CreateSBOM(withValues(context.WithoutCancel(ctx), g.values), src, g.config)
	if err == nil {
		err = ctx.Err()
	}
	return made, err
}

// open reads the layers of an image. cleanup closes their files and deletes what was made beside them.
func open(ctx context.Context, img layers.Image, rewrite rewriter) (_ *image.Image, cleanup func() error, err error) {
	disk, err := img.V1()
	if err != nil {
		return nil, nil, err
	}
	temp := stereofile.NewTempDirGenerator("pratique-syft")
	dir, err := layerDir(ctx, temp, img, rewrite)
	if err != nil {
		return nil, nil, errors.Join(err, temp.Cleanup())
	}
	read := image.New(disk, temp, dir, image.WithManifest(img.Manifest), image.WithRepoDigests(img.Subject.String()))
	// Cleanup closes the layer files, also after a read that failed.
	cleanup = func() error { return errors.Join(read.Cleanup(), temp.Cleanup()) }
	if err := read.Read(ctx); err != nil {
		return nil, nil, errors.Join(err, cleanup())
	}
	return read, cleanup, nil
}

func reference(img layers.Image) stereoscopesource.ImageConfig {
	return stereoscopesource.ImageConfig{Reference: img.Subject.String()}
}

func metadata(read *image.Image) []image.LayerMetadata {
	all := make([]image.LayerMetadata, len(read.Layers))
	for i, l := range read.Layers {
		all[i] = l.Metadata
	}
	return all
}

// describe is what Syft says of an image whose layers were read before.
func describe(img layers.Image, meta []image.LayerMetadata) (source.Description, error) {
	disk, err := img.V1()
	if err != nil {
		return source.Description{}, err
	}
	config, err := disk.ConfigFile()
	if err != nil {
		return source.Description{}, err
	}
	id, err := disk.ConfigName()
	if err != nil {
		return source.Description{}, err
	}
	mediaType, err := disk.MediaType()
	if err != nil {
		return source.Description{}, err
	}
	unread := image.New(disk, nil, "")
	unread.Metadata = image.Metadata{
		ID: id.String(), Config: *config, MediaType: mediaType, RawManifest: img.Manifest, ManifestDigest: img.Subject.Digest.String(),
		RawConfig: img.Config, RepoDigests: []string{img.Subject.String()},
		Architecture: config.Architecture, Variant: config.Variant, OS: config.OS,
	}
	all, err := disk.Layers()
	if err != nil {
		return source.Description{}, err
	}
	for i, m := range meta {
		// The same layer may be compressed otherwise here.
		if m.MediaType, err = all[i].MediaType(); err != nil {
			return source.Description{}, err
		}
		unread.Metadata.Size += m.Size
		unread.Layers = append(unread.Layers, &image.Layer{Metadata: m})
	}
	return stereoscopesource.New(unread, reference(img)).Describe(), nil
}
