package policy

import (
	"time"

	"github.com/pratique-dev/pratique"
)

// OSInput is the operating system of the image, as far as it decides which advisories hold. An
// image without one has no family, and is not known.
type OSInput struct {
	Family  string `json:"family"`
	Version string `json:"version"`
	// Packages is the number of packages that its package manager knows.
	Packages int `json:"packages"`
	// Known says that the image names it, Supported that the database has advisories for that
	// release.
	Known     bool `json:"known"`
	Supported bool `json:"supported"`
	// EndOfLife is true if the vendor's support has ended at Now. EndOfLifeAt is RFC 3339, or empty
	// if it does not end or the date is unknown.
	EndOfLife   bool   `json:"endOfLife"`
	EndOfLifeAt string `json:"endOfLifeAt"`
}

// UnmatchedInput are packages of one list that were not matched. Path is empty for a list gathered
// from many files.
type UnmatchedInput struct {
	Class string `json:"class"`
	Type  string `json:"type"`
	Path  string `json:"path"`
	// Name and Version are those of the package, if the reason is version or supplier. They are
	// empty for the many that are counted together.
	Name     string `json:"name"`
	Version  string `json:"version"`
	Packages int    `json:"packages"`
	// Reason is one of unknown-os, unsupported, no-advisories, third-party, foreign-manager,
	// other-root, not-read, version, supplier, failed.
	Reason string `json:"reason"`
}

// DisagreementsInput is how the scanner and the SBOM differ in packages of applications. Compared
// is false if an early version inspected the image. Count counts them all, Packages are some.
type DisagreementsInput struct {
	Compared bool                `json:"compared"`
	Count    int                 `json:"count"`
	Packages []DisagreementInput `json:"packages"`
}

// DisagreementInput is a package that only one of the two has: Only is "scanner" or "sbom".
type DisagreementInput struct {
	Type    string `json:"type"`
	Name    string `json:"name"`
	Version string `json:"version"`
	Only    string `json:"only"`
}

func (s *ScanInput) addCoverage(c pratique.Coverage, compared *pratique.Comparison, now time.Time) {
	s.OS = OSInput{
		Family: c.OS.Family, Version: c.OS.Version, Packages: c.OS.Packages, Known: c.OS.Known,
		Supported: c.OS.Supported,
		EndOfLife: c.OS.EndedAt(now), EndOfLifeAt: stamp(c.OS.EndOfLifeAt),
	}
	s.Unmatched = []UnmatchedInput{}
	s.Disagreements = DisagreementsInput{Packages: []DisagreementInput{}}
	all := c.Unmatched
	if compared != nil {
		all = append(all[:len(all):len(all)], compared.Apart...)
		s.Disagreements.Compared, s.Disagreements.Count = true, compared.Total
		for _, d := range compared.Differences {
			s.Disagreements.Packages = append(s.Disagreements.Packages, DisagreementInput(d))
		}
	}
	for _, u := range all {
		s.Unmatched = append(s.Unmatched, UnmatchedInput{
			Class: string(u.Class), Type: u.Type, Path: u.Path, Name: u.Name, Version: u.Version,
			Packages: u.Packages, Reason: string(u.Reason),
		})
	}
}
