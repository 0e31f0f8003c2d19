package jsonname

import (
	"encoding/json"
	"testing"
)

// TestFold: two names are folded to one exactly if encoding/json reads the one into a field of the
// other.
func TestFold(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"digest", "DIGEST", "Digest", "dige\u017ft", "DIGE\u017fT",
		"diges", "digestt", "d\u0131gest", "d\u0130gest", "link", "lin\u212a", "LINK"} {
		var v struct {
			Digest, Link bool
		}
		raw, err := json.Marshal(map[string]bool{name: true})
		if err == nil {
			err = json.Unmarshal(raw, &v)
		}
		if err != nil {
			t.Fatal(err)
		}
		if v.Digest != (Fold(name) == Fold("digest")) || v.Link != (Fold(name) == Fold("link")) {
			t.Errorf("%q: read as %+v, folded to %q", name, v, Fold(name))
		}
	}
}
