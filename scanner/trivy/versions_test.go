//go:build goexperiment.jsonv2

package trivy

import (
	"fmt"
	"testing"

	dbtypes "github.com/aquasecurity/trivy-db/pkg/types"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	"github.com/google/go-cmp/cmp"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/inspector/imagetest"
	"github.com/pratique-dev/pratique/scanner/trivy/delta"
)

// against is an advisory of an ecosystem about versions before one.
func against(bucket, pkg, fixed string) advisory {
	return advisory{bucket, "ghsa", pkg, "CVE-1", dbtypes.Advisory{PatchedVersions: []string{fixed},
		VulnerableVersions: []string{"<" + fixed}}, dbtypes.SeverityCritical}
}

// TestVersionsThatAreNotCompared: there are advisories about the package, and Trivy cannot tell
// whether they concern the version. That must not pass for a package in which nothing is found.
func TestVersionsThatAreNotCompared(t *testing.T) {
	db := buildDB(t, []advisory{
		against("npm::GitHub Security Advisory npm", "lodash", "4.17.21"),
		against("pip::GitHub Security Advisory pip", "pyyaml", "5.4"),
		against("composer::GitHub Security Advisory Composer", "a/b", "9.0.0"),
		against("npm::other", "minimist", "1.2.6"),
	})
	npm := func(name, version string) imagetest.Files {
		return imagetest.Files{"srv/node_modules/x/package.json": `{"name":"` + name +
			`","version":"` + version + `","license":"MIT"}`}
	}
	python := func(version string) imagetest.Files {
		return imagetest.Files{"usr/lib/python3/site-packages/PyYAML.dist-info/METADATA": "Metadata-Version: 2.1\nName: PyYAML\nVersion: " + version + "\n"}
	}
	composer := func(version string) imagetest.Files {
		return imagetest.Files{"srv/vendor/composer/installed.json": `{"packages":[{"name":"a/b","version":"` + version + `"}]}`}
	}
	for name, test := range map[string]struct {
		files         imagetest.Files
		pkg, version  string // that is not matched
		listType, dir string
	}{
		"npm":                  {files: npm("lodash", "4.17.20")},
		"npm, with a suffix":   {files: npm("lodash", "4.17.20-sp1")},
		"npm, v":               {npm("lodash", "v4.17.20"), "lodash", "v4.17.20", "node-pkg", ""},
		"npm, four numbers":    {npm("lodash", "4.17.20.1"), "lodash", "4.17.20.1", "node-pkg", ""},
		"npm, a range":         {npm("lodash", "4.17.x"), "lodash", "4.17.x", "node-pkg", ""},
		"npm, a zero":          {npm("lodash", "04.17.20"), "lodash", "04.17.20", "node-pkg", ""},
		"npm, in a second one": {npm("minimist", "v1"), "minimist", "v1", "node-pkg", ""},
		"python":               {files: python("5.3.1")},
		"python, a local one":  {files: python("5.3.1+local")},
		"python, an old form":  {python("5.3.1-final-x"), "PyYAML", "5.3.1-final-x", "python-pkg", ""},
		"python, two words":    {python("5.3.1 dev-abc"), "PyYAML", "5.3.1 dev-abc", "python-pkg", ""},
		"composer":             {files: composer("1.2.3")},
		"composer, a branch": {composer("dev-master"), "a/b", "dev-master", "composer-vendor",
			"srv/vendor/composer/installed.json"},
	} {
		t.Run(name, func(t *testing.T) {
			r := matchWith(t, analyze(t, imagetest.Build(t, test.files)), db)
			if test.pkg == "" {
				if len(r.Findings) != 1 || len(r.Coverage.Unmatched) != 0 {
					t.Errorf("%d findings, %+v", len(r.Findings), r.Coverage.Unmatched)
				}
				return
			}
			want := []pratique.Unmatched{{
				Class: pratique.ClassLanguage, Type: test.listType, Path: test.dir, Name: test.pkg,
				Version: test.version, Packages: 1, Reason: pratique.UnmatchedVersion,
			}}
			if diff := cmp.Diff(want, r.Coverage.Unmatched); diff != "" || len(r.Findings) != 0 {
				t.Errorf("%d findings (-want +got)\n%s", len(r.Findings), diff)
			}
		})
	}
	// Of what nothing is known, nothing can be found in any version.
	for _, files := range []imagetest.Files{npm("of-nobody", "v4.17.20"), npm("of-nobody", "(devel)")} {
		if r := matchWith(t, analyze(t, imagetest.Build(t, files)), db); len(r.Coverage.Unmatched) != 0 {
			t.Errorf("without advisories: %+v", r.Coverage.Unmatched)
		}
	}
}

// goModules is an inventory as the analysis of a Go program leaves it.
func goModules(packages ...pratique.Package) pratique.Inventory {
	return pratique.Inventory{Scanner: Tool(),
		Lists: []pratique.PackageList{{Class: pratique.ClassLanguage, Type: "gobinary",
			Path: "bin/x", Packages: packages}}}
}

// TestModulesWithoutVersions: Trivy passes over them. The module of the program itself has none as
// a rule, and counts only if there are advisories about it.
func TestModulesWithoutVersions(t *testing.T) {
	db := buildDB(t, []advisory{against("go::GitHub Security Advisory Go", "example.com/known", "2.0.0")})
	inv := goModules(
		pratique.Package{Name: "example.com/known"}, pratique.Package{Name: "example.com/known",
			Version: "(devel)"},
		pratique.Package{Name: "example.com/known", Version: "v2.1.0"},
		pratique.Package{Name: "example.com/mine", Version: "(devel)"},
		pratique.Package{Name: "example.com/my"},
	)
	u := pratique.Unmatched{Class: pratique.ClassLanguage, Type: "gobinary", Path: "bin/x",
		Name: "example.com/known", Packages: 1, Reason: pratique.UnmatchedVersion}
	devel := u
	devel.Version = "(devel)"
	r := matchWith(t, inv, db)
	if diff := cmp.Diff([]pratique.Unmatched{u, devel}, r.Coverage.Unmatched); diff != "" ||
		len(r.Findings) != 0 {
		t.Errorf("%d findings (-want +got)\n%s", len(r.Findings), diff)
	}
}

// TestManyVersionsThatAreNotCompared: the report stays small, and counts them all.
func TestManyVersionsThatAreNotCompared(t *testing.T) {
	db := buildDB(t, []advisory{against("go::GitHub Security Advisory Go", "example.com/known", "2.0.0")})
	var packages []pratique.Package
	for i := range 500 {
		packages = append(packages, pratique.Package{Name: "example.com/known",
			Version: fmt.Sprintf("odd %d %0*d", i/2, i/2*8, 0)})
	}
	all := matchWith(t, goModules(packages...), db).Coverage.Unmatched
	n := 0
	for _, u := range all {
		n += u.Packages
		if len(u.Version) > 120 {
			t.Errorf("a version of %d bytes", len(u.Version))
		}
	}
	if len(all) != maxNamed+1 || n != 500 || all[0].Packages != 2 || all[maxNamed].Name != "" {
		t.Errorf("%d entries of %d packages: %+v", len(all), n, all)
	}
}

// TestOSVersionsThatAreNotCompared is the same of distributions.
func TestOSVersionsThatAreNotCompared(t *testing.T) {
	set := func(of func(*pratique.Package)) func(*pratique.Package) { return of }
	both := func(v string) func(*pratique.Package) {
		return func(p *pratique.Package) {
			p.Version, p.SrcVersion, p.Release, p.SrcRelease = v, v, "", ""
		}
	}
	for name, test := range map[string]struct {
		os     pratique.OS
		bucket string
		odd    func(*pratique.Package)
	}{
		"debian": {pratique.OS{Family: "debian", Name: "12"}, "debian 12", both("abc")},
		"debian, the source": {pratique.OS{Family: "debian", Name: "12"}, "debian 12",
			set(func(p *pratique.Package) {
				p.SrcVersion, p.SrcRelease = "x y", ""
			})},
		"debian, no source": {pratique.OS{Family: "debian", Name: "12"}, "debian 12",
			set(func(p *pratique.Package) {
				p.SrcName = ""
			})},
		"ubuntu": {pratique.OS{Family: "ubuntu", Name: "22.04"}, "ubuntu 22.04",
			both("abc")},
		"ubuntu, extended support": {pratique.OS{Family: "ubuntu", Name: "18.04", Extended: true},
			"ubuntu 18.04-ESM", both("abc")},
		"alpine": {pratique.OS{Family: "alpine", Name: "3.19.1"}, "alpine 3.19",
			both("1.0~abc-r0")},
		"wolfi":      {pratique.OS{Family: "wolfi"}, "wolfi", both("abc")},
		"chainguard": {pratique.OS{Family: "chainguard"}, "chainguard", both("abc")},
		"minimos":    {pratique.OS{Family: "minimos"}, "minimos", both("abc")},
		"amazon": {pratique.OS{Family: "amazon", Name: "2023"},
			"amazon linux 2023", both("1.0^20230101")},
		"bottlerocket": {pratique.OS{Family: "bottlerocket"}, "bottlerocket", both("")},
		"azure, no source": {pratique.OS{Family: "azurelinux", Name: "3.0"}, "Azure Linux 3.0",
			set(func(p *pratique.Package) {
				p.SrcName = ""
			})},
		"photon, no source": {pratique.OS{Family: "photon", Name: "4.0"}, "Photon OS 4.0",
			set(func(p *pratique.Package) {
				p.SrcName = ""
			})},
		"alma, a module": {pratique.OS{Family: "alma", Name: "9.3"}, "alma 9",
			set(func(p *pratique.Package) {
				p.Release = "1.module_el9.3"
			})},
	} {
		t.Run(name, func(t *testing.T) {
			of := func(pkg string) []pratique.Unmatched {
				inv := installed(test.os)
				test.odd(&inv.Lists[0].Packages[0])
				r := matchWith(t, inv,
					buildDB(t,
						[]advisory{{test.bucket, "vendor", pkg, "CVE-1",
							dbtypes.Advisory{FixedVersion: "2.0-r0"}, dbtypes.SeverityHigh}}))
				if !r.Coverage.OS.Supported || len(r.Findings) != 0 {
					t.Errorf("%d findings, %+v", len(r.Findings), r.Coverage)
				}
				return r.Coverage.Unmatched
			}
			got := of("openssl")
			if len(got) != 1 || got[0].Name != "openssl" ||
				got[0].Reason != pratique.UnmatchedVersion || got[0].Packages != 1 {
				t.Errorf("%+v", got)
			}
			if got := of("another"); len(got) != 0 {
				t.Errorf("without advisories: %+v", got)
			}
		})
	}
	module := installed(pratique.OS{Family: "alma", Name: "9.3"})
	module.Lists[0].Packages[0].Release = "1.module_el9.3"
	db := buildDB(t,
		[]advisory{{"alma 9", "vendor", "tls:3::openssl", "CVE-1",
			dbtypes.Advisory{FixedVersion: "2.0"}, dbtypes.SeverityHigh}})
	if got := matchWith(t, module, db).Coverage.Unmatched; len(got) != 1 {
		t.Errorf("a package of a module: %+v", got)
	}
}

// TestComparersAreTrivys: what is taken for comparable is what Trivy compares, in every ecosystem,
// and what is plain is.
func TestComparersAreTrivys(t *testing.T) {
	versions := []string{
		"0", "1", "1.0", "1.2.0", "1.2.3.4", "2.0.0", "0.9.9", "01.2.3", "v1.2.3", "1.x", "1.2.x",
		"*", "(devel)", "dev-master", "1.0.0-beta.1", "1.0.0-01", "1.0.0-rc1",
		"1.0-SNAPSHOT", "31.1-jre", "1.2.Final", "1.0rc1", "1.0.post1", "1.0.dev1", "1.0+local",
		"1!2.0", "v0.0.0-20210921155107-089bfa567519", "v2.0.0+incompatible", "1..2",
		"1.0.0-", "1.0.0+", "1,0", "latest", "abc", "1 2", " 1.0", "1.0~abc", "1.0_1",
		"5.3.1-final-x", "18446744073709551616.0", "1.0.0-alpha.beta", "1.0.0-0.3.7", "1.0.0-a..b",
		"1.a", "1.0a",
	}
	for _, listType := range []ftypes.LangType{
		ftypes.Bundler, ftypes.GemSpec, ftypes.RustBinary, ftypes.Cargo, ftypes.Composer,
		ftypes.ComposerVendor, ftypes.GoBinary, ftypes.Jar, ftypes.Npm,
		ftypes.NodePkg, ftypes.NuGet, ftypes.DotNetCore, ftypes.PythonPkg, ftypes.Pub, ftypes.Hex,
		ftypes.Conan, ftypes.Swift, ftypes.Cocoapods, ftypes.Bitnami, ftypes.K8sUpstream,
		ftypes.Julia,
	} {
		eco, ok := ecosystemOf(string(listType))
		if !ok {
			t.Fatalf("Trivy has no driver for %s", listType)
		}
		t.Run(string(eco), func(t *testing.T) {
			// Everything has to be compared with both, and one of them concerns every version.
			above, below := against(string(eco)+"::test", "pkg", "1"),
				against(string(eco)+"::test", "pkg", "1")
			above.id, above.content = "CVE-2", dbtypes.Advisory{VulnerableVersions: []string{">=1"}}
			below.content = dbtypes.Advisory{VulnerableVersions: []string{"<=1"}}
			var packages []pratique.Package
			for _, v := range versions {
				packages = append(packages, pratique.Package{ID: v, Name: "pkg", Version: v})
			}
			inv := pratique.Inventory{Scanner: Tool(),
				Lists: []pratique.PackageList{{Class: pratique.ClassLanguage,
					Type: string(listType), Path: "x", Packages: packages}}}
			found := map[string]bool{}
			for _, f := range matchWith(t, inv, buildDB(t, []advisory{above, below})).Findings {
				found[f.PackageID] = true
			}
			for _, v := range versions {
				if can := comparable(eco, v); can != found[v] ||
					delta.Comparable(string(listType), v) && !can {
					t.Errorf("%q: taken for comparable %t, for plain %t; Trivy finds something %t",
						v, can, delta.Comparable(string(listType), v), found[v])
				}
			}
		})
	}
}
