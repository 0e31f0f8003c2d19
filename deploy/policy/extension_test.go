package policy

import (
	"strings"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
)

// TestExtension: an old database passes until the end of the extension and up to its age, by a
// policy of one's own, too, and every verdict says so meanwhile.
func TestExtension(t *testing.T) {
	t.Parallel()
	until := testNow.Add(48 * time.Hour)
	p := load(t,
		Config{Params: Params{Extension: Extension{Age: 120 * time.Hour, Until: until,
			Reason: "not rebuilt,\nsee #651"}}})
	plain := load(t, Config{})
	if p.ID().Digest == plain.ID().Digest {
		t.Error("the policy's digest does not tell of the extension")
	}
	for name, c := range map[string]struct {
		age    time.Duration
		now    time.Time
		denied string
		noted  bool
	}{
		"young":              {time.Hour, testNow, "", true},
		"over the limit":     {100 * time.Hour, testNow, "", true},
		"over the extension": {121 * time.Hour, testNow, "at most 120 h", true},
		"at its end":         {100 * time.Hour, until, "at most 72 h", false},
		"young after it":     {time.Hour, until.Add(time.Hour), "", false},
	} {
		in := testInput(t)
		in.Scan.Database.AgeSeconds, in.Now = int64(c.age/time.Second), stamp(c.now)
		d, err := p.Evaluate(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		if denied := d.Outcome == pratique.Deny; denied != (c.denied != "") || denied &&
			!strings.Contains(d.Reasons[0].Message, c.denied) {
			t.Errorf("%s: %+v", name, d)
		}
		noted := false
		for _, n := range d.Notes {
			noted = noted || n.Rule == "database_age_extended" &&
				strings.Contains(n.Message, "may be 120 h old instead of 72 h: not rebuilt, see #651")
		}
		if noted != c.noted {
			t.Errorf("%s: notes %+v", name, d.Notes)
		}
		if limit := (Params{Extension: Extension{Age: 120 * time.Hour, Until: until,
			Reason: "x"}}).Limit(c.now); (limit == 120*time.Hour) != c.noted {
			t.Errorf("%s: limit %s", name, limit)
		}
	}
	for want, e := range map[string]Extension{
		"not more than the limit": {Age: time.Hour, Until: until, Reason: "x"},
		"until when":              {Age: 100 * time.Hour, Reason: "x"},
		"give a reason":           {Age: 100 * time.Hour, Until: until, Reason: " "},
		"at most 200":             {Age: 100 * time.Hour, Until: until, Reason: strings.Repeat("x", 201)},
	} {
		if _, err := Load(t.Context(), Config{Params: Params{Extension: e}}); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", e, err, want)
		}
	}
}
