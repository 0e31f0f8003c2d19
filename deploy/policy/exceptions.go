package policy

import "github.com/pratique-dev/pratique"

// Exceptions are patterns of registry/path: the images in them that could not be matched wholly
// pass with a note, where the shipped policy denies others. Policies see each pattern as a regular
// expression.
type Exceptions struct {
	// UnknownOS (allow_unknown_os) excuses packages of an operating system that is not known, or
	// for which the database has no advisories.
	UnknownOS []pratique.Glob `json:"allow_unknown_os,omitempty" yaml:"allow_unknown_os,omitempty"`
	// EndOfLife (allow_end_of_life) excuses releases whose vendor's support has ended.
	EndOfLife []pratique.Glob `json:"allow_end_of_life,omitempty" yaml:"allow_end_of_life,omitempty"`
	// NoPackages (allow_no_packages) excuses images without any package, and operating systems
	// without packages.
	NoPackages []pratique.Glob `json:"allow_no_packages,omitempty" yaml:"allow_no_packages,omitempty"`
	// MixedPackages (allow_mixed_packages) excuses packages of another package manager than the
	// operating system's, and those of another root directory.
	MixedPackages []pratique.Glob `json:"allow_mixed_packages,omitempty" yaml:"allow_mixed_packages,omitempty"`
	// OddPackages (allow_odd_packages) excuses packages whose version cannot be compared with the
	// advisories about their name, and packages that somebody else patched and renamed.
	OddPackages []pratique.Glob `json:"allow_odd_packages,omitempty" yaml:"allow_odd_packages,omitempty"`
}

func (e Exceptions) lists() map[string][]pratique.Glob {
	return map[string][]pratique.Glob{
		"allow_unknown_os": e.UnknownOS, "allow_end_of_life": e.EndOfLife,
		"allow_no_packages": e.NoPackages, "allow_mixed_packages": e.MixedPackages,
		"allow_odd_packages": e.OddPackages,
	}
}

// expressions are globs as Rego's regex.match takes them.
func expressions(globs []pratique.Glob) []string {
	out := make([]string, len(globs))
	for i, g := range globs {
		out[i] = g.Expression()
	}
	return out
}
