package scanner

import (
	"cmp"
	"slices"

	"github.com/pratique-dev/pratique"
)

// InventoryDigest is the digest under which an inventory is stored.
func InventoryDigest(inv pratique.Inventory) (pratique.Digest, error) {
	whole, _, err := SplitInventory(inv)
	return whole.Digest, err
}

// SortFindings sorts findings by severity, the most severe first, then by id, package, version and
// location, so that equal reports are equal bytes.
func SortFindings(findings []pratique.Finding) { slices.SortStableFunc(findings, compareFindings) }

// CompareCores is the order of [SortFindings].
func CompareCores(a, b FindingCore) int { return compareFindings(a.Finding, b.Finding) }

func compareFindings(a, b pratique.Finding) int {
	return cmp.Or(
		cmp.Compare(b.Severity, a.Severity),
		cmp.Compare(a.ID, b.ID),
		cmp.Compare(a.Class, b.Class),
		cmp.Compare(a.Type, b.Type),
		cmp.Compare(a.Package, b.Package),
		cmp.Compare(a.Installed, b.Installed),
		cmp.Compare(a.Target, b.Target),
		cmp.Compare(a.Path, b.Path),
		cmp.Compare(a.PackageID, b.PackageID),
		cmp.Compare(a.UID, b.UID),
	)
}

// SortInventory sorts lists and packages, so that equal content is equal bytes whatever the order
// of the analyzers.
func SortInventory(inv *pratique.Inventory) {
	for _, l := range inv.Lists {
		slices.SortStableFunc(l.Packages, comparePackages)
	}
	slices.SortStableFunc(inv.Lists, func(a, b pratique.PackageList) int {
		return cmp.Or(
			-cmp.Compare(a.Class, b.Class), // os-pkgs before lang-pkgs
			cmp.Compare(a.Type, b.Type),
			cmp.Compare(a.Path, b.Path),
			cmp.Compare(len(a.Packages), len(b.Packages)),
			slices.CompareFunc(a.Packages, b.Packages, comparePackages),
		)
	})
}

func comparePackages(a, b pratique.Package) int {
	return cmp.Or(
		cmp.Compare(a.Name, b.Name),
		cmp.Compare(a.Version, b.Version),
		cmp.Compare(a.Release, b.Release),
		cmp.Compare(a.Epoch, b.Epoch),
		cmp.Compare(a.Arch, b.Arch),
		cmp.Compare(a.ID, b.ID),
		cmp.Compare(a.FilePath, b.FilePath),
		cmp.Compare(a.UID, b.UID),
		cmp.Compare(a.PURL, b.PURL),
	)
}

// CountFixable counts the findings with a known fixed version.
func CountFixable(findings []pratique.Finding) int {
	n := 0
	for _, f := range findings {
		if f.Fixed != "" {
			n++
		}
	}
	return n
}
