package pipeline_test

import (
	"crypto/sha512"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/pipeline"
)

// TestTagOfASubmission: whoever submits may write any tag beside a digest. Before anything names
// the tag the registry is asked, and an image under a tag that is not its own is evaluated by its
// digest and written nowhere.
func TestTagOfASubmission(t *testing.T) {
	app, other := pratique.DigestOf([]byte("app")), bySHA512(t, "app")
	for name, c := range map[string]struct {
		source    string
		tag       string // what was submitted
		byTag     bool   // without a digest
		sha512    bool   // with a digest of that algorithm
		confirmed bool
		asked     bool
		detail    string
	}{
		"its own tag": {source: pratique.SourceSubmission, tag: "1.0",
			confirmed: true, asked: true},
		"no such tag": {source: pratique.SourceSubmission, tag: "release-9",
			asked: true, detail: "the registry has no tag release-9"},
		"another image's tag": {source: pratique.SourceSubmission, tag: "other", asked: true,
			detail: "the tag other names sha256:"},
		"its own tag, by sha512": {source: pratique.SourceSubmission, tag: "1.0", sha512: true,
			confirmed: true, asked: true},
		"another's tag, by sha512": {source: pratique.SourceSubmission, tag: "other", sha512: true,
			asked: true, detail: "the tag other names sha256:"},
		"a tag alone": {source: pratique.SourceSubmission, tag: "1.0", byTag: true,
			confirmed: true},
		"a digest alone": {source: pratique.SourceSubmission},
		// the gate asks
		"a sender's word, too late": {source: "distribution", tag: "other", confirmed: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.tagged = map[string]pratique.Digest{"1.0": app,
				"other": pratique.DigestOf([]byte("another"))}
			e := w.event("e1", c.tag)
			e.Source = c.source
			w.others = map[pratique.ContentID]pratique.Digest{other: app}
			if !c.byTag {
				e.Ref.Digest = app
				if c.sha512 {
					e.Ref = e.Ref.WithContentID(other)
				}
				w.manifests[e.Ref.String()] = w.manifests[ref("1.0").String()]
				byDigest := e.Ref
				byDigest.Tag = ""
				w.manifests[byDigest.String()] = w.manifests[ref("1.0").String()]
			}
			w.process(e)
			if asked := w.lookups["tag "+c.tag] > 0; asked != c.asked {
				t.Errorf("asked %t: %v", asked, w.lookups)
			}
			if len(w.facts) == 0 {
				t.Fatal("nothing happened")
			}
			unconfirmed := c.asked && !c.confirmed
			for _, f := range w.facts {
				if unconfirmed && (pratique.As[pratique.Resolved](f) != nil &&
					pratique.As[pratique.Resolved](f).Event.Ref.Tag != "" ||
					pratique.As[pratique.Completed](f) != nil &&
						pratique.As[pratique.Completed](f).Ref.Tag != "") {
					t.Errorf("a fact names the tag: %+v", f)
				}
			}
			end := pratique.As[pratique.Completed](w.facts[len(w.facts)-1])
			if end == nil || end.Outcome != pratique.Allow {
				t.Fatalf("the end is %+v", w.facts[len(w.facts)-1])
			}
			if unconfirmed != (end.State == pratique.StateSuperseded) ||
				!strings.Contains(end.Detail, c.detail) || unconfirmed && len(w.changes) > 0 {
				t.Errorf("end %+v, changes %+v", end, w.changes)
			}
			if !unconfirmed && (len(w.changes) != 1 || w.changes[0].Tag != c.tag) {
				t.Errorf("changes %+v", w.changes)
			}
		})
	}
}

// TestUnconfirmedTagOfADenial: the end says it there, too.
func TestUnconfirmedTagOfADenial(t *testing.T) {
	w := newWorld(t)
	w.bad["app"] = true
	w.tagged = map[string]pratique.Digest{}
	e := w.event("e1", "release-9")
	e.Source, e.Ref.Digest = pratique.SourceSubmission, pratique.DigestOf([]byte("app"))
	byDigest := e.Ref
	byDigest.Tag = ""
	w.manifests[byDigest.String()] = w.manifests[ref("1.0").String()]
	w.process(e)
	if end := pratique.As[pratique.Completed](w.facts[len(w.facts)-1]); end == nil ||
		end.State != pratique.StateDenied || !strings.Contains(end.Detail, "no tag release-9") {
		t.Errorf("end %+v", end)
	}
}

// TestTagThatIsNotTold: a sender that names only the digest of what was pushed under a tag has it
// taken in under each tag that names it; without one it is a part of an index, and nobody's
// business.
func TestTagThatIsNotTold(t *testing.T) {
	app := pratique.DigestOf([]byte("app"))
	for name, tags := range map[string]map[string]pratique.Digest{
		"two tags": {"1.0": app, "latest": app, "other": pratique.DigestOf([]byte("another"))},
		"none":     {"other": pratique.DigestOf([]byte("another"))},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.tagged = tags
			e := w.event("e1", "")
			e.Ref.Digest, e.TagUnknown, e.Delivery, e.Actor, e.OccurredAt = app, true, "d1",
				"robot", w.now.Add(-time.Minute)
			body := w.encode(pipeline.Work{Event: e})
			for range 2 { // its acknowledgement may be lost
				if err, alive := w.handle(message{stage: pratique.StageInspect,
					body: body}); err != nil || !alive {
					t.Fatal(err)
				}
			}
			var want []pratique.Event
			if name == "two tags" {
				for _, tag := range []string{"1.0", "latest"} {
					push := e
					push.ID, push.Delivery, push.TagUnknown, push.Ref.Tag = "", "", false, tag
					want = append(want, push)
				}
			}
			same(t, "pushes", want, w.published)
			if len(w.facts) != 1 || pratique.As[pratique.Completed](w.facts[0]) == nil ||
				pratique.As[pratique.Completed](w.facts[0]).State != pratique.StateIgnored ||
				!strings.Contains(pratique.As[pratique.Completed](w.facts[0]).Detail, "named no tag") {
				t.Errorf("%+v", w.facts)
			}
		})
	}
	t.Run("by sha512", func(t *testing.T) {
		w := newWorld(t)
		other := bySHA512(t, "app")
		w.tagged, w.others = map[string]pratique.Digest{"1.0": app},
			map[pratique.ContentID]pratique.Digest{other: app}
		e := w.event("e1", "")
		e.Ref, e.TagUnknown = e.Ref.WithContentID(other), true
		if err, alive := w.handle(message{stage: pratique.StageInspect,
			body: w.encode(pipeline.Work{Event: e})}); err != nil || !alive {
			t.Fatal(err)
		}
		if len(w.published) != 1 || w.published[0].Ref.Tag != "1.0" || w.facts[0].Subject.Digest != app {
			t.Errorf("%+v, %+v", w.published, w.facts)
		}
	})
	w := newWorld(t)
	w.tagged = map[string]pratique.Digest{"1.0": app}
	w.fail["publish 1"] = pratique.Errorf(pratique.Unavailable, "publish", "the disk is full")
	e := w.event("e1", "")
	e.Ref.Digest, e.TagUnknown = app, true
	err, _ := w.handle(message{stage: pratique.StageInspect, body: w.encode(pipeline.Work{Event: e})})
	if isKind(t, err, pratique.Unavailable, w.fail["publish 1"]); len(w.facts) > 0 {
		t.Errorf("it ended although nothing was taken in: %+v", w.facts)
	}
}

// bySHA512 is the name of content by that algorithm.
func bySHA512(t *testing.T, content string) pratique.ContentID {
	t.Helper()
	id, err := pratique.ParseContentID(fmt.Sprintf("sha512:%x", sha512.Sum512([]byte(content))))
	if err != nil {
		t.Fatal(err)
	}
	return id
}
