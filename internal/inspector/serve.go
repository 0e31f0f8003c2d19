package inspector

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/agreement"
	"github.com/pratique-dev/pratique/internal/atrest"
	"github.com/pratique-dev/pratique/internal/confine"
	"github.com/pratique-dev/pratique/internal/filetree"
	"github.com/pratique-dev/pratique/internal/layers"
	"github.com/pratique-dev/pratique/internal/pkgdb"
	"github.com/pratique-dev/pratique/sbom"
	"github.com/pratique-dev/pratique/scanner"
)

// Child holds what a child works with. A child that only matches has neither analyzer nor
// generator.
type Child struct {
	Analyzer  scanner.Analyzer
	Matcher   scanner.Matcher
	Generator sbom.Generator
	// Full makes the same SBOMs in another way, to check Generator; nil if there is none.
	Full sbom.Generator
	// Trees are shared by analyzer and generator; matching needs none.
	Trees *filetree.Cache
	// Fingerprint identifies the analyzer, its version and its options.
	Fingerprint string
}

// Serve is the child's side: it answers requests from in on out, one at a time, until in ends
// because the parent is gone. It owns the process: it sets the temporary directory for each
// request, redirects what libraries print to standard output to standard error, and gives up system
// calls that parsing does not need.
func Serve(ctx context.Context, in io.Reader, out io.Writer, c Child) error {
	const op = "serve inspector"
	if out == io.Writer(os.Stdout) {
		os.Stdout = os.Stderr
	}
	if err := writeFrame(out, hello{Protocol: protocol, Confined: confine.Self()}); err != nil {
		return pratique.Wrap(pratique.Unavailable, op, "", err)
	}
	serving, end := context.WithCancel(ctx)
	var beside sync.WaitGroup
	defer beside.Wait()
	defer end()
	beside.Go(func() { atrest.ReleaseMemory(serving) })
	s := &server{c}
	for ctx.Err() == nil {
		var req request
		if err := readFrame(in, &req); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return pratique.Wrap(pratique.Unavailable, op, "", err)
		}
		if err := writeFrame(out, accepted{ID: req.ID}); err != nil {
			return pratique.Wrap(pratique.Unavailable, op, "", err)
		}
		if err := os.Setenv("TMPDIR", req.Dir); err != nil {
			return pratique.Wrap(pratique.Internal, op, "", err)
		}
		stop := limitHeap(ctx)
		resp := s.answer(ctx, req)
		stop()
		resp.ID = req.ID
		if err := writeFrame(out, resp); err != nil {
			return pratique.Wrap(pratique.Unavailable, op, "", err)
		}
	}
	return pratique.Wrap(pratique.Unavailable, op, "", ctx.Err())
}

type server struct{ Child }

func (s *server) answer(ctx context.Context, req request) response {
	switch {
	case req.Op == opInspect && s.Analyzer == nil:
		return response{Failure: &failure{Op: "inspect image", Kind: pratique.Internal,
			Message: "this process never sees an image"}}
	case req.Op == opInspect && req.Image != nil:
		if err := useJava(s.Analyzer, req.Java); err != nil {
			return response{Failure: toFailure("inspect image", err)}
		}
		result, err := s.inspect(ctx, req)
		if err != nil {
			return response{Failure: toFailure("inspect image", err)}
		}
		return response{Inspected: result}
	case req.Op == opMatch && len(req.Inventories) > 0 && req.Database != nil:
		var reports []pratique.Report
		for _, inv := range req.Inventories {
			report, err := s.Matcher.Match(ctx, inv, *req.Database)
			if err != nil {
				return response{Failure: toFailure("match inventory", err)}
			}
			reports = append(reports, report)
		}
		return response{Reports: reports}
	default:
		return response{Failure: &failure{Op: "serve inspector", Kind: pratique.Internal,
			Message: "incomplete request " + req.Op}}
	}
}

// inspect checks the package databases, and then runs the scanner and the SBOM generator
// concurrently on the same layer files.
func (s *server) inspect(ctx context.Context, req request) (*inspected, error) {
	img, dir := *req.Image, req.Dir
	if req.Fingerprint != s.Fingerprint {
		return nil, pratique.Errorf(pratique.Internal, "inspect image",
			"asked for analyses of %q, this is %q", req.Fingerprint, s.Fingerprint)
	}
	config, err := imageConfig(img)
	if err != nil {
		return nil, err
	}
	distroless, err := s.screen(ctx, img)
	if err != nil {
		return nil, err
	}
	result := inspected{Inspection: pratique.Inspection{Image: config, Generator: s.Generator.Tool()}}
	var catalog []sbom.Entry
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		kept := analysisFiles{known: req.Analyses, dir: dir}
		analysis, err := s.Analyzer.Analyze(ctx, img, &kept)
		result.Inventory, result.Extras, result.Analyzed = analysis.Inventory, analysis.Extras,
			kept.stored
		return err
	})
	group.Go(func() error {
		docs, checked, err := s.generate(ctx, img, req.Shadow)
		if err != nil {
			return err
		}
		result.Packages, result.Checked, catalog = docs.Packages, checked, docs.Catalog
		return errors.Join(
			writeDocument(filepath.Join(dir, fileSPDX), docs.SPDX),
			writeDocument(filepath.Join(dir, fileCycloneDX), docs.CycloneDX),
		)
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if result.Compared, err = agreement.Compare(result.Inventory, catalog, distroless); err != nil {
		return nil, pratique.Wrap(pratique.Unknown, "inspect image", img.Subject.String(), err)
	}
	return &result, nil
}

// screen refuses package databases that both engines would misread.
func (s *server) screen(ctx context.Context, img layers.Image) (distroless bool, err error) {
	files, err := s.Trees.Image(ctx, img)
	if err == nil {
		distroless, err = pkgdb.Screen(files)
	}
	return distroless, pratique.Wrap(layers.KindOf(ctx, err), "inspect image", img.Subject.String(), err)
}

func writeDocument(path string, body []byte) error {
	return pratique.Wrap(pratique.Unavailable, "store document", "", os.WriteFile(path, body, 0o600))
}

// imageConfig reads the parts of an image's configuration that policies and users need.
func imageConfig(img layers.Image) (pratique.ImageConfig, error) {
	file, err := v1.ParseConfigFile(bytes.NewReader(img.Config))
	if err != nil {
		return pratique.ImageConfig{}, pratique.Wrap(pratique.Corrupt, "read image configuration",
			img.Subject.String(), err)
	}
	c := pratique.ImageConfig{
		Digest: img.Subject.Digest, Platform: platform(img, file), Created: file.Created.UTC(),
		User:   file.Config.User,
		Labels: file.Config.Labels, Layers: len(img.Layers),
	}
	for _, l := range img.Layers {
		c.Size += l.Size
	}
	return c, checkConfig(c)
}

// platform is that of the configuration, by which an image runs; an index only repeats it.
func platform(img layers.Image, file *v1.ConfigFile) pratique.Platform {
	if file.OS == "" || file.Architecture == "" {
		return img.Platform
	}
	p := file.OS + "/" + file.Architecture
	if file.Variant != "" {
		p += "/" + file.Variant
	}
	return pratique.Platform(p)
}
