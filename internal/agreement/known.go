package agreement

import (
	"path"
	"slices"
	"strings"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/sbom"
)

// Known differences of the two tools, with the reason why neither is wrong. Each can keep a package
// from being compared, so each is as narrow as possible.

// managers are the types of packages that an operating system's package manager installs.
var managers = map[string]bool{"deb": true, "apk": true, "rpm": true, "alpm": true, "portage": true}

// notInstalled returns why an entry of the catalog is not an installed package; empty if it is one.
func notInstalled(e sbom.Entry) string {
	switch {
	case isKey(e.Name):
		return "gpg-pubkey is a key that rpm keeps among its packages: it has the day it was made for a version, and some readers leave it out"
	case e.Type == "deb" && (e.Version == "" || e.Version == "UNKNOWN"):
		return "dpkg keeps stanzas of packages that it knows and that are not installed, without a version: the generator makes one up"
	}
	return ""
}

// scannerAlone returns why only the scanner has a package of the operating system; empty if the
// generator must have it, too.
func scannerAlone(os pratique.OS, p pratique.Package) string {
	switch {
	case isKey(p.Name):
		return "gpg-pubkey, see above"
	case isSBOM(p.FilePath):
		return "the scanner also reads SBOMs that lie in an image, as those of Wolfi do: the generator reads what is installed"
	case os.Family == "bottlerocket":
		return "the generator does not read Bottlerocket's inventory"
	}
	return ""
}

// catalogLacksDebian reports whether the generator found none of a Debian's packages. For the files
// of distroless images (var/lib/dpkg/status.d) it only searches directories with an entry in a
// layer, and a layer need not have one. All these packages are matched, and the gap in the SBOM
// counts as a difference. In other images the generator failed to read the database.
func catalogLacksDebian(os pratique.OS, theirs map[system]bool) bool {
	manager, _ := managerOf(os.Family)
	return manager == "deb" && len(theirs) == 0
}

func isKey(name string) bool { return name == "gpg-pubkey" }

// isSBOM reports whether a path is that of an SBOM from which the scanner takes packages. The path
// of the package itself may follow.
func isSBOM(file string) bool {
	for _, suffix := range []string{".spdx", ".spdx.json", ".cdx", ".cdx.json"} {
		if strings.HasSuffix(file, suffix) || strings.Contains(file, suffix+"/") {
			return true
		}
	}
	return false
}

// separateReason returns why an installed package is not one that the scanner has to list; empty if
// it is one.
func separateReason(e sbom.Entry, os pratique.OS) pratique.UnmatchedReason {
	switch manager, known := managerOf(os.Family); {
	case e.Type == "alpm" || e.Type == "portage" || isOpkg(e.Path) || isOpkg(e.RealPath):
		// The scanner does not read the databases of Arch, Gentoo and OpenWrt, and has no
		// advisories for them.
		return pratique.UnmatchedUnread
	case !inPlace(e.Type, e.Path) && !inPlace(e.Type, e.RealPath):
		// The generator reads every file of that name; an image may contain another root file
		// system.
		return pratique.UnmatchedElsewhere
	case known && manager != e.Type:
		return pratique.UnmatchedForeign
	}
	return ""
}

func isOpkg(file string) bool { return strings.Contains(file, "/opkg/") }

// inPlace reports whether a package database is where the operating system has it, which is where
// the scanner reads it.
func inPlace(manager, file string) bool {
	file = strings.TrimPrefix(file, "/")
	dir, name := path.Split(file)
	switch manager {
	case "deb":
		return file == "var/lib/dpkg/status" || dir == "var/lib/dpkg/status.d/"
	case "apk":
		return name == "installed" && (dir == "lib/apk/db/" || dir == "usr/lib/apk/db/")
	case "rpm":
		return (dir == "var/lib/rpm/" || dir == "usr/lib/sysimage/rpm/") &&
			slices.Contains([]string{"Packages", "Packages.db", "rpmdb.sqlite"}, name) ||
			file == "usr/share/rpm/rpmdb.sqlite" || file == "var/lib/rpmmanifest/container-manifest-2"
	}
	return false
}

// managerOf returns the package manager of a family of operating systems.
func managerOf(family string) (manager string, known bool) {
	switch family {
	case "debian", "ubuntu", "echo":
		return "deb", true
	case "alpine", "chainguard", "minimos", "wolfi":
		return "apk", true
	case "alma", "amazon", "azurelinux", "cbl-mariner", "centos", "centos-stream", "coreos", "fedora", "opensuse", "opensuse-leap",
		"opensuse-tumbleweed", "oracle", "photon", "redhat", "rocky", "slem", "sles":
		return "rpm", true
	}
	return "", false
}
