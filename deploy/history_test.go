package deploy

import (
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
)

// TestHistoryWithoutEnd: a history that goes on claiming is not followed for ever, and what may stand behind it is not taken
// for nothing.
func TestHistoryWithoutEnd(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	c := pratique.Change{Subject: pratique.Subject{Repository: pratique.Repository{Registry: "registry.example.com", Path: "app"}, Digest: pratique.DigestOf(nil)}, Tag: "v1"}
	shown, ours := 0, false
	past := func(yield func(Past) bool) {
		for {
			shown++
			if !yield(Past{At: at, Ours: func() bool { return ours }, Trailers: []Trailer{{trailerImage, c.Subject.String()}, {trailerTag, "v2"}, {trailerTarget, "other"}}}) {
				return
			}
		}
	}
	m := &memory{target: Target{Name: "prod"}, change: c, now: at}
	for _, ours = range []bool{false, true} {
		shown = 0
		enough, err := m.read(t.Context(), past)
		if err != nil || !enough || shown != maxAsked+1 || pratique.KindOf(m.unsure) != pratique.Denied {
			t.Errorf("ours %t: enough %t after %d, unsure %v, %v", ours, enough, shown, m.unsure, err)
		}
	}
}
