package index

import (
	"fmt"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
)

func TestTagHistory(t *testing.T) {
	t.Parallel()
	ix := fresh(t)
	old, young := subject(repoA, "old"), subject(repoA, "new")
	e1, e2 := event("1", repoA, "v1", epoch), event("2", repoA, "v1", epoch.Add(time.Minute))
	retried := e1
	retried.ReceivedAt = epoch.Add(time.Hour)
	liar := event("3", repoA, "v2", epoch.Add(1000*time.Hour))
	liar.ReceivedAt = epoch
	apply(t, ix, entries(1,
		seen(e2, young), seen(e1, old), seen(retried, old), // the older push is reported late, and twice
		seen(event("4", repoA, "v11", epoch.Add(2*time.Minute)), old), // a tag that begins like the other
		seen(liar, old), seen(event("5", repoA, "v2", epoch.Add(time.Second)), young),
	)...)
	history, err := ix.Tag(e1.Ref)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "history", []TagStep{{Digest: young.Digest, At: e2.OccurredAt},
		{Digest: old.Digest, At: e1.OccurredAt}}, history)
	if h, err := ix.Tag(liar.Ref); err != nil || h[0].Digest != young.Digest {
		t.Errorf("a push from the future won: %v %v", h, err)
	}
	links, err := ix.Links(old)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "tags", []TagName{{"v1", false}, {"v11", true}, {"v2", false}}, links.Tags)
	for _, ref := range []pratique.ImageRef{{Repository: repoB, Tag: "v1"},
		{Repository: repoA, Tag: "v"}} {
		if _, err := ix.Tag(ref); pratique.KindOf(err) != pratique.NotFound {
			t.Errorf("%s: %v", ref, err)
		}
	}
	if _, err := ix.Tag(pratique.ImageRef{Repository: repoA,
		Digest: digest("x")}); pratique.KindOf(err) != pratique.Invalid {
		t.Errorf("no tag: %v", err)
	}
}

func TestTagPushesOfOneInstantKeepTheirOrder(t *testing.T) {
	t.Parallel()
	for i := range 8 { // the digests sort either way
		ix := fresh(t)
		a, b := subject(repoA, fmt.Sprint("a", i)), subject(repoA, fmt.Sprint("b", i))
		e := event("1", repoA, "v1", epoch)
		apply(t, ix, entries(1, seen(e, a), seen(e, b), seen(e, a))...)
		if h, err := ix.Tag(e.Ref); err != nil || len(h) != 2 || h[0].Digest != b.Digest {
			t.Fatal(h, err)
		}
	}
}

// What a submission with a digest says about a tag is a wish: whoever may submit need not be
// allowed to push.
func TestSubmissionWithDigestSaysNothingAboutATag(t *testing.T) {
	t.Parallel()
	pushed, other := subject(repoA, "pushed"), subject(repoA, "other")
	push := event("push", repoA, "v1", epoch)
	submission := func(id string, d pratique.Digest) pratique.Event {
		e := event(id, repoA, "v1", epoch.Add(time.Hour))
		e.Source, e.OccurredAt, e.Ref.Digest = pratique.SourceSubmission, time.Time{}, d
		return e
	}
	ix := fresh(t)
	apply(t, ix, entries(1, seen(submission("s0", other.Digest), other))...)
	if _, err := ix.Tag(push.Ref); pratique.KindOf(err) != pratique.NotFound {
		t.Errorf("a tag that nobody pushed: %v", err)
	}
	apply(t, ix, entries(2, seen(push, pushed), seen(submission("s1", other.Digest), other))...)
	h, err := ix.Tag(push.Ref)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "history", []TagStep{{Digest: pushed.Digest, At: epoch}}, h)
	if links, err := ix.Links(other); err != nil || len(links.Tags) != 0 {
		t.Errorf("tags of an image that was submitted: %v %v", links.Tags, err)
	}
	if links, err := ix.Links(pushed); err != nil || len(links.Tags) != 1 || !links.Tags[0].Current {
		t.Errorf("tags of the image that was pushed: %v %v", links.Tags, err)
	}
	// Without a digest the registry was asked. A receiver has a digest, and reports a push.
	apply(t, ix, entries(4, seen(submission("s2", pratique.Digest{}), other))...)
	if h, err := ix.Tag(push.Ref); err != nil || h[0].Digest != other.Digest {
		t.Errorf("a submission that asked the registry: %v %v", h, err)
	}
	again := event("again", repoA, "v1", epoch.Add(2*time.Hour))
	again.Ref.Digest = pushed.Digest
	apply(t, ix, entries(5, seen(again, pushed))...)
	if h, err := ix.Tag(push.Ref); err != nil || h[0].Digest != pushed.Digest || len(h) != 3 {
		t.Errorf("a push with a digest: %v %v", h, err)
	}
}

// A notification may be forged, or carry a clock that is ahead. When the gate finds that the tag
// names another image, the registry's word stands.
func TestSupersededPushIsNotWhatATagNames(t *testing.T) {
	t.Parallel()
	old, young := subject(repoA, "old"), subject(repoA, "new")
	push, forged := event("push", repoA, "v1", epoch), event("forged", repoA, "v1", epoch.Add(time.Hour))
	forged.Ref.Digest = old.Digest
	again := event("again", repoA, "v1", epoch.Add(2*time.Hour))
	first := func(t *testing.T, ix *Index) pratique.Digest {
		t.Helper()
		h, err := ix.Tag(push.Ref)
		if err != nil {
			t.Fatal(err)
		}
		return h[0].Digest
	}
	end := settled(forged, old, pratique.StateSuperseded)
	ix := fresh(t)
	apply(t, ix, entries(1, seen(forged, old), end)...)
	if first(t, ix) != old.Digest {
		t.Error("the only step that is known is gone")
	}
	apply(t, ix, entries(3, seen(push, young), seen(forged, old))...) // the forged one delivered again
	if first(t, ix) != young.Digest {
		t.Error("a superseded push is what the tag names")
	}
	h, err := ix.Tag(push.Ref)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "history", []TagStep{{Digest: young.Digest, At: epoch},
		{Digest: old.Digest, At: epoch.Add(time.Hour), Superseded: true}}, h)
	if links, err := ix.Links(old); err != nil || len(links.Tags) != 1 || links.Tags[0].Current {
		t.Errorf("%+v %v", links, err)
	}
	if links, err := ix.Links(young); err != nil || len(links.Tags) != 1 || !links.Tags[0].Current {
		t.Errorf("%+v %v", links, err)
	}
	apply(t, ix, entries(5, seen(again, old))...) // the tag goes back to the older image
	if first(t, ix) != old.Digest {
		t.Error("the mark of one push holds another back")
	}
	apply(t, ix, entries(6, settled(again, old, pratique.StateDeployed))...)
	if first(t, ix) != old.Digest {
		t.Error("a push that was deployed is not what the tag names")
	}
	path := ix.file.Path()
	if err := ix.Close(); err != nil {
		t.Fatal(err)
	}
	if _, problems, err := Check(path); err != nil || len(problems) > 0 {
		t.Errorf("%q %v", problems, err)
	}
}

// A sender without a clock: each delivery of its event has another time, and none may win after the
// end.
func TestSupersededPushDeliveredLater(t *testing.T) {
	t.Parallel()
	old, young := subject(repoA, "old"), subject(repoA, "new")
	e := event("e", repoA, "v1", epoch)
	e.OccurredAt = time.Time{}
	later := e
	later.ReceivedAt = epoch.Add(time.Hour)
	ix := fresh(t)
	apply(t, ix, entries(1, seen(e, old), seen(event("push", repoA, "v1", epoch.Add(time.Minute)), young),
		settled(e, old, pratique.StateSuperseded), seen(later, old))...)
	if h, err := ix.Tag(e.Ref); err != nil || h[0].Digest != young.Digest || len(h) != 3 {
		t.Errorf("%v %v", h, err)
	}
}
