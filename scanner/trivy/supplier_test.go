//go:build goexperiment.jsonv2

package trivy

import (
	"fmt"
	"testing"

	dbtypes "github.com/aquasecurity/trivy-db/pkg/types"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/inspector/imagetest"
)

func apk(name, version string) string {
	return fmt.Sprintf("P:%s\nV:%s\nA:x86_64\no:%s\n\n", name, version, name)
}

// TestNoSupplierIsChosen: by what a package says of itself Trivy would look it, and all others of
// its distribution, up among what a supplier publishes, and nowhere else. The supplier's advisories
// are there, about other packages.
func TestNoSupplierIsChosen(t *testing.T) {
	fixed := func(bucket, version string) advisory {
		return advisory{bucket, "vendor", "openssl", "CVE-1",
			dbtypes.Advisory{FixedVersion: version}, dbtypes.SeverityCritical}
	}
	elsewhere := func(bucket string) advisory {
		return advisory{bucket, "vendor", "nothing", "CVE-2", dbtypes.Advisory{}, dbtypes.SeverityHigh}
	}
	db := buildDB(t, []advisory{
		fixed("alpine edge", "3.5.1-r0"), fixed("alpine 3.19", "3.1.4-r5"),
		fixed("debian 12", "3.0.11-1~deb12u2"),
		against("pip::GitHub Security Advisory pip", "pyyaml", "5.4"),
		against("npm::GitHub Security Advisory npm", "ejs", "3.1.10"),
		against("rubygems::GitHub Security Advisory RubyGems", "rack", "9.0.0"),
		elsewhere("root.io alpine 3.19"), elsewhere("root.io alpine 3.99"),
		elsewhere("root.io debian 12"), elsewhere("seal"), elsewhere("seal alpine"),
		elsewhere("seal npm::x"), elsewhere("seal pip::x"), elsewhere("seal rubygems::x"),
		elsewhere("rapidfort ubuntu"),
	})
	alpine := func(release, stream, packages string) imagetest.Files {
		f := imagetest.Files{
			"etc/os-release":     "ID=alpine\nVERSION_ID=" + release + "\n",
			"etc/alpine-release": release + "\n", "lib/apk/db/installed": apk("openssl",
				"1.1.1d-r0") + packages,
		}
		if stream != "" {
			f["etc/apk/repositories"] = "https://dl-cdn.alpinelinux.org/alpine/" + stream + "/main\n"
		}
		return f
	}
	debian := func(version string) imagetest.Files {
		return imagetest.Files{"etc/os-release": "ID=debian\nVERSION_ID=12\n",
			"etc/debian_version": "12.5\n", "var/lib/dpkg/status": dpkg("libssl3", version,
				"openssl", "")}
	}
	python := func(name, version string) imagetest.Files {
		return imagetest.Files{"usr/lib/python3/site-packages/x.dist-info/METADATA": "Metadata-Version: 2.1\nName: " + name + "\nVersion: " + version + "\n"}
	}
	node := func(name, version string) imagetest.Files {
		return imagetest.Files{"srv/node_modules/x/package.json": `{"name":"` + name +
			`","version":"` + version + `"}`}
	}
	for name, test := range map[string]struct {
		files   imagetest.Files
		renamed string // the package that is not matched
	}{
		"edge":                       {files: alpine("3.99.0", "edge", "")},
		"edge, a version of root.io": {files: alpine("3.99.0", "edge", apk("foo", "1.0-r10071"))},
		"before a release, of root.io": {files: alpine("3.23.0_alpha20250612", "edge",
			apk("foo", "1.0-r10071"))},
		"edge, a name of Seal": {alpine("3.99.0", "edge", apk("seal-foo", "1.0-r1")),
			"seal-foo"},
		"a release, a version of root.io":  {files: alpine("3.19.1", "", apk("foo", "1.0-r10071"))},
		"debian, a version of root.io":     {files: debian("3.0.9-1.root.io.1")},
		"python":                           {files: python("PyYAML", "5.3.1")},
		"python, a version of Seal":        {files: python("PyYAML", "5.3.1+sp1")},
		"npm, a version of Seal":           {files: node("ejs", "3.1.8-sp1")},
		"python, renamed by Seal":          {python("seal-PyYAML", "5.3.1"), "seal-PyYAML"},
		"python, renamed by Seal, spelled": {python("Seal_PyYAML", "5.3.1"), "Seal_PyYAML"},
		"npm, renamed by Seal":             {node("@seal-security/ejs", "3.1.8"), "@seal-security/ejs"},
	} {
		t.Run(name, func(t *testing.T) {
			r := matchWith(t, analyze(t, imagetest.Build(t, test.files)), db)
			os := r.Coverage.OS.Known
			if want := os || test.renamed == ""; (len(r.Findings) == 1) != want {
				t.Errorf("%d findings", len(r.Findings))
			}
			if test.renamed == "" {
				if len(r.Coverage.Unmatched) != 0 {
					t.Errorf("%+v", r.Coverage)
				}
				return
			}
			u := r.Coverage.Unmatched
			if len(u) != 1 || u[0].Name != test.renamed ||
				u[0].Reason != pratique.UnmatchedSupplier || u[0].Packages != 1 {
				t.Errorf("%+v", r.Coverage)
			}
		})
	}
}
