package pratique

// Section is something that an inspection can look for beside packages. All are off unless they are asked for.
type Section string

// The sections.
const (
	SectionSecrets           Section = "secrets"
	SectionMisconfigurations Section = "misconfigurations"
	SectionLicences          Section = "licences"
)

// AllSections returns every section, in the order in which lists of them are written.
func AllSections() []Section {
	return []Section{SectionSecrets, SectionMisconfigurations, SectionLicences}
}

// Sections is what was found in one platform image beside packages. Only what Scanned names was looked for: the
// list of another section is empty and says nothing.
type Sections struct {
	Scanner Tool `json:"scanner"`
	// Scanned is in the order of [AllSections].
	Scanned           []Section          `json:"scanned"`
	Secrets           []Secret           `json:"secrets"`
	Misconfigurations []Misconfiguration `json:"misconfigurations"`
	Licences          []Licence          `json:"licences"`
}

// SectionCounts is the number of findings of a report's sections.
type SectionCounts struct {
	Secrets           int `json:"secrets"`
	Misconfigurations int `json:"misconfigurations"`
	Licences          int `json:"licences"`
}

// Counts returns the number of findings of each section.
func (s Sections) Counts() SectionCounts {
	return SectionCounts{Secrets: len(s.Secrets), Misconfigurations: len(s.Misconfigurations), Licences: len(s.Licences)}
}

// Secret is a place in an image that looks like a credential. It never holds the credential.
type Secret struct {
	// Rule is the scanner's id of what it looks like, Category whose it would be: "aws-access-key-id", "AWS".
	Rule     string   `json:"rule"`
	Category string   `json:"category"`
	Title    string   `json:"title"`
	Severity Severity `json:"severity"`
	// Path is the file, empty for the image's configuration. Lines count from 1.
	Path      string `json:"path"`
	StartLine int    `json:"startLine,omitempty"`
	EndLine   int    `json:"endLine,omitempty"`
	// Match is the line with the credential masked by asterisks.
	Match string  `json:"match"`
	Layer LayerID `json:"layer,omitzero"`
}

// Misconfiguration is a check that a configuration file in an image, or the image's own configuration, fails.
type Misconfiguration struct {
	// ID is the scanner's: "DS-0002". Type is the kind of the file: "dockerfile", "kubernetes".
	ID          string   `json:"id"`
	Type        string   `json:"type"`
	Title       string   `json:"title"`
	Description string   `json:"description,omitempty"`
	Message     string   `json:"message"`
	Resolution  string   `json:"resolution,omitempty"`
	Severity    Severity `json:"severity"`
	PrimaryURL  string   `json:"primaryURL,omitempty"`
	// Path is the file, empty for the image's configuration. Lines count from 1.
	Path      string  `json:"path"`
	StartLine int     `json:"startLine,omitempty"`
	EndLine   int     `json:"endLine,omitempty"`
	Layer     LayerID `json:"layer,omitzero"`
}

// Licence is a licence of one package, as the scanner classes it.
type Licence struct {
	// Name is an SPDX id or expression where the scanner knows one.
	Name string `json:"name"`
	// Category is "forbidden", "restricted", "reciprocal", "notice", "permissive", "unencumbered" or "unknown";
	// Severity is what the scanner makes of it, critical to low and unknown.
	Category string   `json:"category"`
	Severity Severity `json:"severity"`
	Package  string   `json:"package"`
	// Path is the file that says so, empty for packages of the operating system.
	Path string `json:"path,omitempty"`
}

// MediaTypeSections is that of the document about the sections.
const MediaTypeSections = "application/vnd.pratique.sections+json"
