package delta

import "regexp"

// The forms of versions that every scanner can compare. Nearly all versions have one of them.
var (
	npmVersion   = regexp.MustCompile(`^(0|[1-9]\d{0,9})\.(0|[1-9]\d{0,9})\.(0|[1-9]\d{0,9})(-[A-Za-z]+(\.(0|[1-9]\d{0,9}))*)?$`)
	pipVersion   = regexp.MustCompile(`^\d{1,9}(\.\d{1,9})*((a|b|rc|\.post|\.dev)\d{1,9})?$`)
	gemVersion   = regexp.MustCompile(`^\d{1,9}(\.\d{1,9})*$`)
	otherVersion = regexp.MustCompile(`^v?\d{1,9}(\.\d{1,9})*(-[0-9A-Za-z]+([.-][0-9A-Za-z]+)*)?(\+[0-9A-Za-z]+([.-][0-9A-Za-z]+)*)?$`)
)

// Comparable reports whether the scanner can certainly compare a version of a package in a list of
// that type. Only the scanner, which runs elsewhere, knows about other versions. Whether it can
// compare them is part of the coverage of the whole list, so a list with such a package among the
// affected ones is matched as a whole.
func Comparable(listType, version string) bool {
	switch ecosystems[listType] {
	case "maven":
		return version != "" // Maven compares anything
	case "npm", "bitnami":
		return npmVersion.MatchString(version)
	case "pip":
		return pipVersion.MatchString(version)
	case "rubygems", "cocoapods":
		return gemVersion.MatchString(version)
	default:
		return otherVersion.MatchString(version)
	}
}
