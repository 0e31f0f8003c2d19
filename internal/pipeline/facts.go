package pipeline

import (
	"context"

	"github.com/pratique-dev/pratique"
)

// Newest returns the body of the newest fact of its kind about a subject, nil if there is none.
func Newest[T any, B interface {
	*T
	pratique.Body
}](ctx context.Context, facts Facts, s pratique.Subject) (*T, error) {
	f, ok, err := facts.Last(ctx, s, B(nil).FactKind())
	if err != nil || !ok {
		return nil, err
	}
	return pratique.As[T](f), nil
}

// Bounds of texts and lists in facts, in bytes and elements. Images, registries and config
// repositories choose the texts, and the ledger refuses a fact that is too large.
const (
	maxText  = 2 << 10
	maxPath  = 512
	maxNotes = 20
)

// Excerpt shortens a text to what a fact has room for.
func Excerpt(text string) string { return pratique.Excerpt(text, maxText) }

// ExcerptPath shortens the path of a file, or a value in it.
func ExcerptPath(text string) string { return pratique.Excerpt(text, maxPath) }

// Excerpts shortens a list of texts.
func Excerpts(all []string) []string {
	var out []string
	for _, text := range all[:min(len(all), maxNotes)] {
		out = append(out, Excerpt(text))
	}
	return out
}

// FirstReason is the message of a verdict's first reason, empty if it has none.
func FirstReason(v pratique.Verdict) string {
	if len(v.Reasons) == 0 {
		return ""
	}
	return Excerpt(v.Reasons[0].Message)
}
