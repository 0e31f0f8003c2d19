package inspector

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/confine"
	"github.com/pratique-dev/pratique/internal/inspector/imagetest"
	"github.com/pratique-dev/pratique/internal/layers"
	"github.com/pratique-dev/pratique/scanner"
)

func startPool(t *testing.T, cfg Config) *Pool {
	t.Helper()
	if cfg.Command == nil {
		cfg.Command = []string{os.Args[0], verb}
	}
	if cfg.Fingerprint == "" {
		cfg.Fingerprint = fingerprint
	}
	cfg.TempDir = t.TempDir()
	if cfg.Readable == nil {
		cfg.Readable = []string{os.TempDir()} // where images for tests are made
	}
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if left, err := os.ReadDir(cfg.TempDir); err != nil || len(left) > 0 {
			t.Errorf("the pool left %v %v", left, err)
		}
	})
	return p
}

func imageThat(t *testing.T, does string) layers.Image {
	t.Helper()
	img := imagetest.Build(t, imagetest.Files{"a": "1"})
	img.Subject.Repository.Path = "team/" + does
	return img
}

func checkInspect(t *testing.T, p *Pool) {
	t.Helper()
	img := imageThat(t, "behave")
	got, err := p.Inspect(t.Context(), img)
	if err != nil {
		t.Fatal(err)
	}
	want := Result{Inspection: pratique.Inspection{
		Image: pratique.ImageConfig{
			Digest: img.Subject.Digest, Platform: "linux/amd64", Created: imagetest.Created,
			User:   "65532",
			Labels: map[string]string{"org.opencontainers.image.title": "small"}, Layers: 1,
			Size: img.Layers[0].Size,
		},
		Inventory: pratique.Inventory{OS: pratique.OS{Family: "fake",
			Name: img.Layers[0].DiffID.String()}},
		SPDX: []byte("spdx of " + img.Subject.String()), CycloneDX: []byte("{}"),
		Generator: pratique.Tool{Name: "fake", Version: "1"}, Packages: 7,
	}}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b pratique.Digest) bool {
		return a == b
	})); diff != "" {
		t.Error("(-want +got)\n", diff)
	}
}

func TestInspectAndMatch(t *testing.T) {
	p := startPool(t, Config{OwnMatch: true})
	checkInspect(t, p)
	inv := pratique.Inventory{OS: pratique.OS{Family: "print"}}
	db := scanner.DatabaseDir{Dir: "some/where", Database: pratique.Database{Version: 2, Source: "here"}}
	other := pratique.Inventory{OS: pratique.OS{Family: "another"}}
	reports, err := p.Match(t.Context(), []pratique.Inventory{other, inv}, db)
	if err != nil || len(reports) != 2 {
		t.Fatalf("%d reports, %v", len(reports), err)
	}
	digest, err := scanner.InventoryDigest(inv)
	if err != nil {
		t.Fatal(err)
	}
	report := reports[1]
	if report.Inventory != digest || report.Database.Source != "here" ||
		len(report.Findings) != 1 || !filepath.IsAbs(report.Findings[0].Path) {
		t.Errorf("report %+v", report)
	}
	checkInspect(t, p)
	if n := p.serial.Load(); n != 4 {
		t.Errorf("serial %d: more than one child for three jobs", n)
	}
}

func TestChildrenGoWrong(t *testing.T) {
	patient := startPool(t, Config{Timeout: time.Minute, MemoryBytes: 128 << 20})
	hasty := startPool(t, Config{Timeout: 2 * time.Second})
	for _, test := range []struct {
		does string
		want pratique.Kind
		says string
	}{
		{"crash", pratique.Died, "index out of range in the parser"},
		{"exit", pratique.Died, "exit status 0"},
		{"chatter", pratique.Died, "it began like this"},
		{"mute", pratique.Died, "closed its output"},
		{"garbage", pratique.Died, "not a message"},
		{"unwritable", pratique.Unavailable, "is a directory"},
		{"link", pratique.Unavailable, "permission denied"}, // where the kernel confines; see TestLink
		{"hang", pratique.Exhausted, "too long"},
		{"spin", pratique.Exhausted, "too long"},
		{"eat", pratique.Exhausted, "too much memory"},
		{"refuse", pratique.Exhausted, "too deep"},
	} {
		t.Run(test.does, func(t *testing.T) {
			p := patient
			if test.says == "too long" {
				p = hasty
			}
			_, err := p.Inspect(t.Context(), imageThat(t, test.does))
			if got := pratique.KindOf(err); err == nil || got != test.want ||
				!strings.Contains(err.Error(), test.says) {
				t.Errorf("kind %v of error %v, want %v with %q", got, err, test.want, test.says)
			}
			if err != nil && len(err.Error()) > 8<<10 {
				t.Errorf("error of %d bytes", len(err.Error()))
			}
			checkInspect(t, p)
		})
	}
}

// TestLink: what the kernel does not keep a child from, the parent does not fall for.
func TestLink(t *testing.T) {
	p := startPool(t, Config{Confinement: confine.Off})
	if _, err := p.Inspect(t.Context(),
		imageThat(t, "link")); pratique.KindOf(err) != pratique.Died ||
		!strings.Contains(err.Error(), "escapes") {
		t.Errorf("error %v", err)
	}
	checkInspect(t, p)
}

func TestGrandchild(t *testing.T) {
	p := startPool(t, Config{Confinement: confine.Off})
	_, err := p.Inspect(t.Context(), imageThat(t, "family"))
	if pratique.KindOf(err) != pratique.Died || !strings.Contains(err.Error(), "exit status 5") {
		t.Errorf("error %v", err)
	}
	pid, err := os.ReadFile(filepath.Join(p.root, "grandchild"))
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(string(pid))
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if status, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n)); err != nil ||
			strings.Contains(string(status), ") Z ") {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("process %d, started by a child, is still there", n)
}

// TestMatcherCrash ends as that of an image: its cause is not known, and it is tried once more.
func TestMatcherCrash(t *testing.T) {
	p := startPool(t, Config{})
	_, err := p.Match(t.Context(), []pratique.Inventory{{OS: pratique.OS{Family: "crash"}}},
		scanner.DatabaseDir{Dir: "d"})
	if pratique.KindOf(err) != pratique.Died {
		t.Errorf("error %v", err)
	}
}

func TestCleanEnvironment(t *testing.T) {
	t.Setenv("PRATIQUE_SECRET", "do not hand on")
	p := startPool(t, Config{MemoryBytes: 1 << 30})
	_, err := p.Match(t.Context(), []pratique.Inventory{{OS: pratique.OS{Family: "environment"}}},
		scanner.DatabaseDir{Dir: "d"})
	if err == nil {
		t.Fatal("no environment")
	}
	_, environment, _ := strings.Cut(err.Error(), "environment: ")
	for _, entry := range strings.Fields(environment) {
		name, value, _ := strings.Cut(entry, "=")
		switch name {
		case "HOME", "TMPDIR":
			if !strings.HasPrefix(value, p.root) {
				t.Errorf("%s outside of the pool's directory", entry)
			}
		case "GOMEMLIMIT":
			if value != strconv.Itoa(1<<30/10*9) {
				t.Error(entry)
			}
		case "GOGC", "GOMAXPROCS":
		default:
			t.Errorf("the child sees %s", entry)
		}
	}
}

func TestChildThatDiesIdle(t *testing.T) {
	p := startPool(t, Config{})
	checkInspect(t, p)
	c := <-p.idle
	if err := syscall.Kill(c.cmd.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p.idle <- c // it may or may not be gone yet: both have to work
	checkInspect(t, p)
}

func TestKilledFromOutside(t *testing.T) {
	p := startPool(t, Config{})
	checkInspect(t, p)
	c := <-p.idle
	p.idle <- c
	killed := make(chan error, 1)
	go func() {
		for t.Context().Err() == nil {
			if _, err := os.Stat(filepath.Join(c.dir, "announced")); err == nil {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		killed <- syscall.Kill(c.cmd.Process.Pid, syscall.SIGKILL)
	}()
	_, err := p.Inspect(t.Context(), imageThat(t, "announce"))
	if pratique.KindOf(err) != pratique.Died || !strings.Contains(err.Error(), "killed from outside") {
		t.Errorf("error %v", err)
	}
	if err := <-killed; err != nil {
		t.Error(err)
	}
	checkInspect(t, p)
}

func TestCanceledCalls(t *testing.T) {
	p := startPool(t, Config{})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := p.Inspect(ctx, imageThat(t, "hang"))
	if pratique.KindOf(err) != pratique.Unavailable || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	checkInspect(t, p)
	// Waiting for a child ends with the context too.
	var busy sync.WaitGroup
	busy.Go(func() { _, _ = p.Inspect(t.Context(), imageThat(t, "slow")) })
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Inspect(ended, imageThat(t, "behave")); pratique.KindOf(err) != pratique.Unavailable {
		t.Errorf("error %v", err)
	}
	busy.Wait()
	checkInspect(t, p)
}

func TestManyCallsAtOnce(t *testing.T) {
	p := startPool(t, Config{Children: 3})
	var calls sync.WaitGroup
	for i := range 24 {
		calls.Go(func() {
			if i%6 == 5 {
				if _, err := p.Inspect(t.Context(),
					imageThat(t, "exit")); pratique.KindOf(err) != pratique.Died {
					t.Errorf("error %v", err)
				}
				return
			}
			if _, err := p.Inspect(t.Context(), imageThat(t, "behave")); err != nil {
				t.Error(err)
			}
		})
	}
	calls.Wait()
}

func TestClose(t *testing.T) {
	p := startPool(t, Config{Children: 2})
	var calls sync.WaitGroup
	for range 3 { // one of them waits for a child
		calls.Go(func() {
			if _, err := p.Inspect(t.Context(),
				imageThat(t, "hang")); pratique.KindOf(err) != pratique.Unavailable {
				t.Errorf("error %v", err)
			}
		})
	}
	for len(p.idle) > 0 {
		time.Sleep(5 * time.Millisecond)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	calls.Wait()
	if _, err := p.Inspect(t.Context(),
		imageThat(t, "behave")); pratique.KindOf(err) != pratique.Unavailable {
		t.Errorf("error %v", err)
	}
}

func TestChildrenThatDoNotStart(t *testing.T) {
	if _, err := New(Config{}); pratique.KindOf(err) != pratique.Invalid {
		t.Errorf("no command: %v", err)
	}
	dir := t.TempDir()
	p, err := New(Config{Command: []string{filepath.Join(dir, "missing")}, TempDir: dir, Children: 2})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Inspect(t.Context(),
		imageThat(t, "behave")); pratique.KindOf(err) != pratique.Unavailable {
		t.Errorf("before start: %v", err)
	}
	if err := p.Start(t.Context()); pratique.KindOf(err) != pratique.Unavailable {
		t.Errorf("missing program: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left %v %v", left, err)
	}
	for _, kind := range []string{"stillborn", "stranger"} {
		p := startPool(t, Config{Command: []string{os.Args[0], verb, kind}})
		_, err := p.Inspect(t.Context(), imageThat(t, "behave"))
		if pratique.KindOf(err) != pratique.Unavailable ||
			!strings.Contains(err.Error(), "did not start") {
			t.Errorf("%s: error %v", kind, err)
		}
	}
}
