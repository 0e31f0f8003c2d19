package outbox

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math"
	"time"

	"go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/boltfile"
)

const (
	digestSize = 32
	idSize     = 32 // hexadecimal digits of pratique.EventID
	numberSize = 8
	tagSize    = digestSize + 3*numberSize
	sweptMark  = 1 // follows the tagSize bytes if swept is set
	// maxEvent bounds one encoded event, whose texts come from the sender.
	maxEvent = 64 << 10
	// overhead is what bbolt stores besides each entry.
	overhead = 16
)

// push is an event prepared by the goroutine that publishes it, so that the transaction is short.
type push struct {
	event   pratique.Event
	key     []byte // of the tag
	sender  []byte // 16 bytes of hash of the sender's id, nil if it has none
	encoded []byte // the event as JSON, without an id
}

func newPush(e pratique.Event, now time.Time) (push, error) {
	const op = "publish event"
	if err := e.Ref.Validate(); err != nil {
		return push{}, pratique.Wrap(pratique.Invalid, op, "", err)
	}
	e.ID = ""
	if e.ReceivedAt.IsZero() {
		e.ReceivedAt = now.UTC()
	}
	encoded, err := json.Marshal(e)
	if err != nil {
		return push{}, pratique.Wrap(pratique.Invalid, op, e.Ref.String(), err)
	}
	if len(encoded) > maxEvent {
		return push{}, pratique.Errorf(pratique.Invalid, op, "%s: %d bytes are more than %d", e.Ref,
			len(encoded), maxEvent)
	}
	p := push{event: e, key: tagKey(e.Ref), encoded: encoded}
	if e.Delivery != "" {
		// an id always decodes
		p.sender, _ = hex.DecodeString(pratique.EventID(e.Source, e.Ref, e.Delivery))
	}
	return p, nil
}

// tagKey is the key of a push among the tags: the tag, or the digest if there is no tag.
func tagKey(ref pratique.ImageRef) []byte {
	if ref.Tag != "" {
		ref.Digest, ref.Other = pratique.Digest{}, pratique.ContentID{}
	}
	return []byte(ref.String())
}

func encodeLogged(id string, encoded []byte) []byte {
	return append(append(make([]byte, 0, idSize+len(encoded)), id...), encoded...)
}

func decodeLogged(v []byte) (pratique.Event, error) {
	var e pratique.Event
	if len(v) < idSize {
		return e, boltfile.Damaged("an entry of %d bytes", len(v))
	}
	if err := json.Unmarshal(v[idSize:], &e); err != nil {
		return e, pratique.Wrap(pratique.Corrupt, "read entry", "", err)
	}
	e.ID = string(v[:idSize])
	if err := e.Validate(); err != nil {
		return e, pratique.Wrap(pratique.Corrupt, "read entry", "", err)
	}
	return e, nil
}

// tagState is what is known of a tag.
type tagState struct {
	digest     pratique.Digest // zero if unknown
	generation uint64
	pushed     time.Time
	// occurred is the newest time that a sender gave for a push of the tag, in nanoseconds since
	// 1970; 0 if none did.
	occurred int64
	// swept is set if only sweeps reported the digest. Their events order nothing, so a sender's
	// report of the digest, which does, is no duplicate.
	swept bool
}

func (s tagState) encode() []byte {
	v := make([]byte, digestSize, tagSize)
	_, _ = hex.Decode(v, []byte(s.digest.Hex())) // what Hex writes always decodes
	v = appendTime(binary.BigEndian.AppendUint64(v, s.generation), s.pushed)
	v = binary.BigEndian.AppendUint64(v, uint64(s.occurred)) //nolint:gosec // never negative
	if s.swept {
		v = append(v, sweptMark)
	}
	return v
}

func decodeTag(v []byte) (tagState, error) {
	swept := len(v) == tagSize+1 && v[tagSize] == sweptMark
	if len(v) != tagSize && !swept {
		return tagState{}, boltfile.Damaged("a tag of %d bytes", len(v))
	}
	return tagState{
		digest:     pratique.DigestFromSum([digestSize]byte(v)),
		generation: binary.BigEndian.Uint64(v[digestSize:]),
		pushed:     timeOf(v[digestSize+numberSize:]),
		occurred:   timeOf(v[digestSize+2*numberSize:]).UnixNano(),
		swept:      swept,
	}, nil
}

// names reports whether the tag is known to name d.
func (s tagState) names(d pratique.Digest) bool { return !s.digest.IsZero() && s.digest == d }

// repeats reports whether a push of d is a duplicate. A sender's report is not if only sweeps
// reported the digest before, or if it does not say under which tag the digest was pushed.
func (s tagState) repeats(e pratique.Event, d pratique.Digest) bool {
	return s.names(d) && (e.RefreshOnly || !s.swept) && !e.TagUnknown
}

// occurredAt returns the time that the sender gave for a push, in nanoseconds since 1970; 0 if it
// gave none. It is at most now, so that a clock that is ahead does not make later reports late.
func occurredAt(e pratique.Event, now time.Time) int64 {
	at := e.OccurredAt
	if at.After(now) {
		at = now
	}
	if at.Unix() <= 0 {
		return 0
	}
	return at.UnixNano()
}

// unresolved is a push without a digest.
type unresolved struct {
	count uint64    // how often the tag was pushed meanwhile
	since time.Time // when the first of these pushes arrived
	event pratique.Event
}

func encodeUnresolved(count uint64, since time.Time, encoded []byte) []byte {
	v := make([]byte, 0, 2*numberSize+len(encoded))
	return append(appendTime(binary.BigEndian.AppendUint64(v, count), since), encoded...)
}

func decodeUnresolved(v []byte) (u unresolved, err error) {
	if len(v) < 2*numberSize {
		return u, boltfile.Damaged("an unresolved push of %d bytes", len(v))
	}
	u.count, u.since = binary.BigEndian.Uint64(v), timeOf(v[numberSize:])
	if err := json.Unmarshal(v[2*numberSize:], &u.event); err != nil {
		return u, pratique.Wrap(pratique.Corrupt, "read unresolved push", "", err)
	}
	if err := u.event.Ref.Validate(); err != nil || u.event.Ref.Tag == "" {
		return u, boltfile.Damaged("an unresolved push of %q", tagKey(u.event.Ref))
	}
	return u, nil
}

func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// numberOf reads what number wrote; 0 if there is nothing.
func numberOf(v []byte) uint64 {
	if len(v) != numberSize {
		return 0
	}
	return binary.BigEndian.Uint64(v)
}

// appendTime appends nanoseconds since 1970, so that byte order is time order; earlier times count
// as 1970.
func appendTime(v []byte, t time.Time) []byte {
	return binary.BigEndian.AppendUint64(v, uint64(max(t.UnixNano(), 0)))
}

func timeOf(v []byte) time.Time {
	n := min(binary.BigEndian.Uint64(v), math.MaxInt64)
	return time.Unix(0, int64(n)).UTC()
}

func sizeOf(k, v []byte) int64 { return int64(len(k) + len(v) + overhead) }

// oldestLogged returns when the first event of the log arrived, zero if there is none or it cannot
// be read, which the forwarder reports.
func oldestLogged(tx *bbolt.Tx) time.Time {
	if _, v := tx.Bucket(bucketLog).Cursor().First(); v != nil {
		if e, err := decodeLogged(v); err == nil {
			return e.ReceivedAt
		}
	}
	return time.Time{}
}

// oldestUnresolved returns when the oldest unresolved push arrived, zero if there is none. It skips
// entries that cannot be read.
func oldestUnresolved(tx *bbolt.Tx) time.Time {
	var oldest time.Time
	_ = tx.Bucket(bucketUnresolved).ForEach(func(_, v []byte) error { // the callback has no error
		if len(v) < 2*numberSize {
			return nil
		}
		if since := timeOf(v[numberSize:]); oldest.IsZero() || since.Before(oldest) {
			oldest = since
		}
		return nil
	})
	return oldest
}
