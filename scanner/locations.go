package scanner

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/pratique-dev/pratique"
)

// Location is the layer of a finding's package and its UID in the list. The findings of two builds
// of an application usually differ in nothing else, so locations are in a small document for each
// list, and the cores in a document that lists share.
type Location struct {
	Layer pratique.LayerID
	UID   string
}

// ListFindings are the findings of a list as they are stored: the document of the cores, which is
// zero if there are none, and the locations.
type ListFindings struct {
	Cores     pratique.Digest
	Locations []Location
	Coverage  *pratique.Coverage
}

// findingsDocument represents the findings of a list. In and UIDs have one entry for each finding.
type findingsDocument struct {
	Format string             `json:"format"`
	Cores  pratique.Digest    `json:"shared,omitzero"`
	Layers []pratique.LayerID `json:"layers,omitempty"`
	// In are indexes into Layers.
	In   []int    `json:"in,omitempty"`
	UIDs []string `json:"uids,omitempty"`
	// OS is set for the packages of the distribution.
	OS        pratique.OSCoverage  `json:"os,omitzero"`
	Unmatched []pratique.Unmatched `json:"unmatched,omitempty"`
}

// encodeListFindings makes the document. Whether support of the distribution has ended changes with
// time, so only the date is stored.
func encodeListFindings(of ListFindings) (Document, error) {
	doc := findingsDocument{
		Format: formatFindings, Cores: of.Cores, In: make([]int, len(of.Locations)),
		UIDs: make([]string, len(of.Locations)),
	}
	if of.Coverage == nil {
		return Document{}, pratique.Errorf(pratique.Internal, "encode document",
			"findings without coverage")
	}
	doc.OS, doc.Unmatched = of.Coverage.OS, of.Coverage.Unmatched
	doc.OS.EndOfLife = false
	for i, l := range of.Locations {
		// Search backwards: related packages are in the same layer.
		n := len(doc.Layers) - 1
		for n >= 0 && doc.Layers[n] != l.Layer {
			n--
		}
		if n < 0 {
			n = len(doc.Layers)
			doc.Layers = append(doc.Layers, l.Layer)
		}
		doc.In[i], doc.UIDs[i] = n, l.UID
	}
	return document(doc)
}

// LoadListFindings returns the findings of a list without their cores.
func LoadListFindings(ctx context.Context, from Documents, d pratique.Digest) (ListFindings, error) {
	var doc findingsDocument
	if err := load(ctx, from, d, formatFindings, &doc, &doc.Format); err != nil {
		return ListFindings{}, err
	}
	if len(doc.In) != len(doc.UIDs) || (len(doc.In) == 0) != doc.Cores.IsZero() {
		return ListFindings{}, errCorrupt(d, errors.New("not all findings have a location"))
	}
	if bad := slices.IndexFunc(doc.In, func(n int) bool {
		return n < 0 || n >= len(doc.Layers)
	}); bad >= 0 {
		return ListFindings{}, errCorrupt(d, fmt.Errorf("there is no layer %d", doc.In[bad]))
	}
	of := ListFindings{
		Cores: doc.Cores, Locations: make([]Location, len(doc.In)),
		Coverage: &pratique.Coverage{OS: doc.OS, Unmatched: doc.Unmatched},
	}
	for i, n := range doc.In {
		of.Locations[i] = Location{doc.Layers[n], doc.UIDs[i]}
	}
	return of, nil
}

// Locate returns a copy of the cores with their locations.
func (l ListFindings) Locate(cores []FindingCore) ([]FindingCore, error) {
	if len(cores) != len(l.Locations) {
		return nil, errCorrupt(l.Cores, fmt.Errorf("%d findings in %d locations", len(cores),
			len(l.Locations)))
	}
	all := slices.Clone(cores)
	for i, at := range l.Locations {
		all[i].Layer, all[i].UID = at.Layer, at.UID
	}
	return all, nil
}
