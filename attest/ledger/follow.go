package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pratique-dev/pratique"
)

// Entry is a fact at its position in the ledger. Err says why the entry is none that this program knows; then
// Fact is zero, which no reader takes for a fact.
type Entry struct {
	Seq  uint64
	Fact pratique.Fact
	Err  error
}

const (
	batchEntries = 512
	batchBytes   = 8 << 20
	batchPause   = 50 * time.Millisecond
)

// Follow calls fn with every fact after position after, in order and without gaps, until ctx ends; then it
// returns nil. Facts that are waiting come together, at most 512 at a time. An entry that is not a fact, as a
// newer version of the program may have left behind, is handed on with its Err: one of them must not keep all
// others from being read. Follow ends early with fn's error as it is, with Unavailable when the connection is
// closed, and with Corrupt when facts are missing or the ledger ends before after, as it does when it was
// restored from an old copy.
func (l *Ledger) Follow(ctx context.Context, after uint64, fn func([]Entry) error) error {
	const op = "follow ledger"
	end, err := l.End(ctx)
	if err != nil {
		return ended(ctx, err)
	}
	if end < after {
		return pratique.Errorf(pratique.Corrupt, op, "the ledger ends at %d, but %d was read before: rebuild the index", end, after)
	}
	consumer, err := l.js.OrderedConsumer(ctx, StreamName, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: after + 1,
	})
	if err != nil {
		return ended(ctx, pratique.Wrap(pratique.Unavailable, op, "", err))
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessagesWithBytesLimit(batchEntries, batchBytes))
	if err != nil {
		return ended(ctx, pratique.Wrap(pratique.Unavailable, op, "", err))
	}
	defer messages.Stop()
	for {
		batch, err := nextBatch(ctx, messages)
		if err != nil {
			return ended(ctx, err)
		}
		for _, e := range batch {
			if e.Seq != after+1 {
				return pratique.Errorf(pratique.Corrupt, op, "position %d is followed by %d: facts are missing", after, e.Seq)
			}
			after = e.Seq
		}
		if err := fn(batch); err != nil {
			return err
		}
	}
}

// nextBatch waits for an entry and takes those that wait behind it.
func nextBatch(ctx context.Context, messages jetstream.MessagesContext) ([]Entry, error) {
	const op = "follow ledger"
	var batch []Entry
	wait := jetstream.NextContext(ctx)
	for {
		msg, err := messages.Next(wait)
		if errors.Is(err, nats.ErrTimeout) && len(batch) > 0 {
			return batch, nil
		}
		if err != nil {
			return nil, pratique.Wrap(pratique.Unavailable, op, "", err)
		}
		meta, err := msg.Metadata()
		if err != nil {
			return nil, pratique.Wrap(pratique.Corrupt, op, msg.Subject(), err)
		}
		e := Entry{Seq: meta.Sequence.Stream}
		if e.Fact, err = decode(msg.Data()); err != nil {
			e.Fact, e.Err = pratique.Fact{}, pratique.Wrap(pratique.Corrupt, op, fmt.Sprint(e.Seq), err)
		}
		batch = append(batch, e)
		if meta.NumPending == 0 || len(batch) == batchEntries {
			return batch, nil
		}
		wait = jetstream.NextMaxWait(batchPause)
	}
}

func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
