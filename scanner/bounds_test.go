package scanner_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/scanner"
)

// TestBounds: what an image says in more bytes than anybody really does is refused where a match
// reads it, and cut where none does.
func TestBounds(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 60_000)
	honest := pratique.Package{
		ID: "openssl@3.0.9-1", Name: "openssl", Version: "3.0.9", Release: "1",
		PURL:     "pkg:deb/debian/openssl@3.0.9-1",
		FilePath: strings.Repeat("d/", 2000), Licenses: []string{"Apache-2.0"}, Maintainer: "somebody",
	}
	for what, change := range map[string]func(p *pratique.Package){
		"name": func(p *pratique.Package) {
			p.Name = long
		}, "version": func(p *pratique.Package) { p.Version = long },
		"release": func(p *pratique.Package) {
			p.Release = long
		}, "id": func(p *pratique.Package) { p.ID = long },
		"uid": func(p *pratique.Package) {
			p.UID = long
		}, "purl": func(p *pratique.Package) { p.PURL = long },
		"arch": func(p *pratique.Package) {
			p.Arch = long
		}, "source": func(p *pratique.Package) { p.SrcName = long },
		"source version": func(p *pratique.Package) {
			p.SrcVersion = long
		}, "source release": func(p *pratique.Package) { p.SrcRelease = long },
		"modularity": func(p *pratique.Package) {
			p.Modularity = long
		}, "nvr": func(p *pratique.Package) { p.NVR = long },
		"path": func(p *pratique.Package) {
			p.FilePath = long
		}, "content set": func(p *pratique.Package) { p.ContentSets = []string{long} },
		"content sets": func(p *pratique.Package) { p.ContentSets = slices.Repeat([]string{"a"}, 2000) },
		"license": func(p *pratique.Package) {
			p.Licenses = []string{long}
		}, "licenses": func(p *pratique.Package) { p.Licenses = slices.Repeat([]string{"MIT"}, 101) },
		"maintainer": func(p *pratique.Package) { p.Maintainer = long },
	} {
		p := honest
		change(&p)
		inv := pratique.Inventory{Lists: []pratique.PackageList{{Packages: []pratique.Package{honest, p}}}}
		err := scanner.CheckBounds(inv)
		if pratique.KindOf(err) != pratique.Exhausted || len(err.Error()) > 500 {
			t.Errorf("%s: %.200v", what, err)
		}
		scanner.Trim(&inv.Lists[0].Packages[1])
		err = scanner.CheckBounds(inv)
		if cut := slices.Contains([]string{"license", "licenses", "maintainer"},
			what); cut != (err == nil) {
			t.Errorf("%s, trimmed: %.200v", what, err)
		}
	}
	for what, inv := range map[string]pratique.Inventory{
		"path of a list": {Lists: []pratique.PackageList{{Path: long}}},
		"type":           {Lists: []pratique.PackageList{{Type: long}}},
		"distribution":   {OS: pratique.OS{Family: long}}, "release": {OS: pratique.OS{Name: long}},
	} {
		if err := scanner.CheckBounds(inv); pratique.KindOf(err) != pratique.Exhausted {
			t.Errorf("%s: %.200v", what, err)
		}
	}
	p := honest
	scanner.Trim(&p)
	if err := scanner.CheckBounds(pratique.Inventory{Lists: []pratique.PackageList{{Packages: []pratique.Package{honest}}}}); err != nil || !slices.Equal(p.Licenses, honest.Licenses) {
		t.Errorf("an honest package: %v", err)
	}
}

// TestOnePackageAgainAndAgain: a match has findings for each. Applications may have one package in
// many places.
func TestOnePackageAgainAndAgain(t *testing.T) {
	t.Parallel()
	list := func(class pratique.PackageClass, n int, archs ...string) pratique.PackageList {
		l := pratique.PackageList{Class: class,
			Packages: []pratique.Package{{Name: "bash", Version: "5"}}}
		for i := range n {
			l.Packages = append(l.Packages, pratique.Package{Name: "openssl", Version: "3.0.9-" +
				strconv.Itoa(i), Arch: archs[i%len(archs)]})
		}
		return l
	}
	for what, c := range map[string]struct {
		lists   []pratique.PackageList
		refused bool
	}{
		"as many as may be": {lists: []pratique.PackageList{list(pratique.ClassOS,
			scanner.MaxVersions, "amd64")}},
		"one more": {[]pratique.PackageList{list(pratique.ClassOS,
			scanner.MaxVersions+1, "amd64")}, true},
		"of two architectures": {lists: []pratique.PackageList{list(pratique.ClassOS,
			2*scanner.MaxVersions, "amd64", "i386")}},
		"in two lists": {[]pratique.PackageList{list(pratique.ClassOS, 60, "amd64"),
			list(pratique.ClassOS, 60, "amd64")}, true},
		"of applications": {lists: []pratique.PackageList{list(pratique.ClassLanguage, 5000,
			"")}},
		"without an architecture": {[]pratique.PackageList{list(pratique.ClassOS, 20_000, "")}, true},
	} {
		err := scanner.CheckBounds(pratique.Inventory{Lists: c.lists})
		switch {
		case !c.refused && err != nil:
			t.Errorf("%s: %v", what, err)
		case c.refused && (pratique.KindOf(err) != pratique.Exhausted ||
			!strings.Contains(err.Error(), `"openssl" is installed in more than 100 versions`)):
			t.Errorf("%s: %v", what, err)
		}
	}
}
