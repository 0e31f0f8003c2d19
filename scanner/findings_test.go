package scanner

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pratique-dev/pratique"
)

func TestSortFindings(t *testing.T) {
	want := []pratique.Finding{
		{ID: "CVE-2", Package: "a", Severity: pratique.SeverityCritical},
		{ID: "CVE-1", Package: "a", Installed: "1", Severity: pratique.SeverityHigh},
		{ID: "CVE-1", Package: "a", Installed: "2", Path: "x", Severity: pratique.SeverityHigh},
		{ID: "CVE-1", Package: "a", Installed: "2", Path: "y", Severity: pratique.SeverityHigh},
		{ID: "CVE-1", Package: "b", Installed: "1", Severity: pratique.SeverityHigh},
		{ID: "CVE-0", Severity: pratique.SeverityUnknown},
	}
	for range 20 {
		got := slices.Clone(want)
		rand.Shuffle(len(got), func(i, j int) { got[i], got[j] = got[j], got[i] })
		SortFindings(got)
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(pratique.Digest{})); diff != "" {
			t.Fatal("(-want +got)\n", diff)
		}
	}
}

func TestSortInventory(t *testing.T) {
	want := pratique.Inventory{Lists: []pratique.PackageList{
		{Class: pratique.ClassOS, Type: "debian", Packages: []pratique.Package{{Name: "a"},
			{Name: "b", Version: "1"}, {Name: "b", Version: "2"}}},
		{Class: pratique.ClassLanguage, Type: "gobinary", Path: "a",
			Packages: []pratique.Package{{Name: "z"}}},
		{Class: pratique.ClassLanguage, Type: "gobinary", Path: "b",
			Packages: []pratique.Package{{Name: "y"}}},
		{Class: pratique.ClassLanguage, Type: "jar", Packages: []pratique.Package{{Name: "p"}}},
		{Class: pratique.ClassLanguage, Type: "jar", Packages: []pratique.Package{{Name: "q"}}},
	}}
	wantDigest, err := InventoryDigest(want)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		var got pratique.Inventory
		for _, l := range want.Lists {
			l.Packages = slices.Clone(l.Packages)
			rand.Shuffle(len(l.Packages), func(i, j int) {
				l.Packages[i], l.Packages[j] = l.Packages[j], l.Packages[i]
			})
			got.Lists = append(got.Lists, l)
		}
		rand.Shuffle(len(got.Lists), func(i, j int) {
			got.Lists[i], got.Lists[j] = got.Lists[j], got.Lists[i]
		})
		SortInventory(&got)
		digest, err := InventoryDigest(got)
		if err != nil {
			t.Fatal(err)
		}
		if digest != wantDigest {
			t.Fatalf("another digest for the same inventory: %+v", got)
		}
	}
}

func TestCountFixable(t *testing.T) {
	findings := []pratique.Finding{{}, {Fixed: "2"}, {Fixed: "3"}}
	if n := CountFixable(findings); n != 2 {
		t.Errorf("%d fixable", n)
	}
}
