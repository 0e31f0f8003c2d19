package scanner

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/pratique-dev/pratique"
)

// listHeader is the first line of the document of a list. Each further line is a package, in the
// order of Lists. Rescanning reads the names and decodes only the packages that it needs.
type listHeader struct {
	Format  string        `json:"format"`
	Scanner pratique.Tool `json:"scanner"`
	OS      pratique.OS   `json:"os,omitzero"`
	Lists   []listNames   `json:"lists"`
}

// listNames is a list with the names of its packages instead of the packages.
type listNames struct {
	pratique.PackageList
	Packages []string `json:"packages"`
	// Sources are the names of the source packages, if there are any.
	Sources []string `json:"sources,omitempty"`
}

// encodeList makes the document of a list.
func encodeList(inv pratique.Inventory) (Document, error) {
	header := listHeader{Format: formatList, Scanner: inv.Scanner, OS: inv.OS,
		Lists: make([]listNames, len(inv.Lists))}
	var lines [][]byte
	for i, l := range inv.Lists {
		names, sources, sourced := make([]string, len(l.Packages)), make([]string, len(l.Packages)), false
		for n, p := range l.Packages {
			line, err := json.Marshal(p)
			if err != nil {
				return Document{}, pratique.Wrap(pratique.Internal, "encode document", "", err)
			}
			lines = append(lines, line)
			names[n], sources[n], sourced = p.Name, p.SrcName, sourced || p.SrcName != ""
		}
		if !sourced {
			sources = nil
		}
		l.Packages = nil
		header.Lists[i] = listNames{l, names, sources}
	}
	return linesDocument(header, lines)
}

// ListDocument is a stored list whose packages are not decoded.
type ListDocument struct {
	// Inventory has packages with nothing but their names and those of their sources.
	pratique.Inventory
	digest pratique.Digest
	lines  [][]byte
}

// LoadListDocument returns a list without decoding its packages.
func LoadListDocument(ctx context.Context, from Documents, d pratique.Digest) (ListDocument, error) {
	var header listHeader
	lines, err := loadLines(ctx, from, d, formatList, &header, &header.Format)
	if err != nil {
		return ListDocument{}, err
	}
	doc := ListDocument{Inventory: pratique.Inventory{Scanner: header.Scanner, OS: header.OS},
		digest: d, lines: lines}
	n := 0
	for _, l := range header.Lists {
		if len(l.Sources) > 0 && len(l.Sources) != len(l.Packages) {
			return ListDocument{}, errCorrupt(d, fmt.Errorf("%d sources of %d packages",
				len(l.Sources), len(l.Packages)))
		}
		list := l.PackageList
		list.Packages = make([]pratique.Package, len(l.Packages))
		for i, name := range l.Packages {
			list.Packages[i].Name = name
			if len(l.Sources) > 0 {
				list.Packages[i].SrcName = l.Sources[i]
			}
		}
		n += len(l.Packages)
		doc.Lists = append(doc.Lists, list)
	}
	if n != len(doc.lines) {
		return ListDocument{}, errCorrupt(d, fmt.Errorf("%d packages in %d lines", n, len(doc.lines)))
	}
	return doc, nil
}

// Decode decodes all packages.
func (d ListDocument) Decode() (pratique.Inventory, error) {
	inv := d.Inventory
	inv.Lists = nil
	first := 0
	for _, l := range d.Lists {
		packages := make([]pratique.Package, len(l.Packages))
		for i := range packages {
			var err error
			if packages[i], err = d.decodePackage(first+i, l.Packages[i]); err != nil {
				return pratique.Inventory{}, err
			}
		}
		first += len(packages)
		l.Packages = packages
		inv.Lists = append(inv.Lists, l)
	}
	return inv, nil
}

// DecodeOnly decodes the packages with these indexes in the first list, and leaves out all others.
func (d ListDocument) DecodeOnly(indexes []int) (pratique.Inventory, error) {
	inv, list := d.Inventory, d.Lists[0]
	list.Packages = make([]pratique.Package, len(indexes))
	for i, n := range indexes {
		var err error
		if list.Packages[i], err = d.decodePackage(n, d.Lists[0].Packages[n]); err != nil {
			return pratique.Inventory{}, err
		}
	}
	inv.Lists = []pratique.PackageList{list}
	return inv, nil
}

func (d ListDocument) decodePackage(n int, as pratique.Package) (p pratique.Package, err error) {
	if err = json.Unmarshal(d.lines[n], &p); err == nil &&
		(p.Name != as.Name || p.SrcName != as.SrcName) {
		err = fmt.Errorf("package %q is filed under %q", p.Name, as.Name)
	}
	if err != nil {
		err = errCorrupt(d.digest, err)
	}
	return p, err
}
