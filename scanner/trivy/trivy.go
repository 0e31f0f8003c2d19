//go:build goexperiment.jsonv2

// Package trivy scans with Trivy as a library: it analyzes the layers of an image on disk into an inventory
// and matches inventories against a Trivy database. The findings are those of `trivy image --scanners vuln`
// of the same version with its default, precise detection, but for those that hang on what packages say of their makers:
// see asOwn, ownDriver and redHat. Secrets, misconfigurations and licenses are looked
// for only where [Config] asks for them. Nothing here ever uses the network.
//
// Trivy keeps its logger, its temporary directory, its Java database and its vulnerability database in
// package variables. So a process has one [Scanner], made before anything else runs; that process should be
// a child that parses images and nothing else.
//
// Without a Java database (see [Scanner.UseJava]) a jar is known by the pom.properties inside it and by nothing else.
// What Trivy would look up by SHA-1, by manifest or by file name is then missing from the inventory, and no
// finding is reported for it: among others Spring's own jars, which Gradle builds without pom.properties.
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
	// Extras are what is looked for beside packages.
	Extras []pratique.ExtraKind
	// Trees are shared with whoever else reads the same images; without them the scanner has its own.
	Trees *filetree.Cache
}

// Scanner analyzes images and matches inventories, one call at a time. It remembers what it found in the
// layers it saw lately, and keeps the vulnerability database of the last match open.
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

// New prepares Trivy in this process: it takes the default logger, which Trivy writes to, and makes a directory
// below the system's for temporary files, which [Scanner.Close] deletes. now stamps the reports. The checks for
// misconfigurations are compiled here, if they are asked for.
func New(cfg Config, now func() time.Time) (*Scanner, error) {
	const op = "start trivy"
	heard := &logErrors{}
	slog.SetDefault(slog.New(heard))
	disableSuppliers()
	temp, err := os.MkdirTemp("", "pratique-trivy-")
	if err != nil {
		return nil, pratique.Wrap(pratique.Unavailable, op, "", err)
	}
	// Trivy settles its directory at first use, and the system's may be another one by then.
	if dir := xos.TempDir(); dir == os.TempDir() {
		err = errors.New("no directory for temporary files")
	}
	if err = errors.Join(err, prepareJava(temp)); err != nil {
		_ = os.RemoveAll(temp) // the first error is the one to tell
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
		cfg: cfg, option: option, temp: temp, layers: newLayerCache(), trees: trees, analyzers: reads, normalized: new(filetree.PerLayer[*normalLayer]),
		redactor: newRedactor(), logErrors: heard, handle: handle{temp: temp}, now: now,
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

// Tool names Trivy and the version that is built in.
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

// prepareJava points Trivy to an empty Java database: with none at all it fails on the first jar. Updates are off, so
// Trivy never tries to download one.
func prepareJava(temp string) error {
	if err := emptyJava(filepath.Join(temp, "java-db")); err != nil { // the name that Trivy expects below its cache directory
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
		_ = db.Close() // the first error is the one to tell
		return err
	}
	if err := db.Close(); err != nil {
		return err
	}
	meta := javadb.NewMetadata(dir)
	return meta.Update(javadb.Metadata{Version: javadb.SchemaVersion})
}
