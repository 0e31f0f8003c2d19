package expr

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
)

// TestEvalIsBounded gives expressions that a careless operator may write to payloads that make the
// most of them.
func TestEvalIsBounded(t *testing.T) {
	t.Parallel()
	list := make([]any, 5000)
	for i := range list {
		list[i] = "x"
	}
	body := map[string]any{"big": strings.Repeat("a", 1<<20), "list": list,
		"five": strings.Repeat("b", maxResult+1)}
	many := func(s string) string { return strings.Repeat(s+"+", 100) + s }
	for name, config := range map[string]Config{
		"list in a list":        {Repository: `body.list.all(a, body.list.all(b, a == b)) ? "r" : "s"`},
		"long strings added":    {Repository: many("body.big")},
		"replace multiplies":    {Repository: `body.big.replace("", body.big)`},
		"replace of a replace":  {Repository: `body.five.replace("b", body.five).replace("b", body.five)`},
		"replace adds up":       {Repository: `body.list.map(x, body.big.replace("a", "b"))[0]`},
		"split over and over":   {Repository: `body.list.map(x, body.big.split(""))[0][0]`},
		"lower case over again": {Repository: `body.list.map(x, body.big.lowerAscii())[0]`},
		"regular expression":    {Repository: `body.list.exists(x, body.big.matches("(a*)*b")) ? "r" : "s"`},
		"documents compared":    {Repository: `body.list.all(a, body.list.all(b, body == body)) ? "r" : "s"`},
		"result too long":       {Repository: `body.five`},
		"too many items":        {Events: `body.list`, Repository: `item`},
		"each a little too much": {Events: `[1,2,3,4,5,6,7,8,9]`,
			Repository: `body.big.lowerAscii() != "" ? "r" : "s"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config.Tag = `"t"`
			p, err := Compile(config)
			if err != nil {
				t.Fatal(err)
			}
			want := pratique.Exhausted
			if strings.HasPrefix(name, "replace m") || strings.HasPrefix(name, "replace o") {
				want = pratique.Invalid // the function's own bound
			}
			if _, err = p.Eval(http.Header{}, body); pratique.KindOf(err) != want {
				t.Errorf("got %v, want %s", err, want)
			}
		})
	}
}

func TestEvalReadsFullEnvelopeWithinItsLimits(t *testing.T) {
	t.Parallel()
	var events []any
	for range maxItems {
		events = append(events, decode(t, ecr))
	}
	c := ecrConfig
	c.Events, c.When = "body.events", strings.ReplaceAll(c.When, "body", "item")
	c.Host, c.ID, c.Time = strings.ReplaceAll(c.Host, "body", "item"), "item.id", "item.time"
	p, err := Compile(c)
	if err != nil {
		t.Fatal(err)
	}
	items, err := p.Eval(http.Header{}, map[string]any{"events": events})
	if err != nil || len(items) != maxItems || items[maxItems-1].Repository != "my/app" {
		t.Errorf("got %d items, %v", len(items), err)
	}
}

// FuzzEval looks for a panic, for an error without a kind, for items that break their promise, and
// for an evaluation that is not a function of its input.
func FuzzEval(f *testing.F) {
	for _, body := range []string{ecr, gitea, odd, `[]`, `null`, `{"detail":[]}`,
		`{"package":{"version":3}}`} {
		f.Add(body, `item.name`, `[body]`)
		f.Add(body, `item.detail["repository-name"]`, `body`)
		f.Add(body, `item.?a.orValue("b").replace("b", "c")`, `body.batches.map(b, b.images)`)
	}
	fixed := []*Program{}
	for _, c := range []Config{ecrConfig, giteaConfig} {
		p, err := Compile(c)
		if err != nil {
			f.Fatal(err)
		}
		fixed = append(fixed, p)
	}
	f.Fuzz(func(t *testing.T, body, repository, events string) {
		var decoded any
		if json.Unmarshal([]byte(body), &decoded) != nil {
			return
		}
		programs := fixed
		if p, err := Compile(Config{Events: events, Repository: repository, Tag: `"t"`,
			Time: `item.?at`}); err == nil {
			programs = append(programs[:len(programs):len(programs)], p)
		} else if pratique.KindOf(err) != pratique.Invalid {
			t.Fatal(err)
		}
		for _, p := range programs {
			items, err := p.Eval(http.Header{}, decoded)
			if kind := pratique.KindOf(err); err != nil && kind != pratique.Invalid &&
				kind != pratique.Exhausted {
				t.Fatal(err)
			}
			for _, item := range items {
				if item.Wanted && (item.Repository == "" || item.Tag == "" && item.Digest == "" ||
					len(item.Repository) > maxResult) {
					t.Fatalf("%+v", item)
				}
			}
			again, err2 := p.Eval(http.Header{}, decoded)
			if (err == nil) != (err2 == nil) || !reflect.DeepEqual(items, again) {
				t.Fatalf("%v %v, then %v %v", items, err, again, err2)
			}
		}
	})
}
