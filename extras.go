package pratique

// ExtraKind is something besides packages that an inspection can look for. All are off by default.
type ExtraKind string

// The kinds of extra findings.
const (
	ExtraSecrets           ExtraKind = "secrets"
	ExtraMisconfigurations ExtraKind = "misconfigurations"
	ExtraLicenses          ExtraKind = "licenses"
)

// ExtraKinds returns every kind, in the order in which lists of them are written.
func ExtraKinds() []ExtraKind {
	return []ExtraKind{ExtraSecrets, ExtraMisconfigurations, ExtraLicenses}
}

// Extras are the findings of one platform image that are not vulnerabilities. Only the kinds in
// Kinds were looked for; the lists of other kinds are empty and mean nothing.
type Extras struct {
	Scanner Tool `json:"scanner"`
	// Kinds is in the order of [ExtraKinds].
	Kinds             []ExtraKind        `json:"kinds"`
	Secrets           []Secret           `json:"secrets"`
	Misconfigurations []Misconfiguration `json:"misconfigurations"`
	Licenses          []License          `json:"licenses"`
}

// ExtraCounts is the number of extra findings of each kind.
type ExtraCounts struct {
	Secrets           int `json:"secrets"`
	Misconfigurations int `json:"misconfigurations"`
	Licenses          int `json:"licenses"`
}

// Counts returns the number of findings of each kind.
func (e Extras) Counts() ExtraCounts {
	return ExtraCounts{Secrets: len(e.Secrets), Misconfigurations: len(e.Misconfigurations),
		Licenses: len(e.Licenses)}
}

// Secret is a place in an image that looks like a credential. It never contains the credential.
type Secret struct {
	// Rule is the scanner's id of the pattern, Category the service of the credential:
	// "aws-access-key-id", "AWS".
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

// Misconfiguration is a failed check of a configuration file in an image, or of the image's own
// configuration.
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

// License is a license of one package, as the scanner classifies it.
type License struct {
	// Name is an SPDX id or expression where the scanner knows one.
	Name string `json:"name"`
	// Category is "forbidden", "restricted", "reciprocal", "notice", "permissive", "unencumbered" or
	// "unknown". The scanner derives Severity from it.
	Category string   `json:"category"`
	Severity Severity `json:"severity"`
	Package  string   `json:"package"`
	// Path is the file with the license, empty for packages of the operating system.
	Path string `json:"path,omitempty"`
}

// MediaTypeExtras is that of the document with the extra findings.
const MediaTypeExtras = "application/vnd.pratique.extras+json"
