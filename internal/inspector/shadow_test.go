package inspector

import (
	"fmt"
	"os"
	"testing"

	"github.com/pratique-dev/pratique"
)

func always(pratique.Subject) bool { return true }

// TestShadow: what was made in full is used, and a difference is told with the digests of both.
func TestShadow(t *testing.T) {
	p := startPool(t, Config{Shadow: always})
	equal, err := p.Inspect(t.Context(), imageThat(t, "behave"))
	if err != nil {
		t.Fatal(err)
	}
	if equal.Shadow == nil || !equal.Shadow.Equal() || equal.Shadow.Full != digestsOf(equal.SPDX,
		equal.CycloneDX) {
		t.Errorf("of equal documents it is said: %+v", equal.Shadow)
	}
	img := imageThat(t, "differ")
	differs, err := p.Inspect(t.Context(), img)
	if err != nil {
		t.Fatal(err)
	}
	want := Shadow{
		Generated: digestsOf([]byte("spdx of "+img.Subject.String()), []byte("{}")),
		Full:      digestsOf([]byte("spdx of "+img.Subject.String()), []byte(`{"all": true}`)),
	}
	if differs.Shadow == nil || *differs.Shadow != want || differs.Shadow.Equal() {
		t.Errorf("of documents that differ it is said: %+v", differs.Shadow)
	}
	if string(differs.CycloneDX) != `{"all": true}` || differs.Packages != 8 {
		t.Errorf("%s with %d packages is used, and was not made in full", differs.CycloneDX,
			differs.Packages)
	}
	// The child does not ask again who was wrong once.
	again, err := p.Inspect(t.Context(), img)
	if err != nil {
		t.Fatal(err)
	}
	if !again.Shadow.Equal() || string(again.CycloneDX) != `{"all": true}` {
		t.Errorf("after a difference: %s, %+v", again.CycloneDX, again.Shadow)
	}
	if n := p.serial.Load(); n != 4 {
		t.Errorf("serial %d: more than one child for three jobs", n)
	}
	if _, err := p.Inspect(t.Context(),
		imageThat(t, "fail in full")); pratique.KindOf(err) != pratique.Corrupt {
		t.Errorf("what cannot be made in full: %v", err)
	}
}

func TestWithoutShadow(t *testing.T) {
	p := startPool(t, Config{Shadow: func(s pratique.Subject) bool {
		return s.Repository.Path != "team/differ"
	}})
	got, err := p.Inspect(t.Context(), imageThat(t, "differ"))
	if err != nil || got.Shadow != nil || string(got.CycloneDX) != "{}" {
		t.Errorf("not chosen: %s, %+v, %v", got.CycloneDX, got.Shadow, err)
	}
	p = startPool(t, Config{Command: []string{os.Args[0], verb, "unchecked"}, Shadow: always})
	if _, err := p.Inspect(t.Context(),
		imageThat(t, "behave")); pratique.KindOf(err) != pratique.Internal {
		t.Errorf("a child that cannot compare: %v", err)
	}
}

// TestSample: the choice is by digest and seed, about one in so many, and the same each time.
func TestSample(t *testing.T) {
	const images = 20_000
	s, other := Sample{Seed: []byte("a seed"), OneIn: 100}, Sample{Seed: []byte("another"), OneIn: 100}
	chosen, both := 0, 0
	for n := range images {
		d := pratique.DigestOf(fmt.Append(nil, n))
		if (Sample{Seed: s.Seed}).Has(d) || (Sample{Seed: s.Seed, OneIn: -1}).Has(d) {
			t.Fatal("chosen, although none is to be")
		}
		if !(Sample{OneIn: 1}).Has(d) {
			t.Fatal("not chosen, although all are to be")
		}
		has := s.Has(d)
		if again := (Sample{Seed: []byte("a seed"), OneIn: 100}); again.Has(d) != has {
			t.Fatal("the choice changes")
		}
		if has {
			chosen++
			if other.Has(d) {
				both++
			}
		}
	}
	if chosen < 140 || chosen > 260 || both > 15 {
		t.Errorf("%d of %d are chosen, %d of these with another seed, too", chosen, images, both)
	}
}
