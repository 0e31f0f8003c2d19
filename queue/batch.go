package queue

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/natsinternals"
)

// Bounds of a batch. The server's limit is 1000 messages; half of that also suits a server with a
// lower limit. The bytes bound what the server stages.
const (
	maxBatchMessages = 500
	maxBatchBytes    = mib
	// The server stages a batch in a store of its own, which costs half a dozen syncs of files and
	// directories however small the batch is. Below this, one sync for each message is cheaper.
	minBatchMessages = 12
)

// errNotAtomic means that the messages cannot be stored as one batch, but may be one by one: the
// server refused the batch or does not support batches.
var errNotAtomic = errors.New("not accepted as one batch")

// PublishBatch queues messages for a stage in their order, and waits until the server has stored
// them all. It sends batches of up to 500 messages or 1 MiB, and waits at most until ctx ends or 5
// s for each. A server that syncs every append ([EmbeddedConfig.SyncAlways]) syncs a few times for
// a batch, not once for a message. Fewer than 12 messages, and those of a batch that the server
// refuses, are published one by one, each within 5 s. Ids that the stage already has are stored
// once.
//
// The kinds of errors are those of [Broker.Publish]. A message without an id, with an unknown
// priority or too large is refused before any is sent. After any other error none, some or all may
// have been stored, and after a power failure not always the first ones: publish all of them again
// with the same ids.
func (b *Broker) PublishBatch(ctx context.Context, stage pratique.Stage, all []pratique.Message) error {
	op := "publish to " + string(stage)
	s, err := streamOf(stage)
	if err != nil {
		return err
	}
	entries := make([]Entry, len(all))
	for i, m := range all {
		if err := checkMessage(op, m.Priority, m.ID); err != nil {
			return err
		}
		entries[i] = Entry{Subject: s.Subject(m.Priority), ID: m.ID, Body: m.Body}
	}
	return b.publishAll(ctx, op, s, entries)
}

// Entry is a message for a subject of a stream.
type Entry struct {
	Subject string
	ID      string
	Body    []byte
}

// PublishFacts is [Broker.PublishBatch] for the ledger. A push has few entries, a rescan may have
// many.
func (b *Broker) PublishFacts(ctx context.Context, all []Entry) error {
	for _, s := range Topology() {
		if s.Name == LedgerStream {
			return b.publishAll(ctx, "append facts", s, all)
		}
	}
	return pratique.Errorf(pratique.Internal, "append facts", "there is no stream %s", LedgerStream)
}

func (b *Broker) publishAll(ctx context.Context, op string, s Stream, all []Entry) error {
	for _, m := range all {
		if len(m.Body) > int(s.MaxMsgSize) {
			return pratique.Wrap(pratique.Exhausted, op, m.ID,
				fmt.Errorf("%d bytes are more than the %d of a message", len(m.Body), s.MaxMsgSize))
		}
	}
	for len(all) > 0 {
		n := batchLength(all)
		if err := b.publishPart(ctx, op, s, all[:n]); err != nil {
			return err
		}
		all = all[n:]
	}
	return nil
}

// batchLength returns how many of the first messages go into one batch, at least one.
func batchLength(all []Entry) int {
	size := 0
	for i, m := range all {
		size += len(m.Body)
		if i > 0 && (i == maxBatchMessages || size > maxBatchBytes) {
			return i
		}
	}
	return len(all)
}

func (b *Broker) publishPart(ctx context.Context, op string, s Stream, part []Entry) error {
	if len(part) >= minBatchMessages {
		err := b.publishAtomically(ctx, op, s, part)
		if !errors.Is(err, errNotAtomic) {
			return err
		}
	}
	// The ids keep what is stored already, perhaps by a server that took the batch as single
	// messages, from being stored twice.
	for _, m := range part {
		if err := b.publish(ctx, op, s, m); err != nil {
			return err
		}
	}
	return nil
}

// publishAtomically sends part as one batch. It waits for the answer to the first message, so that
// a server that refuses the batch is sent no more of it, and for that to the last, which commits
// the batch.
func (b *Broker) publishAtomically(ctx context.Context, op string, s Stream, part []Entry) error {
	subject := fmt.Sprintf("batch of %d", len(part))
	conn := b.js.Conn()
	// While it reconnects the library would buffer the messages, and the caller would wait in vain.
	if !conn.IsConnected() {
		return pratique.Wrap(pratique.Unavailable, op, subject, errNoConnection)
	}
	ctx, cancel := context.WithTimeout(ctx, publishWait)
	defer cancel()
	batch, last := rand.Text(), len(part)-1
	for i, m := range part {
		msg := nats.NewMsg(m.Subject)
		msg.Data = m.Body
		msg.Header.Set(jetstream.MsgIDHeader, m.ID)
		msg.Header.Set(jetstream.ExpectedStreamHeader, s.Name)
		msg.Header.Set(natsinternals.BatchID, batch)
		msg.Header.Set(natsinternals.BatchSequence, strconv.Itoa(i+1))
		if i != 0 && i != last {
			if err := conn.PublishMsg(msg); err != nil {
				return batchError(op, s, subject, err)
			}
			continue
		}
		want := natsinternals.BatchAnswer{}
		if i == last {
			msg.Header.Set(natsinternals.BatchCommit, "1")
			want = natsinternals.BatchAnswer{Batch: batch, Count: len(part)}
		}
		answer, err := conn.RequestMsgWithContext(ctx, msg)
		if err == nil {
			err = checkAnswer(answer.Data, want)
		}
		if err != nil {
			return batchError(op, s, subject, err)
		}
	}
	return nil
}

// checkAnswer compares an answer of the server with the expected one.
func checkAnswer(data []byte, want natsinternals.BatchAnswer) error {
	var got natsinternals.BatchAnswer
	if len(data) > 0 {
		if err := json.Unmarshal(data, &got); err != nil {
			return fmt.Errorf("unreadable acknowledgement: %w", err)
		}
	}
	if got.Error != nil {
		return got.Error
	}
	// A server that does not support batches acknowledges the first message as a single one.
	if first := want.Count == 0; got != want || first && len(data) > 0 {
		return errNotAtomic
	}
	return nil
}

func batchError(op string, s Stream, subject string, err error) error {
	if errors.Is(err, errNotAtomic) || errors.Is(err, nats.ErrMaxPayload) ||
		natsinternals.BatchRefused(err) {
		return errNotAtomic
	}
	return publishError(op, s, subject, err)
}
