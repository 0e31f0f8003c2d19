package incremental

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/inspector/imagetest"
	"github.com/pratique-dev/pratique/internal/layers"
	"github.com/pratique-dev/pratique/internal/testenv/images"
	"github.com/pratique-dev/pratique/sbom"
	plain "github.com/pratique-dev/pratique/sbom/syft"
)

// full is what everything is compared with; generator is built on it.
var (
	full      *plain.Generator
	generator *Generator
)

// TestMain builds the license scanner once.
func TestMain(m *testing.M) {
	var err error
	if full, err = plain.New(nil); err == nil {
		generator, err = New(full)
	}
	if err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// forgetful is a generator that knows no image yet.
func forgetful() *Generator {
	return &Generator{full: generator.full, config: generator.config, baseline: generator.baseline}
}

// debian is a base with what upper layers can run into: a package database that owns files,
// directories behind links, links that lead nowhere, a package of another ecosystem, executables.
func debian(t testing.TB) imagetest.Files {
	t.Helper()
	return imagetest.Files{
		"etc/os-release":     "PRETTY_NAME=\"Debian GNU/Linux 12\"\nNAME=\"Debian\"\nID=debian\nVERSION_ID=\"12\"\n",
		"etc/debian_version": "12.5\n",
		"bin":                imagetest.Symlink + "usr/bin",
		"lib":                imagetest.Symlink + "usr/lib",
		"usr/bin/sh":         imagetest.Symlink + "dash",
		"usr/bin/dash":       "#!/bin/false\n",
		"usr/bin/pager":      imagetest.Symlink + "/etc/alternatives/pager",
		"usr/lib/libssl.so":  "not really a library",
		"usr/local/bin/":     "",
		"opt/":               "",
		"var/run":            imagetest.Symlink + "/run",
		"var/lib/dpkg/status": "Package: libssl3\nStatus: install ok installed\nArchitecture: amd64\nSource: openssl\nVersion: 3.0.11-1~deb12u1\n\n" +
			"Package: dash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 0.5.12-2\nDepends: libssl3\n\n",
		"var/lib/dpkg/info/dash.md5sums":           "d41d8cd98f00b204e9800998ecf8427e  usr/bin/dash\nd41d8cd98f00b204e9800998ecf8427e  usr/share/dash/missing\n",
		"var/lib/dpkg/info/libssl3:amd64.md5sums":  "d41d8cd98f00b204e9800998ecf8427e  usr/lib/libssl.so\nd41d8cd98f00b204e9800998ecf8427e  usr/lib/libssl.so.3\n",
		"usr/share/doc/dash/copyright":             "License: GPL-2+\n",
		"usr/share/nodejs/base/package.json":       `{"name":"base","version":"1.0.0","license":"MIT"}`,
		"usr/lib/python3/dist-packages/b.egg-info": "Metadata-Version: 2.1\nName: b\nVersion: 1.0\n",
	}
}

// checkSame makes the SBOMs of an image with a generator that knows what lies below, and with the
// plain one. It returns why the first had to read everything; "" if it did not.
func checkSame(t testing.TB, img layers.Image, below int) string {
	t.Helper()
	want, err := full.Generate(t.Context(), img)
	if err != nil {
		t.Fatal(err)
	}
	g := forgetful()
	base, err := subimage(img, 0, below)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Generate(t.Context(), base); err != nil {
		t.Fatal(err)
	}
	why := "layers of it are rewritten"
	asMeant, err := g.full.ReadsCorrectly(t.Context(), img)
	if err != nil {
		t.Fatal(err)
	}
	if asMeant {
		known := g.cache.find(chainOf(img))
		if known == nil {
			t.Fatal("the base is not known")
		}
		if _, why, err = g.onBase(t.Context(), known, img); err != nil {
			t.Fatal(err)
		}
	}
	got, err := g.Generate(t.Context(), img)
	if err != nil {
		t.Fatal(err)
	}
	sameDocuments(t, want, got)
	return why
}

func sameDocuments(t testing.TB, want, got sbom.Documents) {
	t.Helper()
	if !bytes.Equal(want.SPDX, got.SPDX) {
		t.Errorf("SPDX (-plain +incremental)\n%s", clip(cmp.Diff(string(want.SPDX), string(got.SPDX))))
	}
	if !bytes.Equal(want.CycloneDX, got.CycloneDX) {
		t.Errorf("CycloneDX (-plain +incremental)\n%s",
			clip(cmp.Diff(string(want.CycloneDX), string(got.CycloneDX))))
	}
	if want.Packages != got.Packages || !sameEntries(want.Catalog, got.Catalog) {
		t.Errorf("%d packages, want %d, or they differ", got.Packages, want.Packages)
	}
}

func sameEntries(a, b []sbom.Entry) bool {
	count := map[sbom.Entry]int{}
	for _, e := range a {
		count[e]++
	}
	for _, e := range b {
		count[e]--
	}
	for _, n := range count {
		if n != 0 {
			return false
		}
	}
	return true
}

func clip(s string) string { return s[:min(len(s), 4000)] }

func TestOnAKnownBase(t *testing.T) {
	npm := func(name string) string {
		return fmt.Sprintf(`{"name":%q,"version":"1.2.3","license":"MIT"}`, name)
	}
	for name, test := range map[string]struct {
		upper []imagetest.Files
		why   string // a part of the reason for reading everything; "" if there is none
	}{
		"nothing above": {upper: nil},
		"an application": {upper: []imagetest.Files{
			{"app/": "", "app/node_modules/ms/package.json": npm("ms"),
				"app/node_modules/ms/license.md": "MIT"},
		}},
		"two layers, the second removes from the first": {upper: []imagetest.Files{
			{"app/node_modules/ms/package.json": npm("ms"),
				"app/node_modules/qs/package.json": npm("qs")},
			{"app/node_modules/.wh.qs": "", "usr/local/bin/run": "#!/bin/sh\n"},
		}},
		"links among its own files": {upper: []imagetest.Files{
			{"app/node_modules/.bin/ms": imagetest.Symlink + "../ms/cli.js",
				"app/node_modules/ms/cli.js": "x", "app/node_modules/ms/package.json": npm("ms"),
				"opt/app": imagetest.Symlink + "/app", "opt/gone": imagetest.Symlink + "/nowhere/at/all"},
		}},
		"a hard link among its own files": {upper: []imagetest.Files{
			{"app/a/package.json": npm("a"), "app/b/package.json": imagetest.Hardlink +
				"app/a/package.json"},
		}},
		"a static program": {upper: []imagetest.Files{{"usr/local/bin/app": ownBinary(t)}}},
		"Python beside Debian's": {
			upper: []imagetest.Files{{"app/site-packages/x-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: x\nVersion: 1.0\n",
				"app/site-packages/x-1.0.dist-info/RECORD": "x/__init__.py,,\n"}},
			why: "python-installed-package-cataloger",
		},
		"an RPM database": {upper: []imagetest.Files{{"app/lib/apk/db/installed": "P:musl\nV:1.2\nA:x86_64\n\n"}}, why: "apk-db-cataloger"},
		"a file replaced": {upper: []imagetest.Files{{"etc/os-release": "ID=alpine\nVERSION_ID=3.19\n"}}, why: "replaces /etc/os-release"},
		"a file removed": {upper: []imagetest.Files{{"usr/bin/.wh.dash": ""}},
			why: "removes /usr/bin/dash"},
		"a directory emptied": {upper: []imagetest.Files{{"opt/.wh..wh..opq": "",
			"opt/package.json": npm("opt")}}, why: "removes /opt"},
		"a directory replaced": {upper: []imagetest.Files{{"opt": "now a file"}},
			why: "replaces /opt"},
		"a directory for a link": {upper: []imagetest.Files{{"lib/": "",
			"lib/x/package.json": npm("x")}}, why: "replaces /lib"},
		"a file that a package owns":     {upper: []imagetest.Files{{"usr/share/dash/missing": "found"}}, why: "/usr/share/dash/missing"},
		"a file where a link leads":      {upper: []imagetest.Files{{"etc/alternatives/pager": "found"}}, why: "/etc/alternatives/pager"},
		"a directory where a link leads": {upper: []imagetest.Files{{"run/lock/x": "y"}}, why: "/run"},
		"a file behind two paths":        {upper: []imagetest.Files{{"usr/lib/node_modules/ms/package.json": npm("ms")}}, why: "second way to /usr/lib"},
		"a link into the base": {upper: []imagetest.Files{{"app/node": imagetest.Symlink +
			"/usr/share/nodejs"}}, why: "leads into the base"},
		"a link by way of a link": {upper: []imagetest.Files{
			{"app/a": imagetest.Symlink + "b", "app/b": imagetest.Symlink + "/usr/share/nodejs/base"},
		}, why: "leads into the base"},
		"a link up and down": {upper: []imagetest.Files{{"app/a": imagetest.Symlink +
			"b/../../usr/share/nodejs"}}, why: "rewritten"},
		"a link to everything": {upper: []imagetest.Files{{"app/root": imagetest.Symlink +
			"/"}}, why: "leads into the base"},
		"a circle": {upper: []imagetest.Files{{"app/a": imagetest.Symlink + "b",
			"app/b": imagetest.Symlink + "a"}}, why: "is in a loop"},
		"a hard link into the base": {upper: []imagetest.Files{{"app/package.json": imagetest.Hardlink + "usr/share/nodejs/base/package.json"}}, why: "rewritten"},
		"the base's layer again": {upper: []imagetest.Files{{"app/x": "y"}, debian(t)},
			why: "layer of the base again"},
		"the same package as below": {upper: []imagetest.Files{{"opt/copy/package.json": npm("base")}}},
	} {
		t.Run(name, func(t *testing.T) {
			img := imagetest.Build(t, append([]imagetest.Files{debian(t)}, test.upper...)...)
			why := checkSame(t, img, 1)
			if (why == "") != (test.why == "") || !strings.Contains(why, test.why) {
				t.Errorf("read everything because %q, want %q", why, test.why)
			}
		})
	}
}

// TestOnOtherBases tries what packages of one kind may do with those of another, or with a release
// file that comes later.
func TestOnOtherBases(t *testing.T) {
	npm := imagetest.Files{"app/package.json": `{"name":"q","version":"1.2.3","license":"MIT"}`}
	alpine := imagetest.Files{"etc/os-release": "ID=alpine\nVERSION_ID=3.19.1\n",
		"etc/alpine-release":   "3.19.1\n",
		"lib/apk/db/installed": "C:Q1abc=\nP:musl\nV:1.2.4-r2\nA:x86_64\no:musl\nL:MIT\nF:app\nR:package.json\nF:usr/bin\nR:tool\n\n"}
	python := imagetest.Files{"lib/python3/site-packages/x-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: x\nVersion: 1.0\n",
		"lib/python3/site-packages/x-1.0.dist-info/RECORD": "x/__init__.py,,\n../../../app/package.json,,\n"}
	owner := debian(t)
	owner["var/lib/dpkg/info/dash.md5sums"] += "d41d8cd98f00b204e9800998ecf8427e  app/package.json\n"
	program := ownBinary(t)
	for name, test := range map[string]struct {
		base, upper imagetest.Files
		why         string
	}{
		"a file of apk's that comes later": {alpine, npm, "/app"},
		"a program of apk's that comes later": {alpine, imagetest.Files{"usr/bin/tool": program},
			"/usr/bin"},
		"a file of dpkg's that comes later":   {owner, npm, "/app/package.json"},
		"a file of Python's that comes later": {python, npm, "/app/package.json"},
		"two programs": {imagetest.Files{"bin/first": program},
			imagetest.Files{"bin/second": program}, ""},
		"a lock file beside what it is about": {npm,
			imagetest.Files{"app/yarn.lock": "# yarn lockfile v1\n\n\nms@^1.0.0:\n  version \"1.0.0\"\n"}, ""},
		"a release file": {npm,
			imagetest.Files{"etc/os-release": "ID=alpine\nVERSION_ID=3.19.1\n"}, "the base looks for"},
		"a release file where a link leads": {imagetest.Files{"etc/os-release": imagetest.Symlink +
			"../usr/lib/os-release"}, imagetest.Files{"usr/lib/os-release": "ID=debian\n"},
			"/usr/lib/os-release"},
		"a distribution on nothing but a file": {imagetest.Files{"hello": "x"}, debian(t),
			"the base looks for"},
		"a license beside a package of the base": {npm,
			imagetest.Files{"app/LICENSE": "MIT License"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			why := checkSame(t, imagetest.Build(t, test.base, test.upper), 1)
			if (why == "") != (test.why == "") || !strings.Contains(why, test.why) {
				t.Errorf("read everything because %q, want %q", why, test.why)
			}
		})
	}
}

// ownBinary is this test's program: an executable with modules in it.
func ownBinary(t testing.TB) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestBaseOfBase(t *testing.T) {
	low := imagetest.Files{"app/node_modules/ms/package.json": `{"name":"ms","version":"1.0.0"}`}
	top := imagetest.Files{"srv/node_modules/qs/package.json": `{"name":"qs","version":"2.0.0"}`}
	img := imagetest.Build(t, debian(t), low, top)
	want, err := full.Generate(t.Context(), img)
	if err != nil {
		t.Fatal(err)
	}
	g := forgetful()
	for n := 1; n < 3; n++ {
		below, err := subimage(img, 0, n)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := g.Generate(t.Context(), below); err != nil {
			t.Fatal(err)
		}
	}
	if base := g.cache.find(chainOf(img)); base == nil || len(base.chain) != 2 {
		t.Fatal("the image of two layers is not known")
	}
	got, err := g.Generate(t.Context(), img)
	if err != nil {
		t.Fatal(err)
	}
	sameDocuments(t, want, got)
}

// TestSharedLayers catalogs two builds of an application whose base was never an image of its own.
func TestSharedLayers(t *testing.T) {
	build := func(version string) layers.Image {
		return imagetest.Build(t, debian(t),
			imagetest.Files{"app/package.json": fmt.Sprintf(`{"name":"app","version":%q}`, version)})
	}
	g := forgetful()
	for _, version := range []string{"1.0.0", "1.0.1", "1.0.2"} {
		img := build(version)
		want, err := full.Generate(t.Context(), img)
		if err != nil {
			t.Fatal(err)
		}
		got, err := g.Generate(t.Context(), img)
		if err != nil {
			t.Fatal(err)
		}
		sameDocuments(t, want, got)
	}
	if base := g.cache.find(chainOf(build("1.0.3"))); base == nil || len(base.chain) != 1 {
		t.Error("the shared layer is not known as a base")
	}
}

func TestCacheIsBounded(t *testing.T) {
	var c cache
	chain := func(n int) []pratique.Digest {
		return chainOf(layers.Image{Layers: imagetest.Build(t,
			imagetest.Files{"f": fmt.Sprint(n)}).Layers})
	}
	for n := range maxBases + 3 {
		c.add(&base{chain: chain(n)})
	}
	if len(c.bases) != maxBases {
		t.Errorf("%d images kept, want %d", len(c.bases), maxBases)
	}
	big := entries{}
	for n := range maxPaths - 1 {
		big[fmt.Sprint(n)] = entry{}
	}
	c.add(&base{chain: chain(100), paths: paths{here: big}})
	c.add(&base{chain: chain(101), paths: paths{here: entries{"a": {}, "b": {}}}})
	if len(c.bases) != 1 {
		t.Errorf("%d images kept beside a big one", len(c.bases))
	}
	big["one"], big["two"] = entry{}, entry{}
	c.add(&base{chain: chain(102), paths: paths{here: big}})
	if len(c.bases) != 1 || len(c.bases[0].paths.here) != 2 {
		t.Error("an image that is too big pushed another out")
	}
}

// TestBasesGoWithWhatTheyLieOn: nothing that was dropped is kept alive by what lies on it.
func TestBasesGoWithWhatTheyLieOn(t *testing.T) {
	var c cache
	chain := chainOf(imagetest.Build(t, imagetest.Files{"a": "1"}, imagetest.Files{"b": "2"},
		imagetest.Files{"c": "3"}))
	low := &base{chain: chain[:1], paths: paths{here: make(entries)}}
	middle := &base{chain: chain[:2], below: low}
	top := &base{chain: chain, below: middle}
	other := &base{chain: chain[2:]}
	for _, b := range []*base{low, middle, top, other} {
		c.add(b)
	}
	if found := c.find(chain); found != top || c.bases[0] != other {
		t.Errorf("found %v; the base that was used last is not last", found)
	}
	c.drop(low)
	if len(c.bases) != 1 || c.bases[0] != other {
		t.Errorf("%d images are left", len(c.bases))
	}
	c.add(top)
	if len(c.bases) != 1 {
		t.Error("an image is kept whose base was dropped")
	}
}

// TestRandomUpperLayers lays layers that nobody thought about on the base.
func TestRandomUpperLayers(t *testing.T) {
	seeds := 40
	if testing.Short() {
		seeds = 10
	}
	apart := 0
	for seed := range seeds {
		r := rand.New(rand.NewPCG(uint64(seed), 7))
		upper := []imagetest.Files{randomFiles(r), randomFiles(r)}
		img := imagetest.Build(t, append([]imagetest.Files{debian(t)}, upper...)...)
		if checkSame(t, img, 1+r.IntN(2)) == "" {
			apart++
		}
		if t.Failed() {
			t.Fatalf("seed %d: %q", seed, upper)
		}
	}
	if apart < seeds/10 || apart > seeds*9/10 {
		t.Errorf("%d of %d images were cataloged on their base: this tests one way only", apart, seeds)
	}
}

func randomFiles(r *rand.Rand) imagetest.Files {
	dirs := []string{"app", "app/node_modules/a", "opt", "usr/local/bin", "usr/share/dash",
		"srv/x/y", "lib/z", "etc"}
	files := imagetest.Files{}
	for range 1 + r.IntN(3) {
		dir := dirs[r.IntN(len(dirs))]
		if r.IntN(3) > 0 {
			dir = dirs[r.IntN(2)]
		}
		at := func(name string) string { return dir + "/" + name }
		switch r.IntN(9) {
		case 0, 1, 2:
			files[at("package.json")] = fmt.Sprintf(`{"name":"p%d","version":"1.%d.0","license":"MIT"}`, r.IntN(3), r.IntN(3))
		case 3:
			files[at("l")] = imagetest.Symlink + []string{"package.json", "../a", "/usr/bin/dash",
				"/nowhere", "/etc/alternatives"}[r.IntN(5)]
		case 4:
			files[at(".wh.package.json")] = ""
		case 5:
			files[at("status")] = "text"
		case 6:
			files[dir+"/"] = ""
		case 7:
			files[at("go.mod")] = "module example.com/m\nrequire example.com/n v1.0.0\n"
		case 8:
			files[at("requirements.txt")] = "flask==1.0\n"
		}
	}
	return files
}

// TestRealImagesOnTheirBase is the same with real images, which are not part of the repository.
func TestRealImagesOnTheirBase(t *testing.T) {
	data := os.Getenv("PRATIQUE_TEST_DATA")
	if data == "" {
		t.Skip("PRATIQUE_TEST_DATA is not set")
	}
	for _, name := range []string{"app-go", "app-node"} {
		img := imagetest.Load(t, filepath.Join(data, "images"), name+":1")
		if why := checkSame(t, img, 1); why != "" {
			t.Errorf("%s was read whole: %s", name, why)
		}
	}
}

// TestRealImagesInARow: one generator sees all real images, twice. The plain one is compared with
// the command line.
func TestRealImagesInARow(t *testing.T) {
	data := os.Getenv("PRATIQUE_TEST_DATA")
	if data == "" {
		t.Skip("PRATIQUE_TEST_DATA is not set")
	}
	g := forgetful() // app-go and app-node are cataloged on base
	for range 2 {
		for _, name := range []string{"base", "app-go", "app-node", "app-clean", "app-flip",
			"alpine-syn"} {
			checkLikePlain(t, g, imagetest.Load(t, filepath.Join(data, "images"), name+":1"))
		}
	}
}

// TestLinkedPackages: what links lead to is found as the plain generator finds it.
func TestLinkedPackages(t *testing.T) {
	for _, test := range images.AllLinked() {
		t.Run(test.Name, func(t *testing.T) {
			checkLikePlain(t, generator, imagetest.BuildOf(t, test.Layers...))
		})
	}
	for _, test := range images.LinkedRPM(imagetest.RPMDatabase(t)) {
		t.Run(test.Name, func(t *testing.T) {
			checkLikePlain(t, generator, imagetest.BuildOf(t, test.Layers...))
		})
	}
}

// TestImagesThatCannotBeRead: errors are those of the plain generator, of a known image, too.
func TestImagesThatCannotBeRead(t *testing.T) {
	for name, spoil := range map[string]func(*layers.Image) error{
		"layer cut short": func(img *layers.Image) error {
			return os.Truncate(img.Layers[0].Path, 520)
		},
		"layer gone": func(img *layers.Image) error { return os.Remove(img.Layers[0].Path) },
		"layer that is none": func(img *layers.Image) error {
			img.Layers[0].MediaType = "text/html"
			return nil
		},
		"another manifest": func(img *layers.Image) error {
			img.Manifest = append(img.Manifest, ' ')
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			img := imagetest.Build(t, imagetest.Files{"app/package.json": name})
			if err := spoil(&img); err != nil {
				t.Fatal(err)
			}
			if checkLikePlain(t, forgetful(), img) == nil {
				t.Error("no error")
			}
		})
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	img := imagetest.Build(t, debian(t))
	g := forgetful()
	checkLikePlain(t, g, img)
	if _, err := g.Generate(ended, img); pratique.KindOf(err) != pratique.Unavailable {
		t.Errorf("a known image, and no time left: %v", err)
	}
}

// checkLikePlain compares documents, or the kind of the error, with those of the plain generator.
func checkLikePlain(t *testing.T, g *Generator, img layers.Image) error {
	t.Helper()
	want, wantErr := full.Generate(t.Context(), img)
	got, err := g.Generate(t.Context(), img)
	if (err == nil) != (wantErr == nil) || pratique.KindOf(err) != pratique.KindOf(wantErr) {
		t.Fatalf("error %v, want %v", err, wantErr)
	}
	sameDocuments(t, want, got)
	return err
}

func TestPaths(t *testing.T) {
	all := paths{here: entries{
		"/": {dir: true}, "/bin": {link: "usr/bin"}, "/usr": {dir: true}, "/usr/bin": {dir: true},
		"/usr/bin/sh": {link: "dash"}, "/usr/bin/dash": {},
		"/a": {link: "b"}, "/b": {link: "/a"}, "/up": {link: "../../usr"},
		"/hard": {link: "usr/bin/dash", hard: true},
	}}
	for name, want := range map[string]string{
		"/bin/sh": "/usr/bin/dash", "/up/bin/sh": "/usr/bin/dash", "/bin/none/x": "/usr/bin/none/x",
		"/hard": "/usr/bin/dash", "/../bin": "/usr/bin", "/": "/",
	} {
		if got, ok := all.resolve(name); !ok || got != want {
			t.Errorf("%s leads to %q, %v, want %q", name, got, ok, want)
		}
	}
	if end, ok := all.resolve("/a/x"); ok {
		t.Errorf("a circle leads to %q", end)
	}
	for pattern, want := range map[string]string{"/a/b/*.so": "/a/b", "**/x": "/", "/a/b": "/a/b",
		"a/b*/c": "/a", "/a/{b,c}": "/a"} {
		if got := literal(pattern); got != want {
			t.Errorf("%s can match in %q, want %q", pattern, got, want)
		}
	}
	set := map[string]struct{}{"/a/b": {}}
	if !under("/a/b/c/d", set) || !under("/a/b", set) || under("/a", set) || under("/a/bc", set) {
		t.Error("under")
	}
}
