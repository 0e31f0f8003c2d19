// Package syft makes SBOMs with Syft as a library: one pass over the layers on disk, written as SPDX 2.3 and
// as CycloneDX 1.6. The packages are those of the syft command line of the same version. What Syft draws at
// random or takes from the clock is derived from the image, so one image gives the same bytes every time.
// Nothing is fetched and no tool is run: enrichment that needs either is off.
package syft

import (
	"context"
	"crypto"
	"os"
	"runtime/debug"
	"slices"
	"sync"

	"github.com/anchore/syft/syft"
	"github.com/anchore/syft/syft/cataloging/pkgcataloging"
	syftsbom "github.com/anchore/syft/syft/sbom"
	"github.com/anchore/syft/syft/source"
	"golang.org/x/sync/errgroup"
	_ "modernc.org/sqlite" // the driver with which Syft reads RPM databases

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/filetree"
	"github.com/pratique-dev/pratique/internal/layers"
	"github.com/pratique-dev/pratique/sbom"
)

var _ sbom.Generator = (*Generator)(nil)

// Generator makes SBOMs. It may be used by several goroutines.
type Generator struct {
	tool   pratique.Tool
	config *syft.CreateSBOMConfig
	memory memory
	trees  *filetree.Memory
	mu     sync.Mutex
	normal filetree.Derived[normal]
	// always is what Syft asks of every image, also of one without files.
	always *trace
	// values carries Syft's license scanner, which it takes from a context only. To build one costs almost a
	// second of CPU, more than most images do.
	values context.Context
}

// New builds a generator, and with it the license scanner: about 0.8 s of CPU. The generator remembers the images
// that it saw last, so that the next one on the same base costs only what lies above that. The trees of images may be
// shared with whoever else reads them; with nil it has its own.
func New(trees *filetree.Memory) (*Generator, error) {
	if trees == nil {
		trees = new(filetree.Memory)
	}
	g := &Generator{tool: tool(), trees: trees}
	g.config = withBundles(config()).WithTool(g.tool.Name, g.tool.Version)
	var err error
	g.values, err = syft.SetContextLicenseScanner(context.Background(), g.config.Licenses)
	if err != nil {
		return nil, pratique.Wrap(pratique.Internal, "start syft", "", err)
	}
	if err := g.rehearse(); err != nil {
		return nil, pratique.Wrap(pratique.Internal, "start syft", "", err)
	}
	return g, nil
}

// rehearse makes the SBOMs of an image without files, to learn what Syft asks of every image, and of a small one,
// which has Syft load what it loads once: dictionaries and patterns, another 0.2 s of CPU.
func (g *Generator) rehearse() error {
	dir, err := os.MkdirTemp("", "pratique-syft-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // two small files
	ctx := context.Background()
	img, err := tiny(dir, nil)
	if err != nil {
		return err
	}
	always := newTrace()
	if _, err := g.full(ctx, img, always, nil); err != nil {
		return err
	}
	if img, err = tiny(dir, rehearsal); err != nil {
		return err
	}
	if _, err := g.Generate(ctx, img); err != nil {
		return err
	}
	g.always = always
	return nil
}

// Tool names Syft and the version that is built in.
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

// Generate implements [sbom.Generator]. The error is Corrupt when the image cannot be parsed, Unavailable when
// this machine is in the way (no space, no layer file) or ctx ends. Temporary files go below the system's
// directory for them and are deleted before it returns.
func (g *Generator) Generate(ctx context.Context, img layers.Image) (sbom.Documents, error) {
	const op = "generate sbom"
	subject := img.Subject.String()
	if err := ctx.Err(); err != nil { // a known image is not read, so nothing else would notice
		return sbom.Documents{}, pratique.Wrap(pratique.Unavailable, op, subject, err)
	}
	catalogue, err := g.catalogue(ctx, img)
	if err != nil {
		return sbom.Documents{}, pratique.Wrap(layers.KindOf(ctx, err), op, subject, err)
	}
	stamp, err := stampOf(img, g.tool)
	if err != nil {
		return sbom.Documents{}, pratique.Wrap(pratique.Corrupt, op, subject, err)
	}
	var docs sbom.Documents
	var kept *known
	var model *spdxPart
	var all errgroup.Group
	all.Go(func() (err error) {
		doc := catalogue.toSPDX()
		if catalogue.upper == nil {
			model = partOf(doc)
		}
		docs.SPDX, err = encodeSPDX(doc, stamp)
		return err
	})
	all.Go(func() (err error) {
		docs.CycloneDX, err = encodeCycloneDX(apart(*catalogue.whole), stamp)
		return err
	})
	all.Go(func() error {
		kept = catalogue.known()
		docs.Catalogue = catalogue.found().entries()
		return nil
	})
	if err := all.Wait(); err != nil {
		return sbom.Documents{}, pratique.Wrap(pratique.Internal, op, subject, err)
	}
	if kept != nil {
		kept.model.Store(model)
		g.memory.keep(kept)
	}
	docs.Packages = catalogue.whole.Artifacts.Packages.PackageCount()
	return docs, nil
}

// apart is a catalogue whose relationships may be sorted beside another's.
func apart(s syftsbom.SBOM) syftsbom.SBOM {
	s.Relationships = slices.Clone(s.Relationships)
	return s
}

// config is Syft's default with everything off that asks the network, the host's own caches or a tool.
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
	// As the command line has it; SPDX 2.3 asks for SHA-1 of each file.
	cfg.Files = cfg.Files.WithHashers(crypto.SHA1, crypto.SHA256)
	return cfg
}

// valuesContext is a call's context that also knows the values of another one.
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
