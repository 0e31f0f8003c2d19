//go:build goexperiment.jsonv2

package trivy

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/inspector/imagetest"
)

// TestParseOSRelease: the file is read as a shell reads it.
func TestParseOSRelease(t *testing.T) {
	for text, want := range map[string]osRelease{
		"": {},
		"ID=debian\nVERSION_ID=\"12\"\nID_LIKE='x y'\n": {id: "debian", version: "12",
			like: []string{"x", "y"}, assigns: true},
		"ID=debian\nID=alpine # no\n":                       {id: "alpine", assigns: true},
		"#ID=debian\n# ID=debian\nNAME=x":                   {assigns: true},
		" ID = \"rh\\el\"\r\nVERSION_ID=9.\"3\"\r\n":        {id: "rhel", version: "9.3", assigns: true},
		"VERSION_ID='1 2'\nXID=a\nVERSION_IDS=b\nBUG=x=ID=": {version: "1 2", assigns: true},
	} {
		if diff := cmp.Diff(want, parseOSRelease(text), cmp.AllowUnexported(osRelease{})); diff != "" {
			t.Errorf("%q (-want +got)\n%s", text, diff)
		}
	}
}

// TestReleasesAgree: the release files of real images say the same, in each distribution's own way;
// those that say something else are not believed.
func TestReleasesAgree(t *testing.T) {
	link := func(to string) string { return imagetest.Symlink + to }
	const etc, usr, repositories = "etc/os-release", "usr/lib/os-release", "etc/apk/repositories"
	const debian12, alpine319 = "ID=debian\nVERSION_ID=\"12\"\n", "ID=alpine\nVERSION_ID=3.19.1\n"
	apk := func(release string) string {
		return "https://dl-cdn.alpinelinux.org/alpine/" + release + "/main\n"
	}
	for name, test := range map[string]struct {
		files imagetest.Files
		want  string // the release, or what the error says
	}{
		"debian": {imagetest.Files{usr: debian12, etc: link("../usr/lib/os-release"),
			"etc/debian_version": "12.11\n"}, "debian 12.11"},
		"debian testing": {imagetest.Files{etc: "ID=debian\nVERSION_CODENAME=trixie\n",
			"etc/debian_version": "trixie/sid\n"}, "debian trixie/sid"},
		"debian frozen": {imagetest.Files{etc: "ID=debian\nVERSION_ID=13\n",
			"etc/debian_version": "trixie/sid\n"}, "debian trixie/sid"},
		"no debian_version": {imagetest.Files{etc: debian12}, "debian 12"},
		"no os-release":     {imagetest.Files{"etc/debian_version": "12.11\n"}, "debian 12.11"},
		"no ID": {imagetest.Files{etc: "VERSION_ID=11\n",
			"etc/debian_version": "12.11\n"}, "debian 12.11"},
		"a link to nowhere": {imagetest.Files{etc: link("/dev/null"), usr: debian12,
			"etc/debian_version": "12.11\n"}, "debian 12.11"},
		"raspbian": {imagetest.Files{etc: "ID=raspbian\nID_LIKE=debian\nVERSION_ID=\"12\"\n",
			"etc/debian_version": "12.1\n"}, "debian 12.1"},
		"a derived Debian": {imagetest.Files{etc: "ID=devuan\nID_LIKE=debian\nVERSION_ID=5\n",
			"etc/debian_version": "12.1\n"}, "debian 12.1"},
		"ubuntu": {imagetest.Files{etc: "ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"22.04\"\n",
			"etc/debian_version": "bookworm/sid\n",
			"etc/lsb-release":    "DISTRIB_ID=Ubuntu\nDISTRIB_RELEASE=22.04\n"}, "ubuntu 22.04"},
		"alpine": {imagetest.Files{etc: alpine319, "etc/alpine-release": "3.19.1\n",
			repositories: apk("v3.19")}, "alpine 3.19.1"},
		"alpine and some edge": {imagetest.Files{etc: alpine319, "etc/alpine-release": "3.19.1\n",
			repositories: apk("v3.19") + apk("edge")}, "alpine 3.19.1"},
		"a derived Alpine": {imagetest.Files{etc: "ID=postmarketos\nID_LIKE=alpine\nVERSION_ID=v23.12\n", "etc/alpine-release": "3.19.1\n", repositories: apk("v3.19")}, "alpine 3.19.1"},
		"wolfi": {imagetest.Files{etc: "ID=wolfi\nVERSION_ID=\"20230201\"\n",
			repositories: "https://packages.wolfi.dev/os\n"}, "wolfi 20230201"},
		"red hat":       {imagetest.Files{etc: "ID=\"rhel\"\nID_LIKE=\"fedora\"\nVERSION_ID=\"9.3\"\n", "etc/redhat-release": "Red Hat Enterprise Linux release 9.3 (Plow)\n"}, "redhat 9.3"},
		"centos stream": {imagetest.Files{etc: "NAME=\"CentOS Stream\"\nID=\"centos\"\nVERSION_ID=\"9\"\n", "etc/centos-release": "CentOS Stream release 9\n", "etc/redhat-release": link("centos-release")}, "centos-stream 9"},
		"oracle":        {imagetest.Files{etc: "ID=\"ol\"\nID_LIKE=\"fedora\"\nVERSION_ID=\"8.9\"\n", "etc/oracle-release": "Oracle Linux Server release 8.9\n", "etc/redhat-release": "Red Hat Enterprise Linux release 8.9 (Ootpa)\n"}, "oracle 8.9"},
		"alma":          {imagetest.Files{etc: "ID=\"almalinux\"\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"9.3\"\n", "etc/almalinux-release": "AlmaLinux release 9.3 (Shamrock Pampas Cat)\n"}, "alma 9.3"},
		"scientific":    {imagetest.Files{etc: "ID=\"scientific\"\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"7.9\"\n", "etc/redhat-release": "Scientific Linux release 7.9 (Nitrogen)\n"}, "redhat 7.9"},
		"fedora": {imagetest.Files{etc: "ID=fedora\nVERSION_ID=40\n",
			"etc/fedora-release": "Fedora release 40 (Forty)\n"}, "fedora 40"},
		"amazon 1":    {imagetest.Files{etc: "ID=\"amzn\"\nID_LIKE=\"rhel fedora\"\nVERSION_ID=\"2018.03\"\n", "etc/system-release": "Amazon Linux AMI release 2018.03\n"}, "amazon AMI release 2018.03"},
		"amazon 2":    {imagetest.Files{etc: "ID=\"amzn\"\nID_LIKE=\"centos rhel fedora\"\nVERSION_ID=\"2\"\n", "etc/system-release": "Amazon Linux release 2 (Karoo)\n"}, "amazon 2 (Karoo)"},
		"amazon 2023": {imagetest.Files{etc: "ID=\"amzn\"\nID_LIKE=\"fedora\"\nVERSION_ID=\"2023\"\n", "usr/lib/system-release": "Amazon Linux release 2023.3.20231218 (Amazon Linux)\n"}, "amazon 2023.3.20231218 (Amazon Linux)"},
		"photon":      {imagetest.Files{etc: "ID=photon\nVERSION_ID=4.0\n"}, "photon 4.0"},
		"mariner": {imagetest.Files{etc: "ID=mariner\nVERSION_ID=\"2.0\"\n"},
			"cbl-mariner 2.0"},
		"azure": {imagetest.Files{etc: "ID=azurelinux\nVERSION_ID=\"3.0\"\n"},
			"azurelinux 3.0"},
		"leap":       {imagetest.Files{etc: "ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"\nVERSION_ID=\"15.6\"\n"}, "opensuse-leap 15.6"},
		"tumbleweed": {imagetest.Files{etc: "ID=\"opensuse-tumbleweed\"\nVERSION_ID=\"20240607\"\n"}, "opensuse-tumbleweed 20240607"},
		"sles": {imagetest.Files{etc: "ID=\"sles\"\nID_LIKE=\"suse\"\nVERSION_ID=\"15.6\"\n"},
			"sles 15.6"},
		"micro": {imagetest.Files{etc: "ID=\"sl-micro\"\nID_LIKE=\"suse\"\nVERSION_ID=\"6.0\"\n"},
			"slem 6.0"},
		"void": {imagetest.Files{etc: "ID=void\nNAME=Void\n"}, "void"},
		"slackware": {imagetest.Files{etc: "ID=slackware\nVERSION_ID=15.0\n"},
			"slackware 15.0"},
		"nameless":            {imagetest.Files{etc: "NAME=Nobody\n"}, "linux"},
		"called none":         {imagetest.Files{etc: "ID=none\n"}, "linux"},
		"an empty os-release": {imagetest.Files{etc: ""}, ""},

		"debian 13": {imagetest.Files{etc: debian12,
			"etc/debian_version": "13.0\n"},
			"etc/os-release says debian 12, etc/debian_version says debian 13.0: "},
		"debian 11": {imagetest.Files{usr: debian12,
			"etc/debian_version": "11.7\n"},
			"usr/lib/os-release says debian 12, etc/debian_version says debian 11.7: "},
		"debian with no number": {imagetest.Files{etc: "ID=debian\n",
			"etc/debian_version": "12.11\n"},
			"etc/os-release says debian, etc/debian_version says debian 12.11: "},
		"raspbian 11": {imagetest.Files{etc: "ID=raspbian\nID_LIKE=debian\nVERSION_ID=\"11\"\n",
			"etc/debian_version": "12.1\n"}, "raspbian 11"},
		"ubuntu over debian": {imagetest.Files{etc: debian12,
			"etc/debian_version": "12.11\n",
			"etc/lsb-release":    "DISTRIB_ID=Ubuntu\nDISTRIB_RELEASE=22.04\n"},
			"etc/os-release says debian 12, etc/lsb-release says ubuntu 22.04: "},
		"another ubuntu": {imagetest.Files{etc: "ID=ubuntu\nVERSION_ID=22.04\n",
			"etc/lsb-release": "DISTRIB_ID=Ubuntu\nDISTRIB_RELEASE=22.10\n"},
			"etc/lsb-release says ubuntu 22.10: "},
		"echo over debian": {imagetest.Files{etc: debian12,
			"etc/debian_version": "12.11\n", usr: "ID=echo\nVERSION_ID=1\n"},
			"etc/os-release says debian 12, usr/lib/os-release says echo 1: "},
		"nobody's": {imagetest.Files{etc: "ID=void\n",
			"etc/debian_version": "12.11\n"},
			"etc/os-release says void, etc/debian_version says debian 12.11: "},
		"another amazon": {imagetest.Files{etc: "ID=amzn\nVERSION_ID=2\n",
			"etc/system-release": "Amazon Linux release 2023.3.20231218 (Amazon Linux)\n"},
			"etc/os-release says amzn 2, etc/system-release says amazon 2023.3"},
		"another repository": {imagetest.Files{etc: alpine319,
			"etc/alpine-release": "3.19.1\n", repositories: apk("v3.8")},
			"etc/alpine-release says alpine 3.19.1, etc/apk/repositories says alpine 3.8: "},
		"another repository alone": {imagetest.Files{"etc/alpine-release": "3.19.1\n",
			repositories: apk("v3.8")},
			"etc/alpine-release says alpine 3.19.1, etc/apk/repositories says alpine 3.8: "},
		"a repository of nobody": {imagetest.Files{etc: "ID=void\n", repositories: apk("v3.8")},
			"etc/os-release says void, etc/apk/repositories says alpine 3.8: "},
		"an os-release without end": {imagetest.Files{etc: debian12 +
			strings.Repeat("#", maxOSRelease), "etc/debian_version": "12.11\n"}, "the limit is"},
		"an os-release in a circle": {imagetest.Files{etc: link("b"), "etc/b": link("os-release")},
			"etc/os-release lead in a circle"},
		"what counts is the last ID": {imagetest.Files{etc: "ID=alpine\n" + debian12,
			"etc/alpine-release": "3.19.1\n"},
			"etc/os-release says debian 12, etc/alpine-release says alpine 3.19.1: "},
	} {
		t.Run(name, func(t *testing.T) {
			checkRelease(t, test.want, test.files)
		})
	}
}

// checkRelease checks which release an image is, or what the error says.
func checkRelease(t *testing.T, want string, layers ...imagetest.Files) {
	t.Helper()
	analysis, err := newScanner(t).Analyze(t.Context(), imagetest.Build(t, layers...), nil)
	if err != nil {
		if kind := pratique.KindOf(err); !kind.Permanent() || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
		return
	}
	if os := analysis.Inventory.OS; strings.TrimSpace(os.Family+" "+os.Name) != want {
		t.Errorf("it is %+v, want %s", os, want)
	}
}

// TestReleasesOfLayersAgree has the file that Trivy believes in a layer of its own. Of two in one
// layer it believes the one that it happens to read first, which does no harm if that is
// os-release.
func TestReleasesOfLayersAgree(t *testing.T) {
	const etc = "etc/os-release"
	for name, test := range map[string]struct {
		lower, upper imagetest.Files
		want         string
	}{
		"alpine edge": {imagetest.Files{"etc/alpine-release": "3.22.0_alpha20250108\n"},
			imagetest.Files{etc: "ID=alpine\nVERSION_ID=3.22_alpha20250108\n",
				"etc/apk/repositories": "https://dl-cdn.alpinelinux.org/alpine/edge/main\n"},
			"alpine 3.22.0_alpha20250108"},
		"centos": {imagetest.Files{"etc/centos-release": "CentOS Linux release 7.9.2009 (Core)\n",
			"etc/redhat-release": imagetest.Symlink + "centos-release"},
			imagetest.Files{etc: "ID=\"centos\"\nVERSION_ID=\"7\"\n"}, "centos 7.9.2009"},
		"another red hat": {imagetest.Files{etc: "ID=rhel\nVERSION_ID=8.9\n"},
			imagetest.Files{"etc/redhat-release": "Red Hat Enterprise Linux release 9.3 (Plow)\n"},
			"etc/os-release says rhel 8.9, etc/redhat-release says redhat 9.3: "},
		"another alpine": {imagetest.Files{"etc/alpine-release": "3.8.0\n"},
			imagetest.Files{etc: "ID=alpine\nVERSION_ID=3.19.1\n"},
			"etc/os-release says alpine 3.19.1, etc/alpine-release says alpine 3.8.0: "},
		"red hat over debian": {imagetest.Files{etc: debianRelease,
			"etc/debian_version": "12.11\n"},
			imagetest.Files{"etc/redhat-release": "Red Hat Enterprise Linux release 9.4 (Plow)\n"},
			"etc/os-release says debian 12, etc/redhat-release says redhat 9.4: "},
	} {
		t.Run(name, func(t *testing.T) { checkRelease(t, test.want, test.lower, test.upper) })
	}
}

// TestReleaseOfAnUpperLayer: what counts is what the image shows in the end, also of layers that
// are known.
func TestReleaseOfAnUpperLayer(t *testing.T) {
	base := imagetest.Files{"etc/os-release": debianRelease, "etc/debian_version": "12.5\n"}
	for range 2 {
		if inv := analyze(t, imagetest.Build(t, base)); inv.OS.Name != "12.5" {
			t.Errorf("the base is %+v", inv.OS)
		}
		upgraded := imagetest.Files{"etc/os-release": "ID=debian\nVERSION_ID=13\n",
			"etc/debian_version": "13.1\n"}
		if inv := analyze(t, imagetest.Build(t, base, upgraded)); inv.OS.Name != "13.1" {
			t.Errorf("upgraded it is %+v", inv.OS)
		}
		half := imagetest.Files{"etc/debian_version": "13.1\n"}
		if _, err := newScanner(t).Analyze(t.Context(), imagetest.Build(t, base, half),
			nil); pratique.KindOf(err) != pratique.Corrupt {
			t.Errorf("with another debian_version: %v", err)
		}
	}
}

// TestReleasesOfTheTable: every family that is matched has an ID that means it.
func TestReleasesOfTheTable(t *testing.T) {
	for _, id := range []string{
		"almalinux", "alpine", "amzn", "azurelinux", "bottlerocket", "centos", "chainguard",
		"debian", "echo", "mariner", "minimos", "ol",
		"opensuse", "opensuse-leap", "opensuse-tumbleweed", "photon", "rhel", "rocky", "sl-micro",
		"sles", "ubuntu", "wolfi",
	} {
		families := familiesOf(id)
		if len(families) == 0 {
			t.Errorf("%s is not in the table", id)
			continue
		}
		if _, ok := releaseOf(pratique.OS{Family: families[0], Name: "1"}); !ok {
			t.Errorf("%s means %v, which is not matched", id, families)
		}
	}
	if said := (osRelease{id: "x",
		like: []string{"rhel"}}); said.agrees(pratique.OS{Family: "redhat", Name: "9"}) {
		t.Error("a version that is missing agrees")
	}
}
