package adapter

import (
	"context"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/queue"
)

// Facts appends many facts at once.
type Facts struct {
	Ledger interface {
		Message(f pratique.Fact) (subject, id string, body []byte, err error)
	}
	Broker *queue.Broker
}

// AppendAll appends facts in batches.
func (f Facts) AppendAll(ctx context.Context, all []pratique.Fact) error {
	entries := make([]queue.Entry, len(all))
	for i, fact := range all {
		subject, id, body, err := f.Ledger.Message(fact)
		if err != nil {
			return err
		}
		entries[i] = queue.Entry{Subject: subject, ID: id, Body: body}
	}
	return f.Broker.PublishFacts(ctx, entries)
}
