package database

import "regexp"

// The versions that every scanner compares. They are nearly all that there are.
var (
	npmVersion   = regexp.MustCompile(`^(0|[1-9]\d{0,9})\.(0|[1-9]\d{0,9})\.(0|[1-9]\d{0,9})(-[A-Za-z]+(\.(0|[1-9]\d{0,9}))*)?$`)
	pipVersion   = regexp.MustCompile(`^\d{1,9}(\.\d{1,9})*((a|b|rc|\.post|\.dev)\d{1,9})?$`)
	gemVersion   = regexp.MustCompile(`^\d{1,9}(\.\d{1,9})*$`)
	otherVersion = regexp.MustCompile(`^v?\d{1,9}(\.\d{1,9})*(-[0-9A-Za-z]+([.-][0-9A-Za-z]+)*)?(\+[0-9A-Za-z]+([.-][0-9A-Za-z]+)*)?$`)
)

// Comparable says whether a version of a package in a list of some type is one that the scanner certainly compares.
// Only the scanner, which runs elsewhere, can say whether it compares another one. That decides about the
// coverage, which is the whole list's, so a list with such a package among the concerned is matched as a whole.
func Comparable(listType, version string) bool {
	switch ecosystems[listType] {
	case "maven":
		return version != "" // it takes everything
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
