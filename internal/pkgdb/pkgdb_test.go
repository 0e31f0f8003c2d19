package pkgdb

import (
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/filetree"
	"github.com/pratique-dev/pratique/internal/inspector/imagetest"
)

const apkDB = "lib/apk/db/installed"

func deb(name, status string) string {
	return "Package: " + name + "\nStatus: " + status +
		"\nInstalled-Size: 10\nMaintainer: M\nVersion: 1-1\nDescription: x\n y\n .\n\n"
}

func TestCheck(t *testing.T) {
	ok := deb("bash", "install ok installed")
	musl := "C:Q1x=\nP:musl\nV:1.2-r0\nA:x86_64\no:musl\nF:lib\nR:ld.so\n\n"
	wide := strings.Repeat(" ", 2*maxLine)
	for name, test := range map[string]struct{ path, text, fails string }{
		"installed":   {dpkgStatus, ok, ""},
		"held":        {dpkgStatus, ok + deb("x", "hold ok installed"), ""},
		"removed":     {dpkgStatus, ok + deb("x", "deinstall ok config-files"), ""},
		"purged":      {dpkgStatus, ok + deb("x", "purge ok not-installed"), ""},
		"in any case": {dpkgStatus, ok + deb("x", "purge ok Not-Installed"), ""},
		"unpacked": {dpkgStatus, ok + deb("x", "install ok unpacked") +
			deb("y", "install reinstreq half-installed"), ""},
		"triggers": {dpkgStatus, ok + deb("x", "install ok triggers-awaited") +
			deb("y", "install ok triggers-pending"), ""},
		"without a status": {statusDir + "x", "Package: x\nVersion: 1\n", ""},
		"fields of their own": {dpkgStatus,
			"Package: x\nHomepage: y\nhomepage: y\nDescription-md5: z\n", ""},
		"one field, two stanzas": {dpkgStatus, "Package: x\n\n\nPackage: y\n", ""},
		"no field":               {dpkgStatus, "Package: x\nnonsense\n", ""},
		"a name in a text": {dpkgStatus,
			"Package: x\nDescription: x\n package: purge\n Package: y\n", ""},
		"to be removed": {dpkgStatus, ok + deb("openssl", "deinstall ok installed"),
			"var/lib/dpkg/status, line 11: dpkg is asked to remove openssl and has not done it"},
		"to be purged": {dpkgStatus, ok + deb("openssl", "purge ok installed"),
			"line 11: dpkg is asked to remove openssl"},
		"half removed": {dpkgStatus, deb("openssl", "deinstall reinstreq half-installed"),
			"line 2: dpkg is asked to remove openssl"},
		"removed, to be set up": {dpkgStatus, deb("openssl", "purge ok triggers-pending"),
			"line 2: dpkg is asked"},
		"the last stanza": {dpkgStatus, "Status: purge ok installed\nPackage: openssl",
			"line 1: dpkg is asked to remove openssl"},
		"distroless": {statusDir + "openssl", deb("openssl", "purge ok installed"),
			"var/lib/dpkg/status.d/openssl, line 2: dpkg is asked"},
		"a status of two words": {dpkgStatus, deb("openssl", "purge ok"),
			"line 2: dpkg never writes this status"},
		"a status of two lines": {dpkgStatus, deb("openssl", "install\n\tok purge installed"),
			"dpkg never writes this status"},
		"a long status": {dpkgStatus, deb("openssl", wide+"purge ok installed"),
			"dpkg never writes this status"},
		"a status of long lines": {dpkgStatus, deb("openssl", "x"+strings.Repeat("\n "+wide, 2)+
			"\n purge ok installed"), "dpkg never writes this status"},
		"letters": {dpkgStatus, deb("openssl", "xdeinstall ok installed"),
			"dpkg is asked to remove openssl"},
		"another case": {dpkgStatus, ok + "Package: x\nInstalled-size: 1\n",
			"line 11: dpkg writes Installed-Size"},
		"no hyphen": {dpkgStatus, "Package: x\nInstalledSize: 1\n",
			"line 2: dpkg writes Installed-Size"},
		"a space": {dpkgStatus, "Package: x\nVersion : 1\n",
			"line 2: dpkg writes Version"},
		"twice": {dpkgStatus, "Package: x\nVersion: 1\nVersion: 2\n",
			"line 3: the field Version occurs twice"},
		"lists of files": {statusDir + "x.md5sums", "purge: 1\npackage: 2\n", ""},
		"another file":   {"var/lib/dpkg/available", "package: x\n", ""},

		"journal":          {updatesDir + "0000", ok, "var/lib/dpkg/updates/0000: dpkg has changes"},
		"empty journal":    {updatesDir + "0000", "", ""},
		"dpkg's own files": {updatesDir + "tmp.i", ok, ""},
		"log": {"usr/lib/sysimage/rpm/rpmdb.sqlite-wal", "x",
			"usr/lib/sysimage/rpm/rpmdb.sqlite-wal: rpm has changes"},
		"rollback":      {"var/lib/rpm/rpmdb.sqlite-journal", "x", "rpm has changes"},
		"empty log":     {"var/lib/rpm/rpmdb.sqlite-wal", "", ""},
		"shared memory": {"var/lib/rpm/rpmdb.sqlite-shm", "x", ""},

		"apk":            {apkDB, musl + "\n" + musl, ""},
		"apk, no origin": {apkDB, "P:a\nV:1\n", ""},
		"an early origin": {apkDB, musl + "P:openssl\no:openssl\nV:1\n",
			"lib/apk/db/installed, line 10: o: comes before P: or V: in the stanza of openssl"},
		"an origin first":    {"usr/" + apkDB, "o:a\nP:a\nV:1\n", "line 1: o: comes"},
		"an origin alone":    {apkDB, musl + "P:a\no:a\n", "o: comes before"},
		"two names":          {apkDB, "P:a\nV:1\nP:b\n", "line 3: P: occurs twice in the stanza of a"},
		"two versions":       {apkDB, "P:a\nV:1\nV:2\n", "V: occurs twice"},
		"two origins":        {apkDB, "P:a\nV:1\no:a\no:b\n", "o: occurs twice"},
		"a short line":       {apkDB, "P:a\nV:1\nx\nP:b\nV:2\no:b\n", ""},
		"a long line":        {apkDB, "P:a\nD:" + wide + "\nV:1\no:a\n", ""},
		"names are bounded":  {apkDB, "P:" + wide + strings.Repeat("x", 10) + "\no:a\n", "of : have"},
		"not UTF-8":          {dpkgStatus, deb("\xff", "purge ok installed"), "remove \uFFFD and"},
		"an apk of nobody's": {"srv/" + apkDB, "o:a\n", ""},
	} {
		for which, r := range map[string]func() error{
			"at once": func() error { return Check(test.path, strings.NewReader(test.text)) },
			"byte for byte": func() error {
				return Check(test.path, iotest.OneByteReader(strings.NewReader(test.text)))
			},
		} {
			err := r()
			if test.fails == "" && err == nil {
				continue
			}
			if test.fails == "" || pratique.KindOf(err) != pratique.Corrupt ||
				!strings.Contains(err.Error(), test.fails) {
				t.Errorf("%s, %s: %v, want %q", name, which, err, test.fails)
			}
		}
	}
	if err := Check(dpkgStatus,
		iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader(ok)))); err == nil ||
		pratique.KindOf(err) != pratique.Unknown {
		t.Errorf("a disk that fails: %v", err)
	}
}

// TestThisMachine: what package managers wrote passes.
func TestThisMachine(t *testing.T) {
	for _, name := range []string{dpkgStatus, apkDB, "usr/" + apkDB} {
		f, err := os.Open("/" + name)
		if err != nil {
			continue
		}
		if err := Check(name, f); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		_ = f.Close() // only read
	}
}

func TestScreen(t *testing.T) {
	ok, odd := deb("bash", "install ok installed"), deb("openssl", "purge ok installed")
	type files = imagetest.Files
	for name, test := range map[string]struct {
		layers     []files
		fails      string
		distroless bool
	}{
		"nothing": {[]files{{"x": "y"}}, "", false},
		"dpkg": {[]files{{dpkgStatus: ok, updatesDir + "0000": "", updatesDir: ""}},
			"", false},
		"distroless":        {[]files{{statusDir + "x": ok, statusDir + "x.md5sums": odd}}, "", true},
		"distroless, empty": {[]files{{statusDir + "x": ok, dpkgStatus: ""}}, "", true},
		"lists of files":    {[]files{{statusDir + "x.md5sums": "x"}}, "", false},
		"both":              {[]files{{statusDir + "x": ok, dpkgStatus: ok}}, "", false},
		"replaced":          {[]files{{dpkgStatus: odd}, {dpkgStatus: ok}}, "", false},
		"removed":           {[]files{{dpkgStatus: odd}, {"var/lib/.wh.dpkg": ""}}, "", false},
		"on top":            {[]files{{dpkgStatus: ok}, {dpkgStatus: odd}}, "remove openssl", false},
		"one of many": {[]files{{statusDir + "a": ok, statusDir + "b": odd}},
			"status.d/b, line 2: dpkg is asked to remove openssl", false},
		"a link": {[]files{{dpkgStatus: imagetest.Symlink + "/opt/db",
			"opt/db": odd}}, "remove openssl", false},
		"a linked directory": {[]files{{"opt/dpkg/status": odd},
			{"var/lib/dpkg": imagetest.Symlink + "../../opt/dpkg"}}, "remove openssl", false},
		"a circle":    {[]files{{dpkgStatus: imagetest.Symlink + "status"}}, "", false},
		"a directory": {[]files{{dpkgStatus + "/x": odd}}, "", false},
		"journal": {[]files{{dpkgStatus: ok, updatesDir + "0001": ok}}, "updates/0001",
			false},
		"rpm": {[]files{{"var/lib/rpm/rpmdb.sqlite": "x",
			"var/lib/rpm/rpmdb.sqlite-wal": "", "var/lib/rpm/rpmdb.sqlite-shm": "x"}}, "", false},
		"log": {[]files{{"usr/share/rpm/rpmdb.sqlite": "x"},
			{"usr/share/rpm/rpmdb.sqlite-wal": "x"}},
			"usr/share/rpm/rpmdb.sqlite-wal: rpm has changes", false},
		"log of no database": {[]files{{"var/lib/rpm/rpmdb.sqlite-wal": "x"}}, "", false},
		"log of a linked file": {[]files{{"var/lib/rpm/rpmdb.sqlite": imagetest.Symlink + "/opt/db",
			"opt/db": "x", "opt/db-journal": "x"}}, "var/lib/rpm/rpmdb.sqlite-journal: rpm", false},
		"log in a linked directory": {[]files{{"usr/lib/sysimage/rpm/rpmdb.sqlite": "x",
			"usr/lib/sysimage/rpm/rpmdb.sqlite-wal": "x",
			"var/lib/rpm": imagetest.Symlink +
				"../../usr/lib/sysimage/rpm"}}, "rpm has changes", false},
		"apk": {[]files{{apkDB: "P:a\no:a\nV:1\n"}}, apkDB + ", line 2", false},
	} {
		img, err := new(filetree.Cache).Image(t.Context(), imagetest.Build(t, test.layers...))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		distroless, err := Screen(img)
		if test.fails != "" {
			if pratique.KindOf(err) != pratique.Corrupt || !strings.Contains(err.Error(), test.fails) {
				t.Errorf("%s: %v, want %q", name, err, test.fails)
			}
		} else if err != nil || distroless != test.distroless {
			t.Errorf("%s: distroless %v, %v", name, distroless, err)
		}
	}
}

// FuzzCheck holds short files against a reader that splits them at blank lines: what passes has no
// stanza of a package that is installed and that an engine leaves out, and no field twice.
func FuzzCheck(f *testing.F) {
	f.Add(deb("bash", "install ok installed") + deb("x", "deinstall ok config-files"))
	f.Add(deb("openssl", "purge ok installed"))
	f.Add("Package: x\nInstalled-size: 1\nVersion: 1\nVersion: 2")
	f.Add("P:a\nV:1\no:a\n\nP:b\no:b\nV:2\n")
	f.Fuzz(func(t *testing.T, text string) {
		errs := map[string]error{}
		for _, name := range []string{dpkgStatus, apkDB, updatesDir + "1"} {
			err := Check(name, strings.NewReader(text))
			if err != nil && (pratique.KindOf(err) != pratique.Corrupt || len(err.Error()) > 1000) {
				t.Errorf("%s: %v", name, err)
			}
			if other := Check(name,
				iotest.HalfReader(strings.NewReader(text))); (err == nil) != (other == nil) {
				t.Errorf("%s: %v, by halves %v", name, err, other)
			}
			errs[name] = err
		}
		if len(text) >= maxLine {
			return
		}
		for stanza := range strings.SplitSeq(text, "\n\n") {
			dpkg, apk := map[string]string{}, map[string]bool{}
			bad := false
			for line := range strings.SplitSeq(stanza, "\n") {
				if field, value, ok := strings.Cut(line, ":"); ok &&
					slices.Contains(knownFields(), field) {
					_, twice := dpkg[field]
					bad = bad || twice
					dpkg[field] = value
				}
				if len(line) < 2 {
					clear(apk)
				} else if field := line[:2]; field == "P:" || field == "V:" || field == "o:" {
					if errs[apkDB] == nil && (apk[field] || field == "o:" && !(apk["P:"] && apk["V:"])) {
						t.Errorf("apk: %q passes", stanza)
					}
					apk[field] = true
				}
			}
			words := strings.Fields(dpkg["Status"])
			bad = bad || slices.Contains(words, "purge") && len(words) == 3 && words[2] == "installed"
			if bad && errs[dpkgStatus] == nil {
				t.Errorf("dpkg: %q passes", stanza)
			}
		}
	})
}
