package queue

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"
)

// starts counts how often the work on a message was begun, durably and before it begins. JetStream's own
// count of deliveries is written up to 100 ms later, and not synced: a message that kills its process at
// once would come back as if for the first time, for ever. It also counts deliveries that never became work.
type starts struct {
	js     jetstream.JetStream
	prefix string
}

// begin adds one to the count of a message and returns it. At most most starts are counted; then over is
// true and n is their number.
func (s starts) begin(ctx context.Context, meta *jetstream.MsgMetadata, most int) (n int, over bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, ackWait)
	defer cancel()
	// The time keeps apart two messages of streams that had the same name.
	subject := fmt.Sprintf("%s.%s.%d-%d", s.prefix, meta.Stream, meta.Sequence.Stream, meta.Timestamp.UnixNano())
	switch err = s.record(ctx, subject, 1, 0); {
	case err == nil:
		return 1, false, nil
	case !wrongLast(err):
		return 0, false, err
	}
	stream, err := s.js.Stream(ctx, startsStream)
	if err != nil {
		return 0, false, err
	}
	last, err := stream.GetLastMsgForSubject(ctx, subject)
	if err != nil {
		return 0, false, err
	}
	n, err = strconv.Atoi(string(last.Data))
	if err != nil || n >= most {
		return n, n >= most, err
	}
	// Fails when another worker begins the same message at the same moment.
	return n + 1, false, s.record(ctx, subject, n+1, last.Sequence)
}

func (s starts) record(ctx context.Context, subject string, n int, after uint64) error {
	_, err := s.js.Publish(ctx, subject, []byte(strconv.Itoa(n)), jetstream.WithExpectLastSequencePerSubject(after))
	return err
}

func wrongLast(err error) bool {
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		return false
	}
	return api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant // from a cluster
}
