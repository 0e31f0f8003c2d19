// Package ledger keeps what happened: facts on a JetStream stream that refuses to forget, and the
// documents they name as blobs by digest.
//
// A fact about a subject lies on ledger.<digest>.<kind>.<repository>, so the newest of a kind is
// one look-up. Facts of which there is one for each event (received, completed, failed) have the
// event as a fifth part, and an answer also the hash of the target. The digest and the repository
// are "none" while an event's ref is not resolved.
//
// A fact about a deployment (deployed, drifted) lies on
// ledger.deployment.<target>.<repository>.<kind>.<digest>, so all facts of one deployment are one
// look-up, too. The digest is "none" if the fact concerns whatever is there.
package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/natsinternals"
)

// The stream that must exist, and what its subjects begin with. See queue.Topology.
const (
	StreamName    = "LEDGER"
	SubjectPrefix = "ledger"
)

const (
	maxFact    = 512 << 10
	appendWait = 5 * time.Second
	none       = "none"
)

// Ledger appends and reads facts.
type Ledger struct {
	js  jetstream.JetStream
	now func() time.Time

	mu     sync.Mutex
	handle jetstream.Stream // found at the first use
}

// New returns the ledger on js. now is the clock for facts without a time.
func New(js jetstream.JetStream, now func() time.Time) *Ledger {
	return &Ledger{js: js, now: now}
}

// Append stores a fact and returns its position once the server has stored it; it waits at most
// until ctx ends or 5 s. A fact without a time gets the present. A fact that differs from one
// appended in the last two minutes by nothing but its time is not stored again: the position is
// that of the first. Unavailable means that it may or may not have been stored; append it again. A
// full ledger is Unavailable, too, and says so: the facts that it refuses are wanted once it has
// been made larger. A fact that is too large is Exhausted: what can grow belongs in a document, so
// it is the fault of what the fact is about, and stays.
func (l *Ledger) Append(ctx context.Context, f pratique.Fact) (uint64, error) {
	const op = "append fact"
	subject, id, body, err := l.Message(f)
	if err != nil {
		return 0, err
	}
	// The library would buffer while it reconnects.
	if !l.js.Conn().IsConnected() {
		return 0, pratique.Wrap(pratique.Unavailable, op, subject, errors.New("no connection to nats"))
	}
	ctx, cancel := context.WithTimeout(ctx, appendWait)
	defer cancel()
	ack, err := l.js.Publish(ctx, subject, body, jetstream.WithMsgID(id),
		jetstream.WithExpectStream(StreamName))
	if err != nil {
		if natsinternals.StreamFull(err) {
			err = fmt.Errorf("the ledger is full: raise queue.ledgerSize and restart: %w", err)
		}
		return 0, pratique.Wrap(pratique.Unavailable, op, subject, err)
	}
	return ack.Sequence, nil
}

// Message returns what [Ledger.Append] publishes for a fact: the subject, the id by which the same
// fact is known again, and the content. It is for those who append many facts at once.
func (l *Ledger) Message(f pratique.Fact) (subject, id string, body []byte, err error) {
	const op = "append fact"
	if f.At.IsZero() {
		f.At = l.now()
	}
	f.At = f.At.UTC()
	if subject, err = subjectFor(f); err != nil {
		return "", "", nil, err
	}
	if body, err = json.Marshal(f); err != nil {
		return "", "", nil, pratique.Wrap(pratique.Internal, op, subject, err)
	}
	if len(body) > maxFact {
		return "", "", nil, pratique.Wrap(pratique.Exhausted, op, subject,
			fmt.Errorf("%d bytes, at most %d are kept", len(body), maxFact))
	}
	id, err = messageID(f)
	return subject, id, body, pratique.Wrap(pratique.Internal, op, subject, err)
}

// messageID covers everything but the time of the fact. Times inside its content count: a verdict
// that returns to an earlier answer is news.
func messageID(f pratique.Fact) (string, error) {
	f.At = time.Time{}
	b, err := json.Marshal(f)
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16]), err
}

// Last returns the newest fact of a kind about a subject, whatever its event.
func (l *Ledger) Last(ctx context.Context, s pratique.Subject,
	kind pratique.FactKind) (pratique.Fact, bool, error) {
	if s.IsZero() {
		return pratique.Fact{}, false, pratique.Errorf(pratique.Internal, "read fact",
			"newest %s fact of no subject", kind)
	}
	subject := joined(s, kind)
	switch kind.About() {
	case pratique.AboutDeployment:
		subject = deploymentSubject("*", s, kind)
	case pratique.AboutEvent:
		subject += ".*"
	case pratique.AboutAnswer:
		subject += ".*.*"
	}
	return l.last(ctx, s, kind, subject)
}

// Completed returns how the work for an event ended. The subject is zero if it ended before the
// event's ref was resolved.
func (l *Ledger) Completed(ctx context.Context, s pratique.Subject,
	eventID string) (pratique.Fact, bool, error) {
	token, err := eventToken(eventID)
	if err != nil {
		return pratique.Fact{}, false, err
	}
	return l.last(ctx, s, pratique.FactCompleted, joined(s, pratique.FactCompleted)+"."+token)
}

// Answered returns how the work for an event ended in one target.
func (l *Ledger) Answered(ctx context.Context, s pratique.Subject, eventID,
	target string) (pratique.Fact, bool, error) {
	token, err := eventToken(eventID)
	if err != nil {
		return pratique.Fact{}, false, err
	}
	return l.last(ctx, s, pratique.FactAnswered, joined(s, pratique.FactAnswered)+"."+token+"."+
		hashToken(target))
}

// End returns the position of the newest fact; 0 if there is none.
func (l *Ledger) End(ctx context.Context) (uint64, error) {
	const op = "find end of ledger"
	stream, err := l.stream(ctx)
	if err != nil {
		return 0, pratique.Wrap(pratique.Unavailable, op, "", err)
	}
	info, err := stream.Info(ctx)
	if err != nil {
		return 0, pratique.Wrap(pratique.Unavailable, op, "", err)
	}
	return info.State.LastSeq, nil
}

func (l *Ledger) last(ctx context.Context, s pratique.Subject, kind pratique.FactKind,
	subject string) (pratique.Fact, bool, error) {
	const op = "read fact"
	body, err := l.lastMessage(ctx, subject)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return pratique.Fact{}, false, nil
	case err != nil:
		return pratique.Fact{}, false, pratique.Wrap(pratique.Unavailable, op, subject, err)
	}
	f, err := decode(body)
	if err == nil && (f.Subject != s || f.Kind() != kind) {
		err = fmt.Errorf("it is a %s fact about %s", f.Kind(), f.Subject)
	}
	if err != nil {
		return pratique.Fact{}, false, pratique.Wrap(pratique.Corrupt, op, subject, err)
	}
	return f, true, nil
}

// lastMessage asks the stream's leader. A direct get could be answered by a replica that lags
// behind, and what was just appended would seem not to be there.
func (l *Ledger) lastMessage(ctx context.Context, subject string) ([]byte, error) {
	stream, err := l.stream(ctx)
	if err != nil {
		return nil, err
	}
	msg, err := stream.GetLastMsgForSubject(ctx, subject)
	if err != nil {
		return nil, err
	}
	return msg.Data, nil
}

func (l *Ledger) stream(ctx context.Context) (jetstream.Stream, error) {
	if !l.js.Conn().IsConnected() {
		return nil, nats.ErrDisconnected
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.handle != nil {
		return l.handle, nil
	}
	stream, err := l.js.Stream(ctx, StreamName)
	if err != nil {
		return nil, err
	}
	l.handle = stream
	return stream, nil
}

func decode(body []byte) (pratique.Fact, error) {
	var f pratique.Fact
	if err := json.Unmarshal(body, &f); err != nil {
		return pratique.Fact{}, err
	}
	return f, f.Validate()
}

// subjectFor validates a fact and says where it belongs.
func subjectFor(f pratique.Fact) (string, error) {
	const op = "append fact"
	if err := f.Validate(); err != nil {
		return "", err
	}
	kind := f.Kind()
	if f.By == "" {
		return "", pratique.Wrap(pratique.Internal, op, f.Subject.String(),
			fmt.Errorf("%s fact without an author", kind))
	}
	if f.Subject.IsZero() && (f.Event == "" || kind.About() != pratique.AboutEvent) {
		return "", pratique.Errorf(pratique.Internal, op, "%s fact without a subject", kind)
	}
	subject := joined(f.Subject, kind)
	switch kind.About() {
	case pratique.AboutEvent:
		token, err := eventToken(f.Event)
		return subject + "." + token, err
	case pratique.AboutDeployment:
		return deploymentSubject(hashToken(f.Target()), f.Subject, kind), nil
	case pratique.AboutAnswer:
		token, err := eventToken(f.Event)
		return subject + "." + token + "." + hashToken(f.Target()), err
	}
	return subject, nil
}

func joined(s pratique.Subject, kind pratique.FactKind) string {
	digest, repository := none, none
	if !s.IsZero() {
		digest, repository = s.Digest.Hex(), hashToken(s.Repository.String())
	}
	return SubjectPrefix + "." + digest + "." + string(kind) + "." + repository
}

func deploymentSubject(target string, s pratique.Subject, kind pratique.FactKind) string {
	digest := none
	if !s.Digest.IsZero() {
		digest = s.Digest.Hex()
	}
	return deploymentPrefix(target, s.Repository) + string(kind) + "." + digest
}

func deploymentPrefix(target string, of pratique.Repository) string {
	return SubjectPrefix + ".deployment." + target + "." + hashToken(of.String()) + "."
}

// hashToken makes one part of a subject of a name that may hold anything.
func hashToken(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:8])
}

var tokenPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// eventToken checks that an event id is one part of a subject. Work that no push asked for has none.
func eventToken(id string) (string, error) {
	if id == "" {
		return none, nil
	}
	if !tokenPattern.MatchString(id) {
		return "", pratique.Errorf(pratique.Internal, "place fact",
			"event id %q is not 1 to 64 letters, digits, - and _", id)
	}
	return id, nil
}
