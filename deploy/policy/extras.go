package policy

import (
	"slices"

	"github.com/pratique-dev/pratique"
)

// ScannedInput says of each section whether it was looked for.
type ScannedInput struct {
	Secrets           bool `json:"secrets"`
	Misconfigurations bool `json:"misconfigurations"`
	Licenses          bool `json:"licenses"`
}

// SecretInput is a place that looks like a credential; Path is empty for the image's configuration.
type SecretInput struct {
	Rule      string `json:"rule"`
	Category  string `json:"category"`
	Title     string `json:"title"`
	Severity  string `json:"severity"`
	Path      string `json:"path"`
	StartLine int    `json:"startLine"`
	Match     string `json:"match"`
}

// MisconfigurationInput is a check that failed; Path is empty for the image's configuration.
type MisconfigurationInput struct {
	ID        string `json:"id"`
	Type      string `json:"type"`
	Title     string `json:"title"`
	Message   string `json:"message"`
	Severity  string `json:"severity"`
	Path      string `json:"path"`
	StartLine int    `json:"startLine"`
}

// LicenseInput is a license of one package; Category is "forbidden", "restricted", "reciprocal",
// "notice", "permissive", "unencumbered" or "unknown".
type LicenseInput struct {
	Name     string `json:"name"`
	Category string `json:"category"`
	Severity string `json:"severity"`
	Package  string `json:"package"`
	Path     string `json:"path"`
}

// complete reports whether the extras are those that the inspection says it looked for.
func complete(scanned []pratique.ExtraKind, found *pratique.Extras) bool {
	if found == nil {
		return len(scanned) == 0
	}
	return slices.Equal(scanned, found.Kinds)
}

// addExtras fills the lists; every one is there, empty if its section was not looked for.
func (s *ScanInput) addExtras(found *pratique.Extras) {
	s.Secrets, s.Misconfigurations, s.Licenses = []SecretInput{}, []MisconfigurationInput{},
		[]LicenseInput{}
	if found == nil {
		return
	}
	s.Scanned = ScannedInput{
		Secrets:           slices.Contains(found.Kinds, pratique.ExtraSecrets),
		Misconfigurations: slices.Contains(found.Kinds, pratique.ExtraMisconfigurations),
		Licenses:          slices.Contains(found.Kinds, pratique.ExtraLicenses),
	}
	for _, f := range found.Secrets {
		s.Secrets = append(s.Secrets, SecretInput{
			Rule: f.Rule, Category: f.Category, Title: f.Title, Severity: f.Severity.String(),
			Path:      f.Path,
			StartLine: f.StartLine, Match: f.Match,
		})
	}
	for _, f := range found.Misconfigurations {
		s.Misconfigurations = append(s.Misconfigurations, MisconfigurationInput{
			ID: f.ID, Type: f.Type, Title: f.Title, Message: f.Message,
			Severity: f.Severity.String(), Path: f.Path, StartLine: f.StartLine,
		})
	}
	for _, f := range found.Licenses {
		s.Licenses = append(s.Licenses, LicenseInput{
			Name: f.Name, Category: f.Category, Severity: f.Severity.String(), Package: f.Package,
			Path: f.Path,
		})
	}
}
