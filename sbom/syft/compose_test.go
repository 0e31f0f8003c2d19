package syft

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pratique-dev/pratique/internal/inspector/imagetest"
	"github.com/pratique-dev/pratique/internal/layers"
	"github.com/pratique-dev/pratique/sbom"
)

// forgetful is a generator that knows no image yet. To build one anew would cost a license scanner.
func forgetful() *Generator {
	return &Generator{
		tool: generator.tool, config: generator.config, values: generator.values, always: generator.always,
		trees: generator.trees,
	}
}

// debian is a base with what upper layers can run into: a package database that owns files, directories behind
// links, links that lead nowhere, a package of another ecosystem, executables.
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

// checkSame generates the SBOMs of an image with a generator that knows what lies below, and with one that
// knows nothing. It returns why the first had to read everything; "" if it did not.
func checkSame(t testing.TB, img layers.Image, below int) string {
	t.Helper()
	want, err := forgetful().Generate(t.Context(), img)
	if err != nil {
		t.Fatal(err)
	}
	g := forgetful()
	base, err := part(img, 0, below)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Generate(t.Context(), base); err != nil {
		t.Fatal(err)
	}
	why := "layers of it are written anew"
	plain, err := g.plain(t.Context(), img)
	if err != nil {
		t.Fatal(err)
	}
	if plain {
		known := g.memory.base(chainOf(img))
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
		t.Errorf("SPDX (-whole +on a known base)\n%s", clip(cmp.Diff(string(want.SPDX), string(got.SPDX))))
	}
	if !bytes.Equal(want.CycloneDX, got.CycloneDX) {
		t.Errorf("CycloneDX (-whole +on a known base)\n%s", clip(cmp.Diff(string(want.CycloneDX), string(got.CycloneDX))))
	}
	if want.Packages != got.Packages {
		t.Errorf("%d packages, want %d", got.Packages, want.Packages)
	}
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
			{"app/": "", "app/node_modules/ms/package.json": npm("ms"), "app/node_modules/ms/license.md": "MIT"},
		}},
		"two layers, the second removes from the first": {upper: []imagetest.Files{
			{"app/node_modules/ms/package.json": npm("ms"), "app/node_modules/qs/package.json": npm("qs")},
			{"app/node_modules/.wh.qs": "", "usr/local/bin/run": "#!/bin/sh\n"},
		}},
		"links among its own files": {upper: []imagetest.Files{
			{"app/node_modules/.bin/ms": imagetest.Symlink + "../ms/cli.js", "app/node_modules/ms/cli.js": "x", "app/node_modules/ms/package.json": npm("ms"),
				"opt/app": imagetest.Symlink + "/app", "opt/gone": imagetest.Symlink + "/nowhere/at/all"},
		}},
		"a hard link among its own files": {upper: []imagetest.Files{
			{"app/a/package.json": npm("a"), "app/b/package.json": imagetest.Hardlink + "app/a/package.json"},
		}},
		"a static program": {upper: []imagetest.Files{{"usr/local/bin/app": ownBinary(t)}}},
		"Python beside Debian's": {
			upper: []imagetest.Files{{"app/site-packages/x-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: x\nVersion: 1.0\n",
				"app/site-packages/x-1.0.dist-info/RECORD": "x/__init__.py,,\n"}},
			why: "python-installed-package-cataloger",
		},
		"an RPM database":                {upper: []imagetest.Files{{"app/lib/apk/db/installed": "P:musl\nV:1.2\nA:x86_64\n\n"}}, why: "apk-db-cataloger"},
		"a file replaced":                {upper: []imagetest.Files{{"etc/os-release": "ID=alpine\nVERSION_ID=3.19\n"}}, why: "replaces /etc/os-release"},
		"a file removed":                 {upper: []imagetest.Files{{"usr/bin/.wh.dash": ""}}, why: "removes /usr/bin/dash"},
		"a directory emptied":            {upper: []imagetest.Files{{"opt/.wh..wh..opq": "", "opt/package.json": npm("opt")}}, why: "removes /opt"},
		"a directory replaced":           {upper: []imagetest.Files{{"opt": "now a file"}}, why: "replaces /opt"},
		"a directory for a link":         {upper: []imagetest.Files{{"lib/": "", "lib/x/package.json": npm("x")}}, why: "replaces /lib"},
		"a file that a package owns":     {upper: []imagetest.Files{{"usr/share/dash/missing": "found"}}, why: "/usr/share/dash/missing"},
		"a file where a link leads":      {upper: []imagetest.Files{{"etc/alternatives/pager": "found"}}, why: "/etc/alternatives/pager"},
		"a directory where a link leads": {upper: []imagetest.Files{{"run/lock/x": "y"}}, why: "/run"},
		"a file behind two paths":        {upper: []imagetest.Files{{"usr/lib/node_modules/ms/package.json": npm("ms")}}, why: "second way to /usr/lib"},
		"a link into the base":           {upper: []imagetest.Files{{"app/node": imagetest.Symlink + "/usr/share/nodejs"}}, why: "leads into the base"},
		"a link by way of a link": {upper: []imagetest.Files{
			{"app/a": imagetest.Symlink + "b", "app/b": imagetest.Symlink + "/usr/share/nodejs/base"},
		}, why: "leads into the base"},
		"a link up and down":        {upper: []imagetest.Files{{"app/a": imagetest.Symlink + "b/../../usr/share/nodejs"}}, why: "written anew"},
		"a link to everything":      {upper: []imagetest.Files{{"app/root": imagetest.Symlink + "/"}}, why: "leads into the base"},
		"a circle":                  {upper: []imagetest.Files{{"app/a": imagetest.Symlink + "b", "app/b": imagetest.Symlink + "a"}}, why: "circle"},
		"a hard link into the base": {upper: []imagetest.Files{{"app/package.json": imagetest.Hardlink + "usr/share/nodejs/base/package.json"}}, why: "written anew"},
		"the base's layer again":    {upper: []imagetest.Files{{"app/x": "y"}, debian(t)}, why: "layer of the base again"},
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

// TestOnOtherBases tries what packages of one kind may do with those of another, or with a release file that comes later.
func TestOnOtherBases(t *testing.T) {
	npm := imagetest.Files{"app/package.json": `{"name":"q","version":"1.2.3","license":"MIT"}`}
	alpine := imagetest.Files{"etc/os-release": "ID=alpine\nVERSION_ID=3.19.1\n", "etc/alpine-release": "3.19.1\n",
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
		"a file of apk's that comes later":       {alpine, npm, "/app"},
		"a program of apk's that comes later":    {alpine, imagetest.Files{"usr/bin/tool": program}, "/usr/bin"},
		"a file of dpkg's that comes later":      {owner, npm, "/app/package.json"},
		"a file of Python's that comes later":    {python, npm, "/app/package.json"},
		"two programs":                           {imagetest.Files{"bin/first": program}, imagetest.Files{"bin/second": program}, ""},
		"a lock file beside what it is about":    {npm, imagetest.Files{"app/yarn.lock": "# yarn lockfile v1\n\n\nms@^1.0.0:\n  version \"1.0.0\"\n"}, ""},
		"a release file":                         {npm, imagetest.Files{"etc/os-release": "ID=alpine\nVERSION_ID=3.19.1\n"}, "the base looks for"},
		"a release file where a link leads":      {imagetest.Files{"etc/os-release": imagetest.Symlink + "../usr/lib/os-release"}, imagetest.Files{"usr/lib/os-release": "ID=debian\n"}, "/usr/lib/os-release"},
		"a distribution on nothing but a file":   {imagetest.Files{"hello": "x"}, debian(t), "the base looks for"},
		"a license beside a package of the base": {npm, imagetest.Files{"app/LICENSE": "MIT License"}, ""},
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
	want, err := forgetful().Generate(t.Context(), img)
	if err != nil {
		t.Fatal(err)
	}
	g := forgetful()
	for n := 1; n < 3; n++ {
		below, err := part(img, 0, n)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := g.Generate(t.Context(), below); err != nil {
			t.Fatal(err)
		}
	}
	if base := g.memory.base(chainOf(img)); base == nil || len(base.chain) != 2 {
		t.Fatal("the image of two layers is not known")
	}
	got, err := g.Generate(t.Context(), img)
	if err != nil {
		t.Fatal(err)
	}
	sameDocuments(t, want, got)
}

// TestSharedLayers catalogues two builds of an application whose base was never an image of its own.
func TestSharedLayers(t *testing.T) {
	build := func(version string) layers.Image {
		return imagetest.Build(t, debian(t), imagetest.Files{"app/package.json": fmt.Sprintf(`{"name":"app","version":%q}`, version)})
	}
	g := forgetful()
	for _, version := range []string{"1.0.0", "1.0.1", "1.0.2"} {
		img := build(version)
		want, err := forgetful().Generate(t.Context(), img)
		if err != nil {
			t.Fatal(err)
		}
		got, err := g.Generate(t.Context(), img)
		if err != nil {
			t.Fatal(err)
		}
		sameDocuments(t, want, got)
	}
	if base := g.memory.base(chainOf(build("1.0.3"))); base == nil || len(base.chain) != 1 {
		t.Error("the shared layer is not known as a base")
	}
}

func TestMemoryIsBounded(t *testing.T) {
	var m memory
	chain := func(n int) []layers.Layer { return imagetest.Build(t, imagetest.Files{"f": fmt.Sprint(n)}).Layers }
	for n := range mostKnown + 3 {
		m.keep(&known{chain: chainOf(layers.Image{Layers: chain(n)})})
	}
	if len(m.kept) != mostKnown {
		t.Errorf("%d images kept, want %d", len(m.kept), mostKnown)
	}
	big := paths{}
	for n := range mostPaths - 1 {
		big[fmt.Sprint(n)] = entry{}
	}
	m.keep(&known{chain: chainOf(layers.Image{Layers: chain(100)}), paths: big})
	m.keep(&known{chain: chainOf(layers.Image{Layers: chain(101)}), paths: paths{"a": {}, "b": {}}})
	if len(m.kept) != 1 {
		t.Errorf("%d images kept beside a big one", len(m.kept))
	}
	big["one"], big["two"] = entry{}, entry{}
	m.keep(&known{chain: chainOf(layers.Image{Layers: chain(102)}), paths: big})
	if len(m.kept) != 1 || len(m.kept[0].paths) != 2 {
		t.Error("an image that is too big pushed another out")
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
		t.Errorf("%d of %d images were catalogued on their base: this tests one way only", apart, seeds)
	}
}

func randomFiles(r *rand.Rand) imagetest.Files {
	dirs := []string{"app", "app/node_modules/a", "opt", "usr/local/bin", "usr/share/dash", "srv/x/y", "lib/z", "etc"}
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
			files[at("l")] = imagetest.Symlink + []string{"package.json", "../a", "/usr/bin/dash", "/nowhere", "/etc/alternatives"}[r.IntN(5)]
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

func TestPaths(t *testing.T) {
	all := paths{
		"/": {dir: true}, "/bin": {link: "usr/bin"}, "/usr": {dir: true}, "/usr/bin": {dir: true}, "/usr/bin/sh": {link: "dash"}, "/usr/bin/dash": {},
		"/a": {link: "b"}, "/b": {link: "/a"}, "/up": {link: "../../usr"}, "/hard": {link: "usr/bin/dash", hard: true},
	}
	for name, want := range map[string]string{
		"/bin/sh": "/usr/bin/dash", "/up/bin/sh": "/usr/bin/dash", "/bin/none/x": "/usr/bin/none/x", "/hard": "/usr/bin/dash", "/../bin": "/usr/bin", "/": "/",
	} {
		if got, ok := all.resolve(name); !ok || got != want {
			t.Errorf("%s leads to %q, %v, want %q", name, got, ok, want)
		}
	}
	if end, ok := all.resolve("/a/x"); ok {
		t.Errorf("a circle leads to %q", end)
	}
	for pattern, want := range map[string]string{"/a/b/*.so": "/a/b", "**/x": "/", "/a/b": "/a/b", "a/b*/c": "/a", "/a/{b,c}": "/a"} {
		if got := literal(pattern); got != want {
			t.Errorf("%s can match in %q, want %q", pattern, got, want)
		}
	}
	set := map[string]struct{}{"/a/b": {}}
	if !under("/a/b/c/d", set) || !under("/a/b", set) || under("/a", set) || under("/a/bc", set) {
		t.Error("under")
	}
}
