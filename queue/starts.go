package queue

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pratique-dev/pratique"
)

// starts counts how often the work on a message was begun, durably and before it begins. JetStream's own
// count of deliveries is written up to 100 ms later, and not synced: a message that kills its process at
// once would come back as if for the first time, for ever. It also counts deliveries that never became work.
//
// Each start is spent at first, and forgiven when it ended with an error that only asks for patience. So what
// remains spent after a crash is the crash, however long the job had to wait before. Each start also counts as a death
// until it is heard of again; a death is taken back when it ended otherwise. With the counts is kept why the last start
// that was not forgiven failed, so that the last word on a job can say it.
type starts struct {
	js jetstream.JetStream
}

// start is one start of a message, with the counts that include it, and the last failure before it.
type start struct {
	total, spent, deaths int
	over                 bool // nothing was started: the bounds have been reached before
	kind                 pratique.Kind
	reason               string
	subject              string
	seq                  uint64
}

// bounds are how many starts may be spent, and how many may be deaths; 0 deaths is no bound of their own.
type bounds struct{ spent, deaths int }

func (b bounds) reached(s start) bool {
	return s.spent >= b.spent || b.deaths > 0 && s.deaths >= b.deaths
}

// begin adds one to the counts of a message. When they have reached the bounds already nothing is counted, and
// now is over.
func (s starts) begin(ctx context.Context, meta *jetstream.MsgMetadata, most bounds) (now start, err error) {
	ctx, cancel := context.WithTimeout(ctx, ackWait)
	defer cancel()
	now.subject = startsSubject(meta.Stream, meta.Sequence.Stream, meta.Timestamp)
	now.total, now.spent, now.deaths = 1, 1, 1
	if err = s.record(ctx, &now); err == nil || !wrongLast(err) {
		return now, err
	}
	stream, err := s.js.Stream(ctx, startsStream)
	if err != nil {
		return now, err
	}
	last, err := stream.GetLastMsgForSubject(ctx, now.subject)
	if err != nil {
		return now, err
	}
	now.seq = last.Sequence
	if err = now.parse(string(last.Data)); err != nil {
		return now, err
	}
	if now.over = most.reached(now); now.over {
		return now, nil
	}
	now.total++
	now.spent++
	now.deaths++
	// Fails when another worker begins the same message at the same moment.
	return now, s.record(ctx, &now)
}

// startsSubject is where the starts of a message are counted. The time keeps apart two messages of streams that had
// the same name.
func startsSubject(stream string, seq uint64, at time.Time) string {
	return fmt.Sprintf("starts.%s.%d-%d", stream, seq, at.UnixNano())
}

// take writes how a start ended. It fails when the message was begun anew meanwhile.
func (s starts) take(now start, forgive bool, err error) error {
	ctx, cancel := context.WithTimeout(context.Background(), ackWait)
	defer cancel()
	kind := pratique.KindOf(err)
	switch {
	case forgive:
		now.spent--
		now.deaths--
	case kind == pratique.Died:
		now.kind, now.reason = kind, pratique.Excerpt(err.Error(), maxReason)
	default:
		now.deaths--
		now.kind, now.reason = kind, pratique.Excerpt(err.Error(), maxReason)
	}
	return s.record(ctx, &now)
}

// maxReason keeps a reason within the size of a message, in bytes.
const maxReason = 700

// record writes the counts after the position now.seq, and moves that on.
func (s starts) record(ctx context.Context, now *start) error {
	counts := fmt.Appendf(nil, "%d %d %d\n%s\n%s", now.total, now.spent, now.deaths, now.kind, now.reason)
	ack, err := s.js.Publish(ctx, now.subject, counts, jetstream.WithExpectLastSequencePerSubject(now.seq))
	if err == nil {
		now.seq = ack.Sequence
	}
	return err
}

// parse reads what record wrote. Earlier versions wrote fewer counts, and no reason.
func (s *start) parse(text string) error {
	counts, failure, _ := strings.Cut(text, "\n")
	fields := strings.Fields(counts)
	if len(fields) == 0 {
		return fmt.Errorf("no counts in %q", text)
	}
	var err error
	s.total, err = strconv.Atoi(fields[0])
	s.spent = s.total
	if len(fields) > 1 && err == nil {
		s.spent, err = strconv.Atoi(fields[1])
	}
	if len(fields) > 2 && err == nil {
		s.deaths, err = strconv.Atoi(fields[2])
	}
	kind, reason, _ := strings.Cut(failure, "\n")
	s.reason = reason
	return errors.Join(err, s.kind.UnmarshalText([]byte(kind)))
}

// end is the error of a job that is not started again.
func (s start) end(job string) error {
	kind, reason := pratique.Exhausted, "the worker died, or could not record its failure"
	if s.reason != "" {
		kind, reason = s.kind, "the last failure that was heard of: "+s.reason
	}
	return pratique.Wrap(kind, "start job", job, fmt.Errorf("given up after %d attempts, %d of which failed without a reason to wait, %d of these with a death: %s",
		s.total, s.spent, s.deaths, reason))
}

func wrongLast(err error) bool {
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		return false
	}
	return api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant // from a cluster
}
