package pratique

// ExtraKind is something that an inspection can look for besides packages. All are off unless they are asked for.
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

// Extras are the findings in one platform image that are not about vulnerable packages. Only what Kinds names was
// looked for: the list of another kind is empty and says nothing.
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
	return ExtraCounts{Secrets: len(e.Secrets), Misconfigurations: len(e.Misconfigurations), Licenses: len(e.Licenses)}
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

// License is a license of one package, as the scanner classes it.
type License struct {
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

// MediaTypeExtras is that of the document with the extra findings.
const MediaTypeExtras = "application/vnd.pratique.extras+json"
