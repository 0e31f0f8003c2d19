//go:build goexperiment.jsonv2

package trivy

import (
	"slices"
	"strings"

	"github.com/aquasecurity/trivy/pkg/detector/ospkg/version"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/filetree"
)

// Trivy reads the release of each distribution from one file, and if an image has several of them,
// one wins. A file that differs, perhaps on purpose, would make Trivy match the image against the
// wrong advisories. So Trivy's release is compared with os-release, which every distribution has.

// checkRelease compares Trivy's release with os-release, and names a distribution that Trivy does
// not know. If they contradict each other, the error is Corrupt.
func (s *Scanner) checkRelease(img *filetree.Image, d *ftypes.ArtifactDetail) error {
	own, err := s.osRelease(img)
	if err != nil {
		return err
	}
	os := toOS(*d)
	if os.Family == "" || os.Family == familyNone {
		if name := own.name(); name != "" {
			// There are no advisories, but the image does have a distribution.
			d.OS.Family, d.OS.Name = ftypes.OSType(name), own.version
		}
		return nil
	}
	from, err := source(img, os.Family, own.path)
	switch {
	case err != nil:
		return err
	case own.id != "" && !own.agrees(os):
		return errContradiction(own.path, own.id, own.version, from, os.Family, os.Name)
	case os.Family == string(ftypes.Alpine) && isNumber(os.RepositoryRelease) &&
		!sameRelease(os.Family, os.Name, os.RepositoryRelease):
		// The edge release has the advisories of all others; other names that are not numbers have
		// none.
		return errContradiction(from, os.Family, os.Name, "etc/apk/repositories",
			os.RepositoryFamily, os.RepositoryRelease)
	default:
		return nil
	}
}

func errContradiction(file, family, name, other, otherFamily, otherName string) error {
	const most = 100 // bytes of each text, which are the image's
	describe := func(family, name string) string {
		return pratique.Excerpt(family, most) + " " + pratique.Excerpt(name, most)
	}
	return pratique.Errorf(pratique.Corrupt, "compare releases",
		"%s says %s, %s says %s: it is not known which advisories apply",
		file, strings.TrimSpace(describe(family, name)), other,
		strings.TrimSpace(describe(otherFamily, otherName)))
}

// agrees reports whether the file means Trivy's release.
func (r osRelease) agrees(os pratique.OS) bool {
	own := familiesOf(r.id)
	derived := len(own) == 0 && slices.ContainsFunc(r.like, func(id string) bool {
		return slices.Contains(familiesOf(id), os.Family)
	})
	switch family := ftypes.OSType(os.Family); {
	case !derived && !slices.Contains(own, os.Family):
		return false
	case family == ftypes.Debian && !isNumber(os.Name):
		return true // unreleased Debian, "trixie/sid", has no advisories
	case derived && r.id != "raspbian" &&
		slices.Contains([]ftypes.OSType{ftypes.Debian, ftypes.Ubuntu, ftypes.Alpine}, family):
		return true // it has its own versions; Trivy's release is the one it is derived from
	default:
		return sameRelease(os.Family, r.version, os.Name)
	}
}

// sameRelease reports whether two versions have the same advisories.
func sameRelease(family, a, b string) bool {
	at := func(name string) []string {
		if family == string(ftypes.Alpine) {
			name, _, _ = strings.Cut(name, "_") // 3.22.0_alpha20250108 becomes 3.22
		}
		r, ok := releaseOf(pratique.OS{Family: family, Name: name})
		if !ok || isRedHat(family) {
			return []string{version.Major(name)}
		}
		return r.buckets
	}
	return slices.Equal(at(a), at(b))
}

func isNumber(release string) bool { return release != "" && release[0] >= '0' && release[0] <= '9' }

// familiesOf returns the names that Trivy may give to a distribution with that ID; none if it does
// not know it.
func familiesOf(id string) []string {
	switch id {
	case "almalinux":
		return []string{string(ftypes.Alma)}
	case "amzn":
		return []string{string(ftypes.Amazon)}
	case "centos":
		return []string{string(ftypes.CentOS), string(ftypes.CentOSStream)}
	case "mariner":
		return []string{string(ftypes.CBLMariner)}
	case "ol":
		return []string{string(ftypes.Oracle)}
	case "opensuse":
		return []string{string(ftypes.OpenSUSELeap)}
	case "rhel":
		return []string{string(ftypes.RedHat)}
	case "sle-micro", "sl-micro", "sle-micro-rancher":
		return []string{string(ftypes.SLEMicro)}
	}
	switch ftypes.OSType(id) {
	case ftypes.ActiveState, ftypes.Alpine, ftypes.Azure, ftypes.Bottlerocket, ftypes.Chainguard,
		ftypes.CoreOS, ftypes.Debian, ftypes.Echo, ftypes.Fedora, ftypes.MinimOS, ftypes.OpenSUSELeap,
		ftypes.OpenSUSETumbleweed, ftypes.Photon, ftypes.Rocky, ftypes.SLES, ftypes.Ubuntu,
		ftypes.Wolfi:
		return []string{id}
	default:
		return nil
	}
}

// source returns the file from which Trivy read a distribution, other than the one named but. Trivy
// does not tell, so it is the first that exists.
func source(img *filetree.Image, family, but string) (string, error) {
	var all []string
	switch ftypes.OSType(family) {
	case ftypes.Alma:
		all = []string{"etc/almalinux-release", "etc/redhat-release"}
	case ftypes.Alpine:
		all = []string{"etc/alpine-release"}
	case ftypes.Amazon:
		all = []string{"etc/system-release", "usr/lib/system-release"}
	case ftypes.CentOS:
		all = []string{"etc/centos-release", "etc/redhat-release"}
	case ftypes.Debian:
		all = []string{"etc/debian_version"}
	case ftypes.Fedora:
		all = []string{"etc/fedora-release", "usr/lib/fedora-release", "etc/redhat-release"}
	case ftypes.Oracle:
		all = []string{"etc/oracle-release", "etc/redhat-release"}
	case ftypes.RedHat:
		all = []string{"etc/redhat-release"}
	case ftypes.Rocky:
		all = []string{"etc/rocky-release", "etc/redhat-release"}
	case ftypes.Ubuntu:
		all = []string{"etc/lsb-release"}
	}
	for _, name := range slices.Concat(all, osReleasePaths(), []string{"etc/apk/repositories"}) {
		if name == but {
			continue
		}
		if f, err := regular(img, name); f != nil || err != nil {
			return name, err
		}
	}
	return "another file", nil
}
