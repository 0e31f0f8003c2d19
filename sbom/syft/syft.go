// Package syft makes SBOMs with Syft as a library: one pass over the layers on disk, written as SPDX 2.3 and
// as CycloneDX 1.6. The packages are those of the syft command line of the same version. What Syft draws at
// random or takes from the clock is derived from the image, so one image gives the same bytes every time.
// Nothing is fetched and no tool is run: enrichment that needs either is off.
package syft

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/anchore/stereoscope/pkg/file"
	"github.com/anchore/stereoscope/pkg/image"
	"github.com/anchore/syft/syft"
	"github.com/anchore/syft/syft/cataloging/pkgcataloging"
	syftsbom "github.com/anchore/syft/syft/sbom"
	"github.com/anchore/syft/syft/source"
	"github.com/anchore/syft/syft/source/stereoscopesource"
	_ "modernc.org/sqlite" // the driver with which Syft reads RPM databases

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/layers"
	"github.com/pratique-dev/pratique/sbom"
)

var _ sbom.Generator = (*Generator)(nil)

// Generator makes SBOMs. It may be used by several goroutines.
type Generator struct {
	tool pratique.Tool
	// values carries Syft's licence scanner, which it takes from a context only. To build one costs almost a
	// second of CPU, more than most images do.
	values context.Context
}

// New builds a generator, and with it the licence scanner: about 0.8 s of CPU.
func New() (*Generator, error) {
	values, err := syft.SetContextLicenseScanner(context.Background(), config().Licenses)
	if err != nil {
		return nil, pratique.Wrap(pratique.Internal, "start syft", "", err)
	}
	return &Generator{tool: tool(), values: values}, nil
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
	catalogue, err := g.catalogue(ctx, img)
	if err != nil {
		return sbom.Documents{}, pratique.Wrap(layers.KindOf(ctx, err), op, subject, err)
	}
	stamp, err := stampOf(img, g.tool)
	if err != nil {
		return sbom.Documents{}, pratique.Wrap(pratique.Corrupt, op, subject, err)
	}
	spdx, err := encodeSPDX(*catalogue, stamp)
	if err != nil {
		return sbom.Documents{}, pratique.Wrap(pratique.Internal, op, subject, err)
	}
	cyclone, err := encodeCycloneDX(*catalogue, stamp)
	if err != nil {
		return sbom.Documents{}, pratique.Wrap(pratique.Internal, op, subject, err)
	}
	return sbom.Documents{SPDX: spdx, CycloneDX: cyclone, Packages: catalogue.Artifacts.Packages.PackageCount()}, nil
}

// catalogue reads the layers and finds the packages in them.
func (g *Generator) catalogue(ctx context.Context, img layers.Image) (_ *syftsbom.SBOM, err error) {
	disk, err := img.V1()
	if err != nil {
		return nil, err
	}
	temp := file.NewTempDirGenerator("pratique-syft")
	defer func() { err = errors.Join(err, temp.Cleanup()) }()
	dir, err := layerDir(temp, img)
	if err != nil {
		return nil, err
	}
	read := image.New(disk, temp, dir, image.WithManifest(img.Manifest), image.WithRepoDigests(img.Subject.String()))
	// Cleanup closes the layer files, also after a read that failed.
	defer func() { err = errors.Join(err, read.Cleanup()) }()
	ctx = withValues(ctx, g.values)
	if err := read.Read(ctx); err != nil {
		return nil, err
	}
	src := stereoscopesource.New(read, stereoscopesource.ImageConfig{Reference: img.Subject.String()})
	return syft.CreateSBOM(ctx, src, config().WithTool(g.tool.Name, g.tool.Version))
}

// layerDir makes a directory where stereoscope finds the decompressed layers, so that it does not copy them:
// links under the names that it would give its copies.
func layerDir(temp *file.TempDirGenerator, img layers.Image) (string, error) {
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
			return "", err
		}
		if err := os.Symlink(path, filepath.Join(dir, fmt.Sprintf("%d-%s", i, l.DiffID))); err != nil {
			return "", err
		}
	}
	return dir, nil
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
