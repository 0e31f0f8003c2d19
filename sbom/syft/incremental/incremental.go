// Package incremental makes the same SBOMs as sbom/syft, and reads less. It caches the images that
// it cataloged last. For an image built on one of these it only catalogs the layers above, if that
// provably gives the same result; otherwise it reads everything.
//
// The proof rests on one property of Syft: a cataloger learns about an image only by asking a
// resolver. So the package records the questions about a base image. Then it checks whether the
// layers above could change an answer (conflict.go), answers questions about the upper layers for
// the whole image (upper.go), and checks that the two catalogs can be merged (merge.go). What is
// known about Syft's catalogers depends on Syft's version: a test fails when that changes, until
// testdata/catalogers.txt is approved again. Decision 0026 has the reasons.
//
// inspect.incrementalSBOM turns it off.
package incremental

import (
	"context"
	"errors"
	"slices"

	"github.com/anchore/syft/syft"
	"github.com/anchore/syft/syft/file"
	"github.com/anchore/syft/syft/pkg"
	syftsbom "github.com/anchore/syft/syft/sbom"
	"github.com/anchore/syft/syft/source"
	"github.com/spdx/tools-golang/spdx"
	"golang.org/x/sync/errgroup"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/layers"
	"github.com/pratique-dev/pratique/sbom"
	plain "github.com/pratique-dev/pratique/sbom/syft"
)

var _ sbom.Generator = (*Generator)(nil)

// Generator makes SBOMs. It is safe for concurrent use.
type Generator struct {
	full   *plain.Generator
	config *syft.CreateSBOMConfig
	cache  cache
	// baseline is what Syft asks about every image, even one without files.
	baseline *trace
}

// New builds a generator with the same results as full.
func New(full *plain.Generator) (*Generator, error) {
	g := &Generator{full: full, config: withBundles(full.Config())}
	always := newTrace()
	err := plain.TinyImage(nil, func(img layers.Image) error {
		_, err := g.all(context.Background(), img, always)
		return err
	})
	if err != nil {
		return nil, pratique.Wrap(pratique.Internal, "start syft", "", err)
	}
	g.baseline = always
	return g, nil
}

// Tool names Syft and the version that is built in.
func (g *Generator) Tool() pratique.Tool { return g.full.Tool() }

// Generate implements [sbom.Generator]. Errors are those of [plain.Generator.Generate].
func (g *Generator) Generate(ctx context.Context, img layers.Image) (sbom.Documents, error) {
	fail := func(err error) (sbom.Documents, error) {
		return sbom.Documents{}, pratique.Wrap(layers.KindOf(ctx, err), "generate sbom",
			img.Subject.String(), err)
	}
	if err := ctx.Err(); err != nil { // a cached image is not read, so nothing else checks ctx
		return fail(err)
	}
	asMeant, err := g.full.ReadsCorrectly(ctx, img)
	if err != nil {
		return fail(err)
	}
	if !asMeant {
		// The content of such layers depends on those below, so it cannot be cached.
		return g.full.Generate(ctx, img)
	}
	found, err := g.catalog(ctx, img)
	if err != nil {
		return fail(err)
	}
	var docs sbom.Documents
	var made *base
	var all errgroup.Group
	all.Go(func() (err error) {
		docs, err = g.full.Write(img, plain.Catalog{
			SBOM: found.whole, Model: found.model,
			Packages: func() []pkg.Package { return found.packages },
		})
		return err
	})
	all.Go(func() error {
		made = found.remember()
		return nil
	})
	if err := all.Wait(); err != nil {
		return sbom.Documents{}, err
	}
	g.cache.add(made)
	return docs, nil
}

// result is the catalog of an image. model makes Syft's SPDX model of it, remember returns what to
// cache, nil for nothing.
type result struct {
	whole    *syftsbom.SBOM
	packages []pkg.Package
	model    func() *spdx.Document
	remember func() *base
}

// catalog finds the packages of an image.
func (g *Generator) catalog(ctx context.Context, img layers.Image) (result, error) {
	chain := chainOf(img)
	base := g.cache.find(chain)
	if base == nil {
		if n := g.cache.shared(chain); n > 0 {
			// This is the second image with these lowest layers, so more will come.
			lower, err := subimage(img, 0, n)
			if err != nil {
				return result{}, err
			}
			found, err := g.all(ctx, lower, newTrace())
			if err != nil {
				return result{}, err
			}
			g.cache.add(found.remember())
			base = g.cache.find(chain)
		}
	}
	if base != nil {
		found, why, err := g.onBase(ctx, base, img)
		if err != nil || why == "" {
			return found, err
		}
	}
	return g.all(ctx, img, newTrace())
}

// all catalogs all layers, and records the questions.
func (g *Generator) all(ctx context.Context, img layers.Image, asked *trace) (_ result, err error) {
	read, cleanup, err := plain.Open(ctx, img)
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, cleanup()) }()
	whole, err := g.full.Catalog(ctx, wrappedSource{
		Source: plain.Source(img, read),
		wrap:   func(r file.Resolver) file.Resolver { return &recorder{Resolver: r, trace: asked} },
	}, g.config)
	if err != nil {
		return result{}, err
	}
	found, model := packagesOf(whole), &model{source: func() *syftsbom.SBOM { return whole }}
	return result{
		whole: whole, packages: found.packages, model: model.document,
		remember: func() *base {
			if g.baseline == nil || len(img.Layers) == 0 {
				return nil
			}
			return newBase(nil, base{
				chain: chainOf(img), catalog: whole, found: found, model: model,
				layers: metadata(read), paths: paths{here: pathsOf(read)},
			}, asked, g.baseline)
		},
	}, nil
}

// onBase catalogs the layers above a cached image. If why is not empty, the whole image has to be
// read.
func (g *Generator) onBase(ctx context.Context, low *base, img layers.Image) (_ result,
	why string, err error) {
	n := len(low.chain)
	if n == len(img.Layers) {
		about, err := describe(img, low.layers)
		if err != nil {
			return result{}, "", err
		}
		whole := about.describes(low.sbom())
		return result{
			whole: whole, packages: low.packages(), model: func() *spdx.Document {
				return plain.ModelOf(whole)
			},
			remember: func() *base { return nil },
		}, "", nil
	}
	upper, err := subimage(img, n, len(img.Layers))
	if err != nil {
		return result{}, "", err
	}
	read, cleanup, err := plain.Open(ctx, upper)
	if err != nil {
		return result{}, "", err
	}
	defer func() { err = errors.Join(err, cleanup()) }()
	meta := append(low.layers[:n:n], metadata(read)...)
	about, err := describe(img, meta)
	if err != nil {
		return result{}, "", err
	}
	ids := map[string]struct{}{}
	for _, l := range upper.Layers {
		ids[l.DiffID.String()] = struct{}{}
	}
	for _, d := range low.chain {
		if _, twice := ids[d.String()]; twice {
			return result{}, "it has a layer of the base again", nil
		}
	}
	src := plain.Source(upper, read)
	resolver, err := src.FileResolver(source.SquashedScope)
	if err != nil {
		return result{}, "", err
	}
	all := pathsOf(read)
	added, why := low.conflict(read, all, resolver)
	if why != "" {
		return result{}, why, nil
	}
	view := &upperResolver{Resolver: resolver, base: low, added: added, layers: ids,
		trace: newTrace(), baseline: g.baseline}
	wrapped := wrappedSource{Source: src, description: &about.Description,
		wrap: func(file.Resolver) file.Resolver { return view }}
	above, err := g.full.Catalog(ctx, wrapped, g.config)
	if why := view.refused(); why != "" {
		return result{}, "it asks for " + why, nil
	}
	if err != nil {
		return result{}, "", err
	}
	found := packagesOf(above)
	if why := checkMerge(low, above, found, ids); why != "" {
		return result{}, why, nil
	}
	packages := slices.Concat(low.packages(), found.packages)
	return result{
		whole: about.describes(merge(low.sbom(), above, packages)), packages: packages,
		model: func() *spdx.Document { return low.model.addTo(plain.ModelOf(above)) },
		remember: func() *base {
			return newBase(low, base{
				chain: chainOf(img), catalog: above, found: found, layers: meta,
				paths: paths{here: all, below: &low.paths},
			}, view.trace, g.baseline)
		},
	}, "", nil
}
