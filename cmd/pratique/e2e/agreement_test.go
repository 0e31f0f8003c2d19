package e2e

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/klauspost/compress/gzip"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/cmd/pratique/child"
	"github.com/pratique-dev/pratique/cmd/pratique/settings"
	"github.com/pratique-dev/pratique/internal/config"
	"github.com/pratique-dev/pratique/internal/confine"
	"github.com/pratique-dev/pratique/internal/inspector"
	"github.com/pratique-dev/pratique/internal/inspector/imagetest"
	"github.com/pratique-dev/pratique/internal/testenv/images"
	"github.com/pratique-dev/pratique/internal/testenv/vulndb"
	"github.com/pratique-dev/pratique/scanner/trivy"
)

// inspectors is a pool of children with both engines in them, which may read the images of this
// test.
func inspectors(t *testing.T) *inspector.Pool {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	fingerprint, err := trivy.Config{}.Fingerprint()
	if err != nil {
		t.Fatal(err)
	}
	pool, err := inspector.New(inspector.Config{
		Command: child.Command(binary, config.Inspect{}), Fingerprint: fingerprint,
		Timeout: settings.DefaultTimeout, MemoryBytes: 2 << 30,
		TempDir: t.TempDir(), Confinement: confine.Best, Readable: []string{os.TempDir()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := pool.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return pool
}

func deb(name, version, status string) string {
	return "Package: " + name + "\nStatus: " + status +
		"\nArchitecture: amd64\nMaintainer: M <m@debian.org>\nVersion: " + version + "\n\n"
}

func apkPackage(name, version string) string {
	return "P:" + name + "\nV:" + version + "\nA:x86_64\no:" + name + "\nL:MIT\n\n"
}

// rpmDB is a database that rpm itself wrote, see make.sh beside it.
func rpmDB(t *testing.T) string {
	t.Helper()
	packed, err := os.ReadFile("../../../internal/inspector/imagetest/rpmdb/rpmdb.sqlite.gz")
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	db, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(db)
}

const (
	installedOK = "install ok installed"
	debianOS    = "ID=debian\nVERSION_ID=\"12\"\nNAME=\"Debian GNU/Linux\"\n"
	alpineOS    = "ID=alpine\nVERSION_ID=3.19.1\nNAME=\"Alpine Linux\"\n"
	wolfiOS     = "ID=wolfi\nVERSION_ID=20230201\nNAME=\"Wolfi\"\n"
	redHatOS    = "ID=rhel\nVERSION_ID=9.3\nNAME=\"Red Hat Enterprise Linux\"\n"
)

// TestEnginesAgree: of honest images both engines list the same packages, whatever their package
// managers write.
func TestEnginesAgree(t *testing.T) {
	if raceDetector {
		t.Skip("a child takes a minute to start, and there is one")
	}
	t.Parallel()
	pool := inspectors(t)
	const sbomOfWolfi = `{"spdxVersion":"SPDX-2.3","SPDXID":"SPDXRef-DOCUMENT","name":"x","dataLicense":"CC0-1.0","documentNamespace":"https://x.test/1",
"creationInfo":{"created":"2024-01-01T00:00:00Z","creators":["Tool: melange"]},"documentDescribes":["SPDXRef-Package-bash"],
"packages":[{"SPDXID":"SPDXRef-Package-bash","name":"bash","versionInfo":"5.2-r1","downloadLocation":"NOASSERTION",
"externalRefs":[{"referenceCategory":"PACKAGE-MANAGER","referenceType":"purl","referenceLocator":"pkg:apk/wolfi/bash@5.2-r1?arch=x86_64"}]}],"relationships":[]}`
	for name, test := range map[string]struct {
		layers   []imagetest.Files
		packages int // of the operating system
		apart    int
	}{
		"debian": {[]imagetest.Files{{"etc/os-release": debianOS, "etc/debian_version": "12.5\n",
			"var/lib/dpkg/status": deb("bash", "5.2.15-2+b2", installedOK) +
				deb("zlib1g", "1:1.2.13.dfsg-1", installedOK) + deb("ca-certificates", "20230311",
				installedOK) + deb("old", "1.0-1", "deinstall ok config-files") +
				deb("held", "2.0-1", "hold ok installed") +
				"Package: never\nStatus: unknown ok not-installed\nPriority: optional\nSection: x\n\n"}}, 4, 0},
		"distroless": {[]imagetest.Files{{"var/lib/dpkg/status.d/": "", "etc/os-release": debianOS,
			"etc/debian_version":           "12.5\n",
			"var/lib/dpkg/status.d/base":   "Package: base-files\nVersion: 12.4\nArchitecture: amd64\nMaintainer: M\n",
			"var/lib/dpkg/status.d/tzdata": "Package: tzdata\nVersion: 2024a-0\nArchitecture: all\nMaintainer: M\n", "var/lib/dpkg/status.d/base.md5sums": "0123  etc/x\n"}}, 2, 0},
		"alpine": {[]imagetest.Files{{"etc/os-release": alpineOS, "etc/alpine-release": "3.19.1\n",
			"lib/apk/db/installed": apkPackage("musl", "1.2.4_git20230717-r4") +
				apkPackage(".build-deps", "20240101.101010") +
				apkPackage("busybox", "1.36.1-r15")}}, 3, 0},
		"wolfi": {[]imagetest.Files{{"etc/os-release": wolfiOS,
			"usr/lib/apk/db/installed": apkPackage("bash", "5.2-r1") +
				apkPackage("glibc", "2.39-r0"),
			"var/lib/db/sbom/bash-5.2-r1.spdx.json": sbomOfWolfi}}, 2, 0},
		"red hat": {[]imagetest.Files{{"etc/os-release": redHatOS,
			"etc/redhat-release":       "Red Hat Enterprise Linux release 9.3 (Plow)\n",
			"var/lib/rpm/rpmdb.sqlite": rpmDB(t)}}, 2, 0},
		"manifest of rpm": {[]imagetest.Files{{"etc/os-release": "ID=azurelinux\nVERSION_ID=3.0\n",
			"var/lib/rpmmanifest/container-manifest-2": "filesystem\t1.1-19.azl3\t1\t1\tMicrosoft Corporation\t(none)\t1\tx86_64\t0\tfilesystem-1.1-19.azl3.src.rpm\n" +
				"tzdata\t2024a-1.azl3\t1\t1\tMicrosoft Corporation\t(none)\t1\tnoarch\t0\ttzdata-2024a-1.azl3.src.rpm\n"}}, 2, 0},
		"replaced above": {[]imagetest.Files{{"etc/os-release": debianOS,
			"etc/debian_version": "12.5\n", "var/lib/dpkg/status": deb("bash", "5.1-1", installedOK)},
			{"var/lib/dpkg/status": deb("bash", "5.2-1", installedOK) +
				deb("curl", "7.88-1", installedOK)}}, 2, 0},
		"no system": {[]imagetest.Files{{"app/node_modules/lodash/package.json": `{"name":"lodash","version":"4.17.20","license":"MIT"}`,
			"app/node_modules/@types/node/package.json":                     `{"name":"@types/node","version":"20.1.0"}`,
			"usr/lib/python3/dist-packages/PyYAML-6.0.1.dist-info/METADATA": "Metadata-Version: 2.1\nName: PyYAML\nVersion: 6.0.1\n",
			"usr/lib/python3/dist-packages/PyYAML-6.0.1.dist-info/RECORD":   ""}}, 0, 0},
		"another root": {[]imagetest.Files{{"etc/os-release": debianOS,
			"etc/debian_version": "12.5\n", "var/lib/dpkg/status": deb("bash", "5.2-1", installedOK)},
			{"srv/jail/var/lib/dpkg/status": deb("old", "1-1", installedOK)}}, 1, 1},
	} {
		r, err := pool.Inspect(t.Context(), imagetest.Build(t, test.layers...))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		apart := 0
		for _, u := range r.Compared.Apart {
			apart += u.Packages
		}
		if r.Compared.Packages != test.packages || apart != test.apart || r.Compared.Total != 0 {
			t.Errorf("%s: %+v", name, r.Compared)
		}
	}
	for name, spec := range map[string]images.Spec{"clean": images.Clean(),
		"vulnerable": images.Vulnerable()} {
		r, err := pool.Inspect(t.Context(), imagetest.Unpack(t, build(t, spec)))
		if err != nil || r.Compared.Total != 0 || r.Compared.Packages != 5 {
			t.Errorf("%s: %+v, %v", name, r.Compared, err)
		}
	}
	checkDisagreements(t, pool)
}

// checkDisagreements inspects images whose package databases can be read in two ways.
func checkDisagreements(t *testing.T, pool *inspector.Pool) {
	t.Helper()
	for name, test := range map[string]struct {
		files imagetest.Files
		says  string
	}{
		"two versions of one package": {imagetest.Files{"etc/os-release": alpineOS,
			"etc/alpine-release": "3.19.1\n", "lib/apk/db/installed": apkPackage("openssl",
				"9.9.9-r0") + apkPackage("openssl", "1.1.1d-r0")},
			"openssl 1.1.1d-r0 is in the SBOM alone"},
		"a version that is none": {imagetest.Files{"etc/os-release": alpineOS,
			"etc/alpine-release": "3.19.1\n", "lib/apk/db/installed": apkPackage("musl",
				"1.2.4-r0") + apkPackage("openssl", "1.1.1d r0")},
			"openssl 1.1.1d r0 is in the SBOM alone"},
		"to be purged": {imagetest.Files{"etc/os-release": debianOS, "etc/debian_version": "12.5\n",
			"var/lib/dpkg/status": deb("bash", "5-1", installedOK) +
				deb("openssl", "3.0.9-1", "purge ok installed")},
			"line 8: dpkg is asked to remove openssl and has not done it"},
		"to be removed": {imagetest.Files{"etc/os-release": debianOS,
			"etc/debian_version": "12.5\n", "var/lib/dpkg/status": deb("bash", "5-1", installedOK) +
				deb("openssl", "3.0.9-1", "deinstall ok installed")},
			"line 8: dpkg is asked to remove openssl and has not done it"},
		"a journal of dpkg": {imagetest.Files{"etc/os-release": debianOS,
			"etc/debian_version": "12.5\n", "var/lib/dpkg/status": deb("bash", "5-1", installedOK),
			"var/lib/dpkg/updates/0000": deb("openssl", "3.0.9-1", installedOK)},
			"var/lib/dpkg/updates/0000: dpkg has changes"},
		"a log of rpm": {imagetest.Files{"etc/os-release": redHatOS,
			"etc/redhat-release":           "Red Hat Enterprise Linux release 9.3 (Plow)\n",
			"var/lib/rpm/rpmdb.sqlite":     rpmDB(t),
			"var/lib/rpm/rpmdb.sqlite-wal": "x"}, "var/lib/rpm/rpmdb.sqlite-wal: rpm has changes"},
		"an origin before its version": {imagetest.Files{"etc/os-release": alpineOS,
			"etc/alpine-release": "3.19.1\n", "lib/apk/db/installed": apkPackage("zz", "9.9.9-r9") +
				"P:openssl\no:openssl\nV:1.1.1d-r0\nA:x86_64\n\n"},
			"in the stanza of openssl"},
		"a field in another case": {imagetest.Files{"etc/os-release": debianOS,
			"etc/debian_version":  "12.5\n",
			"var/lib/dpkg/status": "Package: bash\nInstalled-size: 10\nVersion: 5-1\n\n"},
			"line 2: dpkg writes Installed-Size"},
		"a database that the generator gives up": {imagetest.Files{"etc/os-release": debianOS,
			"etc/debian_version":  "12.5\n",
			"var/lib/dpkg/status": "Package: bash\nStatus: install ok installed\nX: 1\nX: 2\nVersion: 5-1\n\n"}, "bash 5-1 is in the scanner alone"},
		"a version of no package": {imagetest.Files{"etc/os-release": debianOS,
			"etc/debian_version": "12.5\n", "var/lib/dpkg/status": deb("bash", "5-1", installedOK) +
				deb("openssl", "three", installedOK)},
			"openssl three is in the SBOM alone"},
	} {
		r, err := pool.Inspect(t.Context(), imagetest.Build(t, test.files))
		if pratique.KindOf(err) != pratique.Corrupt || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %+v, %v", name, r.Compared, err)
		}
	}
}

// TestEnginesAgreeOnRealImages shows what they differ in over the images of PRATIQUE_TEST_DATA,
// which is nothing.
func TestEnginesAgreeOnRealImages(t *testing.T) {
	data := realData(t)
	pool := inspectors(t)
	for _, name := range realImages {
		img := imagetest.Load(t, filepath.Join(data, "images"), name+":1")
		r, err := pool.Inspect(t.Context(), img)
		if err != nil || r.Compared.Total != 0 || len(r.Compared.Apart) != 0 {
			t.Errorf("%s: %+v, %v", name, r.Compared, err)
		}
		t.Logf("%s: %d packages of the system, %d in all, %d differences", name,
			r.Compared.Packages, r.Inventory.Packages(), r.Compared.Total)
	}
}

// under puts files on top of an image.
func (l *line) under(img v1.Image, files map[string]string) v1.Image {
	l.t.Helper()
	layer, err := images.Layer(files)
	if err != nil {
		l.t.Fatal(err)
	}
	if img, err = mutate.AppendLayers(img, layer); err != nil {
		l.t.Fatal(err)
	}
	return img
}

// scratch is an image with these files alone.
func (l *line) scratch(files map[string]string) v1.Image {
	l.t.Helper()
	img, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: "amd64",
		RootFS: v1.RootFS{Type: "layers"}})
	if err != nil {
		l.t.Fatal(err)
	}
	return l.under(img, files)
}

// TestReleaseComesIntoTheDatabase: an image whose release nobody has advisories for is denied,
// until a database has some, about whatever package, and again when they are gone. Images of other
// releases are what they were.
func TestReleaseComesIntoTheDatabase(t *testing.T) {
	t.Parallel()
	l := newLine(t, lineOptions{noDB: true, config: databaseFromRegistry(t)})
	l.publish(time.Now().Add(-3 * time.Hour))
	s := l.serveService()
	other := l.push("team/other:1.0", l.build(images.Clean()))
	l.awaitState(other, pratique.StateAllowed)
	release := map[string]string{"etc/os-release": "ID=debian\nVERSION_ID=\"13\"\nNAME=\"Debian GNU/Linux\"\n", "etc/debian_version": "13.1\n"}
	image := l.push("team/new:1.0", l.under(l.build(images.Clean()), release))
	denied := func() {
		t.Helper()
		i := l.await(image, "a denial", func(i api.Image) bool { return i.State == pratique.StateDenied })
		if len(i.Verdict.Reasons) != 1 || i.Verdict.Reasons[0].Rule != "unsupported_os" ||
			!strings.Contains(i.Verdict.Reasons[0].Message, "debian 13.1") {
			t.Errorf("reasons %+v", i.Verdict.Reasons)
		}
	}
	denied()
	l.update(s)
	before := len(l.await(other, "anything", func(api.Image) bool { return true }).Facts)

	l.publish(time.Now().Add(-2*time.Hour), vulndb.Advisory{ID: "CVE-2026-8000",
		Bucket: "debian 13", Package: "unrelated", Fixed: "1", Severity: "LOW"})
	l.update(s)
	l.await(image, "a verdict that allows", func(i api.Image) bool {
		return i.State == pratique.StateAllowed
	})
	l.publish(time.Now().Add(-time.Hour))
	l.update(s)
	denied()
	if i := l.await(other, "anything", func(api.Image) bool { return true }); len(i.Facts) != before {
		t.Errorf("facts about an image of another release: %+v", i.Facts)
	}
}

// TestImagesThatAreNotMatched are denied with what to do, unless a parameter names them; one with
// two answers to what is installed fails for good.
func TestImagesThatAreNotMatched(t *testing.T) {
	t.Parallel()
	l := newLine(t, lineOptions{policy: "  allowEndOfLife: [\"*/team/legacy\"]"})
	l.serve()
	status := deb("openssl", "3.0.9-1", installedOK)
	for name, test := range map[string]struct {
		files map[string]string
		rule  string
	}{
		"nothing":  {map[string]string{"hello": "x"}, "no_packages"},
		"no-os":    {map[string]string{"var/lib/dpkg/status": status}, "unknown_os"},
		"os-alone": {map[string]string{"etc/os-release": wolfiOS}, "no_os_packages"},
		"fedora": {map[string]string{"etc/os-release": "ID=fedora\nVERSION_ID=40\n",
			"var/lib/dpkg/status": status}, "unsupported_os"},
		"end-of-life": {map[string]string{"etc/debian_version": "7.11\n",
			"etc/os-release": "ID=debian\nVERSION_ID=7\n", "var/lib/dpkg/status": status}, "end_of_life"},
		"void": {map[string]string{"etc/os-release": "ID=void\n",
			"app/node_modules/ms/package.json": `{"name":"ms","version":"2.1.3"}`}, "no_os_packages"},
		"slackware": {map[string]string{"etc/os-release": "ID=slackware\nVERSION_ID=15.0\n",
			"var/lib/dpkg/status": status}, "unsupported_os"},
		"mixed": {map[string]string{"etc/os-release": alpineOS,
			"etc/alpine-release": "3.19.1\n", "var/lib/dpkg/status": status}, "mixed_packages"},
	} {
		image := l.awaitState(l.push("team/"+name+":1.0", l.scratch(test.files)), pratique.StateDenied)
		if !slices.ContainsFunc(image.Verdict.Reasons, func(r pratique.Reason) bool {
			return r.Rule == test.rule
		}) {
			t.Errorf("%s: %+v, want one of rule %s", name, image.Verdict.Reasons, test.rule)
		}
	}
	legacy := l.under(l.build(images.Clean()),
		map[string]string{"etc/os-release": "ID=alpine\nVERSION_ID=3.11.0\n"})
	image := l.await(l.push("team/legacy:1.0", legacy), "a verdict", func(i api.Image) bool {
		return i.Verdict != nil
	})
	for _, r := range image.Verdict.Reasons {
		if r.Rule == "end_of_life" {
			t.Errorf("it is excused: %+v", r)
		}
	}
	checkFailures(l)
}

// checkFailures pushes images that say two things of themselves.
func checkFailures(l *line) {
	l.t.Helper()
	for name, test := range map[string]struct {
		files map[string]string
		says  string
	}{
		"twice": {map[string]string{"etc/os-release": alpineOS, "etc/alpine-release": "3.19.1\n",
			"lib/apk/db/installed": apkPackage("openssl", "9-r0") + apkPackage("openssl", "1-r0")},
			"openssl 1-r0 is in the SBOM alone"},
		"repository": {map[string]string{"etc/os-release": alpineOS,
			"etc/alpine-release":   "3.19.1\n",
			"etc/apk/repositories": "https://dl-cdn.alpinelinux.org/alpine/v3.8/main\n",
			"lib/apk/db/installed": apkPackage("openssl", "1-r0")},
			"etc/alpine-release says alpine 3.19.1, etc/apk/repositories says alpine 3.8"},
		"ubuntu": {map[string]string{"etc/os-release": debianOS, "etc/debian_version": "12.5\n",
			"etc/lsb-release":     "DISTRIB_ID=Ubuntu\nDISTRIB_RELEASE=22.04\n",
			"var/lib/dpkg/status": deb("openssl", "3.0.9-1", installedOK)},
			"etc/os-release says debian 12, etc/lsb-release says ubuntu 22.04"},
		"thirteen": {map[string]string{"etc/os-release": debianOS, "etc/debian_version": "13.0\n",
			"var/lib/dpkg/status": deb("openssl", "3.0.9-1", installedOK)},
			"etc/os-release says debian 12, etc/debian_version says debian 13.0"},
	} {
		failed := l.await(l.push("team/"+name+":1.0", l.scratch(test.files)), "a failure",
			func(i api.Image) bool {
				return i.State == pratique.StateFailed
			})
		if failed.Failure == nil || failed.Failure.Attempts != 1 ||
			!strings.Contains(failed.Failure.Message, test.says) {
			l.t.Errorf("%s: failure %+v", name, failed.Failure)
		}
	}
}
