//go:build goexperiment.jsonv2

package trivy

import (
	"os"
	"path/filepath"
	"testing"

	trivydb "github.com/aquasecurity/trivy-db/pkg/db"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	"github.com/aquasecurity/trivy/pkg/types"
	"github.com/google/go-cmp/cmp"
	"github.com/package-url/packageurl-go"
	bolt "go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/inspector/imagetest"
	"github.com/pratique-dev/pratique/scanner"
)

// full sets every field of a package that matching could read.
func full(name string) pratique.Package {
	layer := pratique.LayerID{Digest: pratique.DigestOf([]byte("d")),
		DiffID: pratique.DigestOf([]byte("t"))}
	return pratique.Package{
		ID: name + "@1", UID: "uid", PURL: "pkg:rpm/redhat/" + name + "@1?arch=x86_64", Name: name,
		Version: "1", Release: "2.el9",
		Epoch: 3, Arch: "x86_64", SrcName: name + "-src", SrcVersion: "4", SrcRelease: "5",
		SrcEpoch: 6, Licenses: []string{"MIT"},
		Modularity: "module:1", Maintainer: "somebody", FilePath: "usr/lib/" + name,
		ContentSets: []string{"set"}, NVR: "nvr-1",
		BuildArch: "x86_64", Dev: true, Indirect: true, Layer: layer,
	}
}

// TestConversion takes an inventory to Trivy's form and through Trivy's own back: nothing may be
// lost.
func TestConversion(t *testing.T) {
	plain := func(name string) pratique.Package { return pratique.Package{Name: name, Version: "1"} }
	want := pratique.Inventory{
		Scanner: Tool(),
		OS: pratique.OS{Family: "redhat", Name: "9.3", Extended: true,
			RepositoryFamily: "redhat", RepositoryRelease: "9"},
		Lists: []pratique.PackageList{
			{Class: pratique.ClassOS, Type: "redhat", Packages: []pratique.Package{full("bash"),
				plain("zlib")}},
			{Class: pratique.ClassOS, Type: typeThirdParty,
				Packages: []pratique.Package{full("docker-ce")}},
			{Class: pratique.ClassLanguage, Type: "gobinary", Path: "usr/bin/tool",
				Packages: []pratique.Package{full("stdlib")}},
			{Class: pratique.ClassLanguage, Type: "node-pkg", Packages: []pratique.Package{plain("ms")}},
		},
	}
	target := toTarget(want)
	got := toInventory(detailOf(t, target))
	if diff := cmp.Diff(want, got, digests); diff != "" {
		t.Error("(-want +got)\n", diff)
	}
	empty := toInventory(detailOf(t, toTarget(pratique.Inventory{})))
	if diff := cmp.Diff(pratique.Inventory{Scanner: Tool()}, empty); diff != "" {
		t.Error("empty inventory (-want +got)\n", diff)
	}
}

func TestDatabases(t *testing.T) {
	inv := analyze(t, imagetest.Build(t, nodeLayer()))
	some := buildDB(t, advisories())
	none := buildDB(t, advisories()[:1])
	for _, step := range []struct {
		db   scanner.DatabaseDir
		want int
	}{{some, 1}, {none, 0}, {some, 1}, {some, 1}} {
		if got := len(matchWith(t, inv, step.db).Findings); got != step.want {
			t.Errorf("%d findings, want %d", got, step.want)
		}
	}
	// Somebody else may hold the same database open.
	other, err := bolt.Open(trivydb.Path(some.Dir), 0o600, &bolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	matchWith(t, inv, none)
	matchWith(t, inv, some)
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestDatabasesThatCannotBeUsed(t *testing.T) {
	good := buildDB(t, advisories())
	inv := analyze(t, imagetest.Build(t, nodeLayer()))
	file := func(content []byte) scanner.DatabaseDir {
		dir := t.TempDir()
		if err := os.WriteFile(trivydb.Path(dir), content, 0o600); err != nil {
			t.Fatal(err)
		}
		return scanner.DatabaseDir{Dir: dir}
	}
	whole, err := os.ReadFile(trivydb.Path(good.Dir))
	if err != nil {
		t.Fatal(err)
	}
	empty := t.TempDir()
	writeDB(t, empty, func(tx *bolt.Tx) error { _, err := tx.CreateBucket([]byte(details)); return err })
	bare := t.TempDir()
	writeDB(t, bare, func(*bolt.Tx) error { return nil })
	for name, test := range map[string]struct {
		db   scanner.DatabaseDir
		want pratique.Kind
	}{
		"no such directory": {scanner.DatabaseDir{Dir: filepath.Join(t.TempDir(), "missing")},
			pratique.Unavailable},
		"no file":            {scanner.DatabaseDir{Dir: t.TempDir()}, pratique.Unavailable},
		"no directory named": {scanner.DatabaseDir{}, pratique.Unavailable},
		"garbage":            {file([]byte("garbage")), pratique.Unavailable},
		"empty file":         {file(nil), pratique.Unavailable},
		"cut short":          {file(whole[:len(whole)/2]), pratique.Unavailable},
		// reading on faults
		"cut to its header": {file(whole[:2*os.Getpagesize()]), pratique.Unavailable},
		"no bucket":         {scanner.DatabaseDir{Dir: bare}, pratique.Unavailable},
		"no vulnerability":  {scanner.DatabaseDir{Dir: empty}, pratique.Unavailable},
		"another schema": {scanner.DatabaseDir{Dir: good.Dir,
			Database: pratique.Database{Version: 3}}, pratique.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			_, before := os.Stat(trivydb.Path(test.db.Dir))
			_, err := newScanner(t).Match(t.Context(), inv, test.db)
			if got := pratique.KindOf(err); err == nil || got != test.want {
				t.Errorf("kind %v of error %v, want %v", got, err, test.want)
			}
			if _, after := os.Stat(trivydb.Path(test.db.Dir)); before == nil && after != nil {
				t.Error("the database file was deleted")
			}
			if n := len(matchWith(t, inv, good).Findings); n != 1 {
				t.Errorf("%d findings with a good database afterwards, want 1", n)
			}
		})
	}
}

// detailOf is a target as the detail of an analyzed image. The PURL, which a target carries as a
// string, is put back where analysis leaves it.
func detailOf(t *testing.T, target types.ScanTarget) ftypes.ArtifactDetail {
	t.Helper()
	parse := func(packages ftypes.Packages) {
		for i := range packages {
			id := &packages[i].Identifier
			if id.BOMRef == "" {
				continue
			}
			p, err := packageurl.FromString(id.BOMRef)
			if err != nil {
				t.Fatal(err)
			}
			id.PURL, id.BOMRef = &p, ""
		}
	}
	parse(target.Packages)
	for _, a := range target.Applications {
		parse(a.Packages)
	}
	return ftypes.ArtifactDetail{OS: target.OS, Repository: target.Repository,
		Packages: target.Packages, Applications: target.Applications}
}
