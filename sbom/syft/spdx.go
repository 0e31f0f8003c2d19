package syft

import (
	"crypto/sha1" //nolint:gosec // the algorithm of SPDX
	"encoding/hex"
	"slices"
	"strings"

	"github.com/spdx/tools-golang/spdx"
	"github.com/spdx/tools-golang/spdx/v2/common"

	"github.com/anchore/syft/syft/format/common/spdxhelpers"
)

// toSPDX is Syft's model of a catalogue. To make it takes twice as long as to write it, and each package and file
// stands in it for itself, so that of a known base is made once.
func (c catalogued) toSPDX() *spdx.Document {
	if c.upper == nil {
		return spdxhelpers.ToFormatModel(apart(*c.whole))
	}
	base := c.base.spdx()
	doc := spdxhelpers.ToFormatModel(apart(*c.upper))
	var root common.ElementID
	for _, r := range doc.Relationships {
		if r.RefA.ElementRefID == doc.SPDXIdentifier {
			root = r.RefB.ElementRefID // the image, which the document describes
		}
	}
	for _, p := range base.packages {
		doc.Relationships = append(doc.Relationships, &spdx.Relationship{
			RefA: common.DocElementID{ElementRefID: root}, Relationship: common.TypeRelationshipContains,
			RefB: common.DocElementID{ElementRefID: p.PackageSPDXIdentifier},
		})
	}
	doc.Packages = append(doc.Packages, base.packages...)
	doc.Files = append(doc.Files, base.files...)
	doc.Relationships = append(doc.Relationships, base.relationships...)
	for _, l := range base.licenses {
		same := func(have *spdx.OtherLicense) bool { return have.LicenseIdentifier == l.LicenseIdentifier }
		if !slices.ContainsFunc(doc.OtherLicenses, same) {
			doc.OtherLicenses = append(doc.OtherLicenses, l)
		}
	}
	holdFiles(doc, root)
	return doc
}

// holdFiles has the image contain the files that no package contains, with a code over their digests, as Syft has it.
func holdFiles(doc *spdx.Document, root common.ElementID) {
	files := map[common.ElementID]bool{}
	for _, f := range doc.Files {
		files[f.FileSPDXIdentifier] = true
	}
	doc.Relationships = slices.DeleteFunc(doc.Relationships, func(r *spdx.Relationship) bool {
		return r.RefA.ElementRefID == root && r.Relationship == common.TypeRelationshipContains && files[r.RefB.ElementRefID]
	})
	for _, r := range doc.Relationships {
		if r.Relationship == common.TypeRelationshipContains {
			delete(files, r.RefB.ElementRefID)
		}
	}
	var sums []string
	for _, f := range doc.Files {
		if !files[f.FileSPDXIdentifier] {
			continue
		}
		doc.Relationships = append(doc.Relationships, &spdx.Relationship{
			RefA: common.DocElementID{ElementRefID: root}, Relationship: common.TypeRelationshipContains,
			RefB: common.DocElementID{ElementRefID: f.FileSPDXIdentifier},
		})
		if at := slices.IndexFunc(f.Checksums, func(c common.Checksum) bool { return c.Algorithm == common.SHA1 }); at >= 0 {
			sums = append(sums, f.Checksums[at].Value)
		}
	}
	at := slices.IndexFunc(doc.Packages, func(p *spdx.Package) bool { return p.PackageSPDXIdentifier == root })
	if at < 0 || len(sums) == 0 {
		return
	}
	slices.Sort(sums)
	code := sha1.Sum([]byte(strings.Join(sums, ""))) //nolint:gosec // the algorithm of SPDX
	doc.Packages[at].PackageVerificationCode = &common.PackageVerificationCode{Value: hex.EncodeToString(code[:])}
	doc.Packages[at].FilesAnalyzed = true
}

// spdxPart is what the model of an image says of what is in it, and not of the image itself.
type spdxPart struct {
	packages      []*spdx.Package
	files         []*spdx.File
	relationships []*spdx.Relationship
	licenses      []*spdx.OtherLicense
}

// partOf keeps of the model of an image what those on top of it need.
func partOf(doc *spdx.Document) *spdxPart {
	var root common.ElementID
	for _, r := range doc.Relationships {
		if r.RefA.ElementRefID == doc.SPDXIdentifier {
			root = r.RefB.ElementRefID
		}
	}
	part := &spdxPart{files: slices.Clone(doc.Files), licenses: slices.Clone(doc.OtherLicenses)}
	for _, p := range doc.Packages {
		if p.PackageSPDXIdentifier != root {
			part.packages = append(part.packages, p)
		}
	}
	for _, r := range doc.Relationships {
		if r.RefA.ElementRefID != root && r.RefA.ElementRefID != doc.SPDXIdentifier {
			part.relationships = append(part.relationships, r)
		}
	}
	return part
}

func (k *known) spdx() *spdxPart {
	if k.model.Load() == nil {
		k.model.CompareAndSwap(nil, partOf(spdxhelpers.ToFormatModel(apart(*k.sbom))))
	}
	return k.model.Load()
}
