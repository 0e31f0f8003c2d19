// Package syft makes SBOMs with Syft as a library: it reads all layers on disk once, and writes
// SPDX 2.3 and CycloneDX 1.6. The packages are those of the syft command line of the same version.
// Random values and times are derived from the image, so an image always gives the same bytes.
// Nothing is downloaded and no tool is run: enrichment that needs either is off.
//
// Package sbom/syft/incremental builds on this one. It reads less, and has to give the same result.
package syft

import (
	"context"
	"crypto"
	"errors"
	"runtime/debug"
	"slices"
	"sync"

	"github.com/anchore/syft/syft"
	"github.com/anchore/syft/syft/cataloging/pkgcataloging"
	"github.com/anchore/syft/syft/format/common/spdxhelpers"
	"github.com/anchore/syft/syft/pkg"
	syftsbom "github.com/anchore/syft/syft/sbom"
	"github.com/anchore/syft/syft/source"
	"github.com/spdx/tools-golang/spdx"
	"golang.org/x/sync/errgroup"
	_ "modernc.org/sqlite" // the driver with which Syft reads RPM databases

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/filetree"
	"github.com/pratique-dev/pratique/internal/layers"
	"github.com/pratique-dev/pratique/sbom"
)

var _ sbom.Generator = (*Generator)(nil)

// op names the operation in errors.
const op = "generate sbom"

// Generator makes SBOMs. It is safe for concurrent use.
type Generator struct {
	tool   pratique.Tool
	config *syft.CreateSBOMConfig
	trees  *filetree.Cache
	mu     sync.Mutex
	traits filetree.PerLayer[layerTraits]
	// licenses carries Syft's license scanner, which Syft only takes from a context. Building one
	// costs almost a second of CPU, more than most images.
	licenses context.Context
}

// New builds a generator with its license scanner: about 0.8 s of CPU. trees may be shared with
// other readers of the images; nil means the generator's own.
func New(trees *filetree.Cache) (*Generator, error) {
	if trees == nil {
		trees = new(filetree.Cache)
	}
	g := &Generator{tool: tool(), trees: trees}
	g.config = config().WithTool(g.tool.Name, g.tool.Version)
	var err error
	g.licenses, err = syft.SetContextLicenseScanner(context.Background(), g.config.Licenses)
	if err != nil {
		return nil, pratique.Wrap(pratique.Internal, "start syft", "", err)
	}
	return g, nil
}

// Tool returns Syft and its version.
func (g *Generator) Tool() pratique.Tool { return g.tool }

func tool() pratique.Tool {
	t := pratique.Tool{Name: "syft", Version: "unknown"}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return t
	}
	for _, m := range info.Deps {
		if m.Path == "github.com/anchore/syft" {
			t.Version = m.Version
		}
	}
	return t
}

// Generate implements [sbom.Generator]. The error is Corrupt if the image cannot be parsed, and
// Unavailable for a problem of this machine (no space, no layer file) and if ctx ends. Temporary
// files are deleted before it returns.
func (g *Generator) Generate(ctx context.Context, img layers.Image) (sbom.Documents, error) {
	catalog, err := g.all(ctx, img)
	if err != nil {
		return sbom.Documents{}, pratique.Wrap(layers.KindOf(ctx, err), op, img.Subject.String(), err)
	}
	return g.Write(img, Catalog{SBOM: catalog})
}

// all catalogs all layers, of which some may have been rewritten.
func (g *Generator) all(ctx context.Context, img layers.Image) (found *syftsbom.SBOM, err error) {
	read, cleanup, err := open(ctx, img, g.rewriteMisread)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, cleanup()) }()
	return g.Catalog(ctx, Source(img, read), g.config)
}

// Catalog runs Syft. ctx is not passed to Syft, which would return while it still reads, and leave
// out packages without an error. If ctx ended, the result is dropped.
func (g *Generator) Catalog(ctx context.Context, src source.Source,
	cfg *syft.CreateSBOMConfig) (*syftsbom.SBOM, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	found, err := syft.CreateSBOM(withValues(context.WithoutCancel(ctx), g.licenses), src, cfg)
	if err == nil {
		err = ctx.Err()
	}
	return found, err
}

// Catalog is the result of cataloging an image. Packages and Model return what Syft derives from
// the SBOM; if they are nil, Syft derives it.
type Catalog struct {
	*syftsbom.SBOM
	Packages func() []pkg.Package
	Model    func() *spdx.Document
}

// Write writes a catalog in both formats.
func (g *Generator) Write(img layers.Image, c Catalog) (sbom.Documents, error) {
	stamp, err := stampOf(img, g.tool)
	if err != nil {
		return sbom.Documents{}, pratique.Wrap(pratique.Corrupt, op, img.Subject.String(), err)
	}
	if c.Packages == nil {
		c.Packages = func() (all []pkg.Package) {
			for p := range c.Artifacts.Packages.Enumerate() {
				all = append(all, p)
			}
			return all
		}
	}
	if c.Model == nil {
		c.Model = func() *spdx.Document { return ModelOf(c.SBOM) }
	}
	var docs sbom.Documents
	var all errgroup.Group
	all.Go(func() (err error) {
		docs.SPDX, err = encodeSPDX(c.Model(), stamp)
		return err
	})
	all.Go(func() (err error) {
		docs.CycloneDX, err = encodeCycloneDX(cloneRelationships(c.SBOM), stamp)
		return err
	})
	all.Go(func() error {
		docs.Catalog = entries(c.Packages())
		return nil
	})
	if err := all.Wait(); err != nil {
		return sbom.Documents{}, pratique.Wrap(pratique.Internal, op, img.Subject.String(), err)
	}
	docs.Packages = len(docs.Catalog)
	return docs, nil
}

// ModelOf returns Syft's SPDX model of a catalog.
func ModelOf(s *syftsbom.SBOM) *spdx.Document {
	return spdxhelpers.ToFormatModel(cloneRelationships(s))
}

// cloneRelationships returns a catalog with its own relationships: both formats sort them
// concurrently.
func cloneRelationships(s *syftsbom.SBOM) syftsbom.SBOM {
	out := *s
	out.Relationships = slices.Clone(s.Relationships)
	return out
}

// entries returns the packages for the comparison with the scanner's.
func entries(packages []pkg.Package) []sbom.Entry {
	all := make([]sbom.Entry, len(packages))
	for i, p := range packages {
		all[i] = sbom.Entry{Type: string(p.Type), Name: p.Name, Version: p.Version, PURL: p.PURL}
		for _, l := range p.Locations.ToUnorderedSlice() {
			if l.Annotations[pkg.EvidenceAnnotationKey] == pkg.PrimaryEvidenceAnnotation {
				all[i].Path, all[i].RealPath = l.AccessPath, l.RealPath
			}
		}
	}
	return all
}

// Config returns Syft's configuration: the defaults, without anything that uses the network, caches
// of the host or a tool.
func (g *Generator) Config() *syft.CreateSBOMConfig { return g.config }

func config() *syft.CreateSBOMConfig {
	p := pkgcataloging.DefaultConfig()
	p.Cpp = p.Cpp.WithVcpkgAllowGitClone(false)
	p.Golang = p.Golang.WithSearchLocalModCacheLicenses(false).WithSearchLocalVendorLicenses(false).
		WithSearchRemoteLicenses(false).WithUsePackagesLib(false)
	p.JavaScript = p.JavaScript.WithSearchRemoteLicenses(false)
	p.Python = p.Python.WithSearchRemoteLicenses(false)
	p.JavaArchive = p.JavaArchive.WithUseNetwork(false).WithUseMavenLocalRepository(false).
		WithResolveTransitiveDependencies(false)
	cfg := syft.DefaultCreateSBOMConfig().WithPackagesConfig(p)
	cfg.Search.Scope = source.SquashedScope
	// As in the command line; SPDX 2.3 requires the SHA-1 of each file.
	cfg.Files = cfg.Files.WithHashers(crypto.SHA1, crypto.SHA256)
	return cfg
}

// valuesContext is a context with the values of another one.
type valuesContext struct {
	context.Context
	values context.Context
}

func withValues(ctx, values context.Context) context.Context {
	return valuesContext{Context: ctx, values: values}
}

func (c valuesContext) Value(key any) any {
	if v := c.Context.Value(key); v != nil {
		return v
	}
	return c.values.Value(key)
}
