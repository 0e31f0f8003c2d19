package inspector

import (
	"slices"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/inspector/imagetest"
	"github.com/pratique-dev/pratique/internal/layers"
	"github.com/pratique-dev/pratique/scanner"
)

// shared is an image of a repository on a layer that all of them have.
func shared(t *testing.T, path string) layers.Image {
	t.Helper()
	img := imagetest.Build(t, imagetest.Files{"base": "1"}, imagetest.Files{"of": path})
	img.Subject.Repository.Path = path
	return img
}

// TestLyingChild has one image take its child over, which lies from then on about whatever it is
// given, also about the layers that it shares with others. What is said of the others is what a
// pool says that never met it.
func TestLyingChild(t *testing.T) {
	for name, c := range map[string]struct {
		domain func(pratique.Subject) string
		honest []string
	}{
		"projects by default": {nil, []string{"team/app", "team/other"}},
		"repositories":        {Repository, []string{"team/app"}},
		"images":              {Image, []string{"team/app"}},
	} {
		t.Run(name, func(t *testing.T) {
			kept := newAnalyses(t)
			p := startPool(t, Config{Children: 1, Analyses: kept, Domain: c.domain})
			evil, err := p.Inspect(t.Context(), shared(t, "evil/image"))
			if err != nil || evil.Inventory.OS.Family != lie {
				t.Fatalf("the child tells the truth: %+v, %v", evil.Inventory, err)
			}
			for _, path := range c.honest {
				img := shared(t, path)
				got, err := p.Inspect(t.Context(), img)
				if err != nil {
					t.Fatal(err)
				}
				if got.Inventory.OS.Name != img.Layers[0].DiffID.String() ||
					strings.Contains(got.Inventory.OS.RepositoryRelease, lie) {
					t.Errorf("of %s it is said: %+v", path, got.Inventory.OS)
				}
			}
		})
	}
}

// TestMatchedByWhoSawNoImage: a child that parsed an image answers for no inventory, and one that
// answers for inventories parses no image.
func TestMatchedByWhoSawNoImage(t *testing.T) {
	p := startPool(t, Config{Children: 1})
	if _, err := p.Inspect(t.Context(), shared(t, "evil/image")); err != nil {
		t.Fatal(err)
	}
	asked := []pratique.Inventory{{OS: pratique.OS{Family: "honest"}}}
	reports, err := p.Match(t.Context(), asked, scanner.DatabaseDir{Dir: "d"})
	if err != nil || len(reports[0].Findings) != 1 {
		t.Errorf("it found %+v, %v", reports, err)
	}
	only := startPool(t, Config{Children: 2, Warm: 1, MatchOnly: true})
	if _, err := only.Inspect(t.Context(),
		shared(t, "team/app")); pratique.KindOf(err) != pratique.Internal {
		t.Errorf("it inspected an image: %v", err)
	}
	for range 3 {
		if reports, err = only.Match(t.Context(), asked,
			scanner.DatabaseDir{Dir: "d"}); err != nil || len(reports[0].Findings) != 1 {
			t.Errorf("it found %+v, %v", reports, err)
		}
	}
	if n := only.serial.Load(); n != 4 { // one child, three jobs
		t.Errorf("%d children and jobs: the idle child was not used again", n)
	}
	// Who looks at one image for one person needs no second child.
	own := startPool(t, Config{Children: 1, OwnMatch: true})
	if _, err := own.Inspect(t.Context(), shared(t, "team/app")); err != nil {
		t.Fatal(err)
	}
	if _, err := own.Match(t.Context(), asked, scanner.DatabaseDir{Dir: "d"}); err != nil ||
		own.serial.Load() != 3 {
		t.Errorf("%d children and jobs, %v", own.serial.Load(), err)
	}
}

// TestChildrenStayWithTheirDomain: a child that knows a project goes on with it, whichever of them
// is idle.
func TestChildrenStayWithTheirDomain(t *testing.T) {
	p := startPool(t, Config{Children: 2})
	served := func(path string) int64 {
		t.Helper()
		before := p.serial.Load()
		if _, err := p.Inspect(t.Context(), shared(t, path)); err != nil {
			t.Fatal(err)
		}
		return p.serial.Load() - before - 1 // children that were started for it
	}
	var started []int64
	for _, path := range []string{"one/app", "two/app", "one/other", "two/other", "one/app",
		"three/app", "one/app"} {
		started = append(started, served(path))
	}
	if want := []int64{0, 0, 0, 0, 0, 1, 0}; !slices.Equal(started, want) {
		t.Errorf("children started %v, want %v", started, want)
	}
}

// TestTextsOfAChild: an honest child refuses texts that are longer than any real one, and so does
// the parent, whatever a child says.
func TestTextsOfAChild(t *testing.T) {
	long := strings.Repeat("x", 2<<20)
	for what, in := range map[string]pratique.Inspection{
		"label":    {Image: pratique.ImageConfig{Labels: map[string]string{"a": long}}},
		"user":     {Image: pratique.ImageConfig{User: long}},
		"platform": {Image: pratique.ImageConfig{Platform: pratique.Platform(long)}},
		"version":  {Inventory: pratique.Inventory{Lists: []pratique.PackageList{{Packages: []pratique.Package{{Name: "a", Version: long}}}}}},
	} {
		if err := checkInspected(&inspected{Inspection: in}); pratique.KindOf(err) != pratique.Exhausted || len(err.Error()) > 1000 {
			t.Errorf("%s: %.300v", what, err)
		}
	}
	if err := checkInspected(&inspected{Inspection: pratique.Inspection{Image: pratique.ImageConfig{Labels: map[string]string{"bill of materials": long[:200_000]}}}}); err != nil {
		t.Errorf("labels as build tools make them: %v", err)
	}
}
