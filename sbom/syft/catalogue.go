package syft

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	stereofile "github.com/anchore/stereoscope/pkg/file"
	"github.com/anchore/stereoscope/pkg/image"
	"github.com/anchore/syft/syft"
	"github.com/anchore/syft/syft/file"
	syftsbom "github.com/anchore/syft/syft/sbom"
	"github.com/anchore/syft/syft/source"
	"github.com/anchore/syft/syft/source/stereoscopesource"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/layers"
)

// catalogued is the catalogue of an image. If its base was known, upper is that of the layers above alone. known makes
// what is remembered of the image, which is nil if nothing is; it may run beside whatever reads the catalogue.
type catalogued struct {
	whole, upper *syftsbom.SBOM
	base         *known
	known        func() *known
}

// catalogue finds the packages in an image. Where it lies on layers that are known, only what is above them is
// read, if that provably gives the same.
func (g *Generator) catalogue(ctx context.Context, img layers.Image) (catalogued, error) {
	chain := chainOf(img)
	base := g.memory.base(chain)
	if base == nil {
		if n := g.memory.shared(chain); n > 0 {
			// The second image with these layers at the bottom; there will be more.
			lower, err := part(img, 0, n)
			if err != nil {
				return catalogued{}, err
			}
			c, err := g.full(ctx, lower, newTrace())
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
	return g.full(ctx, img, newTrace())
}

// full reads all layers and notes what is asked about them.
func (g *Generator) full(ctx context.Context, img layers.Image, asked *trace) (c catalogued, err error) {
	read, cleanup, err := open(ctx, img)
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
	c.known = func() *known {
		if g.always == nil || len(img.Layers) == 0 {
			return nil
		}
		return newKnown(img, c.whole, packagesOf(c.whole), metadata(read), pathsOf(read), asked, g.always, nil)
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
		return catalogued{whole: base.whole(about), known: func() *known { return nil }}, "", nil
	}
	above, err := part(img, n, len(img.Layers))
	if err != nil {
		return c, "", err
	}
	read, cleanup, err := open(ctx, above)
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
	return catalogued{whole: whole, upper: upper, base: base, known: func() *known {
		return newKnown(img, whole, found, meta, all, view.trace, g.always, base)
	}}, "", nil
}

func (g *Generator) create(ctx context.Context, src source.Source) (*syftsbom.SBOM, error) {
	return syft.CreateSBOM(withValues(ctx, g.values), src, g.config)
}

// open reads the layers of an image. cleanup closes their files and deletes what was made beside them.
func open(ctx context.Context, img layers.Image) (_ *image.Image, cleanup func() error, err error) {
	disk, err := img.V1()
	if err != nil {
		return nil, nil, err
	}
	temp := stereofile.NewTempDirGenerator("pratique-syft")
	dir, err := layerDir(temp, img)
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

// layerDir makes a directory where stereoscope finds the decompressed layers, so that it does not copy them:
// links under the names that it would give its copies.
func layerDir(temp *stereofile.TempDirGenerator, img layers.Image) (string, error) {
	dir, err := temp.NewDirectory("layers")
	if err != nil {
		return "", err
	}
	for i, l := range img.Layers {
		path, err := filepath.Abs(l.Path)
		if err != nil {
			return "", err
		}
		if _, err := os.Stat(path); err != nil {
			return "", pratique.Wrap(pratique.Unavailable, "open layer", l.DiffID.String(), err)
		}
		if err := os.Symlink(path, filepath.Join(dir, fmt.Sprintf("%d-%s", i, l.DiffID))); err != nil {
			return "", err
		}
	}
	return dir, nil
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
