package pratique

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

var deployedApp = Repository{Registry: "r.test", Path: "app"}

// brings is a deployed fact in target t: a commit that writes these places for the image under the
// tag.
func brings(image, tag, commit string, places ...string) Fact {
	c := &Commit{Target: "t", Tag: tag, ID: commit}
	for _, path := range places {
		c.Files = append(c.Files, FileChange{Path: path, Field: "image"})
	}
	return Fact{Subject: Subject{Repository: deployedApp, Digest: DigestOf([]byte(image))}, Body: c}
}

func drifts(image string, state State) Fact {
	return Fact{Subject: Subject{Repository: deployedApp, Digest: DigestOf([]byte(image))},
		Body: &Drifted{Target: "t", State: state}}
}

// remains is a drifted fact about an image that some places still name.
func remains(image string, state State) Fact {
	f := drifts(image, state)
	As[Drifted](f).Remains = true
	return f
}

// names lists revisions as image@tag.
func names(revisions []Revision) string {
	var all []string
	for _, r := range revisions {
		for _, image := range []string{"A", "B", "C", "D"} {
			if r.Digest == DigestOf([]byte(image)) {
				all = append(all, image+"@"+r.Tag)
			}
		}
	}
	return strings.Join(all, " ")
}

func TestFoldDeployment(t *testing.T) {
	elsewhere := brings("B", "1", "c2", "x")
	As[Commit](elsewhere).Target = "u"
	some := brings("A", "1", "c1", "x")
	As[Commit](some).MoreFiles = 1
	for name, test := range map[string]struct {
		facts            []Fact
		present, earlier string
		drift            bool
	}{
		"one": {[]Fact{brings("A", "1", "c1")}, "A@1", "", false},
		"the same tag": {[]Fact{brings("A", "1", "c1"), brings("B", "1", "c2")},
			"B@1", "A@1", false},
		"the same tag, twice": {[]Fact{brings("A", "1", "c1"), brings("B", "1", "c2"),
			brings("C", "1", "c3")}, "C@1", "B@1 A@1", false},
		"another tag": {[]Fact{brings("A", "1", "c1", "x"),
			brings("B", "2", "c2", "y")}, "B@2 A@1", "", false},
		"another tag, its place": {[]Fact{brings("A", "1", "c1", "x"),
			brings("B", "2", "c2", "y", "x")}, "B@2", "A@1", false},
		"another tag, one of two": {[]Fact{brings("A", "1", "c1", "x", "y"),
			brings("B", "2", "c2", "x")}, "B@2 A@1", "", false},
		"another tag, some unknown": {[]Fact{some, brings("B", "2", "c2", "x")}, "B@2 A@1", "", false},
		"another tag, all unknown": {[]Fact{brings("A", "1", "c1"), brings("B", "2", "c2", "x")},
			"B@2 A@1", "", false},
		"two tags, one moves on": {[]Fact{brings("A", "1", "c1", "x"),
			brings("A", "2", "c2", "y"), brings("B", "2", "c3", "y")}, "B@2 A@1", "", false},
		"two tags, both move on": {[]Fact{brings("A", "1", "c1"), brings("A", "2", "c2"),
			brings("B", "2", "c3"), brings("C", "1", "c4")}, "C@1 B@2", "A@1", false},
		"found again": {[]Fact{brings("A", "1", "c1"), brings("B", "2", "c2"),
			brings("A", "1", "c1")}, "B@2 A@1", "", false},
		"back": {[]Fact{brings("A", "1", "c1"), brings("B", "1", "c2"),
			brings("A", "1", "c3")}, "A@1", "B@1", false},
		"taken away": {[]Fact{brings("A", "1", "c1"), drifts("A", StateReverted)},
			"", "A@1", true},
		"taken away, under each tag": {[]Fact{brings("A", "1", "c1"), brings("A", "2", "c1"),
			drifts("A", StateReverted)}, "", "A@2", true},
		"put back by a person": {[]Fact{brings("A", "1", "c1"), drifts("A", StateReverted),
			brings("A", "", "c1")}, "A@", "", false},
		"taken away from one place": {[]Fact{brings("A", "1", "c1", "x", "y"),
			remains("A", StateReverted)}, "A@1", "", true},
		"replaced in one place": {[]Fact{brings("A", "1", "c1", "x", "y"),
			brings("B", "2", "c2", "x"), remains("A", StateSuperseded)}, "B@2 A@1", "", false},
		"replaced in one place, then in the other": {[]Fact{brings("A", "1", "c1", "x", "y"),
			brings("B", "2", "c2", "x"), remains("A", StateSuperseded),
			drifts("A", StateSuperseded)}, "B@2", "A@1", false},
		"found in one place after all": {[]Fact{brings("A", "1", "c1"), brings("B", "1", "c2"),
			brings("C", "2", "c3"), remains("A", StateSuperseded)}, "C@2 B@1 A@1", "", false},
		"never known to be there": {[]Fact{brings("A", "1", "c1"), remains("B", StateReverted)},
			"A@1", "", false},
		"deployed where one was": {[]Fact{brings("A", "1", "c1"), drifts("A", StateReverted),
			brings("B", "1", "c2")}, "B@1", "A@1", false},
		"replaced, as Git says": {[]Fact{brings("A", "1", "c1"), brings("B", "2", "c2"),
			drifts("A", StateSuperseded)}, "B@2", "A@1", false},
		"drift of one that is gone": {[]Fact{brings("A", "1", "c1"), brings("B", "1", "c2"),
			drifts("A", StateReverted)}, "B@1", "A@1", false},
		"another deployment": {[]Fact{brings("A", "1", "c1"), elsewhere,
			{Subject: elsewhere.Subject, Body: &Scanned{}}}, "A@1", "", false},
	} {
		var d Deployment
		for i, f := range test.facts {
			d.Fold(uint64(i+1), f)
		}
		if names(d.Present) != test.present || names(d.Earlier) != test.earlier ||
			(d.Drift != nil) != test.drift {
			t.Errorf("%s: present %s, earlier %s, drift %v, want %s and %s", name, names(d.Present),
				names(d.Earlier), d.Drift, test.present, test.earlier)
		}
	}
}

func TestRevisionsSayHowTheyEnded(t *testing.T) {
	var d Deployment
	d.Fold(1, brings("A", "1", "c1", "x"))
	second := brings("B", "1", "c2", "x")
	second.At = time.Unix(2, 0)
	if replaced := d.Fold(2, second); len(replaced) != 1 || replaced[0] != DigestOf([]byte("A")) {
		t.Errorf("replaced %v", replaced)
	}
	a := d.Earlier[0]
	if a.End != StateSuperseded || a.ReplacedBy != DigestOf([]byte("B")) ||
		!a.Until.Equal(second.At) || a.Places != nil || a.Commit != "c1" || a.Seq != 1 {
		t.Errorf("%+v", a)
	}
	gone := drifts("B", StateReverted)
	As[Drifted](gone).Detail = "somebody took it away"
	if replaced := d.Fold(3, gone); replaced != nil {
		t.Errorf("replaced %v", replaced)
	}
	if b := d.Earlier[0]; b.End != StateReverted || b.Detail == "" || !b.ReplacedBy.IsZero() {
		t.Errorf("%+v", b)
	}
	for i := range 2 * MaxEarlier {
		d.Fold(uint64(4+i), brings(fmt.Sprint(i), "1", fmt.Sprint("d", i)))
	}
	for i := range 2 * MaxPresent {
		d.Fold(uint64(1000+i), brings("B", fmt.Sprint("tag", i), "c"))
	}
	checkDeployment(t, d)
	if len(d.Earlier) != MaxEarlier || d.Earlier[0].Digest != DigestOf(fmt.Append(nil, 2*MaxEarlier-2)) {
		t.Errorf("%d earlier ones, the newest is %s", len(d.Earlier), d.Earlier[0].Digest)
	}
}

// TestDeploymentByItsFacts compares the fold with what the facts say one by one: a revision is
// present if no later fact ends it. Facts that come twice, and facts of other deployments, change
// nothing.
func TestDeploymentByItsFacts(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 1))
		facts := make([]Fact, 25)
		for i := range facts {
			image := string("ABCD"[random.IntN(4)])
			switch random.IntN(5) {
			case 0:
				facts[i] = drifts(image, []State{StateReverted, StateSuperseded}[random.IntN(2)])
				As[Drifted](facts[i]).Remains = random.IntN(2) == 0
			default: // what a commit writes is always the same
				tag, at := random.IntN(3), random.IntN(3)
				facts[i] = brings(image, []string{"", "1", "2"}[tag],
					fmt.Sprint("c", image, tag, at), []string{"x", "y", "z"}[at:min(at+1+tag, 3)]...)
			}
			facts[i].At = time.Unix(int64(i), 0)
		}
		var once, twice Deployment
		for i, f := range facts {
			if body := As[Drifted](f); body != nil && !once.Holds(f.Subject.Digest) {
				body.Remains = false // TestFoldDeployment has what comes back
			}
			once.Fold(uint64(i+1), f)
			for back := range i + 1 { // everything before is delivered again
				once.Fold(uint64(back+1), facts[back])
			}
			other := f
			other.Subject.Repository.Path = "other"
			twice.Fold(uint64(3*i+1), f)
			twice.Fold(uint64(3*i+2), f) // recorded twice
			twice.Fold(uint64(3*i+3), other)
			checkDeployment(t, once)
		}
		if names(once.Present) != names(twice.Present) ||
			names(once.Earlier) != names(twice.Earlier) || !reflect.DeepEqual(once.Drift, twice.Drift) {
			t.Fatalf("seed %d: %s / %s, and with all facts twice %s / %s", seed,
				names(once.Present), names(once.Earlier), names(twice.Present), names(twice.Earlier))
		}
		got, want := strings.Fields(names(once.Present)), present(facts)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d: present %s, want %s", seed, got, want)
		}
	}
}

// present lists, in alphabetical order, the revisions that no later fact ends.
func present(facts []Fact) []string {
	var all []string
	for i, f := range facts {
		c := As[Commit](f)
		if c == nil {
			continue
		}
		ended := slices.ContainsFunc(facts[i+1:], func(later Fact) bool {
			by := As[Commit](later)
			switch {
			case by == nil:
				return later.Subject == f.Subject && !As[Drifted](later).Remains
			case c.Tag != "" && by.Tag == c.Tag, c.Tag == "" && later.Subject == f.Subject:
				return later.Subject != f.Subject || by.ID != c.ID
			}
			left := slices.DeleteFunc(slices.Clone(c.Files), func(change FileChange) bool {
				return slices.ContainsFunc(by.Files, func(b FileChange) bool {
					return b.Path == change.Path
				})
			})
			return len(left) == 0
		})
		if name := names([]Revision{{Digest: f.Subject.Digest, Tag: c.Tag}}); !ended &&
			!slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

// checkDeployment checks what holds for every deployment.
func checkDeployment(t *testing.T, d Deployment) {
	t.Helper()
	earlier := map[Digest]bool{}
	for i, r := range d.Earlier {
		if d.Holds(r.Digest) || earlier[r.Digest] || r.End == "" || len(r.Places) > 0 || i > 0 &&
			r.Until.After(d.Earlier[i-1].Until) {
			t.Fatalf("earlier %d: %+v", i, r)
		}
		earlier[r.Digest] = true
	}
	for i, r := range d.Present {
		if r.End != "" || i > 0 && r.Seq > d.Present[i-1].Seq {
			t.Fatalf("present %d: %+v", i, r)
		}
	}
	if len(d.Earlier) > MaxEarlier || len(d.Present) > MaxPresent {
		t.Fatalf("%+v", d)
	}
}
