package scanner

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/pratique-dev/pratique"
)

// partDocument is the first line of the document of a part. Each further line is a package, in the order of lists: who
// wants to know whether a list holds a name, as rescanning does, passes over them without decoding them.
type partDocument struct {
	Format  string         `json:"format"`
	Scanner pratique.Tool  `json:"scanner"`
	OS      pratique.OS    `json:"os,omitzero"`
	Lists   []listDocument `json:"lists"`
}

// listDocument is a list with the names of packages in place of packages.
type listDocument struct {
	pratique.PackageList
	Packages []string `json:"packages"`
	// Sources are the names of the packages' sources, if any has one.
	Sources []string `json:"sources,omitempty"`
}

// encodePart makes the document of a part.
func encodePart(part pratique.Inventory) (Document, error) {
	doc := partDocument{Format: formatPart, Scanner: part.Scanner, OS: part.OS, Lists: make([]listDocument, len(part.Lists))}
	var lines [][]byte
	for i, l := range part.Lists {
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
		doc.Lists[i] = listDocument{l, names, sources}
	}
	return documentOfLines(doc, lines)
}

// Outline is a stored part before its packages are decoded.
type Outline struct {
	// Inventory has packages of which only the names, those of their sources, and the versions are known.
	pratique.Inventory
	digest pratique.Digest
	lines  [][]byte
}

// LoadOutline returns the outline of a part.
func LoadOutline(ctx context.Context, from Documents, d pratique.Digest) (Outline, error) {
	var doc partDocument
	lines, err := loadLines(ctx, from, d, formatPart, &doc, &doc.Format)
	if err != nil {
		return Outline{}, err
	}
	o := Outline{Inventory: pratique.Inventory{Scanner: doc.Scanner, OS: doc.OS}, digest: d, lines: lines}
	n := 0
	for _, l := range doc.Lists {
		if len(l.Sources) > 0 && len(l.Sources) != len(l.Packages) {
			return Outline{}, misplaced(d, fmt.Errorf("%d sources of %d packages", len(l.Sources), len(l.Packages)))
		}
		list := l.PackageList
		list.Packages = make([]pratique.Package, len(l.Packages))
		for i, name := range l.Packages {
			list.Packages[i].Name = name
			if n+i < len(lines) {
				list.Packages[i].Version = versionIn(lines[n+i])
			}
			if len(l.Sources) > 0 {
				list.Packages[i].SrcName = l.Sources[i]
			}
		}
		n += len(l.Packages)
		o.Lists = append(o.Lists, list)
	}
	if n != len(o.lines) {
		return Outline{}, misplaced(d, fmt.Errorf("%d packages in %d lines", n, len(o.lines)))
	}
	return o, nil
}

// versionIn is the version of a package before its line is decoded. In a text the quotes have a backslash before them, so
// the name of the field is nowhere else.
func versionIn(line []byte) string {
	_, rest, ok := bytes.Cut(line, []byte(`"version":"`))
	if !ok {
		return ""
	}
	end := 0
	for end < len(rest) && rest[end] != '"' {
		if rest[end] == '\\' {
			end++
		}
		end++
	}
	if end >= len(rest) {
		return ""
	}
	text := rest[:end]
	if bytes.IndexByte(text, '\\') < 0 {
		return string(text)
	}
	var version string
	if json.Unmarshal(line[len(line)-len(rest)-1:len(line)-len(rest)+end+1], &version) != nil {
		return ""
	}
	return version
}

// Whole returns the part.
func (o Outline) Whole() (pratique.Inventory, error) {
	part := o.Inventory
	part.Lists = nil
	first := 0
	for _, l := range o.Lists {
		packages := make([]pratique.Package, len(l.Packages))
		for i := range packages {
			var err error
			if packages[i], err = o.decode(first+i, l.Packages[i]); err != nil {
				return pratique.Inventory{}, err
			}
		}
		first += len(packages)
		l.Packages = packages
		part.Lists = append(part.Lists, l)
	}
	return part, nil
}

// Only returns a part of one list with the packages of those numbers.
func (o Outline) Only(numbers []int) (pratique.Inventory, error) {
	part, list := o.Inventory, o.Lists[0]
	list.Packages = make([]pratique.Package, len(numbers))
	for i, n := range numbers {
		var err error
		if list.Packages[i], err = o.decode(n, o.Lists[0].Packages[n]); err != nil {
			return pratique.Inventory{}, err
		}
	}
	part.Lists = []pratique.PackageList{list}
	return part, nil
}

func (o Outline) decode(n int, as pratique.Package) (p pratique.Package, err error) {
	if err = json.Unmarshal(o.lines[n], &p); err == nil && (p.Name != as.Name || p.SrcName != as.SrcName || p.Version != as.Version) {
		err = fmt.Errorf("package %q is filed under %q", p.Name, as.Name)
	}
	return p, misplaced(o.digest, err)
}
