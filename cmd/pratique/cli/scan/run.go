package scan

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/cmd/pratique/adapter"
	"github.com/pratique-dev/pratique/cmd/pratique/child"
	"github.com/pratique-dev/pratique/cmd/pratique/cli/verb"
	"github.com/pratique-dev/pratique/cmd/pratique/settings"
	"github.com/pratique-dev/pratique/deploy/policy"
	"github.com/pratique-dev/pratique/internal/analysiscache"
	"github.com/pratique-dev/pratique/internal/inspector"
	"github.com/pratique-dev/pratique/internal/layers"
	"github.com/pratique-dev/pratique/internal/localimage"
	"github.com/pratique-dev/pratique/internal/pipeline/attesting"
	"github.com/pratique-dev/pratique/internal/registry"
	"github.com/pratique-dev/pratique/internal/render"
	"github.com/pratique-dev/pratique/scanner"
	"github.com/pratique-dev/pratique/scanner/trivy"
)

// scanned is what a scan found, with the SBOMs of its images in their order.
type scanned struct {
	render.Scan
	inspections []inspector.Result
}

// localScan is one run of pratique scan, put together.
type localScan struct {
	flags    *flags
	temp     string
	progress *verb.Progress
	registry *registry.Client
	layers   *layers.Store
	analyses *analysiscache.Store
	pool     *inspector.Pool
	database scanner.DatabaseDir
	policy   *policy.Policy
	closers  []func() error
	named    pratique.Repository  // of an image in a file
	served   pratique.Repository  // where it is served meanwhile
	extras   []pratique.ExtraKind // what is looked for beside packages
}

// scan inspects the image, and cleans up after itself.
func (f *flags) scan(ctx context.Context, image string, p *verb.Progress) (found scanned, err error) {
	s := &localScan{flags: f, progress: p}
	defer func() {
		err = s.renamed(err)
		for i := len(s.closers) - 1; i >= 0; i-- {
			err = errors.Join(err, s.closers[i]())
		}
	}()
	if err := s.openTemp(); err != nil {
		return found, err
	}
	ref, err := s.openRegistry(ctx, image)
	if err != nil {
		return found, err
	}
	p.Step("resolving " + image)
	m, err := s.registry.Resolve(ctx, ref)
	if err != nil {
		return found, err
	}
	if m.NotImage != "" {
		return found, fmt.Errorf("%s is not a container image: %s", image, m.NotImage)
	}
	wanted, err := choose(m, f.platform, f.conf.Platforms)
	if err != nil {
		return found, err
	}
	if err := s.open(ctx); err != nil {
		return found, err
	}
	subject := m.Subject
	if !s.named.IsZero() {
		subject.Repository = s.named
	}
	found.Scan = render.Scan{Ref: image, Subject: subject, Tool: pratique.Tool{Name: "pratique",
		Version: settings.Version()}}
	for _, child := range wanted {
		img, result, err := s.image(ctx, m.Subject.Sibling(child.Digest))
		if err != nil {
			return found, err
		}
		found.Images, found.inspections = append(found.Images, img), append(found.inspections, result)
	}
	found.NotInspected = others(m, wanted)
	return found, nil
}

// openRegistry makes a client for the registry of the image, which for a file is one on this
// machine.
func (s *localScan) openRegistry(ctx context.Context, image string) (pratique.ImageRef, error) {
	if s.flags.layout {
		local, err := localimage.Serve(ctx, image, s.temp,
			localimage.Limits{Bytes: s.flags.conf.Inspect.LayerSize.Bytes(0)})
		if err != nil {
			return pratique.ImageRef{}, err
		}
		s.closers = append(s.closers, local.Close)
		s.named, s.served = local.Repository(), local.Ref().Repository
		alone := settings.Registry(s.flags.conf)
		alone.Hosts = []registry.Host{{Name: local.Ref().Repository.Registry}}
		s.registry, err = registry.New(alone)
		return local.Ref(), err
	}
	ref, err := pratique.ParseImageRef(fullName(image))
	if err != nil {
		return ref, err
	}
	registries, err := s.flags.registries(ref.Repository.Registry)
	if err != nil {
		return ref, err
	}
	s.registry, err = registry.New(registries)
	return ref, err
}

// fullName gives a name the registry and the folder that Docker would.
func fullName(image string) string {
	first, _, deep := strings.Cut(image, "/")
	switch {
	case deep && (first == "localhost" || strings.ContainsAny(first, ".:")):
		return image
	case deep:
		return "docker.io/" + image
	default:
		return "docker.io/library/" + image
	}
}

// registries are those of the configuration and that of the image.
func (f *flags) registries(host string) (registry.Config, error) {
	c := settings.Registry(f.conf)
	password := ""
	if f.passwordFile != "" {
		raw, err := os.ReadFile(f.passwordFile)
		if err != nil {
			return c, err
		}
		password = strings.TrimRight(string(raw), "\r\n")
	}
	for i, h := range c.Hosts {
		for _, name := range append([]string{h.Name}, h.Aliases...) {
			if name == host {
				if f.username != "" {
					c.Hosts[i].Username, c.Hosts[i].Password = f.username, password
				}
				return c, nil
			}
		}
	}
	c.Hosts = append(c.Hosts, registry.Host{Name: host, Username: f.username, Password: password})
	return c, nil
}

// open opens what an inspection needs.
func (s *localScan) open(ctx context.Context) error {
	conf := s.flags.conf
	if s.flags.evaluate {
		var err error
		if s.policy, err = policy.Load(ctx, settings.Policy(conf.Policy)); err != nil {
			return err
		}
	}
	if err := s.openDatabase(ctx); err != nil {
		return err
	}
	layersDir, err := s.openLayers()
	if err != nil {
		return err
	}
	analysesDir, err := s.openAnalyses()
	if err != nil {
		return err
	}
	readable := []string{layersDir, analysesDir, s.database.Dir}
	java, javaDir, err := s.openJava()
	if err != nil {
		return err
	}
	if java != nil {
		readable = append(readable, javaDir)
	}
	binary, err := os.Executable()
	if err != nil {
		return err
	}
	s.extras = settings.Extras(conf.Inspect)
	fingerprint, err := trivy.Config{Extras: s.extras}.Fingerprint()
	if err != nil {
		return err
	}
	if s.pool, err = inspector.New(inspector.Config{
		Command: child.Command(binary, conf.Inspect), Fingerprint: fingerprint,
		Analyses:    adapter.Analyses{Store: s.analyses},
		Timeout:     conf.Inspect.Timeout.Std(settings.DefaultTimeout),
		MemoryBytes: conf.Inspect.Memory.Bytes(settings.DefaultMemory), TempDir: s.temp, Java: java,
		OwnMatch:     true,
		WrittenBytes: conf.Inspect.Written.Bytes(0),
		Confinement:  settings.Confinement(conf.Inspect.Confinement), Readable: readable,
	}); err != nil {
		return err
	}
	s.closers = append(s.closers, s.pool.Close)
	return s.pool.Start(ctx)
}

// openLayers opens the layers in the cache. If another scan has them, this one keeps its own for as
// long as it runs.
func (s *localScan) openLayers() (dir string, err error) {
	const cached = 4 << 30
	dir = filepath.Join(s.flags.cacheDir, "layers")
	if s.layers, err = layers.Open(dir, cached); err != nil {
		dir = filepath.Join(s.temp, "layers")
		s.layers, err = layers.Open(dir,
			s.flags.conf.Inspect.LayerStore.Bytes(settings.DefaultLayerStore))
	}
	if err == nil {
		s.closers = append(s.closers, s.layers.Close)
	}
	return dir, err
}

// openAnalyses opens what was found in layers before, likewise.
func (s *localScan) openAnalyses() (dir string, err error) {
	const cached = 1 << 30
	dir = filepath.Join(s.flags.cacheDir, "analyses")
	if s.analyses, err = analysiscache.Open(dir, cached); err != nil {
		dir = filepath.Join(s.temp, "analyses")
		s.analyses, err = analysiscache.Open(dir, cached)
	}
	if err == nil {
		s.closers = append(s.closers, s.analyses.Close)
	}
	return dir, err
}

// openTemp makes a directory for this run, and removes those of runs that were killed.
func (s *localScan) openTemp() error {
	const abandoned = 24 * time.Hour
	base := filepath.Join(s.flags.cacheDir, "tmp")
	if err := os.MkdirAll(base, 0o700); err != nil {
		return err
	}
	left, err := os.ReadDir(base)
	if err != nil {
		return err
	}
	for _, entry := range left {
		if info, err := entry.Info(); err == nil && time.Since(info.ModTime()) > abandoned {
			_ = os.RemoveAll(filepath.Join(base, entry.Name())) // or the next run does it
		}
	}
	s.temp, err = os.MkdirTemp(base, "scan-")
	if err == nil {
		s.closers = append(s.closers, func() error { return os.RemoveAll(s.temp) })
	}
	return err
}

// image inspects, matches and evaluates one platform image.
func (s *localScan) image(ctx context.Context,
	subject pratique.Subject) (render.Image, inspector.Result, error) {
	s.progress.Step("fetching " + subject.Digest.String())
	source := counting{Client: s.registry, progress: s.progress, total: &transfer{}}
	img, release, err := s.layers.Image(ctx, source, subject)
	if err != nil {
		return render.Image{}, inspector.Result{}, err
	}
	defer release()
	if !s.named.IsZero() {
		subject.Repository, img.Subject.Repository = s.named, s.named
	}
	started := time.Now().UTC()
	s.progress.Step("inspecting " + subject.Digest.String())
	result, err := s.pool.Inspect(ctx, img)
	if err != nil {
		return render.Image{}, result, err
	}
	s.progress.Step("matching " + subject.Digest.String())
	reports, err := s.pool.Match(ctx, []pratique.Inventory{result.Inventory}, s.database)
	if err != nil {
		return render.Image{}, result, err
	}
	report := reports[0]
	found := render.Image{
		Subject: subject, Config: result.Image, Packages: result.Inventory.Packages(),
		JavaDatabase: result.JavaDatabase, Report: report,
		Extras: result.Extras, Compared: result.Compared,
	}
	if s.policy == nil {
		return found, result, nil
	}
	d, err := attesting.Decide(ctx, adapter.Rules{Policy: s.policy}, attesting.Evidence{
		Subject: subject, Report: report, Now: time.Now(),
		Inspected: pratique.Inspected{
			Image: result.Image, Packages: found.Packages, Inventory: report.Inventory,
			Scanner:   result.Inventory.Scanner,
			Generator: result.Generator, JavaDatabase: result.JavaDatabase,
			JavaUpdatedAt: result.JavaUpdatedAt, Compared: &result.Compared, StartedAt: started,
			ExtraKinds: s.extras,
		},
		Extras: result.Extras,
	})
	if err != nil {
		return found, result, err
	}
	found.Verdict = &render.Verdict{Outcome: d.Outcome, Profile: s.policy.ID(), Reasons: d.Reasons,
		Notes: d.Notes}
	return found, result, nil
}
