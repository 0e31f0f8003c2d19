package outbox

import (
	"testing"

	"github.com/pratique-dev/pratique"
)

// FuzzDecode reads stored entries: whatever the file holds there is no panic, and what can be read
// is written as it was.
func FuzzDecode(f *testing.F) {
	e := delivered(tagged("app:v1", "A"), "1")
	p, err := newPush(e, epoch)
	if err != nil {
		f.Fatal(err)
	}
	bare, err := newPush(tagged("app:v1", ""), epoch)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(encodeLogged(pratique.EventID("s", e.Ref, "1"), p.encoded))
	f.Add(encodeUnresolved(3, epoch, bare.encoded))
	f.Add(tagState{digest: e.Ref.Digest, generation: 7, pushed: epoch,
		occurred: epoch.UnixNano() - 1}.encode())
	f.Add(tagState{generation: 1 << 60, pushed: epoch}.encode())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		if e, err := decodeLogged(raw); err == nil {
			again, err := newPush(e, epoch)
			if err != nil && pratique.KindOf(err) != pratique.Invalid {
				t.Fatal(err)
			}
			if err == nil {
				if got, err := decodeLogged(encodeLogged(e.ID, again.encoded)); err != nil ||
					got.Ref != e.Ref || got.ID != e.ID {
					t.Fatalf("%+v became %+v, %v", e, got, err)
				}
			}
		} else if pratique.KindOf(err) != pratique.Corrupt {
			t.Fatal(err)
		}
		if u, err := decodeUnresolved(raw); err == nil {
			if u.event.Ref.Tag == "" {
				t.Fatalf("%+v cannot be resolved", u)
			}
		} else if pratique.KindOf(err) != pratique.Corrupt {
			t.Fatal(err)
		}
		if s, err := decodeTag(raw); err == nil {
			again, err := decodeTag(s.encode())
			if err != nil || again != s {
				t.Fatalf("%+v became %+v, %v", s, again, err)
			}
		} else if pratique.KindOf(err) != pratique.Corrupt {
			t.Fatal(err)
		}
	})
}
