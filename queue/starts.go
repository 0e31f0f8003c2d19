package queue

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// starts counts how often the work on a message was begun, durably and before it begins. JetStream's own
// count of deliveries is written up to 100 ms later, and not synced: a message that kills its process at
// once would come back as if for the first time, for ever. It also counts deliveries that never became work.
//
// Each start is spent at first, and forgiven when it ended with an error that only asks for patience. So what
// remains spent after a crash is the crash, however long the job had to wait before.
type starts struct {
	js     jetstream.JetStream
	prefix string
}

// start is one start of a message, with the counts that include it.
type start struct {
	total, spent int
	subject      string
	seq          uint64
}

// begin adds one to both counts of a message. When most starts are spent already nothing is counted, and over
// is true.
func (s starts) begin(ctx context.Context, meta *jetstream.MsgMetadata, most int) (now start, over bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, ackWait)
	defer cancel()
	// The time keeps apart two messages of streams that had the same name.
	now.subject = fmt.Sprintf("%s.%s.%d-%d", s.prefix, meta.Stream, meta.Sequence.Stream, meta.Timestamp.UnixNano())
	now.total, now.spent = 1, 1
	switch err = s.record(ctx, &now); {
	case err == nil:
		return now, false, nil
	case !wrongLast(err):
		return now, false, err
	}
	stream, err := s.js.Stream(ctx, startsStream)
	if err != nil {
		return now, false, err
	}
	last, err := stream.GetLastMsgForSubject(ctx, now.subject)
	if err != nil {
		return now, false, err
	}
	now.seq = last.Sequence
	now.total, now.spent, err = parseCounts(string(last.Data))
	if err != nil || now.spent >= most {
		return now, now.spent >= most, err
	}
	now.total++
	now.spent++
	// Fails when another worker begins the same message at the same moment.
	return now, false, s.record(ctx, &now)
}

// forgive takes a start back from those that are spent. It fails when the message was begun anew meanwhile.
func (s starts) forgive(now start) error {
	ctx, cancel := context.WithTimeout(context.Background(), ackWait)
	defer cancel()
	now.spent--
	return s.record(ctx, &now)
}

// record writes the counts after the position now.seq, and moves that on.
func (s starts) record(ctx context.Context, now *start) error {
	counts := fmt.Appendf(nil, "%d %d", now.total, now.spent)
	ack, err := s.js.Publish(ctx, now.subject, counts, jetstream.WithExpectLastSequencePerSubject(now.seq))
	if err == nil {
		now.seq = ack.Sequence
	}
	return err
}

func parseCounts(text string) (total, spent int, err error) {
	first, second, both := strings.Cut(text, " ")
	if !both { // from a version that forgave nothing
		second = first
	}
	if total, err = strconv.Atoi(first); err == nil {
		spent, err = strconv.Atoi(second)
	}
	return total, spent, err
}

func wrongLast(err error) bool {
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		return false
	}
	return api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant // from a cluster
}
