package syft

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/CycloneDX/cyclonedx-go"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/uuid"
	"github.com/spdx/tools-golang/spdx"
	"golang.org/x/sync/errgroup"

	"github.com/anchore/syft/syft/format/common/cyclonedxhelpers"
	syftsbom "github.com/anchore/syft/syft/sbom"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/layers"
)

// namespace is the prefix of SPDX document namespaces. It is a name, and need not resolve.
const namespace = "https://github.com/pratique-dev/pratique/spdx/"

// stamp makes a document unique. It is derived from the image and the tool.
type stamp struct {
	id   uuid.UUID
	made time.Time
}

// stampOf uses the image's creation time: the real time would differ between equal runs. Images
// without one, and reproducible builds with 1970 or year 1, get the epoch.
func stampOf(img layers.Image, tool pratique.Tool) (stamp, error) {
	config, err := v1.ParseConfigFile(bytes.NewReader(img.Config))
	if err != nil {
		return stamp{}, err
	}
	s := stamp{made: config.Created.UTC().Truncate(time.Second)}
	if epoch := time.Unix(0, 0).UTC(); s.made.Before(epoch) || s.made.Year() > 9999 {
		s.made = epoch
	}
	s.id = uuid.NewSHA1(uuid.NameSpaceURL,
		[]byte(namespace+img.Subject.String()+"?"+tool.Name+"="+tool.Version))
	return s, nil
}

// encodeSPDX writes SPDX 2.3, the version of Syft's own model.
func encodeSPDX(doc *spdx.Document, stamp stamp) ([]byte, error) {
	doc.DocumentNamespace = namespace + stamp.id.String()
	doc.CreationInfo.Created = stamp.made.Format(time.RFC3339)
	sortSPDX(doc)
	return writeSPDX(*doc)
}

// writeSPDX encodes the lists, which are nearly all of a document, concurrently, and appends them
// to the rest.
func writeSPDX(doc spdx.Document) ([]byte, error) {
	lists := []struct {
		name    string
		list    any
		empty   bool
		written []byte
	}{
		{name: "packages", list: doc.Packages, empty: len(doc.Packages) == 0},
		{name: "files", list: doc.Files, empty: len(doc.Files) == 0},
		{name: "relationships", list: doc.Relationships, empty: len(doc.Relationships) == 0},
	}
	doc.Packages, doc.Files, doc.Relationships = nil, nil, nil
	var writing errgroup.Group
	for i := range lists {
		writing.Go(func() (err error) {
			lists[i].written, err = encode(lists[i].list)
			return err
		})
	}
	out, err := encode(doc)
	if err = errors.Join(err, writing.Wait()); err != nil {
		return nil, err
	}
	out = bytes.TrimSuffix(out, []byte("}\n"))
	for _, l := range lists {
		if !l.empty {
			out = fmt.Appendf(out, `,%q:%s`, l.name, bytes.TrimSuffix(l.written, []byte("\n")))
		}
	}
	return append(out, "}\n"...), nil
}

// sortSPDX sorts what Syft collects from maps.
func sortSPDX(doc *spdx.Document) {
	slices.SortStableFunc(doc.Packages, func(a, b *spdx.Package) int {
		return cmp.Or(
			cmp.Compare(a.PackageName, b.PackageName),
			cmp.Compare(a.PackageVersion, b.PackageVersion),
			cmp.Compare(a.PackageSPDXIdentifier, b.PackageSPDXIdentifier),
		)
	})
	slices.SortStableFunc(doc.Files, func(a, b *spdx.File) int {
		return cmp.Or(cmp.Compare(a.FileName, b.FileName), cmp.Compare(a.FileSPDXIdentifier,
			b.FileSPDXIdentifier))
	})
	slices.SortStableFunc(doc.Relationships, func(a, b *spdx.Relationship) int {
		return cmp.Or(
			cmp.Compare(a.RefA.ElementRefID, b.RefA.ElementRefID),
			cmp.Compare(a.Relationship, b.Relationship),
			cmp.Compare(a.RefB.ElementRefID, b.RefB.ElementRefID),
			cmp.Compare(a.RelationshipComment, b.RelationshipComment),
		)
	})
	slices.SortStableFunc(doc.OtherLicenses, func(a, b *spdx.OtherLicense) int {
		return cmp.Compare(a.LicenseIdentifier, b.LicenseIdentifier)
	})
}

// encodeCycloneDX writes CycloneDX 1.6. Syft sorts components and dependencies itself.
func encodeCycloneDX(s syftsbom.SBOM, stamp stamp) ([]byte, error) {
	bom := cyclonedxhelpers.ToFormatModel(s)
	bom.SerialNumber = stamp.id.URN()
	bom.Metadata.Timestamp = stamp.made.Format(time.RFC3339)
	var out bytes.Buffer
	encoder := cyclonedx.NewBOMEncoder(&out, cyclonedx.BOMFileFormatJSON)
	encoder.SetEscapeHTML(false)
	if err := encoder.EncodeVersion(bom, cyclonedx.SpecVersion1_6); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func encode(v any) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
