package agreement

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/sbom"
)

const dpkg, apk, rpm = "/var/lib/dpkg/status", "/lib/apk/db/installed", "/var/lib/rpm/rpmdb.sqlite"

func inventory(family string, packages ...pratique.Package) pratique.Inventory {
	inv := pratique.Inventory{OS: pratique.OS{Family: family, Name: "1"}}
	if len(packages) > 0 {
		inv.Lists = []pratique.PackageList{{Class: pratique.ClassOS, Type: family, Packages: packages}}
	}
	return inv
}

func entry(kind, name, version, path string) sbom.Entry {
	return sbom.Entry{Type: kind, Name: name, Version: version, Path: path, RealPath: path}
}

// TestPackagesOfTheOperatingSystem: all ways in which two tools write one package agree, and what
// only one of them has does not. What is known to differ has its reason in the tables.
func TestPackagesOfTheOperatingSystem(t *testing.T) {
	bash := pratique.Package{Name: "bash", Version: "5.2.15", Release: "2+b2"}
	for name, test := range map[string]struct {
		inv      pratique.Inventory
		catalog  []sbom.Entry
		differ   string // empty if they agree
		apart    []pratique.Unmatched
		packages int
	}{
		"nothing": {},
		"the same": {inv: inventory("debian", bash),
			catalog: []sbom.Entry{entry("deb", "bash", "5.2.15-2+b2", dpkg)}, packages: 1},
		"epoch": {inv: inventory("debian", pratique.Package{Name: "zlib1g",
			Version: "1.2.13.dfsg", Release: "1", Epoch: 1}),
			catalog: []sbom.Entry{entry("deb", "zlib1g", "1:1.2.13.dfsg-1", dpkg)}, packages: 1},
		"epoch of zero": {inv: inventory("redhat",
			pratique.Package{Name: "x", Version: "1", Release: "2.el9"}),
			catalog: []sbom.Entry{entry("rpm", "x", "0:1-2.el9", rpm)}, packages: 1},
		"no revision": {inv: inventory("debian",
			pratique.Package{Name: "ca-certificates", Version: "20230311"}),
			catalog: []sbom.Entry{entry("deb", "ca-certificates", "20230311", dpkg)}, packages: 1},
		"two architectures": {inv: inventory("debian", bash, bash),
			catalog: []sbom.Entry{entry("deb", "bash", "5.2.15-2+b2", dpkg),
				entry("deb", "bash", "5.2.15-2+b2", dpkg)}, packages: 1},
		"distroless": {inv: inventory("debian", bash),
			catalog: []sbom.Entry{entry("deb", "bash", "5.2.15-2+b2",
				"/var/lib/dpkg/status.d/bash")}, packages: 1},
		"virtual package": {inv: inventory("alpine", pratique.Package{Name: ".build-deps",
			Version: "20240101.101010"}),
			catalog: []sbom.Entry{entry("apk", ".build-deps", "20240101.101010", apk)}, packages: 1},
		"merged directories": {inv: inventory("wolfi",
			pratique.Package{Name: "x", Version: "1-r0"}),
			catalog: []sbom.Entry{entry("apk", "x", "1-r0", "/usr/lib/apk/db/installed")}, packages: 1},
		"keys": {inv: inventory("redhat", pratique.Package{Name: "gpg-pubkey",
			Version: "5", Release: "6"}), catalog: []sbom.Entry{entry("rpm", "gpg-pubkey", "7-8", rpm)}},
		"not installed": {inv: inventory("debian", bash),
			catalog: []sbom.Entry{entry("deb", "bash", "5.2.15-2+b2", dpkg),
				entry("deb", "gone", "UNKNOWN", dpkg)}, packages: 1},
		"an SBOM in the image": {inv: inventory("wolfi",
			pratique.Package{Name: "x", Version: "1-r0", FilePath: "var/lib/db/sbom/x-1-r0.spdx.json"})},
		"Bottlerocket": {inv: inventory("bottlerocket", pratique.Package{Name: "kernel",
			Version: "6.1"})},
		"the scanner misses one": {inv: inventory("debian"),
			catalog: []sbom.Entry{entry("deb", "bash", "5", dpkg)},
			differ:  "bash 5 is in the SBOM alone"},
		"the SBOM misses one": {inv: inventory("debian", bash),
			catalog: []sbom.Entry{entry("deb", "x", "1", dpkg)},
			differ:  "bash 5.2.15-2+b2 is in the scanner alone"},
		"another version": {inv: inventory("debian", bash),
			catalog: []sbom.Entry{entry("deb", "bash", "9", dpkg)},
			differ:  "bash 9 is in the SBOM alone, bash 5.2.15-2+b2 is in the scanner alone"},
		"the SBOM misses Alpine's": {inv: inventory("alpine",
			pratique.Package{Name: "x", Version: "1"}), differ: "x 1 is in the scanner alone"},
		"without an os": {inv: inventory("none"),
			catalog: []sbom.Entry{entry("apk", "x", "1", apk)}, differ: "x 1 is in the SBOM alone"},
		"a link to the database": {inv: inventory("alpine"),
			catalog: []sbom.Entry{{Type: "apk", Name: "x", Version: "1", Path: apk,
				RealPath: "/opt/db"}}, differ: "x 1 is in the SBOM alone"},
		"a link from elsewhere": {inv: inventory("alpine"),
			catalog: []sbom.Entry{{Type: "apk", Name: "x", Version: "1",
				Path: "/opt/lib/apk/db/installed", RealPath: apk}}, differ: "x 1 is in the SBOM alone"},
		"a name of a key": {inv: inventory("redhat"),
			catalog: []sbom.Entry{entry("rpm", "gpg-pubkeys", "1-1", rpm)},
			differ:  "gpg-pubkeys 1-1 is in the SBOM alone"},
		"installed, no version": {inv: inventory("alpine"),
			catalog: []sbom.Entry{entry("apk", "x", "UNKNOWN", apk)},
			differ:  "x UNKNOWN is in the SBOM alone"},
		"another root": {inv: inventory("debian"),
			catalog: []sbom.Entry{entry("deb", "bash", "5", "/srv/tree/var/lib/dpkg/status"),
				entry("deb", "dash", "5", "/srv/tree/var/lib/dpkg/status")},
			apart: []pratique.Unmatched{{Class: pratique.ClassOS, Type: "deb",
				Path: "srv/tree/var/lib/dpkg/status", Packages: 2, Reason: pratique.UnmatchedElsewhere}}},
		"Arch": {catalog: []sbom.Entry{entry("alpm", "pacman", "6",
			"/var/lib/pacman/local/pacman-6/desc")},
			apart: []pratique.Unmatched{{Class: pratique.ClassOS, Type: "alpm",
				Path: "var/lib/pacman/local/pacman-6/desc", Packages: 1,
				Reason: pratique.UnmatchedUnread}}},
		"OpenWrt": {catalog: []sbom.Entry{entry("deb", "busybox", "1", "/usr/lib/opkg/status")},
			apart: []pratique.Unmatched{{Class: pratique.ClassOS, Type: "deb",
				Path: "usr/lib/opkg/status", Packages: 1, Reason: pratique.UnmatchedUnread}}},
		"dpkg under Alpine": {inv: inventory("alpine", bash),
			catalog: []sbom.Entry{entry("deb", "bash", "5.2.15-2+b2", dpkg)}, packages: 1,
			apart: []pratique.Unmatched{{Class: pratique.ClassOS, Type: "deb",
				Path: "var/lib/dpkg/status", Packages: 1, Reason: pratique.UnmatchedForeign}}},
		"dpkg under Alpine, unread": {inv: inventory("alpine"),
			catalog: []sbom.Entry{entry("deb", "bash", "5", dpkg)},
			differ:  "bash 5 is in the SBOM alone"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := Compare(test.inv, test.catalog, false)
			if test.differ == "" {
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(test.apart, c.Apart); diff != "" || c.Packages != test.packages {
					t.Errorf("%d packages, apart (-want +got)\n%s", c.Packages, diff)
				}
				return
			}
			if pratique.KindOf(err) != pratique.Corrupt || !strings.Contains(err.Error(), test.differ) {
				t.Errorf("%v, %v", c, err)
			}
		})
	}
}

// TestDistrolessWithoutDirectories: see catalogLacksDebian. That the generator has nothing of
// another Debian is no such case.
func TestDistrolessWithoutDirectories(t *testing.T) {
	inv := inventory("debian", pratique.Package{Name: "tzdata", Version: "2024a", Release: "0"})
	if c, err := Compare(inv, nil, false); pratique.KindOf(err) != pratique.Corrupt {
		t.Errorf("not distroless: %+v, %v", c, err)
	}
	c, err := Compare(inv, nil, true)
	want := []pratique.Difference{{Type: "deb", Name: "tzdata", Version: "2024a-0",
		Only: pratique.OnlyScanner}}
	if err != nil || c.Total != 1 || !slices.Equal(c.Differences, want) {
		t.Errorf("%+v, %v", c, err)
	}
}

// TestWhatIsSaidIsBounded: names, versions and their number are the image's.
func TestWhatIsSaidIsBounded(t *testing.T) {
	var catalog []sbom.Entry
	for n := range 1000 {
		long := strings.Repeat("é", 10_000) + fmt.Sprint(n)
		catalog = append(catalog, entry("deb", long, long, dpkg))
	}
	_, err := Compare(inventory("debian"), catalog, false)
	if err == nil || len(err.Error()) > 8<<10 || !strings.Contains(err.Error(), "and 990 more") {
		t.Errorf("%.300v", err)
	}
	inv := pratique.Inventory{}
	for n, e := range catalog {
		catalog[n].Path = fmt.Sprint("/", n, strings.Repeat("/x", 10_000), dpkg)
		catalog[n].RealPath = catalog[n].Path
		inv.Lists = append(inv.Lists, pratique.PackageList{Class: pratique.ClassLanguage,
			Packages: []pratique.Package{{PURL: "pkg:npm/" + e.Name + "@1"}}})
	}
	c, err := Compare(inv, catalog, false)
	if err != nil || !c.Bounded() || c.Total != 1000 || len(c.Differences) != pratique.MaxDifferences {
		t.Errorf("%d differences of %d, %d apart, %v", len(c.Differences), c.Total, len(c.Apart), err)
	}
	apart := 0
	for _, u := range c.Apart {
		apart += u.Packages
	}
	if apart != 1000 {
		t.Errorf("%d packages apart, want 1000", apart)
	}
}

// TestApplications: one package has one spelling, and what only one has is listed.
func TestApplications(t *testing.T) {
	for name, test := range map[string]struct {
		inventory, catalog []string
		want               []pratique.Difference
	}{
		"the same": {[]string{"pkg:npm/%40types/node@20.1.0"},
			[]string{"pkg:npm/%40types/node@20.1.0"}, nil},
		"case and dashes": {[]string{"pkg:pypi/Ruamel_yaml.clib@1"},
			[]string{"pkg:pypi/ruamel-yaml-clib@1"}, nil},
		"standard library": {[]string{"pkg:golang/stdlib@v1.21.0"},
			[]string{"pkg:golang/stdlib@1.21.0"}, nil},
		"program of a checkout": {[]string{"pkg:golang/example.com/App"},
			[]string{"pkg:golang/example.com/app@(devel)", "pkg:golang/example.com/app@UNKNOWN"}, nil},
		"version of one": {[]string{"pkg:golang/example.com/app@v0.0.0-2024"},
			[]string{"pkg:golang/example.com/app"}, nil},
		"guessed group": {[]string{"pkg:maven/org.slf4j/slf4j-api@2"},
			[]string{"pkg:maven/slf4j-api/slf4j-api@2?type=jar#x"}, nil},
		"others are not meant": {[]string{"pkg:conan/zlib@1"}, []string{"pkg:generic/bash@5",
			"pkg:github/x/y@1", "", "nonsense"}, nil},
		"missed by the scanner": {nil, []string{"pkg:npm/lodash@4"},
			[]pratique.Difference{{Type: "npm", Name: "lodash", Version: "4", Only: "sbom"}}},
		"missed by the SBOM": {[]string{"pkg:gem/rails@7"}, nil,
			[]pratique.Difference{{Type: "gem", Name: "rails", Version: "7", Only: "scanner"}}},
		"other versions": {[]string{"pkg:cargo/time@1"}, []string{"pkg:cargo/time@2"},
			[]pratique.Difference{
				{Type: "cargo", Name: "time", Version: "1", Only: "scanner"},
				{Type: "cargo", Name: "time", Version: "2", Only: "sbom"},
			}},
	} {
		inv := pratique.Inventory{}
		for _, purl := range test.inventory {
			inv.Lists = append(inv.Lists, pratique.PackageList{Class: pratique.ClassLanguage,
				Packages: []pratique.Package{{PURL: purl}}})
		}
		var catalog []sbom.Entry
		for _, purl := range test.catalog {
			catalog = append(catalog, sbom.Entry{Type: "x", PURL: purl})
		}
		c, err := Compare(inv, catalog, false)
		if err != nil || !slices.Equal(c.Differences, test.want) || c.Total != len(test.want) {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
}

// FuzzCompare holds the comparison against a naive one: of packages in the place of the operating
// system, that are no known difference, whatever is on one side only is an error, and nothing else
// is.
func FuzzCompare(f *testing.F) {
	f.Add("bash 5-1 b\nlibc6 1:2-3 b\nx 0:1 s\ngpg-pubkey 1 s")
	f.Add("a 1 s")
	f.Add("a 1 i\na 0:1 s\na  s")
	f.Fuzz(func(t *testing.T, text string) {
		var packages []pratique.Package
		var catalog []sbom.Entry
		sides := map[string]int{}
		for line := range strings.Lines(text) {
			fields := strings.Split(strings.TrimSuffix(line, "\n"), " ")
			if len(fields) != 3 {
				continue
			}
			name, version, side := fields[0], fields[1], fields[2]
			mark := 0
			if side == "i" || side == "b" {
				packages = append(packages, pratique.Package{Name: name, Version: version})
				mark |= 1
			}
			if (side == "s" || side == "b") && version != "" && version != "UNKNOWN" {
				catalog = append(catalog, entry("deb", name, version, dpkg))
				mark |= 2
			}
			if name != "gpg-pubkey" {
				sides[name+" "+strings.TrimPrefix(version, "0:")] |= mark
			}
		}
		want := false
		for _, mark := range sides {
			want = want || mark == 1 || mark == 2
		}
		if _, err := Compare(inventory("debian", packages...), catalog, false); (err != nil) != want {
			t.Errorf("%q: %v, want an error: %v", text, err, want)
		}
	})
}
