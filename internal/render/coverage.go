package render

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/display"
)

// system describes the operating system of an image. It is empty if there is none and there are no
// packages of one.
func system(img Image) string {
	c := img.Report.Coverage
	switch {
	case c == nil || !c.OS.Known && c.OS.Packages == 0:
		return ""
	case !c.OS.Known:
		return "unknown"
	}
	words := display.Line(c.OS.Family + " " + c.OS.Version)
	switch end := c.OS.EndOfLifeAt; {
	case !c.OS.Supported:
		words += ", no advisories"
	case c.OS.EndOfLife:
		words += ", out of support since " + end.Format(time.DateOnly)
	case !end.IsZero():
		words += ", supported until " + end.Format(time.DateOnly)
	}
	return words
}

// gaps list what was not matched, so that "no findings" is not misread.
func gaps(img Image) []string {
	var all []string
	unmatched := slices.Clone(img.Compared.Apart)
	if c := img.Report.Coverage; c != nil {
		unmatched = append(slices.Clone(c.Unmatched), unmatched...)
		if c.OS.Known && c.OS.Packages == 0 {
			all = append(all, fmt.Sprintf("there is no package of %s in the image",
				display.Line(c.OS.Family+" "+c.OS.Version)))
		}
	}
	for _, u := range unmatched {
		where := display.Line(u.Type)
		if u.Name != "" {
			where = display.Line(strings.TrimSpace(u.Name+" "+u.Version)) + ", " + where
		}
		if u.Path != "" {
			where += " in " + display.Line(u.Path)
		}
		if where = " (" + where + ")"; u.Type == "none" && u.Path == "" { // no operating system is known
			where = ""
		}
		all = append(all, fmt.Sprintf("%s not matched%s: %s", count(u.Packages, "package"), where,
			because(u.Reason)))
	}
	if n := img.Compared.Total; n > 0 {
		all = append(all, fmt.Sprintf("the scanner and the SBOM differ in %s", count(n, "package")))
	}
	return all
}

func because(reason pratique.UnmatchedReason) string {
	switch reason {
	case pratique.UnmatchedUnknownOS:
		return "the operating system of the image is unknown"
	case pratique.UnmatchedUnsupported:
		return "the scanner cannot match them"
	case pratique.UnmatchedNoAdvisories:
		return "the database has no advisories for them"
	case pratique.UnmatchedThirdParty:
		return "they are not by the vendor of the operating system"
	case pratique.UnmatchedForeign:
		return "the package manager of another operating system installed them"
	case pratique.UnmatchedElsewhere:
		return "their package database is not where the operating system has it"
	case pratique.UnmatchedUnread:
		return "the scanner does not read package databases of this kind"
	case pratique.UnmatchedVersion:
		return "the scanner cannot compare their version with those of advisories"
	case pratique.UnmatchedSupplier:
		return "its name says that somebody patched and renamed it"
	default:
		return display.Line(string(reason))
	}
}
