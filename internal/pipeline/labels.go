package pipeline

import (
	"context"
	"encoding/json"
	"maps"
	"slices"

	"github.com/pratique-dev/pratique"
)

// What a fact holds of an image's labels, in bytes: the ledger keeps facts for good, and anybody who may push could fill
// it with labels otherwise. Usual labels are a few hundred bytes.
const (
	mostLabels     = 8 << 10
	mostLabelValue = 256
)

// keepLabels stores labels that are too large for a fact in a document, and leaves an excerpt.
func (s *Inspect) keepLabels(ctx context.Context, fact *pratique.Inspected) (err error) {
	labels := fact.Image.Labels
	total := 0
	for k, v := range labels {
		total += len(k) + len(v)
	}
	if total <= mostLabels {
		return nil
	}
	if fact.Image.AllLabels, err = s.putJSON(ctx, labels); err != nil {
		return err
	}
	fact.Image.Labels = map[string]string{}
	room := mostLabels
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		v := pratique.Excerpt(labels[k], mostLabelValue)
		if room -= len(k) + len(v); room < 0 {
			break
		}
		fact.Image.Labels[k] = v
	}
	return nil
}

// withAllLabels is an inspection with the labels that the policy has to see: all of them.
func (s *Attest) withAllLabels(ctx context.Context, i pratique.Inspected) (pratique.Inspected, error) {
	if i.Image.AllLabels.IsZero() {
		return i, nil
	}
	content, err := s.document(ctx, i.Image.AllLabels)
	if err != nil {
		return i, err
	}
	i.Image.Labels = nil
	if err := json.Unmarshal(content, &i.Image.Labels); err != nil {
		return i, lostDocument{pratique.Wrap(pratique.Corrupt, "decode labels", i.Image.AllLabels.String(), err)}
	}
	return i, nil
}
