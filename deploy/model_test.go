package deploy_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/deploy"
)

// TestEndsAgreeWithTheBranch: whatever others did to the branch before, pushes, reverts, edits by
// hand, rewritten history, foreign trailers, other tags and other targets, a change ends as
// deployed exactly if the tip holds its digest at every place; an event makes at most one commit;
// and what a person took away stays away until another digest is pushed.
func TestEndsAgreeWithTheBranch(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			h := &histories{world: newWorld(t), rand: rand.New(rand.NewPCG(seed, 1)),
				made: map[string]int{}}
			targets := []deploy.Target{prod(), {Name: "test", Path: "test"}}
			h.gates = []*deploy.Gate{h.newGate(prod()), h.newGate(targets[1]), h.newGate(targets...)}
			h.held = [][]string{{"prod"}, {"test"}, {"prod", "test"}}
			for range 14 {
				h.step()
			}
		})
	}
}

// histories makes a history at random.
type histories struct {
	*world
	rand   *rand.Rand
	gates  []*deploy.Gate
	held   [][]string // the targets of each gate, which are named like their folders
	pushes []pratique.Change
	made   map[string]int // commits by event and target
	minute int
}

func (h *histories) step() {
	digests := []pratique.Digest{one, two}
	tags := []string{"v1", "v2"}
	d, tag := digests[h.rand.IntN(2)], tags[h.rand.IntN(2)]
	folder := []string{"prod", "test"}[h.rand.IntN(2)]
	switch h.rand.IntN(9) {
	case 0, 1: // a new push
		h.minute++
		h.pushes = append(h.pushes, h.push(tag, d, h.minute))
		h.deploy(h.pushes[len(h.pushes)-1])
	case 2, 3: // an old one again, or late
		if len(h.pushes) > 0 {
			h.deploy(h.pushes[h.rand.IntN(len(h.pushes))])
		}
	case 4: // a submission
		h.minute++
		c := h.push(tag, d, h.minute)
		c.Asked, c.AllowOlder = true, h.rand.IntN(2) == 0
		h.deploy(c)
	case 5: // somebody takes back what was there before
		if h.git("rev-parse", "main") != h.before {
			h.git("update-ref", "refs/heads/main", h.git("commit-tree", "main^^{tree}", "-p",
				"main", "-m", "revert"))
		}
	case 6: // somebody writes a digest by hand
		h.at("by hand", folder+"/kustomization.yaml", kustomized(tag, d))
	case 7: // somebody rewrites the history
		if h.git("rev-parse", "main") != h.before {
			h.git("update-ref", "refs/heads/main", "main^")
		}
	case 8: // somebody claims
		h.at(forged(tag, d, "2999-01-01T00:00:00Z"), folder+"/notes.md", h.git("rev-parse", "main"))
	}
}

// deploy makes a change, and compares its end with what git says.
func (h *histories) deploy(c pratique.Change) {
	h.t.Helper()
	g := h.rand.IntN(len(h.gates))
	tip := h.git("rev-parse", "main")
	last, held := map[string]string{}, h.holders(c.Subject.Digest)
	for _, target := range h.held[g] {
		last[target] = h.lastOurs(target, c.Tag)
	}
	o, err := deployAll(h.t.Context(), h.gates[g], c)
	if err != nil {
		h.t.Fatal(err)
	}
	all, holds := true, h.holders(c.Subject.Digest)
	for _, target := range h.held[g] {
		all = all && holds[target]
	}
	h.mu.Lock()
	current := h.tags[c.Tag] == c.Subject.Digest
	h.mu.Unlock()
	if deployed := !o.Superseded && !o.Reverted && !o.NoTarget; deployed && !all || current &&
		all && !deployed {
		h.t.Fatalf("%s of %s: deployed %t, and the tip holds it: %t; %+v\n%s", c.Tag,
			c.Subject.Digest, deployed, all, o,
			h.git("log", "--format=%h %cn %s %(trailers:key=Pratique-Pushed)", "main"))
	}
	for _, commit := range o.Commits {
		if !holds[commit.Target] {
			h.t.Fatalf("a commit for %s, which does not hold %s: %+v", commit.Target, c.Subject.Digest, o)
		}
	}
	written := strings.Fields(h.git("rev-list", tip+"..main"))
	for _, id := range written {
		target := h.git("log", "-1", "--format=%(trailers:key=Pratique-Target,valueonly)", id)
		if last[target] == c.Subject.Digest.String() && !held[target] && !c.AllowOlder {
			h.t.Fatalf("%s was taken away from %s, and written again: %+v", c.Subject.Digest, target, o)
		}
		key := c.Event + " " + target
		if h.made[key]++; h.made[key] > 1 && h.inHistory(c.Event, target) > 1 {
			h.t.Fatalf("event %s has two commits in %s", c.Event, target)
		}
	}
}

// holders asks git, not our editor, which folders name the digest at all their places.
func (h *histories) holders(d pratique.Digest) map[string]bool {
	all := h.git("show", "main:prod/kustomization.yaml", "main:prod/deploy.yaml",
		"main:test/kustomization.yaml")
	kustomized, rest, _ := strings.Cut(all, "# note")
	marked, test, _ := strings.Cut(rest, "images:")
	names := func(text string) bool { return strings.Contains(text, d.String()) }
	return map[string]bool{"prod": names(kustomized) && names(marked), "test": names(test)}
}

// lastOurs is the digest of the newest commit of ours for a target and tag, as far as it was not
// rewritten away.
func (h *histories) lastOurs(target, tag string) string {
	const form = "--format=%cn|%(trailers:key=Pratique-Target,valueonly,separator=)|%(trailers:key=Pratique-Tag,valueonly,separator=)|%(trailers:key=Pratique-Image,valueonly,separator=)"
	for line := range strings.Lines(h.git("log", form, "main")) {
		f := strings.Split(strings.TrimSpace(line), "|")
		if len(f) == 4 && f[0] == "Pratique" && f[1] == target && f[2] == tag {
			_, digest, _ := strings.Cut(f[3], "@")
			return digest
		}
	}
	return ""
}

// inHistory counts the commits of an event.
func (h *histories) inHistory(event, target string) int {
	n := 0
	for line := range strings.Lines(h.git("log",
		"--format=%(trailers:key=Pratique-Event,valueonly,separator=)|%(trailers:key=Pratique-Target,valueonly,separator=)", "main")) {
		if strings.TrimSpace(line) == event+"|"+target {
			n++
		}
	}
	return n
}
