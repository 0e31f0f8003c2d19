package scanner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/pratique-dev/pratique"
)

// Images share most of what they hold, so an inventory is stored in parts that are documents of their own: one with
// the packages of the distribution, and one for each application. A part is an inventory itself, with all that its
// match depends on: the tool, its packages and, if they are the distribution's, the OS. Findings are stored likewise,
// a small document for each part that names what was found, see [Place]. What names the parts is small.

// The formats of the documents.
const (
	formatInventory = "pratique.inventory/3"
	formatPart      = "pratique.part/1"
	formatFindings  = "pratique.findings/4"
	formatUncovered = "pratique.findings/3" // of early versions, which did not find out what was covered
	formatShared    = "pratique.found/1"
	formatReport    = "pratique.report/2"
)

// Document is what is stored under the digest of its bytes.
type Document struct {
	Digest  pratique.Digest
	Content []byte
}

// Documents returns what is stored under a digest.
type Documents interface {
	Get(ctx context.Context, d pratique.Digest) ([]byte, error)
}

// inventoryDocument and reportDocument are the nouns with digests in place of what is shared.
type inventoryDocument struct {
	Format string `json:"format"`
	pratique.Inventory
	Lists []pratique.Digest `json:"lists,omitempty"`
}

type reportDocument struct {
	Format string `json:"format"`
	pratique.Report
	Findings []pratique.Digest `json:"findings"`
}

func document(v any) (Document, error) {
	content, err := json.Marshal(v)
	if err != nil {
		return Document{}, pratique.Wrap(pratique.Internal, "encode document", "", err)
	}
	return Document{Digest: pratique.DigestOf(content), Content: content}, nil
}

// documentOfLines makes a document whose further lines are passed over without being decoded by who wants the first only.
func documentOfLines(first any, further [][]byte) (Document, error) {
	line, err := json.Marshal(first)
	if err != nil {
		return Document{}, pratique.Wrap(pratique.Internal, "encode document", "", err)
	}
	content := bytes.Join(append([][]byte{line}, further...), []byte{'\n'})
	return Document{Digest: pratique.DigestOf(content), Content: content}, nil
}

// Parts cuts a sorted inventory into what is matched and stored by itself. All packages of the distribution are one
// part, those that it did not make among them: they can decide whose advisories hold for the others. A distribution
// without packages is a part, too, which says whether there are advisories for it.
func Parts(inv pratique.Inventory) []pratique.Inventory {
	var parts []pratique.Inventory
	dist := pratique.Inventory{Scanner: inv.Scanner, OS: inv.OS}
	for _, l := range inv.Lists {
		if l.Class == pratique.ClassOS {
			dist.Lists = append(dist.Lists, l)
		} else {
			parts = append(parts, pratique.Inventory{Scanner: inv.Scanner, Lists: []pratique.PackageList{l}})
		}
	}
	if len(dist.Lists) > 0 || inv.OS.Family != "" {
		parts = slices.Insert(parts, 0, dist)
	}
	return parts
}

// SplitInventory makes the documents of a sorted inventory: the one that stands for it, and its parts.
func SplitInventory(inv pratique.Inventory) (whole Document, parts []Document, err error) {
	doc := inventoryDocument{Format: formatInventory, Inventory: inv}
	for _, p := range Parts(inv) {
		part, err := encodePart(p)
		if err != nil {
			return Document{}, nil, err
		}
		parts = append(parts, part)
		doc.Lists = append(doc.Lists, part.Digest)
	}
	doc.Inventory.Lists = nil
	whole, err = document(doc)
	return whole, parts, err
}

// InventoryParts returns an inventory without its lists, and the digests of its parts, in their order.
func InventoryParts(ctx context.Context, from Documents, d pratique.Digest) (pratique.Inventory, []pratique.Digest, error) {
	var doc inventoryDocument
	err := load(ctx, from, d, formatInventory, &doc, &doc.Format)
	return doc.Inventory, doc.Lists, err
}

// LoadPart returns a part of an inventory.
func LoadPart(ctx context.Context, from Documents, d pratique.Digest) (pratique.Inventory, error) {
	outline, err := LoadOutline(ctx, from, d)
	if err != nil {
		return pratique.Inventory{}, err
	}
	return outline.Whole()
}

// LoadInventory puts a stored inventory together: it is the one that [SplitInventory] was given. The error is that of
// the store, or Corrupt for what is no such document.
func LoadInventory(ctx context.Context, from Documents, d pratique.Digest) (pratique.Inventory, error) {
	inv, parts, err := InventoryParts(ctx, from, d)
	if err != nil {
		return pratique.Inventory{}, err
	}
	for _, digest := range parts {
		part, err := LoadPart(ctx, from, digest)
		if err != nil {
			return pratique.Inventory{}, err
		}
		inv.Lists = append(inv.Lists, part.Lists...)
	}
	return inv, nil
}

// ReportDocument makes the document of a report from all but its findings, which are named by the documents of the
// inventory's parts, in their order.
func ReportDocument(r pratique.Report, findings []pratique.Digest) (Document, error) {
	if findings == nil {
		findings = []pratique.Digest{}
	}
	r.Findings, r.Coverage = nil, nil // the parts' documents say both
	return document(reportDocument{Format: formatReport, Report: r, Findings: findings})
}

// ReportParts returns a report without findings, and the digests of their documents.
func ReportParts(ctx context.Context, from Documents, d pratique.Digest) (pratique.Report, []pratique.Digest, error) {
	var doc reportDocument
	err := load(ctx, from, d, formatReport, &doc, &doc.Format)
	return doc.Report, doc.Findings, err
}

// LoadReport puts a stored report together: it is the one that matching the whole inventory at once gives.
func LoadReport(ctx context.Context, from Documents, d pratique.Digest) (pratique.Report, error) {
	r, parts, err := ReportParts(ctx, from, d)
	if err != nil {
		return pratique.Report{}, err
	}
	r.Findings = []pratique.Finding{}
	covered, complete := pratique.Coverage{}, true
	for _, digest := range parts {
		findings, part, err := LoadFindings(ctx, from, digest)
		if err != nil {
			return pratique.Report{}, err
		}
		r.Findings = append(r.Findings, findings...)
		if complete = complete && part != nil; complete {
			covered.Join(*part)
		}
	}
	SortFindings(r.Findings)
	if complete {
		r.Coverage = coverageOf(r, covered)
	}
	return r, nil
}

// coverageOf completes what the parts say. Early versions made no part for a distribution without packages.
func coverageOf(r pratique.Report, c pratique.Coverage) *pratique.Coverage {
	if c.OS == (pratique.OSCoverage{}) && r.OS.Family != "" {
		c.OS = pratique.OSCoverage{Family: r.OS.Family, Version: r.OS.Name, Known: true}
	}
	c.OS.EndOfLife = c.OS.EndedAt(r.ScannedAt)
	return &c
}

// FailedCoverage is what is covered of a part on which the scanner failed: nothing.
func FailedCoverage(part pratique.Inventory) pratique.Coverage {
	var c pratique.Coverage
	if part.OS.Family != "" {
		// Whether there are advisories for it is another question.
		c.OS = pratique.OSCoverage{Family: part.OS.Family, Version: part.OS.Name, Known: true, Supported: true}
	}
	lists := part.Lists
	if len(lists) == 0 {
		lists = []pratique.PackageList{{Class: pratique.ClassOS, Type: part.OS.Family}}
	}
	for _, l := range lists {
		if l.Class == pratique.ClassOS {
			c.OS.Packages += len(l.Packages)
		}
		c.Unmatched = append(c.Unmatched, pratique.Unmatched{
			Class: l.Class, Type: l.Type, Path: l.Path, Packages: len(l.Packages), Reason: pratique.UnmatchedFailed,
		})
	}
	return c
}

// load decodes a document and checks its format.
func load(ctx context.Context, from Documents, d pratique.Digest, want string, into any, format *string) error {
	content, err := from.Get(ctx, d)
	if err != nil {
		return err
	}
	return decode(content, d, want, into, format)
}

// loadLines is load of the first line. It returns the others.
func loadLines(ctx context.Context, from Documents, d pratique.Digest, want string, into any, format *string) ([][]byte, error) {
	content, err := from.Get(ctx, d)
	if err != nil {
		return nil, err
	}
	lines := bytes.Split(content, []byte{'\n'})
	return lines[1:], decode(lines[0], d, want, into, format)
}

func decode(content []byte, d pratique.Digest, want string, into any, format *string) error {
	const op = "read document"
	err := json.Unmarshal(content, into)
	// A document of an early version has no format, and its lists are whole.
	if *format != want && !(want == formatFindings && *format == formatUncovered) {
		return pratique.Wrap(pratique.Corrupt, op, d.String(),
			errors.New("it is no document of format "+want+": one that another version of the program wrote has to be made anew, by pushing or submitting the image again"))
	}
	return pratique.Wrap(pratique.Corrupt, op, d.String(), err)
}
