package inspector

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/inspector/imagetest"
	"github.com/pratique-dev/pratique/internal/layers"
	"github.com/pratique-dev/pratique/scanner"
)

// fingerprint is that of the fake.
const fingerprint = "fake 1"

// remember has the fake keep analyses of layers, and lie about them if it is told to. It returns
// what it knew.
func remember(img layers.Image, cache scanner.Cache) (string, error) {
	var all []string
	for _, l := range img.Layers {
		known, ok := cache.Load(l.DiffID)
		if ok {
			all = append(all, string(known))
		}
		if ok && deedOf(img) != "replace" {
			continue
		}
		if err := cache.Store(l.DiffID, []byte("analysis of "+l.DiffID.Hex()[:8])); err != nil {
			return "", err
		}
	}
	file := filepath.Join(os.Getenv("TMPDIR"), fileAnalysis(img.Layers[0].DiffID))
	switch deedOf(img) {
	case "stranger":
		return "", cache.Store(pratique.DigestOf([]byte("of another image")), []byte("a lie"))
	case "linked":
		return "", errors.Join(os.Remove(file), os.Symlink("/etc/passwd", file))
	case "missing":
		return "", os.Remove(file)
	case "large":
		return "", os.Truncate(file, maxAnalysis+1)
	case "fails":
		return "", pratique.Errorf(pratique.Corrupt, "analyze", "half of it is not readable")
	}
	return strings.Join(all, ", "), nil
}

// analyses keeps analyses in files of a directory, as the store does that is used in earnest.
type analyses struct {
	dir string
	mu  sync.Mutex
	put map[string]string
	use int
}

func newAnalyses(t *testing.T) *analyses {
	return &analyses{dir: t.TempDir(), put: map[string]string{}}
}

func (a *analyses) Get(layer pratique.Digest, fingerprint string) (string, func(), bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.use++
	_, ok := a.put[layer.Hex()[:8]+" by "+fingerprint]
	return filepath.Join(a.dir, layer.Hex()), func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.use--
	}, ok
}

func (a *analyses) Put(layer pratique.Digest, fingerprint string, body []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.put[layer.Hex()[:8]+" by "+fingerprint] = string(bytes.Clone(body))
	return os.WriteFile(filepath.Join(a.dir, layer.Hex()), body, 0o600)
}

func TestKeptAnalyses(t *testing.T) {
	kept := newAnalyses(t)
	p := startPool(t, Config{Analyses: kept, Fingerprint: fingerprint})
	img := imagetest.Build(t, imagetest.Files{"a": "1"}, imagetest.Files{"b": "2"},
		imagetest.Files{"a": "1"})
	img.Subject.Repository.Path = "behave"
	a, b, by := img.Layers[0].DiffID.Hex()[:8], img.Layers[1].DiffID.Hex()[:8],
		p.fingerprint(nil, Project(img.Subject))
	first, err := p.Inspect(t.Context(), img)
	if err != nil {
		t.Fatal(err)
	}
	if got := first.Inventory.OS.RepositoryRelease; got != "" {
		t.Errorf("an empty store: %q", got)
	}
	if len(kept.put) != 2 || kept.put[a+" by "+by] != "analysis of "+a ||
		kept.put[b+" by "+by] != "analysis of "+b {
		t.Errorf("kept %v", kept.put)
	}
	second, err := p.Inspect(t.Context(), img)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := second.Inventory.OS.RepositoryRelease, "analysis of "+a+", analysis of "+b+
		", analysis of "+a; got != want {
		t.Errorf("the child knew %q, want %q", got, want)
	}
	if kept.use != 0 {
		t.Errorf("%d analyses are still in use", kept.use)
	}
	// A file that goes while it is in use is as good as none.
	if err := os.Remove(filepath.Join(kept.dir, img.Layers[1].DiffID.Hex())); err != nil {
		t.Fatal(err)
	}
	third, err := p.Inspect(t.Context(), img)
	if got, want := third.Inventory.OS.RepositoryRelease, "analysis of "+a+", analysis of "+
		a; err != nil || got != want {
		t.Errorf("the child knew %q, error %v", got, err)
	}
}

// TestChildrenThatLie has children leave what nobody asked for.
func TestChildrenThatLie(t *testing.T) {
	for name, test := range map[string]struct {
		known bool
		want  pratique.Kind // Unknown: it is no error
	}{
		"stranger": {want: pratique.Died},
		"linked":   {want: pratique.Died},
		"missing":  {want: pratique.Died},
		"replace":  {known: true},
		"fails":    {want: pratique.Corrupt},
		"large":    {},
	} {
		t.Run(name, func(t *testing.T) {
			kept := newAnalyses(t)
			img := imageThat(t, name)
			truth := []byte("the truth")
			if test.known {
				if err := kept.Put(img.Layers[0].DiffID,
					(&Pool{cfg: Config{Fingerprint: fingerprint}}).fingerprint(nil,
						Project(img.Subject)), truth); err != nil {
					t.Fatal(err)
				}
			}
			p := startPool(t, Config{Analyses: kept, Fingerprint: fingerprint})
			_, err := p.Inspect(t.Context(), img)
			if got := pratique.KindOf(err); got != test.want {
				t.Errorf("kind %v of error %v, want %v", got, err, test.want)
			}
			for what, body := range kept.put {
				if !test.known || body != string(truth) {
					t.Errorf("kept %s: %q", what, body)
				}
			}
			if kept.use != 0 {
				t.Errorf("%d analyses are still in use", kept.use)
			}
			if _, err := p.Inspect(t.Context(), imageThat(t, "behave")); err != nil {
				t.Error("the next image: ", err)
			}
		})
	}
}

func TestAnotherMaker(t *testing.T) {
	p := startPool(t, Config{Analyses: newAnalyses(t), Fingerprint: "fake 2"})
	if _, err := p.Inspect(t.Context(),
		imageThat(t, "behave")); pratique.KindOf(err) != pratique.Internal {
		t.Errorf("error %v", err)
	}
}
