package pratique

// Comparison is the difference between the scanner's inventory of an image and the SBOM generator's
// catalog. Both are made from the same bytes, so what only one of them has was misread by the other.
// Packages of the operating system do not differ: such an image is not inspected at all.
type Comparison struct {
	// Packages is the number of compared packages of the operating system.
	Packages int `json:"packages"`
	// Total counts the other packages that only one of the two has; Differences are the first
	// [MaxDifferences] of them.
	Total       int          `json:"total"`
	Differences []Difference `json:"differences,omitempty"`
	// Apart are packages of operating systems that the scanner does not assign to this image's: of
	// another package manager, below another root, or in a database that it does not read. They
	// cannot be matched.
	Apart []Unmatched `json:"apart,omitempty"`
}

// The bounds of a comparison, which is in a fact and in messages.
const (
	MaxDifferences  = 50  // elements
	MaxApart        = 40  // elements
	MaxComparedText = 200 // bytes of a text from the image
)

// Bounded reports whether a comparison is within its bounds.
func (c Comparison) Bounded() bool {
	for _, d := range c.Differences {
		if max(len(d.Type), len(d.Name), len(d.Version), len(d.Only)) > MaxComparedText {
			return false
		}
	}
	for _, u := range c.Apart {
		if max(len(u.Class), len(u.Type), len(u.Path), len(u.Reason)) > MaxComparedText {
			return false
		}
	}
	return len(c.Differences) <= MaxDifferences && len(c.Apart) <= MaxApart
}

// Difference is a package that only one of two tools has.
type Difference struct {
	// Type is that of the package's URL: "npm", "golang", "deb".
	Type    string `json:"type"`
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	// Only is the one that has it: "scanner" or "sbom".
	Only string `json:"only"`
}

// The two sides of a [Comparison].
const (
	OnlyScanner = "scanner"
	OnlySBOM    = "sbom"
)
