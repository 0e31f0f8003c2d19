package scanner

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/pratique-dev/pratique"
)

// Place is where a package lies of which something was found. As a rule the findings of two builds of an application
// differ in nothing else, so places are in a small document for each list, and what was found in one that the lists share.
type Place struct {
	Layer pratique.LayerID
	UID   string
}

// Placed stands for the findings of a list: the document of what was found, which is zero if nothing was, where each
// finding lies, and what was covered. Coverage is nil if an early version stored them.
type Placed struct {
	Shared   pratique.Digest
	Places   []Place
	Coverage *pratique.Coverage
}

// findingsDocument stands for the findings of a list. In and UIDs are by findings, in their order.
type findingsDocument struct {
	Format string `json:"format"`
	// Shared is the document of what was found; zero if nothing was.
	Shared pratique.Digest    `json:"shared,omitzero"`
	Layers []pratique.LayerID `json:"layers,omitempty"`
	// In are numbers of Layers.
	In   []int    `json:"in,omitempty"`
	UIDs []string `json:"uids,omitempty"`
	// OS is set for the packages of the distribution.
	OS        pratique.OSCoverage  `json:"os,omitzero"`
	Unmatched []pratique.Unmatched `json:"unmatched,omitempty"`
}

// PlacedDocument makes the document that stands for findings. Whether support of the distribution has ended changes by
// itself, so the document has only the day.
func PlacedDocument(of Placed) (Document, error) {
	doc := findingsDocument{Format: formatFindings, Shared: of.Shared, In: make([]int, len(of.Places)), UIDs: make([]string, len(of.Places))}
	if of.Coverage == nil {
		return Document{}, pratique.Errorf(pratique.Internal, "encode document", "findings do not say what was covered")
	}
	doc.OS, doc.Unmatched = of.Coverage.OS, of.Coverage.Unmatched
	doc.OS.EndOfLife = false
	for i, p := range of.Places {
		// The last layers are the likeliest: packages that belong together were installed together.
		n := len(doc.Layers) - 1
		for n >= 0 && doc.Layers[n] != p.Layer {
			n--
		}
		if n < 0 {
			n = len(doc.Layers)
			doc.Layers = append(doc.Layers, p.Layer)
		}
		doc.In[i], doc.UIDs[i] = n, p.UID
	}
	return document(doc)
}

// LoadPlaces returns what stands for the findings in one part.
func LoadPlaces(ctx context.Context, from Documents, d pratique.Digest) (Placed, error) {
	var doc findingsDocument
	if err := load(ctx, from, d, formatFindings, &doc, &doc.Format); err != nil {
		return Placed{}, err
	}
	if len(doc.In) != len(doc.UIDs) || (len(doc.In) == 0) != doc.Shared.IsZero() {
		return Placed{}, misplaced(d, errors.New("its findings are not all in a place"))
	}
	if bad := slices.IndexFunc(doc.In, func(n int) bool { return n < 0 || n >= len(doc.Layers) }); bad >= 0 {
		return Placed{}, misplaced(d, fmt.Errorf("there is no layer %d", doc.In[bad]))
	}
	placed := Placed{Shared: doc.Shared, Places: make([]Place, len(doc.In))}
	for i, n := range doc.In {
		placed.Places[i] = Place{doc.Layers[n], doc.UIDs[i]}
	}
	if doc.Format == formatFindings {
		placed.Coverage = &pratique.Coverage{OS: doc.OS, Unmatched: doc.Unmatched}
	}
	return placed, nil
}

// Fit says whether what was found has a place each, as d says; the error is Corrupt.
func Fit(d pratique.Digest, found []Found, places []Place) error {
	if len(found) != len(places) {
		return misplaced(d, fmt.Errorf("%d findings in %d places", len(found), len(places)))
	}
	return nil
}

func misplaced(d pratique.Digest, err error) error {
	return pratique.Wrap(pratique.Corrupt, "read document", d.String(), err)
}
