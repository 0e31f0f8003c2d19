package agreement

import (
	"path"
	"slices"
	"strings"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/sbom"
)

// What the two tools are known to tell differently, with the reason why neither is wrong. Each is a way to keep a package
// from being compared, so each is as narrow as it can be.

// managers are the types of packages that an operating system's package manager installs.
var managers = map[string]bool{"deb": true, "apk": true, "rpm": true, "alpm": true, "portage": true}

// notInstalled says why an entry of the catalog is no installed package; empty if it is one.
func notInstalled(e sbom.Entry) string {
	switch {
	case isKey(e.Name):
		return "gpg-pubkey is a key that rpm keeps among its packages: it has the day it was made for a version, and some readers leave it out"
	case e.Type == "deb" && (e.Version == "" || e.Version == "UNKNOWN"):
		return "dpkg keeps stanzas of packages that it knows and that are not installed, without a version: the generator makes one up"
	}
	return ""
}

// scannerAlone says why only the scanner has a package of the operating system; empty if the generator has to have it, too.
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

// catalogLacksDebian says whether the generator saw none of the packages of a Debian. It looks for the files of distroless images
// (var/lib/dpkg/status.d) in directories that a layer has an entry for, and a layer need not have any. All of these packages
// are matched, and what the SBOM lacks counts as a difference. In other images the generator failed at the database.
func catalogLacksDebian(os pratique.OS, theirs map[system]bool) bool {
	manager, _ := managerOf(os.Family)
	return manager == "deb" && len(theirs) == 0
}

func isKey(name string) bool { return name == "gpg-pubkey" }

// isSBOM says whether a path is that of a document from which the scanner takes packages. What it says of the path of the
// package itself may follow.
func isSBOM(file string) bool {
	for _, suffix := range []string{".spdx", ".spdx.json", ".cdx", ".cdx.json"} {
		if strings.HasSuffix(file, suffix) || strings.Contains(file, suffix+"/") {
			return true
		}
	}
	return false
}

// separateReason says why an installed package is none of those that the scanner has to list; empty if it is one.
func separateReason(e sbom.Entry, os pratique.OS) pratique.UnmatchedReason {
	switch manager, known := managerOf(os.Family); {
	case e.Type == "alpm" || e.Type == "portage" || isOpkg(e.Path) || isOpkg(e.RealPath):
		// The databases of Arch, Gentoo and OpenWrt. The scanner has no reader for them, and no advisories.
		return pratique.UnmatchedUnread
	case !inPlace(e.Type, e.Path) && !inPlace(e.Type, e.RealPath):
		// The generator takes every file of that name for a database, wherever it lies; an image may hold another root.
		return pratique.UnmatchedElsewhere
	case known && manager != e.Type:
		return pratique.UnmatchedForeign
	}
	return ""
}

func isOpkg(file string) bool { return strings.Contains(file, "/opkg/") }

// inPlace says whether a package database lies where the operating system has it, which is where the scanner reads it.
func inPlace(manager, file string) bool {
	file = strings.TrimPrefix(file, "/")
	dir, name := path.Split(file)
	switch manager {
	case "deb":
		return file == "var/lib/dpkg/status" || dir == "var/lib/dpkg/status.d/"
	case "apk":
		return name == "installed" && (dir == "lib/apk/db/" || dir == "usr/lib/apk/db/")
	case "rpm":
		return (dir == "var/lib/rpm/" || dir == "usr/lib/sysimage/rpm/") && slices.Contains([]string{"Packages", "Packages.db", "rpmdb.sqlite"}, name) ||
			file == "usr/share/rpm/rpmdb.sqlite" || file == "var/lib/rpmmanifest/container-manifest-2"
	}
	return false
}

// managerOf is the package manager of a family of operating systems.
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
