package pratique

import (
	"slices"
	"time"
)

// Coverage is for which parts of an inventory the database had advisories. Without it, "no findings"
// could mean that nothing was looked up.
type Coverage struct {
	OS OSCoverage `json:"os"`
	// Unmatched are the packages that were not matched, by the list they are in.
	Unmatched []Unmatched `json:"unmatched,omitempty"`
}

// OSCoverage is the operating system of an image, which decides which advisories apply.
type OSCoverage struct {
	Family  string `json:"family,omitempty"`
	Version string `json:"version,omitempty"`
	// Packages is the number of packages that the image's package manager knows.
	Packages int `json:"packages"`
	// Known says that the image names its operating system, Supported that the database has
	// advisories for that release.
	Known     bool `json:"known"`
	Supported bool `json:"supported"`
	// EndOfLife says whether the vendor's support had ended when the report was made, EndOfLifeAt
	// when it ended or is going to end; zero if that is not known.
	EndOfLife   bool      `json:"endOfLife"`
	EndOfLifeAt time.Time `json:"endOfLifeAt,omitzero"`
}

// EndedAt reports whether the vendor's support had ended at the given time.
func (o OSCoverage) EndedAt(now time.Time) bool {
	return !o.EndOfLifeAt.IsZero() && !now.Before(o.EndOfLifeAt)
}

// Unmatched is a list of packages, or a number of its packages, that were not matched.
type Unmatched struct {
	Class PackageClass `json:"class"`
	Type  string       `json:"type"`
	Path  string       `json:"path,omitempty"`
	// Name and Version are those of the package, if the reason lies in one; cut short if they are
	// long.
	Name     string          `json:"name,omitempty"`
	Version  string          `json:"version,omitempty"`
	Packages int             `json:"packages"`
	Reason   UnmatchedReason `json:"reason"`
}

// UnmatchedReason says why packages were not matched.
type UnmatchedReason string

// The reasons.
const (
	// UnmatchedUnknownOS: the image does not say which operating system its packages belong to.
	UnmatchedUnknownOS UnmatchedReason = "unknown-os"
	// UnmatchedUnsupported: the scanner cannot match packages of this operating system or ecosystem.
	UnmatchedUnsupported UnmatchedReason = "unsupported"
	// UnmatchedNoAdvisories: the database has no advisories for this release or ecosystem.
	UnmatchedNoAdvisories UnmatchedReason = "no-advisories"
	// UnmatchedThirdParty: the packages are not by the vendor of the operating system. They are
	// looked up by name among its advisories, which seldom cover them.
	UnmatchedThirdParty UnmatchedReason = "third-party"
	// UnmatchedForeign: the packages were installed by the package manager of another operating
	// system.
	UnmatchedForeign UnmatchedReason = "foreign-manager"
	// UnmatchedElsewhere: the package database is not where the operating system has it, so the
	// packages belong to another root directory.
	UnmatchedElsewhere UnmatchedReason = "other-root"
	// UnmatchedUnread: the scanner does not read package databases of this kind.
	UnmatchedUnread UnmatchedReason = "not-read"
	// UnmatchedVersion: the scanner cannot compare the version of the package, and there are
	// advisories for packages of that name.
	UnmatchedVersion UnmatchedReason = "version"
	// UnmatchedSupplier: the name says that somebody patched and renamed the package, so the
	// advisories for the original do not match it.
	UnmatchedSupplier UnmatchedReason = "supplier"
	// UnmatchedFailed: the scanner failed on these packages, so nothing is known of them.
	UnmatchedFailed UnmatchedReason = "failed"
)

// Failed reports whether the scanner failed on some of the packages.
func (c Coverage) Failed() bool {
	return slices.ContainsFunc(c.Unmatched, func(u Unmatched) bool { return u.Reason == UnmatchedFailed })
}

// Join adds the coverage of another part of the same inventory.
func (c *Coverage) Join(part Coverage) {
	if part.OS != (OSCoverage{}) {
		c.OS = part.OS
	}
	c.Unmatched = append(c.Unmatched, part.Unmatched...)
}
