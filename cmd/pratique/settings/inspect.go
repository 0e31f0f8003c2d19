package settings

import (
	"slices"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/config"
)

// Extras are the extras in the order in which facts name them.
func Extras(c config.Inspect) []pratique.ExtraKind {
	return slices.DeleteFunc(pratique.ExtraKinds(), func(s pratique.ExtraKind) bool {
		return !slices.Contains(c.Scanners, s)
	})
}

// IncrementalSBOM reports whether SBOMs are made from those of the base where that can be done.
func IncrementalSBOM(c config.Inspect) bool { return c.IncrementalSBOM == nil || *c.IncrementalSBOM }
