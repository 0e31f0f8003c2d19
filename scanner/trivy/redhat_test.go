//go:build goexperiment.jsonv2

package trivy

import (
	"testing"

	trivydb "github.com/aquasecurity/trivy-db/pkg/db"
	dbtypes "github.com/aquasecurity/trivy-db/pkg/types"
	bolt "go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/inspector/imagetest"
	"github.com/pratique-dev/pratique/scanner"
)

// redHatDB has one advisory of each product about a package, which no version of it escapes.
func redHatDB(t *testing.T, pkg string) scanner.DatabaseDir {
	t.Helper()
	dir := buildDB(t, []advisory{{"x", "y", "z", "CVE-9", dbtypes.Advisory{}, dbtypes.SeverityHigh}})
	products := []struct{ set, build, cpe, cve string }{
		{"rhel-9-for-x86_64-baseos-rpms", "", "cpe:/o:redhat:enterprise_linux:9::baseos", "CVE-BASE"},
		{"rhel-9-for-x86_64-appstream-rpms", "", "cpe:/a:redhat:enterprise_linux:9::appstream",
			"CVE-APP"},
		{"rhel-9-for-aarch64-baseos-rpms", "", "cpe:/o:redhat:enterprise_linux:9::baseos", ""},
		{"rhel-9-for-x86_64-baseos-eus-rpms", "", "cpe:/o:redhat:rhel_eus:9.2::baseos", "CVE-EUS-BASE"},
		{"rhel-9-for-x86_64-appstream-eus-rpms", "", "cpe:/a:redhat:rhel_eus:9.2::appstream",
			"CVE-EUS-APP"},
		{"rhel-8-for-x86_64-baseos-e4s-rpms", "", "cpe:/o:redhat:rhel_e4s:8.6::baseos", "CVE-E4S"},
		{"rhel-8-for-x86_64-baseos-rpms", "", "cpe:/o:redhat:enterprise_linux:8::baseos", "CVE-8"},
		{"rhel-9-for-x86_64-supplementary-rpms", "",
			"cpe:/a:redhat:enterprise_linux:9::supplementary", "CVE-MORE"},
		{"rhel-7-server-rpms", "", "cpe:/o:redhat:enterprise_linux:7::server", "CVE-7"},
		{"rhel-7-server-thirdparty-oracle-java-rpms", "", "cpe:/a:redhat:rhel_extras:7", "CVE-JAVA"},
		{"rhocp-4.14-for-rhel-9-x86_64-rpms", "", "cpe:/a:redhat:openshift:4.14::el9", "CVE-SHIFT"},
		{"", "ubi9-container-9.3-1-x86_64", "cpe:/a:redhat:openshift:4.14::el9", ""},
		{"rhel-10-for-x86_64-baseos-rpms", "", "cpe:/o:redhat:enterprise_linux:10::baseos", "CVE-10"},
	}
	writeDB(t, dir.Dir, func(tx *bolt.Tx) error {
		var c trivydb.Config
		for i, p := range products {
			if err := c.PutRedHatCPEs(tx, i, p.cpe); err != nil {
				return err
			}
			put, key := c.PutRedHatRepositories, p.set
			if p.build != "" {
				put, key = c.PutRedHatNVRs, p.build
			}
			of := []int{i}
			for j, other := range products {
				if j < i && other.cpe == p.cpe {
					of = []int{j}
				}
			}
			if err := put(tx, key, of); err != nil {
				return err
			}
			if p.cve == "" {
				continue
			}
			entry := map[string]any{"FixedVersion": "99:9-1", "Affected": []int{i},
				"Cves": []any{map[string]any{"Severity": 4}}}
			if err := c.PutAdvisory(tx, []string{"Red Hat", pkg}, p.cve,
				map[string]any{"Entries": []any{entry}}); err != nil {
				return err
			}
		}
		return nil
	})
	return dir
}

// TestRepositoriesOfARelease: a file in the image says where packages are from. It may add
// products, or name a stream that is supported for longer, but what it does not name of the release
// counts all the same.
func TestRepositoriesOfARelease(t *testing.T) {
	db := redHatDB(t, "openssl")
	for name, test := range map[string]struct {
		release string
		sets    []string
		build   string
		want    string // what is found
		lacking bool   // the package is said to be unmatched
	}{
		"says nothing": {release: "9.3", want: "CVE-APP CVE-BASE"},
		"all of it": {release: "9.3",
			sets: []string{"rhel-9-for-x86_64-baseos-rpms__9",
				"rhel-9-for-x86_64-appstream-rpms__9"}, want: "CVE-APP CVE-BASE"},
		"a part of it": {release: "9.3",
			sets: []string{"rhel-9-for-x86_64-baseos-rpms"}, want: "CVE-APP CVE-BASE"},
		"another architecture": {release: "9.3",
			sets: []string{"rhel-9-for-aarch64-baseos-rpms"}, want: "CVE-APP CVE-BASE"},
		"support for longer": {release: "9.2",
			sets: []string{"rhel-9-for-x86_64-baseos-eus-rpms",
				"rhel-9-for-x86_64-appstream-eus-rpms"}, want: "CVE-EUS-APP CVE-EUS-BASE"},
		"support for longer, a part": {release: "9.2",
			sets: []string{"rhel-9-for-x86_64-baseos-eus-rpms"}, want: "CVE-APP CVE-EUS-BASE"},
		"more packages only": {release: "9.3",
			sets: []string{"rhel-9-for-x86_64-supplementary-rpms"}, want: "CVE-APP CVE-BASE CVE-MORE"},
		"another product, made for it": {release: "9.3",
			sets: []string{"rhocp-4.14-for-rhel-9-x86_64-rpms"}, want: "CVE-APP CVE-BASE CVE-SHIFT"},
		"a build": {release: "9.3", build: "ubi9-container-9.3-1",
			want: "CVE-APP CVE-BASE CVE-SHIFT"},
		"another release": {release: "9.3",
			sets: []string{"rhel-7-server-thirdparty-oracle-java-rpms"},
			want: "CVE-APP CVE-BASE CVE-JAVA", lacking: true},
		"another release, for longer": {release: "9.3",
			sets: []string{"rhel-8-for-x86_64-baseos-e4s-rpms"}, want: "CVE-APP CVE-BASE CVE-E4S",
			lacking: true},
		"nobody's": {release: "9.3", sets: []string{"nobody-s-rpms"},
			want: "CVE-APP CVE-BASE", lacking: true},
		"an old release": {release: "7.9",
			sets: []string{"rhel-7-server-thirdparty-oracle-java-rpms"}, want: "CVE-7 CVE-JAVA"},
		"the next one, says nothing": {release: "10.0", want: "CVE-10"},
		"the next one, and another": {release: "10.0", sets: []string{"rhel-7-server-rpms"},
			want: "CVE-10 CVE-7", lacking: true},
		"one that the database lacks": {release: "11.0", lacking: true},
		"one that it lacks, and another": {release: "11.0", sets: []string{"rhel-7-server-rpms"},
			want: "CVE-7", lacking: true},
	} {
		t.Run(name, func(t *testing.T) {
			inv := installed(pratique.OS{Family: "redhat", Name: test.release})
			p := &inv.Lists[0].Packages[0]
			if p.ContentSets = test.sets; test.build != "" {
				p.NVR, p.BuildArch = test.build, "x86_64"
			}
			r := matchWith(t, inv, db)
			got := ""
			for _, f := range r.Findings {
				if got != "" {
					got += " "
				}
				got += f.ID
			}
			if got != test.want {
				t.Errorf("found %q, want %q", got, test.want)
			}
			lacking := len(r.Coverage.Unmatched) == 1 &&
				r.Coverage.Unmatched[0].Reason == pratique.UnmatchedNoAdvisories
			if lacking != test.lacking || len(r.Coverage.Unmatched) > 1 {
				t.Errorf("unmatched %+v", r.Coverage.Unmatched)
			}
		})
	}
}

// TestFileThatNamesRepositories: it may be in either place.
func TestFileThatNamesRepositories(t *testing.T) {
	rpm, db := imagetest.RPMDatabase(t), redHatDB(t, "openssl-libs")
	for _, name := range []string{"", "root/buildinfo/content_manifests/x.json",
		"usr/share/buildinfo/x.json"} {
		files := imagetest.Files{
			"var/lib/rpm/rpmdb.sqlite": rpm, "etc/os-release": "ID=rhel\nVERSION_ID=9.3\n",
			"etc/redhat-release": "Red Hat Enterprise Linux release 9.3 (Plow)\n",
		}
		if name != "" {
			files[name] = `{"content_sets":["rhel-7-server-thirdparty-oracle-java-rpms"]}`
		}
		r := matchWith(t, analyze(t, imagetest.Build(t, files)), db)
		found := map[string]bool{}
		for _, f := range r.Findings {
			found[f.ID] = true
		}
		if !found["CVE-BASE"] || !found["CVE-APP"] {
			t.Errorf("with %q: found %v, %+v", name, found, r.Coverage)
		}
	}
}
