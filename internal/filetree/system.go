package filetree

import (
	"path"
	"slices"
	"strings"
)

// IsSystemPath reports whether a path belongs to a package database or identifies the distribution,
// so that it decides about the advisories for an image.
func IsSystemPath(name string) bool {
	switch dir, file := path.Split(name); dir {
	case "etc/", "usr/lib/":
		return strings.HasSuffix(file, "-release") || file == "debian_version" || file == "issue"
	case "var/lib/dpkg/":
		return file == "status" || file == "available"
	case "var/lib/dpkg/status.d/":
		return true
	case "lib/apk/db/", "usr/lib/apk/db/":
		return file == "installed"
	case "etc/apk/":
		return file == "repositories"
	case "var/lib/rpm/", "usr/lib/sysimage/rpm/", "usr/share/rpm/":
		return slices.Contains([]string{"Packages", "Packages.db", "rpmdb.sqlite"}, file)
	case "var/lib/rpmmanifest/":
		return file == "container-manifest-2"
	case "var/lib/ubuntu-advantage/":
		return file == "status.json"
	default:
		return strings.Contains(dir, "-bottlerocket-linux-gnu/sys-root/")
	}
}
