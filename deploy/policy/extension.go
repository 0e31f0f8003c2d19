package policy

import (
	"fmt"
	"strings"
	"time"

	"github.com/pratique-dev/pratique"
)

// Extension lets the vulnerability database grow older than [Params.MaxDatabaseAge] for a while,
// because its publisher does not. It has an end and a reason, and each verdict says both while it
// is in force. The zero value is none.
type Extension struct {
	// Age takes the place of the limit until Until.
	Age   time.Duration
	Until time.Time
	// Reason is for those who read the verdicts.
	Reason string
}

// IsZero reports whether there is none.
func (e Extension) IsZero() bool { return e.Age == 0 && e.Until.IsZero() && e.Reason == "" }

const maxExtensionReason = 200

func (e Extension) validate(limit time.Duration) error {
	switch {
	case e.IsZero():
		return nil
	case e.Age <= limit:
		return fmt.Errorf("database_age_extension: %s is not more than the limit, %s", e.Age, limit)
	case e.Until.IsZero():
		return fmt.Errorf("database_age_extension: say until when")
	case strings.TrimSpace(e.Reason) == "" || len(e.Reason) > maxExtensionReason:
		return fmt.Errorf("database_age_extension: give a reason of at most %d characters",
			maxExtensionReason)
	}
	return nil
}

// Limit is how old the database may be at that time.
func (p Params) Limit(now time.Time) time.Duration { return newGuards(p).limit(now) }

// LimitKey is the key of the configuration that [Params.Limit] is from at that time.
func (p Params) LimitKey(now time.Time) string { return newGuards(p).limitKey(now) }

func (g guards) limitKey(now time.Time) string {
	if g.extended(now) {
		return "policy.databaseAgeExtension.age"
	}
	return "policy.maxDatabaseAge"
}

func (g guards) limit(now time.Time) time.Duration {
	if g.extended(now) {
		return g.extension.Age
	}
	return g.maxAge
}

// extended reports whether the extension is in force; it never is at a time that is not known.
func (g guards) extended(now time.Time) bool { return !now.IsZero() && g.extension.Until.After(now) }

// note mentions the extension in every verdict while it is in force.
func (g guards) note(in Input) []pratique.Reason {
	if !g.extended(in.now()) {
		return nil
	}
	return []pratique.Reason{{Rule: "database_age_extended", Message: fmt.Sprintf(
		"until %s the vulnerability database may be %s old instead of %s: %s",
		g.extension.Until.UTC().Format(time.RFC3339), hours(g.extension.Age), hours(g.maxAge),
		oneLine(g.extension.Reason))}}
}

// now is the time of the verdict. NewInput wrote it, so it can be read.
func (in Input) now() time.Time {
	now, _ := time.Parse(time.RFC3339, in.Now)
	return now
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
