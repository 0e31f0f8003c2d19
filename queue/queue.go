// Package queue moves work between the stages over NATS JetStream: streams and consumers as data,
// an embedded server for one machine, and a pool of workers that decides what becomes of every
// message.
//
// Each stage has one work-queue stream with one subject and one durable pull consumer per priority.
// A message carries ids and digests, never documents, and is deleted only by an acknowledgement
// that the server has confirmed. After anything else (a crash, a panic, a lost connection) the
// message is redelivered, so every handler must be able to run twice. Three traps of JetStream
// shape the code. Attempts are counted before they begin, because a message that kills its worker
// never reaches the code after it. They are counted in a stream of their own, because the server
// writes its count of deliveries late and loses it with the process. And the server syncs its files
// only every two minutes unless [EmbeddedConfig.SyncAlways] is set.
//
// Publishing an id twice to a stage within [Stream.Duplicates] stores it once, even if the first
// message is long done: work that is wanted again needs a new id.
package queue

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pratique-dev/pratique"
)

// Stream describes one JetStream stream. A stream with a Stage is that stage's work queue: its
// subjects are Prefix + "." + priority, and a message is deleted once it is acknowledged. A stream
// without one keeps everything, unless it has a MaxAge: then it keeps the newest message of each
// subject.
type Stream struct {
	Name   string
	Stage  pratique.Stage
	Prefix string
	// MaxBytes bounds the stream. A full stream refuses new messages; one with a MaxAge drops old
	// ones.
	MaxBytes int64
	// MaxMsgSize bounds one message, headers included, in bytes.
	MaxMsgSize int32
	// Duplicates is how long the server remembers message ids.
	Duplicates time.Duration
	// MaxAge is how long messages are kept; 0 means for ever.
	MaxAge time.Duration
}

// LedgerStream is the name of the stream of facts.
const LedgerStream = "LEDGER"

// Format is the format of messages and facts. A stream carries it as metadata. It changes when data
// of an older version can no longer be read.
const (
	Format    = "3"
	formatKey = "pratique-format"
)

// The stream that counts the attempts at each message.
const (
	attemptsStream = "ATTEMPTS"
	attemptsPrefix = "attempts"
)

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
)

// Topology returns every stream of the service. Queued messages are a few hundred bytes, so 256 MiB
// hold several hundred thousand. A push makes about ten facts, 10 to 40 KiB in all, so a ledger of
// 8 GiB holds two hundred thousand pushes at least.
func Topology() []Stream {
	return []Stream{
		{Name: "EVENTS", Stage: pratique.StageInspect, Prefix: "events", MaxBytes: 256 * mib,
			MaxMsgSize: 64 * kib, Duplicates: time.Hour},
		{Name: "ATTEST", Stage: pratique.StageAttest, Prefix: "attest", MaxBytes: 256 * mib,
			MaxMsgSize: 64 * kib, Duplicates: time.Hour},
		{Name: "DEPLOY", Stage: pratique.StageDeploy, Prefix: "deploy", MaxBytes: 256 * mib,
			MaxMsgSize: 64 * kib, Duplicates: time.Hour},
		// The window for facts is short on purpose: it only has to cover a publisher that retries.
		{Name: LedgerStream, Prefix: "ledger", MaxBytes: 8 * gib, MaxMsgSize: 576 * kib,
			Duplicates: 2 * time.Minute},
		// Kept for longer than a message is retried; [Broker.Setup] makes it twice [Config.MaxAge]
		// if that is more.
		{Name: attemptsStream, Prefix: attemptsPrefix, MaxBytes: 64 * mib, MaxMsgSize: kib,
			Duplicates: time.Minute, MaxAge: 48 * time.Hour},
	}
}

// Subject is where work of a priority is published.
func (s Stream) Subject(priority pratique.Priority) string { return s.Prefix + "." + string(priority) }

// Config is the stream in JetStream's terms. replicas is 1 on one machine.
func (s Stream) Config(replicas int) jetstream.StreamConfig {
	c := jetstream.StreamConfig{
		Name: s.Name, Storage: jetstream.FileStorage, Replicas: max(1, replicas),
		Discard:  jetstream.DiscardNew,
		MaxBytes: s.MaxBytes, MaxMsgs: -1, MaxMsgSize: s.MaxMsgSize, Duplicates: s.Duplicates,
		Metadata: map[string]string{formatKey: Format},
	}
	if s.MaxAge > 0 {
		c.Subjects = []string{s.Prefix + ".>"}
		c.Retention, c.Discard, c.MaxAge, c.MaxMsgsPerSubject = jetstream.LimitsPolicy,
			jetstream.DiscardOld, s.MaxAge, 1
		return c
	}
	if s.Stage == "" {
		c.Subjects = []string{s.Prefix + ".>"}
		c.Retention, c.DenyDelete, c.DenyPurge = jetstream.LimitsPolicy, true, true
		c.AllowAtomicPublish = true
		return c
	}
	c.Retention, c.AllowAtomicPublish = jetstream.WorkQueuePolicy, true
	for _, priority := range pratique.Priorities() {
		c.Subjects = append(c.Subjects, s.Subject(priority))
	}
	return c
}

// Consumer is the durable consumer of one priority in JetStream's terms.
func (s Stream) Consumer(priority pratique.Priority, c Config) jetstream.ConsumerConfig {
	c = c.withDefaults()
	return jetstream.ConsumerConfig{
		Durable: string(priority), FilterSubject: s.Subject(priority),
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: c.AckWait,
		DeliverPolicy: jetstream.DeliverAllPolicy, ReplayPolicy: jetstream.ReplayInstantPolicy,
		// No bound: beyond it JetStream keeps the message and silently stops delivering it. Our own
		// limits end a message only after its failure was recorded.
		MaxDeliver: -1,
		// No bound: messages that wait for another attempt are pending too. A priority must not
		// stop because many of its jobs wait for a registry that is down. Work.Limits bounds what
		// runs at once.
		MaxAckPending: -1, MaxRequestBatch: 64,
	}
}

// streamOf finds the work queue of a stage.
func streamOf(stage pratique.Stage) (Stream, error) {
	for _, s := range Topology() {
		if s.Stage == stage && stage != "" {
			return s, nil
		}
	}
	return Stream{}, pratique.Errorf(pratique.Internal, "find work queue", "there is no stage %q", stage)
}
