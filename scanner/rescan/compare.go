package rescan

import (
	"cmp"
	"slices"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/scanner"
)

// Totals count findings.
type Totals struct {
	Counts  pratique.Counts
	Fixable int
}

// Added are new findings: their number, and the most severe ones, at most [pratique.MaxAffected].
type Added struct {
	Total      int
	MostSevere []pratique.AffectedFinding
}

// Difference is the difference between the findings of two reports, with the totals of the second.
type Difference struct {
	Added
	Totals
}

// Compare returns the difference between two sets of findings.
func Compare(before, now []scanner.FindingCore) Difference {
	return Difference{added(before, now), totals(now)}
}

func totals(found []scanner.FindingCore) Totals {
	t := Totals{Counts: pratique.Counts{}}
	for i := range found {
		t.Counts[found[i].Severity]++
		if found[i].Fixed != "" {
			t.Fixable++
		}
	}
	return t
}

// identity identifies a finding across reports.
type identity struct{ id, pkg, installed, path string }

// maxName bounds the texts of a finding in a fact, in bytes: an image chooses them.
const maxName = 160

// added returns the findings in now that are not in before, the most severe first.
func added(before, now []scanner.FindingCore) Added {
	known := make(map[identity]bool, len(before))
	for _, f := range before {
		known[identity{f.ID, f.Package, f.Installed, f.Path}] = true
	}
	var all []pratique.AffectedFinding
	for _, f := range now {
		id := identity{f.ID, f.Package, f.Installed, f.Path}
		if known[id] {
			continue
		}
		known[id] = true
		all = append(all, pratique.AffectedFinding{
			ID: pratique.Excerpt(f.ID, maxName), Package: pratique.Excerpt(f.Package, maxName),
			Installed: pratique.Excerpt(f.Installed, maxName), Fixed: pratique.Excerpt(f.Fixed,
				maxName), Severity: f.Severity,
		})
	}
	slices.SortStableFunc(all, func(a, b pratique.AffectedFinding) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(a.ID, b.ID),
			cmp.Compare(a.Package, b.Package))
	})
	return Added{Total: len(all), MostSevere: slices.Clone(all[:min(len(all), pratique.MaxAffected)])}
}
