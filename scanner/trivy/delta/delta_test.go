package delta

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/scanner/rescan"
)

// content is a database: bucket/package/advisory, or bucket/key, to the value.
type content map[string]string

func ground() content {
	return content{
		"vulnerability/CVE-1": `{"Title":"one"}`, "vulnerability/CVE-2": `{"Title":"two"}`,
		"data-source/debian 12": `{"ID":"debian"}`, "data-source/npm::x": `{"ID":"ghsa"}`,
		"debian 12/openssl/CVE-1": `{"FixedVersion":"1"}`, "debian 11/openssl/CVE-1": `{}`,
		"npm::x/lodash/CVE-2": `{"PatchedVersions":["2"]}`, "pip::x/py-yaml/CVE-2": `{}`,
		"Red Hat/nodejs:12::npm/CVE-1": `{}`, "Red Hat CPE/cpe/1": `"cpe:/a"`,
		"alpine 3.19/musl/CVE-1": `{}`,
	}
}

func databaseOf(t *testing.T, c content) string {
	t.Helper()
	dir := t.TempDir()
	db, err := bbolt.Open(filepath.Join(dir, databaseFile), 0o600, &bbolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for path, value := range c {
			parts := strings.Split(path, "/")
			b, err := tx.CreateBucketIfNotExists([]byte(parts[0]))
			for _, p := range parts[1 : len(parts)-1] {
				if err == nil {
					b, err = b.CreateBucketIfNotExists([]byte(p))
				}
			}
			if err == nil {
				err = b.Put([]byte(parts[len(parts)-1]), []byte(value))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	return dir
}

// shown writes keys for people.
func shown(d rescan.Delta) rescan.Delta {
	for i, n := range d.Names {
		d.Names[i] = strings.ReplaceAll(n, keySeparator, ":")
	}
	return d
}

func TestCompare(t *testing.T) {
	t.Parallel()
	unknown := "?:"
	for name, test := range map[string]struct {
		change func(c content)
		want   rescan.Delta
	}{
		"nothing": {func(content) {}, rescan.Delta{}},
		"new advisory": {func(c content) {
			c["debian 12/openssl/CVE-3"] = `{}`
		}, rescan.Delta{Names: []string{unknown, "debian:openssl"}}},
		"withdrawn": {func(c content) {
			delete(c, "npm::x/lodash/CVE-2")
		}, rescan.Delta{Names: []string{unknown, "npm:", "npm:lodash"}}},
		"other range": {func(c content) {
			c["npm::x/lodash/CVE-2"] = `{"PatchedVersions":["3"]}`
		}, rescan.Delta{Names: []string{unknown, "npm:lodash"}}},
		"new package": {func(c content) {
			c["pip::x/Flask_X/CVE-2"] = `{}`
		}, rescan.Delta{Names: []string{unknown, "pip:flask-x"}}},
		"new source": {func(c content) {
			c["pip::y/flask/CVE-2"] = `{}`
		}, rescan.Delta{Names: []string{unknown, "pip:flask"}}},
		"new release": {func(c content) {
			c["debian 13/x/CVE-1"] = `{}`
		}, rescan.Delta{Names: []string{unknown, "debian:", "debian:x"}}},
		"release is gone": {func(c content) {
			delete(c, "alpine 3.19/musl/CVE-1")
		}, rescan.Delta{Names: []string{unknown, "alpine:", "alpine:musl"}}},
		"new ecosystem": {func(c content) {
			c["go::x/m/CVE-1"] = `{}`
		}, rescan.Delta{Names: []string{unknown, "go:", "go:m"}}},
		"last source gone": {func(c content) {
			delete(c, "pip::x/py-yaml/CVE-2")
		}, rescan.Delta{Names: []string{unknown, "pip:", "pip:py-yaml"}}},
		"source renamed": {func(c content) {
			delete(c, "pip::x/py-yaml/CVE-2")
			c["pip::y/py-yaml/CVE-2"] = `{}`
		},
			rescan.Delta{Names: []string{unknown, "pip:py-yaml"}}},
		"vendor's": {func(c content) {
			c["seal npm::y/ms/CVE-2"] = `{}`
		}, rescan.Delta{Names: []string{unknown, "npm:ms"}}},
		"module": {func(c content) {
			c["Red Hat/nodejs:12::npm/CVE-1"] = `{"x":1}`
		}, rescan.Delta{Names: []string{unknown, "redhat:nodejs:12::npm", "redhat:npm"}}},
		"details": {func(c content) {
			c["vulnerability/CVE-1"] = `{"Title":"uno"}`
		}, rescan.Delta{Vulnerabilities: []string{"CVE-1"}}},
		"new details": {func(c content) {
			c["vulnerability/CVE-0"] = `{}`
		}, rescan.Delta{Vulnerabilities: []string{"CVE-0"}}},
		"data source": {func(c content) {
			c["data-source/debian 12"] = `{"ID":"other"}`
		}, rescan.Delta{Names: []string{unknown, "debian:"}}},
		"tables of CPE": {func(c content) {
			c["Red Hat CPE/cpe/1"] = `"cpe:/b"`
		}, rescan.Delta{Names: []string{unknown, "redhat:"}}},
		"unknown bucket": {func(c content) {
			c["Plan 9/rc/CVE-1"] = `{}`
		}, rescan.Delta{Everything: `bucket "Plan 9" is not known to this program`}},
		"value in a place": {func(c content) {
			c["debian 12/oddity"] = `{}`
		}, rescan.Delta{Everything: `bucket "debian 12" has a value, want packages only`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := ground()
			test.change(c)
			got, err := Compare(t.Context(), databaseOf(t, ground()), databaseOf(t, c))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, shown(got)); diff != "" {
				t.Error("(-want +got)\n", diff)
			}
		})
	}
}

// TestCompareDamaged: without a whole old database everything is matched again; without a whole new
// one nothing can be.
func TestCompareDamaged(t *testing.T) {
	t.Parallel()
	good := databaseOf(t, ground())
	raw, err := os.ReadFile(filepath.Join(good, databaseFile))
	if err != nil {
		t.Fatal(err)
	}
	cut, torn := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(cut, databaseFile), raw[:len(raw)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	for i := 2 * 4096; i < len(raw); i++ {
		raw[i] ^= 0x5a
	}
	if err := os.WriteFile(filepath.Join(torn, databaseFile), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{cut, torn, t.TempDir()} {
		if d, err := Compare(t.Context(), bad, good); err != nil || d.Everything == "" {
			t.Errorf("old damaged: %+v, %v", d, err)
		}
		if d, err := Compare(t.Context(), good, bad); err == nil && d.Everything == "" {
			t.Errorf("new damaged: %+v", d)
		}
	}
}

// TestKeysMeetTheDelta: what a match of a package looks up is what a change of it is named by.
func TestKeysMeetTheDelta(t *testing.T) {
	t.Parallel()
	list := func(family, listType string, class pratique.PackageClass,
		p pratique.Package) pratique.Inventory {
		inv := pratique.Inventory{Lists: []pratique.PackageList{{Class: class, Type: listType,
			Packages: []pratique.Package{{Name: "other"}, p}}}}
		if class == pratique.ClassOS {
			inv.OS.Family = family
		}
		return inv
	}
	system, language := pratique.ClassOS, pratique.ClassLanguage
	for _, test := range []struct {
		part    pratique.Inventory
		changed string
		concern bool
	}{
		{list("debian", "debian", system, pratique.Package{Name: "libssl3", SrcName: "openssl"}),
			"debian 12/openssl/CVE-9", true},
		{list("debian", "debian", system, pratique.Package{Name: "libssl3", SrcName: "openssl"}),
			"alpine 3.19/openssl/CVE-9", false},
		{list("debian", "debian", system, pratique.Package{Name: "libssl3", SrcName: "openssl"}),
			"rootio debian 12/openssl/CVE-9", true},
		{list("centos", "centos", system,
			pratique.Package{Name: "npm", Modularity: "nodejs:12:1:x"}),
			"Red Hat/nodejs:12::npm/CVE-9", true},
		{list("rocky", "rocky", system, pratique.Package{Name: "bash"}), "rocky 9/bash/CVE-9", true},
		{list("opensuse-leap", "opensuse-leap", system, pratique.Package{Name: "bash"}),
			"openSUSE Leap 15.5/bash/CVE-9", true},
		{list("", "python-pkg", language, pratique.Package{Name: "Py_YAML"}),
			"pip::x/py-yaml/CVE-9", true},
		{list("", "python-pkg", language, pratique.Package{Name: "lodash"}), "npm::x/lodash/CVE-9",
			false},
		{list("", "gobinary", language, pratique.Package{Name: "github.com/Azure/x"}),
			"go::x/github.com/Azure/x/CVE-9", true},
		{list("", "swift", language, pratique.Package{Name: "github.com/a/b"}),
			"swift::x/https:||github.com|a|b.git/CVE-9", true},
		{list("", "node-pkg", language, pratique.Package{Name: "lodash"}),
			"seal npm::x/lodash/CVE-9", true},
		{list("", "of-tomorrow", language, pratique.Package{Name: "x"}), "npm::x/lodash/CVE-9", true},
		{list("plan9", "plan9", system, pratique.Package{Name: "x"}), "debian 12/bash/CVE-9", true},
	} {
		c := ground()
		bucket, rest, _ := strings.Cut(test.changed, "/")
		pkg, id := rest[:strings.LastIndexByte(rest, '/')], "CVE-9"
		c2 := content{}
		for k, v := range c {
			c2[k] = v
		}
		c2[strings.ReplaceAll(bucket, "/", "|")+"/"+strings.ReplaceAll(pkg, "/", "|")+"/"+id] = `{}`
		d, err := Compare(t.Context(), databaseOf(t, c), databaseOf(t, c2))
		if err != nil || d.Everything != "" {
			t.Fatalf("%s: %+v, %v", test.changed, d, err)
		}
		// The helper takes a slash for the border of buckets.
		for i := range d.Names {
			d.Names[i] = normalize(strings.ReplaceAll(d.Names[i], "|", "/"))
			if scope, name, ok := strings.Cut(d.Names[i], keySeparator); ok {
				d.Names[i] = key(scope, name)
			}
		}
		concerned := slices.ContainsFunc(Keys(test.part), func(k string) bool {
			return slices.Contains(d.Names, k)
		})
		if concerned != test.concern {
			t.Errorf("%s concerns %+v: %v, want %v (%q)", test.changed, test.part.Lists[0],
				concerned, test.concern, d.Names)
		}
	}
}

// TestAffectedPackages finds what a change concerns, and only where packages stand for themselves.
func TestAffectedPackages(t *testing.T) {
	t.Parallel()
	node := pratique.Inventory{Lists: []pratique.PackageList{{Class: pratique.ClassLanguage,
		Type: "node-pkg", Packages: []pratique.Package{
			{Name: "Lodash"}, {Name: "ms"}, {Name: "lodash"}, {Name: "qs"},
		}}}}
	names := map[string]bool{key("npm", "lodash"): true}
	got, ok := AffectedPackages(node, names, map[string]bool{"qs": true})
	if want := []int{0, 2, 3}; !ok || !slices.Equal(got, want) {
		t.Errorf("concerned %v, %v", got, ok)
	}
	debian := pratique.Inventory{OS: pratique.OS{Family: "debian"},
		Lists: []pratique.PackageList{{Class: pratique.ClassOS, Type: "debian"}}}
	odd := pratique.Inventory{Lists: []pratique.PackageList{{Class: pratique.ClassLanguage, Type: "odd"}}}
	for name, list := range map[string]pratique.Inventory{"distribution": debian, "unknown": odd} {
		if _, ok := AffectedPackages(list, names, nil); ok {
			t.Errorf("%s: only some of its packages would be matched", name)
		}
	}
	if _, ok := AffectedPackages(node, map[string]bool{key("npm", ""): true}, nil); ok {
		t.Error("the whole scope differs, and only some packages would be matched")
	}
}

// TestComparable: lists with these are not matched as a whole, but one with a version that may not
// be compared is.
func TestComparable(t *testing.T) {
	t.Parallel()
	for listType, usual := range map[string][]string{
		"node-pkg": {"4.17.21", "1.0.0-beta.1"}, "python-pkg": {"5.3.1", "1.0rc1", "2024.1"},
		"jar": {"31.1-jre"}, "gemspec": {"3.0.1"}, "dotnet-core": {"6.0.0"},
		"gobinary": {"v1.2.3", "v0.0.0-20210921155107-089bfa567519", "v2.0.0+incompatible"},
	} {
		for _, v := range usual {
			if !Comparable(listType, v) {
				t.Errorf("%s in %s is not", v, listType)
			}
		}
	}
	if Comparable("node-pkg", "v1") {
		t.Error("v1 of npm is")
	}
}

// TestCompareReal finds what the makers of the data left out of the first database, and nothing
// else.
func TestCompareReal(t *testing.T) {
	data := os.Getenv("PRATIQUE_TEST_DATA")
	if data == "" {
		t.Skip("PRATIQUE_TEST_DATA is not set")
	}
	old, fresh := unpackLayout(t, data, "trivy-db-a:2"), unpackLayout(t, data, "trivy-db-b:2")
	d, err := Compare(t.Context(), old, fresh)
	if err != nil || d.Everything != "" {
		t.Fatalf("%+v, %v", d, err)
	}
	raw, err := os.ReadFile(filepath.Join(data, "db", "held-out-of-db-a.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if same, err := Compare(t.Context(), old, old); err != nil || len(same.Names)+
		len(same.Vulnerabilities) > 0 || same.Everything != "" {
		t.Errorf("a database beside itself: %+v, %v", same, err)
	}
	for line := range strings.Lines(string(raw)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] == "#" {
			continue
		}
		scope := "go"
		if strings.HasPrefix(fields[0], "NSWG") {
			scope = "npm"
		}
		if !slices.Contains(d.Names, key(scope, fields[1])) {
			t.Errorf("%s is not among the names that differ", fields[1])
		}
	}
}

// unpackLayout unpacks a published database from an OCI layout.
func unpackLayout(t *testing.T, data, name string) string {
	t.Helper()
	root := filepath.Join(data, "db", "oci")
	var index struct {
		Manifests []struct {
			Digest      string
			Annotations map[string]string
		}
	}
	var manifest struct{ Layers []struct{ Digest string } }
	blob := func(digest string) []byte {
		raw, err := os.ReadFile(filepath.Join(root, "blobs", "sha256",
			strings.TrimPrefix(digest, "sha256:")))
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	raw, err := os.ReadFile(filepath.Join(root, "index.json"))
	if err == nil {
		err = json.Unmarshal(raw, &index)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range index.Manifests {
		if m.Annotations["org.opencontainers.image.ref.name"] == name {
			if err := json.Unmarshal(blob(m.Digest), &manifest); err != nil {
				t.Fatal(err)
			}
		}
	}
	dir := t.TempDir()
	layer := blob(manifest.Layers[0].Digest)
	z, err := gzip.NewReader(bytes.NewReader(layer))
	if err != nil {
		t.Fatal(err)
	}
	for files := tar.NewReader(z); ; {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(files)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, filepath.Base(h.Name)), body, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
