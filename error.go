package pratique

import (
	"errors"
	"fmt"
)

// Kind classifies an [Error]. The list is closed. Two pure functions read it: queue.Dispose decides
// what becomes of a message, and api.Status is the HTTP status.
type Kind int

// The kinds. Unknown is the zero value and is retried.
const (
	Unknown     Kind = iota // not classified: a bug, or a library that does not say
	Invalid                 // the input is wrong and stays wrong: refuse it
	NotFound                // it does not exist
	Denied                  // credentials are missing, wrong or not enough
	Conflict                // somebody else was faster: read again and retry
	Exhausted               // a limit of ours was reached: size, count, time, memory
	RateLimited             // a limit of theirs was reached: wait
	Unavailable             // a dependency does not answer now: wait
	Corrupt                 // bytes do not match their digest or format: do not use them
	Unverified              // a signature or an attestation does not hold
	Stale                   // evidence or database is older than allowed
	Internal                // an invariant of ours is broken
	Died                    // the process that worked on it died for an unknown reason: retry once
)

var kindNames = map[Kind]string{
	Unknown: "unknown", Invalid: "invalid", NotFound: "not found", Denied: "denied", Conflict: "conflict",
	Exhausted: "limit exceeded", RateLimited: "rate limited", Unavailable: "unavailable",
	Corrupt:    "corrupt",
	Unverified: "unverified", Stale: "stale", Internal: "internal", Died: "died",
}

// String returns the kind in words.
func (k Kind) String() string { return kindNames[k] }

// MarshalText implements [encoding.TextMarshaler].
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler]. An unknown name is Unknown.
func (k *Kind) UnmarshalText(text []byte) error {
	*k = Unknown
	for kind, name := range kindNames {
		if name == string(text) {
			*k = kind
		}
	}
	return nil
}

// Permanent reports whether a retry with the same input cannot help.
func (k Kind) Permanent() bool {
	switch k {
	case Invalid, NotFound, Exhausted, Corrupt, Unverified:
		return true
	default:
		return false
	}
}

// Error says that the service could not find out, and why. A denial is never an Error: it is a
// [Verdict]. Wrap once at each boundary. Op is a lower-case phrase such as "fetch layer".
type Error struct {
	Op      string
	Subject string
	Kind    Kind
	Err     error
}

// Error returns "op subject: cause".
func (e *Error) Error() string {
	s := e.Op
	if e.Subject != "" {
		s += " " + e.Subject
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	} else {
		s += ": " + e.Kind.String()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf returns an [Error] without a subject. The format is that of [fmt.Errorf].
func Errorf(kind Kind, op, format string, args ...any) *Error {
	return &Error{Op: op, Kind: kind, Err: fmt.Errorf(format, args...)}
}

// Wrap adds an operation and a kind to err. If kind is Unknown, the kind of err is kept. Wrap of nil
// is nil.
func Wrap(kind Kind, op, subject string, err error) error {
	if err == nil {
		return nil
	}
	if kind == Unknown {
		kind = KindOf(err)
	}
	return &Error{Op: op, Subject: subject, Kind: kind, Err: err}
}

// KindOf returns the kind of the outermost [Error] in err's chain, or Unknown.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Unknown
}
