package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pratique-dev/pratique"
)

const (
	batchEntries = 512
	batchBytes   = 8 << 20
	batchPause   = 50 * time.Millisecond
)

// Follow calls fn with every fact after position after, in order and without gaps, until ctx ends;
// then it returns nil. Facts that are waiting come together, at most 512 at a time. An entry that
// is not a fact, as a newer version of the program may have left behind, is handed on with its Err:
// one of them must not keep all others from being read. Follow ends early with fn's error as it is,
// with Unavailable when the connection is closed, and with Corrupt when facts are missing or the
// ledger ends before after, as it does when it was restored from an old copy.
func (l *Ledger) Follow(ctx context.Context, after uint64, fn func([]pratique.Entry) error) error {
	const op = "follow ledger"
	end, err := l.End(ctx)
	if err != nil {
		return ended(ctx, err)
	}
	if end < after {
		return pratique.Errorf(pratique.Corrupt, op,
			"the ledger ends at %d, but %d was read before", end, after)
	}
	_, stream, err := l.identify(ctx)
	if err != nil {
		return ended(ctx, err)
	}
	messages, err := l.messages(ctx, after+1)
	if err != nil {
		return ended(ctx, pratique.Wrap(pratique.Unavailable, op, "", err))
	}
	defer messages.Stop()
	for {
		batch, err := nextBatch(ctx, stream, messages)
		if err != nil {
			return ended(ctx, err)
		}
		for _, e := range batch {
			if e.Seq != after+1 {
				return pratique.Errorf(pratique.Corrupt, op,
					"position %d is followed by %d: facts are missing", after, e.Seq)
			}
			after = e.Seq
		}
		if err := fn(batch); err != nil {
			return err
		}
	}
}

// messages delivers what lies on the subjects, or on all if none is named, from a position on and
// in order.
func (l *Ledger) messages(ctx context.Context, from uint64,
	subjects ...string) (jetstream.MessagesContext, error) {
	consumer, err := l.js.OrderedConsumer(ctx, StreamName, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from,
		FilterSubjects: subjects,
	})
	if err != nil {
		return nil, err
	}
	return consumer.Messages(jetstream.PullMaxMessagesWithBytesLimit(batchEntries, batchBytes))
}

// nextBatch waits for an entry and takes those that wait behind it.
func nextBatch(ctx context.Context, stream string,
	messages jetstream.MessagesContext) ([]pratique.Entry, error) {
	const op = "follow ledger"
	var batch []pratique.Entry
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
		e := pratique.Entry{Seq: meta.Sequence.Stream, Mark: markOf(stream, msg.Data())}
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

// identify returns the stream and its name for marks: a stream that is deleted and made again is
// another one. The server is asked each time, because it may be replaced while this process runs.
func (l *Ledger) identify(ctx context.Context) (jetstream.Stream, string, error) {
	const op = "identify ledger"
	stream, err := l.stream(ctx)
	if err != nil {
		return nil, "", pratique.Wrap(pratique.Unavailable, op, "", err)
	}
	info, err := stream.Info(ctx)
	if err != nil {
		return nil, "", pratique.Wrap(pratique.Unavailable, op, "", err)
	}
	return stream, info.Created.UTC().Format(time.RFC3339Nano), nil
}

func markOf(stream string, body []byte) string {
	sum := sha256.Sum256(body)
	return stream + " " + hex.EncodeToString(sum[:16])
}

// Mark returns the mark of the entry at a position; ok is false if there is none.
func (l *Ledger) Mark(ctx context.Context, seq uint64) (mark string, ok bool, err error) {
	const op = "read ledger"
	stream, id, err := l.identify(ctx)
	if err != nil {
		return "", false, err
	}
	msg, err := stream.GetMsg(ctx, seq)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return "", false, nil
	case err != nil:
		return "", false, pratique.Wrap(pratique.Unavailable, op, fmt.Sprint(seq), err)
	}
	return markOf(id, msg.Data), true, nil
}

func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
