package render

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/display"
)

// system is the operating system of an image in words; empty if it has none and no packages of one.
func system(img Image) string {
	c := img.Report.Coverage
	switch {
	case c == nil || !c.OS.Known && c.OS.Packages == 0:
		return ""
	case !c.OS.Known:
		return "not known"
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

// gaps are what is to be known before "no findings" is taken for good news.
func gaps(img Image) []string {
	var all []string
	unmatched := slices.Clone(img.Compared.Apart)
	if c := img.Report.Coverage; c != nil {
		unmatched = append(slices.Clone(c.Unmatched), unmatched...)
		if c.OS.Known && c.OS.Packages == 0 {
			all = append(all, fmt.Sprintf("there is no package of %s in the image", display.Line(c.OS.Family+" "+c.OS.Version)))
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
		all = append(all, fmt.Sprintf("%s not matched%s: %s", count(u.Packages, "package"), where, because(u.Reason)))
	}
	if n := img.Compared.Total; n > 0 {
		all = append(all, fmt.Sprintf("the scanner and the SBOM differ in %s", count(n, "package")))
	}
	return all
}

func because(reason pratique.UnmatchedReason) string {
	switch reason {
	case pratique.UnmatchedUnknownOS:
		return "the image does not say of which operating system they are"
	case pratique.UnmatchedUnsupported:
		return "the scanner cannot match them"
	case pratique.UnmatchedNoAdvisories:
		return "the database has no advisories for them"
	case pratique.UnmatchedThirdParty:
		return "the vendor of the operating system did not make them"
	case pratique.UnmatchedForeign:
		return "another package manager than that of the operating system installed them"
	case pratique.UnmatchedElsewhere:
		return "their package database does not lie where the operating system has it"
	case pratique.UnmatchedUnread:
		return "the scanner does not read package databases of this kind"
	case pratique.UnmatchedVersion:
		return "the scanner cannot compare the version with that of advisories"
	case pratique.UnmatchedSupplier:
		return "by its name somebody patched and renamed it"
	default:
		return display.Line(string(reason))
	}
}
