//go:build goexperiment.jsonv2

package trivy

import (
	"slices"
	"testing"
	"time"

	trivydb "github.com/aquasecurity/trivy-db/pkg/db"
	dbtypes "github.com/aquasecurity/trivy-db/pkg/types"
	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/inspector/imagetest"
	"github.com/pratique-dev/pratique/scanner"
)

// installed is an inventory of one package of an operating system.
func installed(os pratique.OS) pratique.Inventory {
	return pratique.Inventory{Scanner: Tool(), OS: os, Lists: []pratique.PackageList{{
		Class: pratique.ClassOS, Type: os.Family, Packages: []pratique.Package{{
			ID: "openssl@1.0-r0", Name: "openssl", Version: "1.0", Release: "r0",
			SrcName: "openssl", SrcVersion: "1.0", SrcRelease: "r0", Arch: "x86_64",
		}},
	}}}
}

// TestReleasesAreTrivys: the bucket that is looked for is the one in which Trivy finds an advisory.
// Where only that of another release is there, nothing is found, and it says so.
func TestReleasesAreTrivys(t *testing.T) {
	for _, test := range []struct {
		os            pratique.OS
		bucket, other string
	}{
		{pratique.OS{Family: "alma", Name: "9.3"}, "alma 9", "alma 8"},
		{pratique.OS{Family: "alpine", Name: "3.19.1"}, "alpine 3.19", "alpine 3.18"},
		{pratique.OS{Family: "alpine", Name: "3.19.1", RepositoryFamily: "alpine",
			RepositoryRelease: "edge"}, "alpine edge", "alpine 3.19"},
		{pratique.OS{Family: "alpine", Name: "3.19.1", RepositoryFamily: "alpine",
			RepositoryRelease: "3.18"}, "alpine 3.18", "alpine 3.19"},
		{pratique.OS{Family: "amazon", Name: "2023.3.20240312 (Amazon Linux)"}, "amazon linux 2023",
			"amazon linux 2"},
		{pratique.OS{Family: "amazon", Name: "2018.03"}, "amazon linux 1", "amazon linux 2"},
		{pratique.OS{Family: "azurelinux", Name: "3.0.20240727"}, "Azure Linux 3.0", "CBL-Mariner 2.0"},
		{pratique.OS{Family: "bottlerocket", Name: "1.20.0"}, "bottlerocket", "wolfi"},
		{pratique.OS{Family: "cbl-mariner", Name: "2.0.20220527"}, "CBL-Mariner 2.0", "CBL-Mariner 1.0"},
		{pratique.OS{Family: "chainguard", Name: "20230214"}, "chainguard", "wolfi"},
		{pratique.OS{Family: "debian", Name: "12.5"}, "debian 12", "debian 11"},
		{pratique.OS{Family: "echo", Name: "1"}, "echo", "debian 12"},
		{pratique.OS{Family: "minimos", Name: "20241031"}, "minimos", "wolfi"},
		{pratique.OS{Family: "opensuse-leap", Name: "15.6"}, "openSUSE Leap 15.6", "openSUSE Leap 15.5"},
		{pratique.OS{Family: "opensuse-tumbleweed", Name: "20240607"}, "openSUSE Tumbleweed",
			"openSUSE Leap 15.6"},
		{pratique.OS{Family: "oracle", Name: "8.9"}, "Oracle Linux 8", "Oracle Linux 9"},
		{pratique.OS{Family: "photon", Name: "4.0"}, "Photon OS 4.0", "Photon OS 5.0"},
		{pratique.OS{Family: "rocky", Name: "9.1"}, "rocky 9", "rocky 8"},
		{pratique.OS{Family: "slem", Name: "5.3"}, "SUSE Linux Enterprise Micro 5.3",
			"SUSE Linux Enterprise 15.3"},
		{pratique.OS{Family: "sles", Name: "15.3"}, "SUSE Linux Enterprise 15.3",
			"SUSE Linux Enterprise 15.4"},
		{pratique.OS{Family: "ubuntu", Name: "22.04"}, "ubuntu 22.04", "ubuntu 24.04"},
		{pratique.OS{Family: "ubuntu", Name: "18.04", Extended: true}, "ubuntu 18.04-ESM",
			"ubuntu 22.04"},
		{pratique.OS{Family: "wolfi", Name: "20230201"}, "wolfi", "chainguard"},
	} {
		t.Run(test.bucket, func(t *testing.T) {
			in := func(bucket string) scanner.DatabaseDir {
				db := buildDB(t,
					[]advisory{{"vulnerable", "vendor", "openssl", "CVE-1",
						dbtypes.Advisory{FixedVersion: "2.0-r0"}, dbtypes.SeverityHigh}})
				writeDB(t, db.Dir, func(tx *bolt.Tx) error {
					// Some vendors' advisories are by architecture.
					all := dbtypes.Advisories{FixedVersion: "2.0-r0",
						Entries: []dbtypes.Advisory{{FixedVersion: "2.0-r0", Arches: []string{"x86_64"}}}}
					return trivydb.Config{}.PutAdvisory(tx, []string{bucket, "openssl"}, "CVE-1", all)
				})
				return db
			}
			inv := installed(test.os)
			r := matchWith(t, inv, in(test.bucket))
			if len(r.Findings) != 1 || !r.Coverage.OS.Supported || len(r.Coverage.Unmatched) != 0 {
				t.Errorf("with advisories: %d findings, %+v", len(r.Findings), r.Coverage)
			}
			r = matchWith(t, inv, in(test.other))
			want := []pratique.Unmatched{{Class: pratique.ClassOS, Type: test.os.Family,
				Packages: 1, Reason: pratique.UnmatchedNoAdvisories}}
			if len(r.Findings) != 0 || r.Coverage.OS.Supported ||
				!slices.Equal(r.Coverage.Unmatched, want) {
				t.Errorf("with those of %s: %d findings, %+v", test.other, len(r.Findings), r.Coverage)
			}
		})
	}
}

// TestEndOfLife is Trivy's table, of which only whether a day is past can be asked.
func TestEndOfLife(t *testing.T) {
	for os, want := range map[pratique.OS]string{
		{Family: "debian", Name: "7.11"}:   "2018-05-31",
		{Family: "debian", Name: "12"}:     "2028-06-10",
		{Family: "debian", Name: "sid"}:    "",
		{Family: "alpine", Name: "3.11.0"}: "2021-11-01",
		{Family: "alpine", Name: "3.21.0", RepositoryFamily: "alpine",
			RepositoryRelease: "3.11"}: "2021-11-01",
		{Family: "alpine", Name: "edge"}:        "",
		{Family: "wolfi", Name: "20230201"}:     "",
		{Family: "ubuntu", Name: "23.10"}:       "2024-06-30",
		{Family: "centos", Name: "7.9"}:         "2024-06-30",
		{Family: "redhat", Name: "9.3"}:         "",
		{Family: "opensuse-leap", Name: "15.5"}: "2024-12-31",
		{Family: "amazon", Name: "1"}:           "2023-12-31",
	} {
		r, ok := releaseOf(os)
		if !ok {
			t.Fatalf("%v has no driver", os)
		}
		have := ""
		if end := r.endOfLife(t.Context()); !end.IsZero() {
			have = end.Format(time.DateOnly)
		}
		if have != want {
			t.Errorf("support of %v ends on %q, want %q", os, have, want)
		}
	}
}

// TestImagesThatAreNotMatched are those whose packages nobody looks up, and used to look clean.
func TestImagesThatAreNotMatched(t *testing.T) {
	const dpkgDB, apkDB = "var/lib/dpkg/status", "lib/apk/db/installed"
	release := func(lines string) imagetest.Files { return imagetest.Files{"etc/os-release": lines} }
	bash := dpkg("bash", "5.2.15-2+b2", "", "")
	musl := "P:musl\nV:1.2.4-r2\nA:x86_64\no:musl\n\n"
	ended := time.Date(2018, 5, 31, 23, 59, 59, 0, time.UTC)
	for name, test := range map[string]struct {
		layers []imagetest.Files
		want   pratique.Coverage
	}{
		"no os-release": {[]imagetest.Files{{dpkgDB: bash}}, pratique.Coverage{
			OS: pratique.OSCoverage{Family: "none", Packages: 1},
			Unmatched: []pratique.Unmatched{{Class: pratique.ClassOS, Type: "none", Packages: 1,
				Reason: pratique.UnmatchedUnknownOS}},
		}},
		"an os-release of nobody": {[]imagetest.Files{release("ID=mylinux\nID_LIKE=alpine\nVERSION_ID=1\n"), {apkDB: musl}}, pratique.Coverage{
			OS: pratique.OSCoverage{Family: "mylinux", Version: "1", Packages: 1, Known: true},
			Unmatched: []pratique.Unmatched{{Class: pratique.ClassOS, Type: "mylinux", Packages: 1,
				Reason: pratique.UnmatchedUnsupported}},
		}},
		"an os-release of nobody, and no packages": {[]imagetest.Files{release("ID=void\n")},
			pratique.Coverage{
				OS: pratique.OSCoverage{Family: "void", Known: true},
			}},
		"an Amazon without a version": {[]imagetest.Files{{"etc/system-release": "Amazon Linux\n",
			dpkgDB: bash}}, pratique.Coverage{
			OS: pratique.OSCoverage{Family: "amazon", Packages: 1, Known: true},
			Unmatched: []pratique.Unmatched{{Class: pratique.ClassOS, Type: "amazon", Packages: 1,
				Reason: pratique.UnmatchedUnsupported}},
		}},
		"a release that is not there": {[]imagetest.Files{debianBase(),
			release("ID=alpine\nVERSION_ID=3.99\n")}, pratique.Coverage{
			OS: pratique.OSCoverage{Family: "alpine", Version: "3.99", Packages: 3, Known: true},
			Unmatched: []pratique.Unmatched{{Class: pratique.ClassOS, Type: "alpine", Packages: 2,
				Reason: pratique.UnmatchedNoAdvisories},
				{Class: pratique.ClassOS, Type: typeThirdParty, Packages: 1,
					Reason: pratique.UnmatchedNoAdvisories}},
		}},
		"Fedora": {[]imagetest.Files{release("ID=fedora\nVERSION_ID=40\n"), {dpkgDB: bash}},
			pratique.Coverage{
				OS: pratique.OSCoverage{Family: "fedora", Version: "40", Packages: 1, Known: true},
				Unmatched: []pratique.Unmatched{{Class: pratique.ClassOS, Type: "fedora", Packages: 1,
					Reason: pratique.UnmatchedUnsupported}},
			}},
		"end of life": {[]imagetest.Files{{"etc/debian_version": "7.11\n", dpkgDB: bash}},
			pratique.Coverage{
				OS: pratique.OSCoverage{Family: "debian", Version: "7.11", Packages: 1,
					Known: true, EndOfLife: true, EndOfLifeAt: ended},
				Unmatched: []pratique.Unmatched{{Class: pratique.ClassOS, Type: "debian", Packages: 1,
					Reason: pratique.UnmatchedNoAdvisories}},
			}},
		"database removed": {[]imagetest.Files{release("ID=wolfi\nVERSION_ID=20230201\n"),
			{apkDB: musl}, {"lib/apk/db/.wh.installed": ""}}, pratique.Coverage{
			OS: pratique.OSCoverage{Family: "wolfi", Version: "20230201", Known: true},
		}},
		"nothing at all": {[]imagetest.Files{{"hello": "x"}}, pratique.Coverage{}},
		"an ecosystem without advisories": {[]imagetest.Files{{
			"usr/lib/python3/dist-packages/x-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: x\nVersion: 1\n",
			"opt/conda/envs/x/conda-meta/y-1-0.json":               `{"name":"y","version":"1","build":"0"}`,
		}}, pratique.Coverage{Unmatched: []pratique.Unmatched{
			{Class: pratique.ClassLanguage, Type: "conda-pkg", Packages: 1,
				Reason: pratique.UnmatchedUnsupported},
			{Class: pratique.ClassLanguage, Type: "python-pkg", Packages: 1,
				Reason: pratique.UnmatchedNoAdvisories},
		}}},
	} {
		t.Run(name, func(t *testing.T) {
			inv, db := analyze(t, imagetest.Build(t, test.layers...)), buildDB(t, advisories())
			r := matchWith(t, inv, db)
			if diff := cmp.Diff(test.want, *r.Coverage); diff != "" || len(r.Findings) != 0 {
				t.Errorf("%d findings (-want +got)\n%s", len(r.Findings), diff)
			}
			checkParts(t, newScanner(t), inv, db, r)
		})
	}
}

// TestPackagesFromNowhere: Trivy gives up on an image of Red Hat with a package from a repository
// that the database does not know; the others are matched, and that one is named.
func TestPackagesFromNowhere(t *testing.T) {
	inv := installed(pratique.OS{Family: "redhat", Name: "9.3"})
	inv.Lists[0].Packages[0].ContentSets = []string{"nobody-s-rpms__9"}
	r := matchWith(t, inv,
		buildDB(t, []advisory{{"Red Hat", "redhat", "bash", "CVE-1", dbtypes.Advisory{},
			dbtypes.SeverityHigh}}))
	want := []pratique.Unmatched{{Class: pratique.ClassOS, Type: "redhat", Packages: 1,
		Reason: pratique.UnmatchedNoAdvisories}}
	if !slices.Equal(r.Coverage.Unmatched, want) || !r.Coverage.OS.Supported {
		t.Errorf("%+v", r.Coverage)
	}
}
