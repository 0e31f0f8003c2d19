//go:build goexperiment.jsonv2

package trivy

import (
	"slices"

	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	"github.com/aquasecurity/trivy/pkg/types"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/scanner"
)

// typeThirdParty is the type of the list of packages that claim not to be the distribution's.
const typeThirdParty = "third-party"

// toInventory keeps of an analyzed image what matching needs.
func toInventory(d ftypes.ArtifactDetail) pratique.Inventory {
	inv := pratique.Inventory{Scanner: Tool(), OS: toOS(d)}
	var own, foreign []pratique.Package
	for _, p := range d.Packages {
		if p.Repository.Class == ftypes.RepositoryClassThirdParty {
			foreign = append(foreign, toPackage(p))
		} else {
			own = append(own, toPackage(p))
		}
	}
	add := func(class pratique.PackageClass, listType, path string, packages []pratique.Package) {
		if len(packages) > 0 {
			inv.Lists = append(inv.Lists, pratique.PackageList{Class: class, Type: listType,
				Path: path, Packages: packages})
		}
	}
	add(pratique.ClassOS, inv.OS.Family, "", own)
	add(pratique.ClassOS, typeThirdParty, "", foreign)
	for _, app := range d.Applications {
		packages := make([]pratique.Package, 0, len(app.Packages))
		for _, p := range app.Packages {
			packages = append(packages, toPackage(p))
		}
		add(pratique.ClassLanguage, string(app.Type), app.FilePath, packages)
	}
	scanner.SortInventory(&inv)
	return inv
}

func toOS(d ftypes.ArtifactDetail) pratique.OS {
	os := pratique.OS{Family: string(d.OS.Family), Name: d.OS.Name, Extended: d.OS.Extended}
	if d.Repository != nil {
		os.RepositoryFamily = string(d.Repository.Family)
		os.RepositoryRelease = d.Repository.Release
	}
	return os
}

// toTarget is the inverse of toInventory.
func toTarget(inv pratique.Inventory) types.ScanTarget {
	target := types.ScanTarget{OS: ftypes.OS{
		Family: ftypes.OSType(inv.OS.Family), Name: inv.OS.Name, Extended: inv.OS.Extended,
	}}
	if inv.OS.RepositoryFamily != "" || inv.OS.RepositoryRelease != "" {
		target.Repository = &ftypes.Repository{
			Family: ftypes.OSType(inv.OS.RepositoryFamily), Release: inv.OS.RepositoryRelease,
		}
	}
	for _, l := range inv.Lists {
		packages := make(ftypes.Packages, 0, len(l.Packages))
		for _, p := range l.Packages {
			packages = append(packages, fromPackage(p))
		}
		if l.Class == pratique.ClassLanguage {
			target.Applications = append(target.Applications, ftypes.Application{
				Type: ftypes.LangType(l.Type), FilePath: l.Path, Packages: packages,
			})
			continue
		}
		if l.Type == typeThirdParty {
			for i := range packages {
				packages[i].Repository.Class = ftypes.RepositoryClassThirdParty
			}
		}
		target.Packages = append(target.Packages, packages...)
	}
	return target
}

func toPackage(p ftypes.Package) pratique.Package {
	out := pratique.Package{
		ID: p.ID, UID: p.Identifier.UID, Name: p.Name, Version: p.Version, Release: p.Release,
		Epoch: p.Epoch,
		Arch:  p.Arch, SrcName: p.SrcName, SrcVersion: p.SrcVersion, SrcRelease: p.SrcRelease,
		SrcEpoch: p.SrcEpoch,
		Licenses: p.Licenses, Modularity: p.Modularitylabel, Maintainer: p.Maintainer,
		FilePath: p.FilePath,
		Dev:      p.Dev, Indirect: p.Indirect, Layer: toLayer(p.Layer),
	}
	if p.Identifier.PURL != nil {
		out.PURL = p.Identifier.PURL.String()
	}
	if p.BuildInfo != nil {
		out.ContentSets, out.NVR, out.BuildArch = p.BuildInfo.ContentSets, p.BuildInfo.Nvr,
			p.BuildInfo.Arch
	}
	out.Licenses = slices.Clone(out.Licenses) // Trim must not change Trivy's
	scanner.Trim(&out)
	return out
}

func fromPackage(p pratique.Package) ftypes.Package {
	out := ftypes.Package{
		ID: p.ID, Name: p.Name, Version: p.Version, Release: p.Release, Epoch: p.Epoch, Arch: p.Arch,
		SrcName: p.SrcName, SrcVersion: p.SrcVersion, SrcRelease: p.SrcRelease, SrcEpoch: p.SrcEpoch,
		Licenses: p.Licenses, Modularitylabel: p.Modularity, Maintainer: p.Maintainer,
		FilePath: p.FilePath,
		Dev:      p.Dev, Indirect: p.Indirect,
		Layer: ftypes.Layer{Digest: p.Layer.Digest.String(), DiffID: p.Layer.DiffID.String()},
		// The PURL is passed in the BOM reference, a string that matching does not change: not
		// every PURL survives parsing and printing.
		Identifier: ftypes.PkgIdentifier{UID: p.UID, BOMRef: p.PURL},
	}
	if len(p.ContentSets) > 0 || p.NVR != "" || p.BuildArch != "" {
		out.BuildInfo = &ftypes.BuildInfo{ContentSets: p.ContentSets, Nvr: p.NVR, Arch: p.BuildArch}
	}
	return out
}

// toLayer drops digests that are not sha256; matching does not use them.
func toLayer(l ftypes.Layer) pratique.LayerID {
	var id pratique.LayerID
	if d, err := pratique.ParseDigest(l.Digest); err == nil {
		id.Digest = d
	}
	if d, err := pratique.ParseDigest(l.DiffID); err == nil {
		id.DiffID = d
	}
	return id
}
