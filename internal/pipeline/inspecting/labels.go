package inspecting

import (
	"context"
	"maps"
	"slices"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/pipeline"
)

// Bounds of an image's labels in a fact, in bytes. The ledger keeps facts for good, and anybody who
// may push could fill it with labels. Usual labels are a few hundred bytes.
const (
	maxLabels     = 8 << 10
	maxLabelValue = 256
)

// storeLabels stores labels that are too large for a fact in a document, and keeps an excerpt in
// the fact.
func (s *Stage) storeLabels(ctx context.Context, fact *pratique.Inspected) (err error) {
	labels := fact.Image.Labels
	total := 0
	for k, v := range labels {
		total += len(k) + len(v)
	}
	if total <= maxLabels {
		return nil
	}
	if fact.Image.AllLabels, err = pipeline.PutJSON(ctx, s.Documents, labels); err != nil {
		return err
	}
	fact.Image.Labels = map[string]string{}
	room := maxLabels
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		v := pratique.Excerpt(labels[k], maxLabelValue)
		if room -= len(k) + len(v); room < 0 {
			break
		}
		fact.Image.Labels[k] = v
	}
	return nil
}
