package database

import "regexp"

// The versions that every scanner compares. They are nearly all that there are.
var (
	plainNpm   = regexp.MustCompile(`^(0|[1-9]\d{0,9})\.(0|[1-9]\d{0,9})\.(0|[1-9]\d{0,9})(-[A-Za-z]+(\.(0|[1-9]\d{0,9}))*)?$`)
	plainPip   = regexp.MustCompile(`^\d{1,9}(\.\d{1,9})*((a|b|rc|\.post|\.dev)\d{1,9})?$`)
	plainGem   = regexp.MustCompile(`^\d{1,9}(\.\d{1,9})*$`)
	plainOther = regexp.MustCompile(`^v?\d{1,9}(\.\d{1,9})*(-[0-9A-Za-z]+([.-][0-9A-Za-z]+)*)?(\+[0-9A-Za-z]+([.-][0-9A-Za-z]+)*)?$`)
)

// Plain says whether a version of a package in a list of some type is one that the scanner certainly compares.
// Only the scanner, which runs elsewhere, can say whether it compares another one. That decides about the
// coverage, which is the whole list's, so a list with such a package among the concerned is matched as a whole.
func Plain(listType, version string) bool {
	switch ecosystems[listType] {
	case "maven":
		return version != "" // it takes everything
	case "npm", "bitnami":
		return plainNpm.MatchString(version)
	case "pip":
		return plainPip.MatchString(version)
	case "rubygems", "cocoapods":
		return plainGem.MatchString(version)
	default:
		return plainOther.MatchString(version)
	}
}
