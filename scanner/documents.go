package scanner

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/pratique-dev/pratique"
)

// Images share most of their packages, so an inventory is stored as one document for each list: one
// for the distribution's packages, and one for each application. A list is an inventory itself,
// with everything that its match depends on: the tool, the packages and, for the distribution, the
// OS. Findings have a small document for each list, see [Location].

// The formats of the documents.
const (
	formatInventory = "pratique.inventory/3"
	formatList      = "pratique.part/1"
	formatFindings  = "pratique.findings/4"
	formatCores     = "pratique.found/1"
	formatReport    = "pratique.report/3"
)

// Document is content that is stored by its digest.
type Document struct {
	Digest  pratique.Digest
	Content []byte
}

// Documents returns stored content.
type Documents interface {
	Get(ctx context.Context, d pratique.Digest) ([]byte, error)
}

// inventoryDocument is an inventory with digests in place of its lists.
type inventoryDocument struct {
	Format string `json:"format"`
	pratique.Inventory
	Lists []pratique.Digest `json:"lists,omitempty"`
}

// reportDocument has nothing that depends on the machine or the time, so that the same match gives
// the same bytes everywhere. The fact that names it has the time and the origin of the database.
type reportDocument struct {
	Format    string            `json:"format"`
	Scanner   pratique.Tool     `json:"scanner"`
	Inventory pratique.Digest   `json:"inventory"`
	Database  pratique.Database `json:"database"`
	OS        pratique.OS       `json:"os,omitzero"`
	Findings  []pratique.Digest `json:"findings"`
}

func document(v any) (Document, error) {
	content, err := json.Marshal(v)
	if err != nil {
		return Document{}, pratique.Wrap(pratique.Internal, "encode document", "", err)
	}
	return Document{Digest: pratique.DigestOf(content), Content: content}, nil
}

// linesDocument makes a document whose first line can be read without decoding the others.
func linesDocument(first any, further [][]byte) (Document, error) {
	line, err := json.Marshal(first)
	if err != nil {
		return Document{}, pratique.Wrap(pratique.Internal, "encode document", "", err)
	}
	content := bytes.Join(append([][]byte{line}, further...), []byte{'\n'})
	return Document{Digest: pratique.DigestOf(content), Content: content}, nil
}

// SplitLists splits a sorted inventory into the lists that are matched and stored separately. All
// packages of the distribution are one list, including third-party packages, since they can decide
// whose advisories apply. A distribution without packages is a list, too, for the coverage.
func SplitLists(inv pratique.Inventory) []pratique.Inventory {
	var lists []pratique.Inventory
	dist := pratique.Inventory{Scanner: inv.Scanner, OS: inv.OS}
	for _, l := range inv.Lists {
		if l.Class == pratique.ClassOS {
			dist.Lists = append(dist.Lists, l)
		} else {
			lists = append(lists, pratique.Inventory{Scanner: inv.Scanner,
				Lists: []pratique.PackageList{l}})
		}
	}
	if len(dist.Lists) > 0 || inv.OS.Family != "" {
		lists = slices.Insert(lists, 0, dist)
	}
	return lists
}

// SplitInventory returns the documents of a sorted inventory: the one that represents it, and its
// lists.
func SplitInventory(inv pratique.Inventory) (whole Document, lists []Document, err error) {
	doc := inventoryDocument{Format: formatInventory, Inventory: inv}
	for _, l := range SplitLists(inv) {
		list, err := encodeList(l)
		if err != nil {
			return Document{}, nil, err
		}
		lists = append(lists, list)
		doc.Lists = append(doc.Lists, list.Digest)
	}
	doc.Inventory.Lists = nil
	whole, err = document(doc)
	return whole, lists, err
}

// InventoryLists returns an inventory without its lists, and the digests of these, in order.
func InventoryLists(ctx context.Context, from Documents,
	d pratique.Digest) (pratique.Inventory, []pratique.Digest, error) {
	var doc inventoryDocument
	err := load(ctx, from, d, formatInventory, &doc, &doc.Format)
	return doc.Inventory, doc.Lists, err
}

// LoadList returns a list of an inventory.
func LoadList(ctx context.Context, from Documents, d pratique.Digest) (pratique.Inventory, error) {
	doc, err := LoadListDocument(ctx, from, d)
	if err != nil {
		return pratique.Inventory{}, err
	}
	return doc.Decode()
}

// LoadInventory returns a stored inventory, as it was given to [SplitInventory]. The error is that
// of the store, or Corrupt for another kind of document.
func LoadInventory(ctx context.Context, from Documents, d pratique.Digest) (pratique.Inventory, error) {
	inv, lists, err := InventoryLists(ctx, from, d)
	if err != nil {
		return pratique.Inventory{}, err
	}
	for _, digest := range lists {
		list, err := LoadList(ctx, from, digest)
		if err != nil {
			return pratique.Inventory{}, err
		}
		inv.Lists = append(inv.Lists, list.Lists...)
	}
	return inv, nil
}

// ReportDocument returns the document of a report. findings are the documents of its findings, one
// for each list of the inventory, in order. What depends on the machine or the time is left out.
func ReportDocument(r pratique.Report, findings []pratique.Digest) (Document, error) {
	if findings == nil {
		findings = []pratique.Digest{}
	}
	db := r.Database
	return document(reportDocument{
		Format: formatReport, Scanner: r.Scanner, Inventory: r.Inventory, OS: r.OS, Findings: findings,
		Database: pratique.Database{
			Digest: db.Digest, Version: db.Version, UpdatedAt: db.UpdatedAt.UTC(),
			NextUpdate: db.NextUpdate.UTC(),
		},
	})
}

// ReportHeader returns a report without findings and time, and the digests of the findings'
// documents.
func ReportHeader(ctx context.Context, from Documents,
	d pratique.Digest) (pratique.Report, []pratique.Digest, error) {
	var doc reportDocument
	err := load(ctx, from, d, formatReport, &doc, &doc.Format)
	return pratique.Report{Scanner: doc.Scanner, Inventory: doc.Inventory, Database: doc.Database,
		OS: doc.OS}, doc.Findings, err
}

// LoadReport returns the report that a fact names, as if the whole inventory had been matched at
// once at the time of the fact.
func LoadReport(ctx context.Context, from Documents, of pratique.Scanned) (pratique.Report, error) {
	r, lists, err := ReportHeader(ctx, from, of.Report)
	if err != nil {
		return pratique.Report{}, err
	}
	r.ScannedAt = of.ScannedAt
	r.DatabaseAgeSeconds = int64(r.Database.Age(r.ScannedAt) / time.Second)
	r.Database.DownloadedAt, r.Database.Source = of.Database.DownloadedAt, of.Database.Source
	r.Findings = []pratique.Finding{}
	var covered pratique.Coverage
	for _, digest := range lists {
		findings, list, err := LoadFindings(ctx, from, digest)
		if err != nil {
			return pratique.Report{}, err
		}
		r.Findings = append(r.Findings, findings...)
		covered.Join(*list)
	}
	SortFindings(r.Findings)
	covered.OS.EndOfLife = covered.OS.EndedAt(r.ScannedAt)
	r.Coverage = &covered
	return r, nil
}

// FailedCoverage is the coverage of a list that the scanner failed to match: none.
func FailedCoverage(inv pratique.Inventory) pratique.Coverage {
	var c pratique.Coverage
	if inv.OS.Family != "" {
		// It is not known whether there are advisories.
		c.OS = pratique.OSCoverage{Family: inv.OS.Family, Version: inv.OS.Name, Known: true,
			Supported: true}
	}
	lists := inv.Lists
	if len(lists) == 0 {
		lists = []pratique.PackageList{{Class: pratique.ClassOS, Type: inv.OS.Family}}
	}
	for _, l := range lists {
		if l.Class == pratique.ClassOS {
			c.OS.Packages += len(l.Packages)
		}
		c.Unmatched = append(c.Unmatched, pratique.Unmatched{
			Class: l.Class, Type: l.Type, Path: l.Path, Packages: len(l.Packages),
			Reason: pratique.UnmatchedFailed,
		})
	}
	return c
}

// load decodes a document and checks its format.
func load(ctx context.Context, from Documents, d pratique.Digest, want string, into any,
	format *string) error {
	content, err := from.Get(ctx, d)
	if err != nil {
		return err
	}
	return decode(content, d, want, into, format)
}

// loadLines decodes the first line of a document and returns the others.
func loadLines(ctx context.Context, from Documents, d pratique.Digest, want string, into any,
	format *string) ([][]byte, error) {
	content, err := from.Get(ctx, d)
	if err != nil {
		return nil, err
	}
	lines := bytes.Split(content, []byte{'\n'})
	return lines[1:], decode(lines[0], d, want, into, format)
}

func decode(content []byte, d pratique.Digest, want string, into any, format *string) error {
	err := json.Unmarshal(content, into)
	if *format != want {
		return errCorrupt(d,
			fmt.Errorf("the document has format %q, want %q: if another version of the program wrote it, push or submit the image again",
				pratique.Clip(*format), want))
	}
	return pratique.Wrap(pratique.Corrupt, "read document", d.String(), err)
}
