package scanner

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/pratique-dev/pratique"
)

// Found is a finding in two pieces: what tells findings apart, and what is said of the vulnerability, which is most of
// it. Who compares findings, or moves them from one document to another, never decodes the second.
type Found struct {
	// Finding has none of the fields that are in Details.
	pratique.Finding
	Details json.RawMessage
}

// details is what is said of a vulnerability. A document holds it once, however many packages have it.
type details struct {
	Aliases     []string                 `json:"aliases,omitempty"`
	Title       string                   `json:"title,omitempty"`
	Description string                   `json:"description,omitempty"`
	PrimaryURL  string                   `json:"primaryURL,omitempty"`
	References  []string                 `json:"references,omitempty"`
	CWEs        []string                 `json:"cwes,omitempty"`
	CVSS        map[string]pratique.CVSS `json:"cvss,omitempty"`
	Published   time.Time                `json:"published,omitzero"`
	Modified    time.Time                `json:"modified,omitzero"`
	DataSource  pratique.DataSource      `json:"dataSource,omitzero"`
}

// sharedDocument is the first line of the document of what was found, without places. Each further line is the details of
// one vulnerability, in the order in which findings name them first, by their numbers: they are passed over without being
// decoded.
type sharedDocument struct {
	Format   string          `json:"format"`
	Findings []foundDocument `json:"findings"`
}

type foundDocument struct {
	pratique.Finding
	Details int `json:"details"`
}

// Divide cuts findings into their pieces.
func Divide(findings []pratique.Finding) ([]Found, error) {
	all := make([]Found, len(findings))
	for i, f := range findings {
		raw, err := json.Marshal(details{f.Aliases, f.Title, f.Description, f.PrimaryURL, f.References, f.CWEs, f.CVSS, f.Published, f.Modified, f.DataSource})
		if err != nil {
			return nil, pratique.Wrap(pratique.Internal, "encode finding", f.ID, err)
		}
		f.Aliases, f.Title, f.Description, f.PrimaryURL, f.References, f.CWEs, f.CVSS = nil, "", "", "", nil, nil, nil
		f.Published, f.Modified, f.DataSource = time.Time{}, time.Time{}, pratique.DataSource{}
		all[i] = Found{f, raw}
	}
	return all, nil
}

// FindingsDocuments makes the documents of the report on one part: its sorted findings, and what was covered. The last
// one stands for them, and names the one before; there is only one if nothing was found.
func FindingsDocuments(r pratique.Report) ([]Document, error) {
	all, err := Divide(r.Findings)
	if err != nil {
		return nil, err
	}
	return FoundDocuments(all, r.Coverage)
}

// FoundDocuments is [FindingsDocuments] of findings that are in pieces.
func FoundDocuments(all []Found, covered *pratique.Coverage) ([]Document, error) {
	var docs []Document
	var shared pratique.Digest
	if len(all) > 0 {
		doc, err := SharedDocument(all)
		if err != nil {
			return nil, err
		}
		docs, shared = append(docs, doc), doc.Digest
	}
	places := make([]Place, len(all))
	for i, f := range all {
		places[i] = Place{f.Layer, f.UID}
	}
	doc, err := PlacedDocument(Placed{Shared: shared, Places: places, Coverage: covered})
	if err != nil {
		return nil, err
	}
	return append(docs, doc), nil
}

// SharedDocument makes the document of what was found, less the places.
func SharedDocument(all []Found) (Document, error) {
	doc := sharedDocument{Format: formatShared, Findings: make([]foundDocument, len(all))}
	numbers, lines := map[string]int{}, [][]byte(nil)
	for i, f := range all {
		number, ok := numbers[string(f.Details)]
		if !ok {
			number = len(numbers)
			numbers[string(f.Details)] = number
			lines = append(lines, f.Details)
		}
		f.Layer, f.UID = pratique.LayerID{}, ""
		doc.Findings[i] = foundDocument{f.Finding, number}
	}
	return documentOfLines(doc, lines)
}

// LoadShared returns what was found, less the places.
func LoadShared(ctx context.Context, from Documents, d pratique.Digest) ([]Found, error) {
	var doc sharedDocument
	lines, err := loadLines(ctx, from, d, formatShared, &doc, &doc.Format)
	if err != nil {
		return nil, err
	}
	all := make([]Found, len(doc.Findings))
	for i, f := range doc.Findings {
		if f.Details < 0 || f.Details >= len(lines) {
			return nil, lacksDetails(d, f.ID)
		}
		all[i] = Found{f.Finding, lines[f.Details]}
	}
	return all, nil
}

// LoadFound returns the findings of one part in pieces, and what was covered, which is nil if an early version stored
// them.
func LoadFound(ctx context.Context, from Documents, d pratique.Digest) ([]Found, *pratique.Coverage, error) {
	placed, err := LoadPlaces(ctx, from, d)
	if err != nil || len(placed.Places) == 0 {
		return nil, placed.Coverage, err
	}
	all, err := LoadShared(ctx, from, placed.Shared)
	if err != nil {
		return nil, nil, err
	}
	if err := Fit(d, all, placed.Places); err != nil {
		return nil, nil, err
	}
	for i, p := range placed.Places {
		all[i].Layer, all[i].UID = p.Layer, p.UID
	}
	return all, placed.Coverage, nil
}

// LoadFindings returns the findings of one part, and what was covered, likewise.
func LoadFindings(ctx context.Context, from Documents, d pratique.Digest) ([]pratique.Finding, *pratique.Coverage, error) {
	found, covered, err := LoadFound(ctx, from, d)
	if err != nil {
		return nil, nil, err
	}
	all := make([]pratique.Finding, len(found))
	for i, f := range found {
		var of *details
		if err := json.Unmarshal(f.Details, &of); err != nil {
			return nil, nil, pratique.Wrap(pratique.Corrupt, "read document", d.String(), err)
		} else if of == nil {
			return nil, nil, lacksDetails(d, f.ID)
		}
		all[i] = f.Finding
		one := &all[i]
		one.Aliases, one.Title, one.Description, one.PrimaryURL = of.Aliases, of.Title, of.Description, of.PrimaryURL
		one.References, one.CWEs, one.CVSS = of.References, of.CWEs, of.CVSS
		one.Published, one.Modified, one.DataSource = of.Published, of.Modified, of.DataSource
	}
	return all, covered, nil
}

func lacksDetails(d pratique.Digest, id string) error {
	return pratique.Wrap(pratique.Corrupt, "read document", d.String(), fmt.Errorf("nothing is said of %s", id))
}
