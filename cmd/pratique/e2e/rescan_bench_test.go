package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/template"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/cmd/pratique/service"
	"github.com/pratique-dev/pratique/internal/config"
	"github.com/pratique-dev/pratique/internal/inspector/imagetest"
	"github.com/pratique-dev/pratique/internal/layers"
	"github.com/pratique-dev/pratique/internal/testenv/images"
	"github.com/pratique-dev/pratique/internal/testenv/vulndb"
	"github.com/pratique-dev/pratique/scanner"
)

// station is a service of which only that runs which rescanning needs: queue and ledger, documents,
// the inventory, the children. So what is measured is rescanning, and not the evaluating that comes
// after it.
type station struct {
	*service.Service
	log bytes.Buffer
	end func()
}

func newStation(t *testing.T, l *line) *station {
	t.Helper()
	conf, err := config.Load(l.configFile)
	if err != nil {
		t.Fatal(err)
	}
	st := &station{}
	ctx, cancel := context.WithCancel(context.Background())
	if st.Service, err = service.New(ctx, conf, slog.New(slog.NewTextHandler(&st.log, nil)),
		service.Options{Queue: quick}); err != nil {
		cancel()
		t.Fatal(err)
	}
	if err := errors.Join(st.Inspect.Parsers.Start(ctx), st.Inspect.Matchers.Start(ctx)); err != nil {
		t.Fatal(err)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return st.Inspect.FollowLedger(ctx) })
	st.end = func() {
		cancel()
		if err := group.Wait(); err != nil {
			t.Error(err)
		}
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}
	return st
}

// rescan takes the newest database over and matches again until nothing is left to do.
func (st *station) rescan(t *testing.T) (pratique.Rescan, time.Duration) {
	t.Helper()
	if _, err := st.Inspect.Database.Update(t.Context()); err != nil {
		t.Fatal(err)
	}
	db, err := st.Inspect.CurrentDatabase()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	started := time.Now()
	go func() { ended <- st.Inspect.Rescanner().Run(ctx) }()
	var r pratique.Rescan
	for r.To.Digest != db.Digest || r.FinishedAt.IsZero() {
		if time.Since(started) > 5*time.Minute {
			t.Fatalf("rescanning does not end: %+v\n%s", r, st.log.String())
		}
		time.Sleep(5 * time.Millisecond)
		if r, err = st.Inspect.Inventory.Rescan(); err != nil {
			t.Fatal(err)
		}
	}
	took := time.Since(started)
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	return r, took
}

// awaitInventory waits until the inventory has read the whole ledger.
func (st *station) awaitInventory(t *testing.T) {
	t.Helper()
	end, err := st.Ledger.End(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
		at, _, err := st.Inspect.Inventory.At()
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("the inventory is at %d of %d: %v\n%s", at, end, err, st.log.String())
		}
		if at >= end {
			return
		}
	}
}

// jobs counts what waits to be evaluated again.
func (st *station) jobs(t *testing.T) int {
	t.Helper()
	all, err := st.Broker.Pending(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, b := range all {
		if b.Stage == "attest" && b.Priority == pratique.PriorityRescan {
			n = int(b.Total)
		}
	}
	return n
}

// TestRescanMissesNothing lets a fleet of a few hundred images grow, changes the database in every
// way there is, and compares each image with a full match.
func TestRescanMissesNothing(t *testing.T) {
	t.Parallel()
	l := newLine(t, lineOptions{noDB: true, config: databaseFromRegistry(t)})
	withdrawn := pip("CVE-2026-7000", "jinja2", "4.0", "LOW")
	narrowed := pip("CVE-2026-7003", "click", "9.0", "HIGH")
	graver := pip("CVE-2026-7004", "flask", "9.0", "LOW")
	l.publish(time.Now().Add(-2*time.Hour), withdrawn, narrowed, graver)
	st := newStation(t, l)
	defer st.end()
	if r, _ := st.rescan(t); r.Everything == "" || r.Affected != 0 {
		t.Errorf("an inventory without images: %+v", r)
	}
	db, err := st.Inspect.CurrentDatabase()
	if err != nil {
		t.Fatal(err)
	}
	f := newFleet(t, st.Service, db)
	for i, spec := range []images.Spec{
		images.Clean(), images.Vulnerable(), python("jinja2", "3.0"), python("click", "8.0"),
		python("flask", "2.0"), python("quiet", "1.0"),
	} {
		f.grow(fmt.Sprint("kind", i), inventoryOf(spec), 40)
	}
	f.settleIn()
	st.awaitInventory(t)
	if r, _ := st.rescan(t); r.Affected != 0 || r.Touched != 0 {
		t.Errorf("nothing changed: %+v", r)
	}

	narrowed.Vulnerable, narrowed.Patched, graver.Severity = []string{"<8.1"}, []string{"8.1"}, "CRITICAL"
	zlib := vulndb.Advisory{ID: "CVE-2026-7005", Bucket: "debian 12", Package: "zlib", Fixed: "1:9",
		Title: "trouble in zlib", Severity: "HIGH"}
	l.publish(time.Now().Add(-time.Hour), narrowed, graver, zlib, pip("CVE-2026-7006", "py_yaml",
		"1.0", "LOW"))
	r, _ := st.rescan(t)
	db, err = st.Inspect.CurrentDatabase()
	if err != nil {
		t.Fatal(err)
	}
	changed, worse := f.verify(db)
	if r.Everything != "" || r.Changed != changed || r.NewlyAffected != worse || changed == 0 ||
		worse == 0 || r.Failed != 0 {
		t.Errorf("rescanning says %+v; %d changed, %d for the worse", r, changed, worse)
	}
	if n := st.jobs(t); n != changed {
		t.Errorf("%d jobs for %d images", n, changed)
	}
}

// inventoryOf is what inspecting an image of the spec finds, as far as matching reads it.
func inventoryOf(s images.Spec) pratique.Inventory {
	inv := pratique.Inventory{Scanner: pratique.Tool{Name: "trivy", Version: "test"},
		OS: pratique.OS{Family: "debian", Name: "12.5"}}
	debian := pratique.PackageList{Class: pratique.ClassOS, Type: "debian"}
	for _, p := range s.Debian {
		source := p.Source
		if source == "" {
			source = p.Name
		}
		version, release, _ := strings.Cut(p.Version, "-")
		epoch := 0
		if e, v, ok := strings.Cut(version, ":"); ok {
			epoch, _ = strconv.Atoi(e)
			version = v
		}
		debian.Packages = append(debian.Packages, pratique.Package{
			ID: p.Name + "@" + p.Version, Name: p.Name, Version: version, Release: release, Epoch: epoch,
			SrcName: source, SrcVersion: version, SrcRelease: release, SrcEpoch: epoch,
		})
	}
	python := pratique.PackageList{Class: pratique.ClassLanguage, Type: "python-pkg"}
	for _, m := range s.Python {
		python.Packages = append(python.Packages, pratique.Package{Name: m.Name, Version: m.Version,
			FilePath: "usr/lib/" + m.Name})
	}
	inv.Lists = append(inv.Lists, debian, python)
	scanner.SortInventory(&inv)
	return inv
}

// TestRescanBench rescans ten thousand images from one real database to the next, and has the
// command line scan the images that they are made of from a warm cache. It prints a table for
// docs/performance.md, and fails only if an answer is wrong.
func TestRescanBench(t *testing.T) {
	data := realData(t)
	trivy := os.Getenv("PRATIQUE_TRIVY")
	if trivy == "" {
		t.Skip("PRATIQUE_TRIVY is not set: make bench-rescan DATA=DIR")
	}
	size, err := strconv.Atoi(os.Getenv("PRATIQUE_BENCH_IMAGES"))
	if err != nil {
		size = 10_000
	}
	l := newLine(t, lineOptions{noDB: true, config: benchConfig(t)})
	published := filepath.Join(data, "db", "oci")
	l.push("mirror/trivy-db:2", fromLayout(t, published, "trivy-db-a:2"))
	st := newStation(t, l)
	defer st.end()
	st.rescan(t)
	db, err := st.Inspect.CurrentDatabase()
	if err != nil {
		t.Fatal(err)
	}
	f := newFleet(t, st.Service, db)
	// In percent of the fleet.
	kinds := map[string]int{"app-node": 35, "app-go": 30, "app-clean": 10, "app-flip": 10,
		"alpine-syn": 10, "base": 5}
	names := []string{"app-node", "app-go", "app-clean", "app-flip", "alpine-syn", "base"}
	for _, name := range names {
		result, err := st.Inspect.Parsers.Inspect(t.Context(),
			st.readableImage(t, imagetest.Load(t, filepath.Join(data, "images"), name+":1")))
		if err != nil {
			t.Fatal(err)
		}
		f.grow(name, result.Inventory, size*kinds[name]/100)
	}
	f.settleIn()
	st.awaitInventory(t)
	tree := &processTree{t: t, root: os.Getpid()}
	l.push("mirror/trivy-db:2", fromLayout(t, published, "trivy-db-b:2"))
	if _, err := st.Inspect.Database.Update(t.Context()); err != nil {
		t.Fatal(err)
	}
	tree.resetPeak()
	idle, before := tree.peakMemory(), tree.cpu()
	r, took := st.rescan(t)
	cpu := tree.cpu() - before
	memory := tree.peakMemory()
	jobs := st.jobs(t)
	if db, err = st.Inspect.CurrentDatabase(); err != nil {
		t.Fatal(err)
	}
	changed, worse := f.verify(db)
	if r.Changed != changed || r.NewlyAffected != worse || jobs != changed {
		t.Errorf("rescanning says %+v; %d changed, %d for the worse, %d jobs", r, changed, worse, jobs)
	}
	scans := l.scanWarm(t, trivy, data, names)
	var total time.Duration
	for name, d := range scans {
		total += d * time.Duration(size*kinds[name]/100)
	}
	fmt.Printf("\n| images | lists | names that differ | details that differ | lists matched again | images touched | changed | newly affected |\n|---|---|---|---|---|---|---|---|\n| %d | %d | %d | %d | %d | %d | %d | %d |\n",
		len(f.images), r.Lists, r.Names, r.Vulnerabilities, r.Matched, r.Touched, r.Changed,
		r.NewlyAffected)
	fmt.Printf("\n| | wall | |\n|---|---|---|\n| rescanned, facts and jobs durable | **%.1f s** | %.1f s of CPU |\n| `trivy image` on a warm cache, medians times the images | %.0f s | %.0f times as long |\n",
		took.Seconds(), cpu.Seconds(), total.Seconds(), total.Seconds()/took.Seconds())
	for _, name := range names {
		fmt.Printf("trivy image %s: %.3f s\n", name, scans[name].Seconds())
	}
	fmt.Printf("Peak resident memory of service and children: %d MiB, %d before\n", memory>>20, idle>>20)
}

// readableImage puts the layers where a confined child may read.
func (st *station) readableImage(t *testing.T, img layers.Image) layers.Image {
	t.Helper()
	for i, l := range img.Layers {
		path := filepath.Join(st.Inspect.Readable()[0], "bench-"+filepath.Base(l.Path))
		if err := os.Rename(l.Path, path); err != nil {
			t.Fatal(err)
		}
		img.Layers[i].Path = path
	}
	return img
}

// scanWarm returns the median time of the command line for each image, once it is in its cache.
func (l *line) scanWarm(t *testing.T, trivy, data string, names []string) map[string]time.Duration {
	t.Helper()
	b := &bench{line: l, tools: tools{"PRATIQUE_TRIVY": trivy}}
	b.cache = filepath.Join(l.dir, "trivy")
	b.run("PRATIQUE_TRIVY", "image", "--download-db-only", "--db-repository", l.registry.Host()+
		"/mirror/trivy-db:2", "--cache-dir", b.cache, "--quiet")
	medians := map[string]time.Duration{}
	for _, name := range names {
		l.push("cli/"+name+":1", fromLayout(t, filepath.Join(data, "images"), name+":1"))
		var all []time.Duration
		for range 4 {
			m := b.run("PRATIQUE_TRIVY", "image", "--cache-dir", b.cache, "--skip-db-update",
				"--skip-java-db-update", "--skip-version-check",
				"--offline-scan", "--quiet", "--scanners", "vuln", "--format", "json", "--output",
				filepath.Join(l.dir, "scan.json"), l.registry.Host()+"/cli/"+name+":1")
			all = append(all, m.wall)
		}
		all = all[1:] // the first fills the cache
		slices.Sort(all)
		medians[name] = all[len(all)/2]
	}
	return medians
}

// resetPeak has Linux count the peaks of resident memory anew.
func (p *processTree) resetPeak() {
	p.t.Helper()
	debug.FreeOSMemory()
	for _, pid := range p.pids() {
		// else the peak is too high
		_ = os.WriteFile("/proc/"+strconv.Itoa(pid)+"/clear_refs", []byte("5"), 0o600)
	}
}

// benchConfig has two workers, and syncs as the service does.
func benchConfig(t *testing.T) *template.Template {
	t.Helper()
	text := databaseFromRegistry(t).Tree.Root.String()
	text = strings.Replace(text, "workers: {inspect: 1}", "workers: {inspect: 2}", 1)
	return template.Must(template.New("").Parse(strings.Replace(text, "noSync: true",
		"noSync: false", 1)))
}
