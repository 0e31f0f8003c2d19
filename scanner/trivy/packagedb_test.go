//go:build goexperiment.jsonv2

package trivy

import (
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/inspector/imagetest"
	"github.com/pratique-dev/pratique/internal/testenv/hostile"
)

// files are those of a layer of the hostile corpus.
func files(entries []hostile.Entry) imagetest.Files {
	all := imagetest.Files{}
	for _, e := range entries {
		all[e.Name] = string(e.Content)
	}
	return all
}

// TestDamagedDatabases checks that an image passes neither without a package database of its
// operating system nor with a part of one, and that nothing is kept of it. Other files may be
// broken.
func TestDamagedDatabases(t *testing.T) {
	fixture := imagetest.Files{"app/node_modules/x/package.json": "{", "app/x.jar": "PK",
		"app/lib/python3/site-packages/x-1.dist-info/METADATA": "\x00"}
	sound := imagetest.Files{"lib/apk/db/installed": "C:Q1abc=\nP:musl\nV:1.2.4-r2\n\n"}
	stanza := "Package: a\nStatus: install ok installed\nVersion: 1\n\n"
	for name, test := range map[string]struct {
		layers []imagetest.Files
		names  string // the file that the error has to name, "" for no error
	}{
		"berkeley": {layers: []imagetest.Files{files(hostile.Rpm("berkeley"))},
			names: "var/lib/rpm/Packages"},
		"ndb": {layers: []imagetest.Files{files(hostile.Rpm("ndb"))},
			names: "var/lib/rpm/Packages.db"},
		"sqlite": {layers: []imagetest.Files{files(hostile.Rpm("sqlite"))},
			names: "var/lib/rpm/rpmdb.sqlite"},
		"sqlite, cut": {layers: []imagetest.Files{{"usr/lib/sysimage/rpm/rpmdb.sqlite": "SQLite format 3\x00"}}, names: "usr/lib/sysimage/rpm/rpmdb.sqlite"},
		"empty": {layers: []imagetest.Files{{"var/lib/rpm/Packages": ""}},
			names: "var/lib/rpm/Packages"},
		"list of rpm":  {layers: []imagetest.Files{{"var/lib/rpmmanifest/container-manifest-2": "a\tb\n"}}, names: "container-manifest-2"},
		"bottlerocket": {layers: []imagetest.Files{{"x86_64-bottlerocket-linux-gnu/sys-root/usr/share/bottlerocket/application-inventory.json": "["}}, names: "application-inventory.json"},
		"beside a broken file": {layers: []imagetest.Files{fixture, files(hostile.Rpm("ndb"))},
			names: "var/lib/rpm/Packages.db"},
		"below a known one": {layers: []imagetest.Files{sound, files(hostile.Rpm("sqlite"))},
			names: "rpmdb.sqlite"},
		"dpkg": {layers: []imagetest.Files{files(hostile.Dpkg())},
			names: "var/lib/dpkg/status"},
		"dpkg, a stanza": {layers: []imagetest.Files{{"var/lib/dpkg/status": stanza +
			"no field\n\n" + stanza}}, names: "var/lib/dpkg/status"},
		"dpkg, long": {layers: []imagetest.Files{{"var/lib/dpkg/status.d/x": stanza +
			string(hostile.LongLines(1<<20)) + stanza}}, names: "var/lib/dpkg/status.d/x"},
		"apk, long":        {layers: []imagetest.Files{{"lib/apk/db/installed": "P:a\nV:1-r0\n\nP:b\nV:1-r0\np:" + strings.Repeat("x", 1<<16) + "\n\nP:c\nV:1-r0\n\n"}}, names: "lib/apk/db/installed"},
		"only other files": {layers: []imagetest.Files{debianBase(), fixture, sound}},
		"lists of files of dpkg": {layers: []imagetest.Files{debianBase(),
			{"var/lib/dpkg/info/x.md5sums": "?", "var/lib/dpkg/status.d/x.md5sums": "?",
				"var/lib/dpkg/available": "?"}}},
	} {
		t.Run(name, func(t *testing.T) {
			forgetAll(t)
			k := kept{}
			_, err := newScanner(t).Analyze(t.Context(), imagetest.Build(t, test.layers...), k)
			if test.names == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if pratique.KindOf(err) != pratique.Corrupt ||
				!strings.Contains(err.Error(), test.names+" cannot be read") {
				t.Errorf("error %v", err)
			}
			t.Log(err)
			if n := len(newScanner(t).layers.blobs); len(k) != 0 || n != 0 {
				t.Errorf("%d analyses are stored, %d remembered", len(k), n)
			}
		})
	}
}
