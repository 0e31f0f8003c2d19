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

// findingsDocument stands for the findings of a list. In and UIDs are by findings, in their order.
type findingsDocument struct {
	Format string `json:"format"`
	// Shared is the document of what was found; zero if nothing was.
	Shared pratique.Digest    `json:"shared,omitzero"`
	Layers []pratique.LayerID `json:"layers,omitempty"`
	// In are numbers of Layers.
	In   []int    `json:"in,omitempty"`
	UIDs []string `json:"uids,omitempty"`
}

// PlacedDocument makes the document that stands for findings: what was found is in the document shared, in the places.
func PlacedDocument(shared pratique.Digest, places []Place) (Document, error) {
	doc := findingsDocument{Format: formatFindings, Shared: shared, In: make([]int, len(places)), UIDs: make([]string, len(places))}
	for i, p := range places {
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

// LoadPlaces returns the digest of what was found in one part, which is zero if nothing was, and the places.
func LoadPlaces(ctx context.Context, from Documents, d pratique.Digest) (shared pratique.Digest, places []Place, err error) {
	var doc findingsDocument
	if err := load(ctx, from, d, formatFindings, &doc, &doc.Format); err != nil {
		return pratique.Digest{}, nil, err
	}
	if len(doc.In) != len(doc.UIDs) || (len(doc.In) == 0) != doc.Shared.IsZero() {
		return pratique.Digest{}, nil, misplaced(d, errors.New("its findings are not all in a place"))
	}
	if bad := slices.IndexFunc(doc.In, func(n int) bool { return n < 0 || n >= len(doc.Layers) }); bad >= 0 {
		return pratique.Digest{}, nil, misplaced(d, fmt.Errorf("there is no layer %d", doc.In[bad]))
	}
	places = make([]Place, len(doc.In))
	for i, n := range doc.In {
		places[i] = Place{doc.Layers[n], doc.UIDs[i]}
	}
	return doc.Shared, places, nil
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
