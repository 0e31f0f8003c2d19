package scanner

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/pratique-dev/pratique"
)

// FindingCore is a finding without its details decoded. The core identifies the finding. The
// details, which are most of the bytes, describe the vulnerability, and need not be decoded to copy
// a finding between documents.
type FindingCore struct {
	// Finding has none of the fields that are in Details.
	pratique.Finding
	Details json.RawMessage
}

// details describe a vulnerability. A document has them once for all packages.
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

// coresDocument is the first line of the document of findings without locations. Each further line
// has the details of one vulnerability; the findings refer to them by number.
type coresDocument struct {
	Format   string         `json:"format"`
	Findings []coreDocument `json:"findings"`
}

type coreDocument struct {
	pratique.Finding
	Details int `json:"details"`
}

// Cores separates findings from their details.
func Cores(findings []pratique.Finding) ([]FindingCore, error) {
	all := make([]FindingCore, len(findings))
	for i, f := range findings {
		raw, err := json.Marshal(details{
			f.Aliases, f.Title, f.Description, f.PrimaryURL, f.References, f.CWEs, f.CVSS,
			f.Published, f.Modified, f.DataSource,
		})
		if err != nil {
			return nil, pratique.Wrap(pratique.Internal, "encode finding", f.ID, err)
		}
		f.Aliases, f.Title, f.Description, f.PrimaryURL = nil, "", "", ""
		f.References, f.CWEs, f.CVSS = nil, nil, nil
		f.Published, f.Modified, f.DataSource = time.Time{}, time.Time{}, pratique.DataSource{}
		all[i] = FindingCore{f, raw}
	}
	return all, nil
}

// FindingsDocuments returns the documents of the report on one list: its sorted findings, and the
// coverage. The last document represents them and refers to the one before, if there are findings.
func FindingsDocuments(r pratique.Report) ([]Document, error) {
	all, err := Cores(r.Findings)
	if err != nil {
		return nil, err
	}
	return EncodeFindings(all, r.Coverage)
}

// EncodeFindings is [FindingsDocuments] for findings whose details are not decoded.
func EncodeFindings(all []FindingCore, covered *pratique.Coverage) ([]Document, error) {
	var docs []Document
	of := ListFindings{Coverage: covered, Locations: make([]Location, len(all))}
	for i, f := range all {
		of.Locations[i] = Location{f.Layer, f.UID}
	}
	if len(all) > 0 {
		doc, err := encodeCores(all)
		if err != nil {
			return nil, err
		}
		docs, of.Cores = append(docs, doc), doc.Digest
	}
	doc, err := encodeListFindings(of)
	if err != nil {
		return nil, err
	}
	return append(docs, doc), nil
}

func encodeCores(all []FindingCore) (Document, error) {
	doc := coresDocument{Format: formatCores, Findings: make([]coreDocument, len(all))}
	numbers, lines := map[string]int{}, [][]byte(nil)
	for i, f := range all {
		number, ok := numbers[string(f.Details)]
		if !ok {
			number = len(numbers)
			numbers[string(f.Details)] = number
			lines = append(lines, f.Details)
		}
		f.Layer, f.UID = pratique.LayerID{}, ""
		doc.Findings[i] = coreDocument{f.Finding, number}
	}
	return linesDocument(doc, lines)
}

// LoadUnlocated returns the findings in a document of cores; none if the digest is zero.
func LoadUnlocated(ctx context.Context, from Documents, d pratique.Digest) ([]FindingCore, error) {
	if d.IsZero() {
		return nil, nil
	}
	var doc coresDocument
	lines, err := loadLines(ctx, from, d, formatCores, &doc, &doc.Format)
	if err != nil {
		return nil, err
	}
	all := make([]FindingCore, len(doc.Findings))
	for i, f := range doc.Findings {
		if f.Details < 0 || f.Details >= len(lines) {
			return nil, errNoDetails(d, f.ID)
		}
		all[i] = FindingCore{f.Finding, lines[f.Details]}
	}
	return all, nil
}

// LoadCores returns the findings of a list and the coverage.
func LoadCores(ctx context.Context, from Documents, d pratique.Digest) ([]FindingCore,
	*pratique.Coverage, error) {
	of, err := LoadListFindings(ctx, from, d)
	if err != nil {
		return nil, nil, err
	}
	cores, err := LoadUnlocated(ctx, from, of.Cores)
	if err != nil {
		return nil, nil, err
	}
	all, err := of.Locate(cores)
	return all, of.Coverage, err
}

// LoadFindings is [LoadCores] with the details.
func LoadFindings(ctx context.Context, from Documents, d pratique.Digest) ([]pratique.Finding,
	*pratique.Coverage, error) {
	cores, covered, err := LoadCores(ctx, from, d)
	if err != nil {
		return nil, nil, err
	}
	all := make([]pratique.Finding, len(cores))
	for i, f := range cores {
		var of *details
		if err := json.Unmarshal(f.Details, &of); err != nil {
			return nil, nil, errCorrupt(d, err)
		} else if of == nil {
			return nil, nil, errNoDetails(d, f.ID)
		}
		all[i] = f.Finding
		one := &all[i]
		one.Aliases, one.Title, one.Description, one.PrimaryURL = of.Aliases, of.Title,
			of.Description, of.PrimaryURL
		one.References, one.CWEs, one.CVSS = of.References, of.CWEs, of.CVSS
		one.Published, one.Modified, one.DataSource = of.Published, of.Modified, of.DataSource
	}
	return all, covered, nil
}

func errNoDetails(d pratique.Digest, id string) error {
	return errCorrupt(d, fmt.Errorf("details of %s are missing", id))
}

func errCorrupt(d pratique.Digest, err error) error {
	return pratique.Wrap(pratique.Corrupt, "read document", d.String(), err)
}
