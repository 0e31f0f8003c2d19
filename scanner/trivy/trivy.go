//go:build goexperiment.jsonv2

// Package trivy scans with Trivy as a library: it analyzes the layers of an image on disk into an
// inventory, and matches inventories against a Trivy database. The findings are those of `trivy
// image --scanners vuln` of the same version with its default, precise detection, except where they
// depend on what packages claim about their vendors: see withoutThirdParty, ownDriver and redHat.
// Secrets, misconfigurations and licenses are only looked for if [Config] says so. The network is
// never used.
//
// Trivy keeps its logger, its temporary directory and its databases in package variables. So a
// process has one [Scanner], made before anything else runs, and should be a child that only parses
// images.
//
// Without a Java database (see [Scanner.UseJava]) a jar is only identified by the pom.properties in
// it. Jars that Trivy would identify by SHA-1, manifest or file name are then missing from the
// inventory, and have no findings: among others Spring's own jars, which Gradle builds without
// pom.properties.
package trivy

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	javadb "github.com/aquasecurity/trivy-java-db/pkg/db"
	"github.com/aquasecurity/trivy/pkg/fanal/artifact"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	trivyjava "github.com/aquasecurity/trivy/pkg/javadb"
	"github.com/aquasecurity/trivy/pkg/misconf"
	xos "github.com/aquasecurity/trivy/pkg/x/os"
	_ "modernc.org/sqlite" // the driver with which Trivy reads RPM and Java databases

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/filetree"
	"github.com/pratique-dev/pratique/scanner"
)

var (
	_ scanner.Analyzer = (*Scanner)(nil)
	_ scanner.Matcher  = (*Scanner)(nil)
)

// Config of a [Scanner]. The zero value is usable.
type Config struct {
	// Extras are the kinds of extra findings to look for.
	Extras []pratique.ExtraKind
	// Trees are shared with other readers of the same images; nil means the scanner's own.
	Trees *filetree.Cache
}

// Scanner analyzes images and matches inventories, one call at a time. It caches the analyses of
// recent layers, and keeps the database of the last match open.
type Scanner struct {
	mu         sync.Mutex
	cfg        Config
	option     artifact.Option
	temp       string
	layers     *layerCache
	trees      *filetree.Cache
	analyzers  *analyzers
	normalized *filetree.PerLayer[*normalLayer]
	osReleases filetree.PerLayer[map[*filetree.File]osRelease]
	redactor   redactor
	logErrors  *logErrors
	handle     handle
	java       scanner.DatabaseDir // of the last UseJava
	now        func() time.Time
}

// New prepares Trivy in this process: it takes over the default logger, which Trivy uses, and makes
// a directory for temporary files, which [Scanner.Close] deletes. now is the clock of the reports.
// Misconfiguration checks are compiled here, if they are configured.
func New(cfg Config, now func() time.Time) (*Scanner, error) {
	const op = "start trivy"
	logged := &logErrors{}
	slog.SetDefault(slog.New(logged))
	disableSuppliers()
	temp, err := os.MkdirTemp("", "pratique-trivy-")
	if err != nil {
		return nil, pratique.Wrap(pratique.Unavailable, op, "", err)
	}
	// Trivy chooses its directory at the first use, when the system's may have changed.
	if dir := xos.TempDir(); dir == os.TempDir() {
		err = errors.New("no directory for temporary files")
	}
	if err = errors.Join(err, prepareJava(temp)); err != nil {
		_ = os.RemoveAll(temp) // the first error says more
		return nil, pratique.Wrap(pratique.Unavailable, op, "", err)
	}
	option := cfg.option()
	if cfg.looksFor(pratique.ExtraMisconfigurations) {
		if option.MisconfScannerOption.RegoScanner, err = misconf.InitRegoScanner(option.MisconfScannerOption); err != nil {
			return nil, pratique.Wrap(pratique.Internal, op, "", errors.Join(err, os.RemoveAll(temp)))
		}
	}
	reads, err := newAnalyzers(option)
	if err != nil {
		return nil, pratique.Wrap(pratique.Internal, op, "", errors.Join(err, os.RemoveAll(temp)))
	}
	trees := cfg.Trees
	if trees == nil {
		trees = new(filetree.Cache)
	}
	return &Scanner{
		cfg: cfg, option: option, temp: temp, layers: newLayerCache(), trees: trees,
		analyzers: reads, normalized: new(filetree.PerLayer[*normalLayer]),
		redactor: newRedactor(), logErrors: logged, handle: handle{temp: temp}, now: now,
	}, nil
}

// Close closes the database and deletes the temporary files.
func (s *Scanner) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.handle.close()
	if cleanErr := xos.Cleanup(); err == nil {
		err = cleanErr
	}
	if removeErr := os.RemoveAll(s.temp); err == nil {
		err = removeErr
	}
	return pratique.Wrap(pratique.Unavailable, "stop trivy", "", err)
}

// Tool returns Trivy and its version.
func Tool() pratique.Tool {
	t := pratique.Tool{Name: "trivy", Version: "unknown"}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return t
	}
	for _, m := range info.Deps {
		if m.Path == "github.com/aquasecurity/trivy" {
			t.Version = m.Version
		}
	}
	return t
}

// prepareJava gives Trivy an empty Java database: without any it fails on the first jar. Updates
// are off, so Trivy never downloads one.
func prepareJava(temp string) error {
	// the name that Trivy expects below its cache directory
	if err := emptyJava(filepath.Join(temp, "java-db")); err != nil {
		return err
	}
	const skipUpdate, quiet = true, true
	trivyjava.Init(temp, nil, skipUpdate, quiet, ftypes.RegistryOptions{})
	return nil
}

func emptyJava(dir string) error {
	db, err := javadb.New(dir)
	if err != nil {
		return err
	}
	if err := db.Init(); err != nil {
		_ = db.Close() // the first error says more
		return err
	}
	if err := db.Close(); err != nil {
		return err
	}
	meta := javadb.NewMetadata(dir)
	return meta.Update(javadb.Metadata{Version: javadb.SchemaVersion})
}
