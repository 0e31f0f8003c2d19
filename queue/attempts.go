package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pratique-dev/pratique"
)

// attempts counts the attempts at each message, durably and before each begins. JetStream's own
// count of deliveries is written up to 100 ms late and not synced: a message that kills its process
// at once would come back as new, for ever. It also counts deliveries that never became an attempt.
//
// An attempt counts towards [Config.MaxAttempts], and as a crash, as soon as it begins. Recording
// its outcome takes back what does not apply. So an attempt that ends with its process stays
// counted as a crash.
type attempts struct {
	js jetstream.JetStream
}

// attempt is the current attempt at a message.
type attempt struct {
	total, counted, crashes int // including this attempt
	exhausted               bool
	kind                    pratique.Kind // of the last recorded failure
	reason                  string        // of the last recorded failure
	subject                 string        // where the counts are stored
	seq                     uint64        // of the message that holds the counts
}

// limits bound the counted attempts, and the crashes among them; 0 crashes means no separate limit.
type limits struct{ counted, crashes int }

func (l limits) reached(a attempt) bool {
	return a.counted >= l.counted || l.crashes > 0 && a.crashes >= l.crashes
}

// begin counts a new attempt at a message. If the limits are reached already, it counts nothing and
// the result is exhausted.
func (s attempts) begin(ctx context.Context, meta *jetstream.MsgMetadata,
	l limits) (a attempt, err error) {
	ctx, cancel := context.WithTimeout(ctx, ackWait)
	defer cancel()
	a.subject = attemptsSubject(meta.Stream, meta.Sequence.Stream, meta.Timestamp)
	a.total, a.counted, a.crashes = 1, 1, 1
	if err = s.store(ctx, &a); err == nil || !wrongLast(err) {
		return a, err
	}
	stream, err := s.js.Stream(ctx, attemptsStream)
	if err != nil {
		return a, err
	}
	last, err := stream.GetLastMsgForSubject(ctx, a.subject)
	if err != nil {
		return a, err
	}
	a.seq = last.Sequence
	if err = a.parse(string(last.Data)); err != nil {
		return a, err
	}
	if a.exhausted = l.reached(a); a.exhausted {
		return a, nil
	}
	a.total++
	a.counted++
	a.crashes++
	// Fails if another worker begins an attempt at the same message at the same time.
	return a, s.store(ctx, &a)
}

// attemptsSubject is where the attempts at a message are counted. The time tells apart messages of
// successive streams with the same name.
func attemptsSubject(stream string, seq uint64, at time.Time) string {
	return fmt.Sprintf("%s.%s.%d-%d", attemptsPrefix, stream, seq, at.UnixNano())
}

// recordOutcome records how an attempt ended. It fails if another attempt has begun meanwhile.
func (s attempts) recordOutcome(a attempt, uncounted bool, err error) error {
	ctx, cancel := context.WithTimeout(context.Background(), ackWait)
	defer cancel()
	kind := pratique.KindOf(err)
	if uncounted || kind != pratique.Died {
		a.crashes--
	}
	if uncounted {
		a.counted--
	} else {
		a.kind, a.reason = kind, pratique.Excerpt(err.Error(), maxReason)
	}
	return s.store(ctx, &a)
}

// maxReason keeps a reason within the size of a message, in bytes.
const maxReason = 700

// store writes the counts after a.seq, and updates a.seq.
func (s attempts) store(ctx context.Context, a *attempt) error {
	counts := fmt.Appendf(nil, "%d %d %d\n%s\n%s", a.total, a.counted, a.crashes, a.kind, a.reason)
	ack, err := s.js.Publish(ctx, a.subject, counts, jetstream.WithExpectLastSequencePerSubject(a.seq))
	if err == nil {
		a.seq = ack.Sequence
	}
	return err
}

// parse reads what store wrote.
func (a *attempt) parse(text string) error {
	counts, failure, _ := strings.Cut(text, "\n")
	kind, reason, _ := strings.Cut(failure, "\n")
	a.reason = reason
	_, err := fmt.Sscanf(counts, "%d %d %d", &a.total, &a.counted, &a.crashes)
	return errors.Join(err, a.kind.UnmarshalText([]byte(kind)))
}

// exhaustedError is the error of a job whose limits are reached.
func (a attempt) exhaustedError(job string) error {
	kind, reason := pratique.Exhausted, "the worker crashed, or could not record its failure"
	if a.reason != "" {
		kind, reason = a.kind, "last recorded failure: "+a.reason
	}
	return pratique.Wrap(kind, "attempt job", job,
		fmt.Errorf("given up after %d attempts (%d counted, %d of them crashes): %s",
			a.total, a.counted, a.crashes, reason))
}

func wrongLast(err error) bool {
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		return false
	}
	return api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant // from a cluster
}
