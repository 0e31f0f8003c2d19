package reconcile

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pratique-dev/pratique"
)

// TestLostAttestations: an image that was allowed and attested, and whose attestations were cleaned
// away, is attested again. Nothing is done about others.
func TestLostAttestations(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "team/app")
		app := repo("team/app")
		old := time.Now().Add(-time.Hour)
		evaluated := map[string]time.Time{"lost": old, "there": old,
			"young": time.Now().Add(-time.Minute), "broken": old, "unlisted": old, "stored": old}
		for _, tag := range []string{"lost", "there", "young", "denied", "broken", "stored", "news"} {
			w.registry.push(app, tag, tag)
			if tag != "news" {
				w.intake.report(app, tag, tag)
			}
		}
		w.registry.push(app, "also-lost", "lost")
		w.intake.report(app, "also-lost", "lost")
		for _, of := range []string{"there", "unlisted"} {
			w.registry.push(app, "sha256-"+digest(of).Hex()+".att", of+".att")
		}
		w.registry.push(app, "sha256-"+digest("lost").Hex()+".sig", "lost.sig")
		w.config.Attested = func(s pratique.Subject) (time.Time, error) {
			for name, at := range evaluated {
				if s == (pratique.Subject{Repository: app, Digest: digest(name)}) {
					if name == "broken" {
						return at, errors.New("the index cannot be read")
					}
					return at, nil
				}
			}
			return time.Time{}, nil
		}
		var restored []pratique.Event
		w.config.Restore = func(_ context.Context, e pratique.Event) error {
			if e.Ref.Digest == digest("stored") {
				return errors.New("the queue is away")
			}
			restored = append(restored, e)
			return nil
		}
		defer w.run()()
		s := w.rests("team/app")
		if s.State != Idle || s.Restored != 1 || len(restored) != 1 {
			t.Fatalf("%+v, restored %+v", s, restored)
		}
		e := restored[0]
		if e.Ref.Digest != digest("lost") || !slices.Contains([]string{"lost", "also-lost"},
			e.Ref.Tag) || !e.RefreshOnly || e.Source != "reconcile" ||
			e.Priority != pratique.PriorityManual || e.Validate() != nil {
			t.Errorf("%+v", e)
		}
		if len(w.trouble) != 2 || !strings.Contains(errors.Join(w.trouble...).Error(),
			"the queue is away") {
			t.Errorf("trouble %v", w.trouble)
		}
		// Still gone at the next sweep: it is tried again, as another event.
		if _, err := w.r.Request(nil); err != nil {
			t.Fatal(err)
		}
		if w.rests("team/app"); len(restored) != 2 || restored[0].ID == restored[1].ID {
			t.Errorf("%+v", restored)
		}
	})
}

// TestLostAttestationsOutOfReach: while the queue is away a sweep says so a few times, and not of
// each image.
func TestLostAttestationsOutOfReach(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "team/app")
		for i := range 3 * maxFailed {
			tag := "v" + strconv.Itoa(i)
			w.registry.push(repo("team/app"), tag, tag)
			w.intake.report(repo("team/app"), tag, tag)
		}
		w.config.Attested = func(pratique.Subject) (time.Time, error) {
			return time.Now().Add(-time.Hour), nil
		}
		w.config.Restore = func(context.Context, pratique.Event) error {
			return errors.New("the queue is away")
		}
		defer w.run()()
		if s := w.rests("team/app"); s.State != Idle || len(w.trouble) != maxFailed {
			t.Errorf("%+v, told %d times", s, len(w.trouble))
		}
	})
}
