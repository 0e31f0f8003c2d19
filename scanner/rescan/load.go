package rescan

import (
	"context"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/scanner"
)

// LoadQuestion returns the question about a stored list. If the previous findings are missing or
// damaged, it is about the whole list.
func LoadQuestion(ctx context.Context, from scanner.Documents, l List, change *Change) (Question, error) {
	list, err := scanner.LoadListDocument(ctx, from, l.Digest)
	if err != nil {
		return Question{}, err
	}
	if l.Findings.IsZero() {
		return Ask(list, nil, change)
	}
	previous, err := loadPrevious(ctx, from, l.Findings, change)
	switch {
	case missingOrDamaged(err):
		return Ask(list, nil, change)
	case err != nil:
		return Question{}, err
	}
	return Ask(list, previous, change)
}

func loadPrevious(ctx context.Context, from scanner.Documents, d pratique.Digest,
	change *Change) (*Previous, error) {
	stored, err := scanner.LoadListFindings(ctx, from, d)
	if err != nil {
		return nil, err
	}
	cores, err := change.loadCores(ctx, from, stored.Cores)
	if err != nil {
		return nil, err
	}
	found, err := stored.Locate(cores)
	return &Previous{Document: d, Findings: found, Coverage: stored.Coverage}, err
}

// loadAll returns the findings of several documents.
func loadAll(ctx context.Context, from scanner.Documents,
	all []pratique.Digest) ([]scanner.FindingCore, error) {
	var out []scanner.FindingCore
	for _, d := range all {
		found, _, err := scanner.LoadCores(ctx, from, d)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return out, nil
}

// missingOrDamaged reports whether a document is missing or damaged.
func missingOrDamaged(err error) bool {
	kind := pratique.KindOf(err)
	return kind == pratique.NotFound || kind == pratique.Corrupt
}
