//go:build goexperiment.jsonv2

package trivy

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	xos "github.com/aquasecurity/trivy/pkg/x/os"
	"github.com/google/go-cmp/cmp"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/inspector/imagetest"
	"github.com/pratique-dev/pratique/internal/layers"
	"github.com/pratique-dev/pratique/scanner"
)

const debianRelease = "PRETTY_NAME=\"Debian GNU/Linux 12\"\nID=debian\nVERSION_ID=\"12\"\n"

func dpkg(name, version, source, maintainer string) string {
	return fmt.Sprintf("Package: %s\nStatus: install ok installed\nMaintainer: %s\nArchitecture: amd64\nSource: %s\nVersion: %s\n\n",
		name, maintainer, source, version)
}

func debianBase() imagetest.Files {
	const maintainer = "Somebody <somebody@debian.org>"
	return imagetest.Files{
		"etc/os-release":     debianRelease,
		"etc/debian_version": "12.5\n",
		"var/lib/dpkg/status": dpkg("libssl3", "3.0.11-1~deb12u1", "openssl", maintainer) +
			dpkg("bash", "5.2.15-2", "bash", maintainer) +
			dpkg("docker-ce", "5:20.10.7~3-0", "docker-ce", "Docker <support@docker.com>"),
	}
}

func nodeLayer() imagetest.Files {
	return imagetest.Files{
		"srv/node_modules/lodash/package.json": `{"name":"lodash","version":"4.17.20","license":"MIT"}`,
		"srv/node_modules/ms/package.json":     `{"name":"ms","version":"2.1.3","license":"MIT"}`,
	}
}

func jar(t *testing.T, files map[string]string) string {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for name, content := range files {
		f, err := w.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// brief is a finding on one line.
func brief(r pratique.Report) []string {
	out := []string{}
	for _, f := range r.Findings {
		out = append(out, fmt.Sprintf("%s %s %s fixed %q %s %s %s/%s %s", f.ID, f.Package,
			f.Installed, f.Fixed, f.Severity, f.Status, f.Class, f.Type, f.Path))
	}
	return out
}

func analyze(t *testing.T, img layers.Image) pratique.Inventory {
	t.Helper()
	return analyzeWith(t, img, nil)
}

func matchWith(t *testing.T, inv pratique.Inventory, db scanner.DatabaseDir) pratique.Report {
	t.Helper()
	report, err := newScanner(t).Match(t.Context(), inv, db)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestFindings(t *testing.T) {
	db := buildDB(t, advisories())
	pom := "groupId=org.example\nartifactId=lib\nversion=1.2\n"
	for name, test := range map[string]struct {
		layers []imagetest.Files
		os     pratique.OS
		want   []string
	}{
		"debian, its third-party packages apart": {
			layers: []imagetest.Files{debianBase()},
			os:     pratique.OS{Family: "debian", Name: "12.5"},
			want: []string{
				`CVE-2024-0001 libssl3 3.0.11-1~deb12u1 fixed "3.0.11-1~deb12u2" HIGH fixed os-pkgs/debian `,
				`CVE-2024-0002 bash 5.2.15-2 fixed "" LOW affected os-pkgs/debian `,
			},
		},
		"what a package says of its maker proves nothing": {
			layers: []imagetest.Files{{
				"etc/os-release": debianRelease, "etc/debian_version": "12.5\n",
				"var/lib/dpkg/status": dpkg("libssl3", "3.0.11-1~deb12u1", "openssl",
					"Docker <support@docker.com>"),
			}},
			os:   pratique.OS{Family: "debian", Name: "12.5"},
			want: []string{`CVE-2024-0001 libssl3 3.0.11-1~deb12u1 fixed "3.0.11-1~deb12u2" HIGH fixed os-pkgs/debian `},
		},
		"node on debian": {
			layers: []imagetest.Files{debianBase(), nodeLayer()},
			os:     pratique.OS{Family: "debian", Name: "12.5"},
			want: []string{
				`CVE-2024-0005 lodash 4.17.20 fixed "4.17.21" CRITICAL fixed lang-pkgs/node-pkg srv/node_modules/lodash/package.json`,
				`CVE-2024-0001 libssl3 3.0.11-1~deb12u1 fixed "3.0.11-1~deb12u2" HIGH fixed os-pkgs/debian `,
				`CVE-2024-0002 bash 5.2.15-2 fixed "" LOW affected os-pkgs/debian `,
			},
		},
		"a removed package is no finding": {
			layers: []imagetest.Files{nodeLayer(), {"srv/node_modules/.wh.lodash": ""}},
			want:   []string{},
		},
		"lock files are not what is installed": {
			layers: []imagetest.Files{{"srv/package-lock.json": `{"name":"x","version":"1.0.0","lockfileVersion":3,"packages":{"":{"name":"x"},"node_modules/lodash":{"version":"4.17.20"}}}`}},
			want:   []string{},
		},
		"alpine": {
			layers: []imagetest.Files{{
				"etc/os-release": "ID=alpine\nVERSION_ID=3.19.1\n", "etc/alpine-release": "3.19.1\n",
				"lib/apk/db/installed": "C:Q1abc=\nP:musl\nV:1.2.4-r2\nA:x86_64\no:musl\nL:MIT\n\n",
				"etc/apk/repositories": "https://dl-cdn.alpinelinux.org/alpine/v3.19/main\n",
			}},
			os: pratique.OS{Family: "alpine", Name: "3.19.1", RepositoryFamily: "alpine",
				RepositoryRelease: "3.19"},
			want: []string{`CVE-2024-0004 musl 1.2.4-r2 fixed "1.2.4-r3" UNKNOWN fixed os-pkgs/alpine `},
		},
		"a jar without a Java database": {
			layers: []imagetest.Files{{
				"app/lib-1.2.jar": jar(t,
					map[string]string{"META-INF/maven/org.example/lib/pom.properties": pom}),
				"app/other-1.0.jar": jar(t, map[string]string{"A.class": "x"}),
			}},
			want: []string{`CVE-2024-0006 org.example:lib 1.2 fixed "1.3" MEDIUM fixed lang-pkgs/jar app/lib-1.2.jar`},
		},
		"nothing at all": {layers: []imagetest.Files{{"hello": "world"}}, want: []string{}},
		"no layers":      {layers: nil, want: []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			inv := analyze(t, imagetest.Build(t, test.layers...))
			if diff := cmp.Diff(test.os, inv.OS); diff != "" {
				t.Error("os (-want +got)\n", diff)
			}
			report := matchWith(t, inv, db)
			if diff := cmp.Diff(test.want, brief(report)); diff != "" {
				t.Error("findings (-want +got)\n", diff)
			}
			// What is stored is JSON, and it is what later matches start from.
			raw, err := json.Marshal(inv)
			if err != nil {
				t.Fatal(err)
			}
			var stored pratique.Inventory
			if err := json.Unmarshal(raw, &stored); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(report, matchWith(t, stored, db), digests); diff != "" {
				t.Error("report of the stored inventory (-fresh +stored)\n", diff)
			}
			if want, err := scanner.InventoryDigest(inv); err != nil || report.Inventory != want {
				t.Errorf("the report names another inventory: %v", err)
			}
		})
	}
	if left, err := os.ReadDir(xos.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("temporary files are left: %v %v", left, err)
	}
}

func TestFindingDetails(t *testing.T) {
	db := buildDB(t, advisories())
	img := imagetest.Build(t, debianBase(), nodeLayer())
	report := matchWith(t, analyze(t, img), db)
	got := report.Findings[0]
	if got.Title != "Trouble in lodash" || got.SeveritySource != "ghsa" ||
		got.DataSource.ID != "ghsa" || got.CVSS["nvd"].V3Score != 7.5 ||
		got.PrimaryURL != "https://avd.aquasec.com/nvd/cve-2024-0005" ||
		got.Published.Year() != 2024 || got.PURL != "pkg:npm/lodash@4.17.20" ||
		got.UID == "" || got.Target != "Node.js" || len(got.CWEs) != 1 || len(got.References) != 1 {
		t.Errorf("finding without its details: %+v", got)
	}
	if got.Layer.DiffID != img.Layers[1].DiffID || got.Layer.Digest != img.Layers[1].Digest {
		t.Errorf("the finding is said to come from layer %v", got.Layer)
	}
	if got := report.Findings[1].Target; got != "debian 12.5" {
		t.Errorf("target of an operating system %q", got)
	}
	if report.DatabaseAgeSeconds != 36*3600 || !report.ScannedAt.Equal(today) ||
		report.Database != db.Database || report.Scanner.Name != "trivy" {
		t.Errorf("report %+v does not say how it was made", report)
	}
}

// TestKnownLayers checks that what is remembered of a layer says nothing about the image it was
// seen in.
func TestKnownLayers(t *testing.T) {
	once := imagetest.Build(t, nodeLayer())
	twice := imagetest.Build(t, nodeLayer(), debianBase(), nodeLayer())
	first := analyze(t, once)
	analyze(t, twice)
	if diff := cmp.Diff(first, analyze(t, once), digests); diff != "" {
		t.Error("after another image with the same layer (-before +after)\n", diff)
	}
	newScanner(t).layers.trim(0)
	if n := len(newScanner(t).layers.blobs); n != 0 {
		t.Errorf("%d layers are remembered after trimming", n)
	}
	if diff := cmp.Diff(first, analyze(t, once), digests); diff != "" {
		t.Error("after the layer was forgotten (-before +after)\n", diff)
	}
}

func TestImagesThatCannotBeRead(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(*testing.T, *layers.Image)
		want  pratique.Kind
	}{
		"layer cut short": {func(t *testing.T, img *layers.Image) {
			if err := os.Truncate(img.Layers[0].Path, 520); err != nil {
				t.Fatal(err)
			}
		}, pratique.Corrupt},
		"layer gone": {func(t *testing.T, img *layers.Image) {
			if err := os.Remove(img.Layers[0].Path); err != nil {
				t.Fatal(err)
			}
		}, pratique.Unavailable},
		"another manifest": {func(_ *testing.T, img *layers.Image) {
			img.Manifest = append(img.Manifest, ' ')
		}, pratique.Corrupt},
		"another config": {func(_ *testing.T, img *layers.Image) {
			img.Config = append(img.Config, ' ')
		}, pratique.Corrupt},
		"layer missing": {func(_ *testing.T, img *layers.Image) {
			img.Layers = nil
		}, pratique.Corrupt},
		"broken rpm database": {func(t *testing.T, img *layers.Image) {
			*img = imagetest.Build(t, imagetest.Files{"var/lib/rpm/Packages": "not a database"})
		}, pratique.Corrupt},
	} {
		t.Run(name, func(t *testing.T) {
			img := imagetest.Build(t, imagetest.Files{"etc/os-release": debianRelease, "unique": name})
			test.spoil(t, &img)
			_, err := newScanner(t).Analyze(t.Context(), img, nil)
			if got := pratique.KindOf(err); got != test.want {
				t.Errorf("kind %v of error %v, want %v", got, err, test.want)
			}
		})
	}
}
