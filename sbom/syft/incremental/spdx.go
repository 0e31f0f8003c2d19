package incremental

import (
	"crypto/sha1" //nolint:gosec // the algorithm of SPDX
	"encoding/hex"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/spdx/tools-golang/spdx"
	"github.com/spdx/tools-golang/spdx/v2/common"

	syftsbom "github.com/anchore/syft/syft/sbom"

	plain "github.com/pratique-dev/pratique/sbom/syft"
)

// model is Syft's SPDX model of an image. Making it takes twice as long as writing it, and packages
// and files in it are independent, so a base's is made once.
type model struct {
	source func() *syftsbom.SBOM
	kept   atomic.Pointer[part] // nil until it is made
}

// document makes the model of the image itself.
func (m *model) document() *spdx.Document {
	doc := plain.ModelOf(m.source())
	m.kept.CompareAndSwap(nil, partOf(doc))
	return doc
}

// part is the model as a part of the models of other images.
func (m *model) part() *part {
	if m.kept.Load() == nil {
		m.document()
	}
	return m.kept.Load()
}

// addTo adds the model to that of the layers above, which becomes the model of the whole image.
func (m *model) addTo(doc *spdx.Document) *spdx.Document {
	low, root := m.part(), rootOf(doc)
	for _, p := range low.packages {
		doc.Relationships = append(doc.Relationships, &spdx.Relationship{
			RefA: common.DocElementID{ElementRefID: root}, Relationship: common.TypeRelationshipContains,
			RefB: common.DocElementID{ElementRefID: p.PackageSPDXIdentifier},
		})
	}
	doc.Packages = append(doc.Packages, low.packages...)
	doc.Files = append(doc.Files, low.files...)
	doc.Relationships = append(doc.Relationships, low.relationships...)
	for _, l := range low.licenses {
		same := func(have *spdx.OtherLicense) bool {
			return have.LicenseIdentifier == l.LicenseIdentifier
		}
		if !slices.ContainsFunc(doc.OtherLicenses, same) {
			doc.OtherLicenses = append(doc.OtherLicenses, l)
		}
	}
	holdFiles(doc, root)
	return doc
}

// rootOf returns the image, which the document describes.
func rootOf(doc *spdx.Document) (root common.ElementID) {
	for _, r := range doc.Relationships {
		if r.RefA.ElementRefID == doc.SPDXIdentifier {
			root = r.RefB.ElementRefID
		}
	}
	return root
}

// holdFiles makes the image contain the files that no package contains, with a verification code,
// as Syft does.
func holdFiles(doc *spdx.Document, root common.ElementID) {
	files := map[common.ElementID]bool{}
	for _, f := range doc.Files {
		files[f.FileSPDXIdentifier] = true
	}
	doc.Relationships = slices.DeleteFunc(doc.Relationships, func(r *spdx.Relationship) bool {
		return r.RefA.ElementRefID == root && r.Relationship == common.TypeRelationshipContains &&
			files[r.RefB.ElementRefID]
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
		if at := slices.IndexFunc(f.Checksums, func(c common.Checksum) bool {
			return c.Algorithm == common.SHA1
		}); at >= 0 {
			sums = append(sums, f.Checksums[at].Value)
		}
	}
	at := slices.IndexFunc(doc.Packages, func(p *spdx.Package) bool {
		return p.PackageSPDXIdentifier == root
	})
	if at < 0 || len(sums) == 0 {
		return
	}
	slices.Sort(sums)
	code := sha1.Sum([]byte(strings.Join(sums, ""))) //nolint:gosec // the algorithm of SPDX
	doc.Packages[at].PackageVerificationCode = &common.PackageVerificationCode{Value: hex.EncodeToString(code[:])}
	doc.Packages[at].FilesAnalyzed = true
}

// part is the content of an image in its model, without the image itself.
type part struct {
	packages      []*spdx.Package
	files         []*spdx.File
	relationships []*spdx.Relationship
	licenses      []*spdx.OtherLicense
}

func partOf(doc *spdx.Document) *part {
	root := rootOf(doc)
	p := &part{files: slices.Clone(doc.Files), licenses: slices.Clone(doc.OtherLicenses)}
	for _, item := range doc.Packages {
		if item.PackageSPDXIdentifier != root {
			p.packages = append(p.packages, item)
		}
	}
	for _, r := range doc.Relationships {
		if r.RefA.ElementRefID != root && r.RefA.ElementRefID != doc.SPDXIdentifier {
			p.relationships = append(p.relationships, r)
		}
	}
	return p
}
