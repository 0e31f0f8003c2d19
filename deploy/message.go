package deploy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pratique-dev/pratique"
)

// The trailers of a commit. Each verdict, summary and policy is named by digest, so that a commit can be
// checked with git and cosign alone.
const (
	trailerImage    = "Pratique-Image"    // registry/path@sha256:…
	trailerTag      = "Pratique-Tag"      // the tag that was pushed
	trailerTarget   = "Pratique-Target"   // the configured name of the place
	trailerVerdict  = "Pratique-Verdict"  // digest of the verdict document
	trailerVSA      = "Pratique-VSA"      // digest of the signed verification summary
	trailerPolicy   = "Pratique-Policy"   // digest of the rules
	trailerEvent    = "Pratique-Event"    // the push that led here
	trailerPushed   = "Pratique-Pushed"   // when that push was reported, RFC 3339 in UTC
	trailerPrevious = "Pratique-Previous" // a digest that was replaced
)

// shownFiles bounds the list of files in a message.
const shownFiles = 50

// message is the subject and body of a commit.
func message(t Target, c pratique.Change, changes []pratique.FileChange) string {
	var b strings.Builder
	fmt.Fprintf(&b, "deploy %s:%s sha256:%.12s to %s\n", c.Subject.Repository, c.Tag, c.Subject.Digest.Hex(), oneLine(t.Name))
	shown := 0
	for _, change := range changes {
		if change.Old == change.New {
			continue
		}
		if shown++; shown > shownFiles {
			continue
		}
		old := oneLine(change.Old)
		if old == "" {
			old = "(none)"
		}
		fmt.Fprintf(&b, "\n- %s, line %d: %s -> %s", oneLine(change.Path), change.Line, old, change.New)
	}
	if shown > shownFiles {
		fmt.Fprintf(&b, "\n- and %d more", shown-shownFiles)
	}
	return b.String()
}

// trailers are the evidence of a commit. Empty values are left out.
func trailers(t Target, c pratique.Change, changes []pratique.FileChange) []Trailer {
	all := []Trailer{
		{trailerImage, c.Subject.String()},
		{trailerTag, c.Tag},
		{trailerTarget, t.Name},
		{trailerVerdict, digest(c.Verdict)},
		{trailerVSA, digest(c.VSA)},
		{trailerPolicy, digest(c.Policy)},
		{trailerEvent, c.Event},
		{trailerPushed, pushed(c.PushedAt)},
	}
	seen := map[string]bool{}
	for _, change := range changes {
		if old := digestIn(change.Old); old != "" && change.Old != change.New && !seen[old] {
			seen[old] = true
			all = append(all, Trailer{trailerPrevious, old})
		}
	}
	var kept []Trailer
	for _, tr := range all {
		if tr.Value = oneLine(tr.Value); tr.Value != "" {
			kept = append(kept, tr)
		}
	}
	return kept
}

// done finds the commit that brought this digest, for whatever event. It looks no further than the newest commit
// for the same image, tag and target: if that names another digest, what older ones wrote has been replaced since
// by us. If it names this one and the file says something else, a person has changed it, and no event for the same
// digest may undo that, until another digest was deployed.
//
// On the way it hands over what was pushed later under another tag. A commit that is older than the history that is
// looked at is not found, and then the files decide: where they name the digest there is no commit anyway; a change
// by a person, or a later push, so many commits ago would be undone.
func done(t Target, c pratique.Change, later func(tag, commit string)) Search {
	return func(id string, has []Trailer) Step {
		sameImage := slices.ContainsFunc(has, func(tr Trailer) bool {
			return tr.Key == trailerImage && strings.HasPrefix(tr.Value, c.Subject.Repository.String()+"@")
		})
		if !sameImage || !slices.Contains(has, Trailer{trailerTarget, oneLine(t.Name)}) {
			return GoOn
		}
		if !slices.Contains(has, Trailer{trailerTag, c.Tag}) {
			if tag := valueOf(has, trailerTag); tag != "" && pushedLater(has, c) {
				later(tag, id)
			}
			return GoOn
		}
		if slices.Contains(has, Trailer{trailerImage, c.Subject.String()}) {
			return Found
		}
		return Stop
	}
}

// pushedForm is RFC 3339 with milliseconds.
const pushedForm = "2006-01-02T15:04:05.000Z07:00"

// pushedLater reports whether a commit is for a push that was later than the change's. Unknown times order nothing.
func pushedLater(has []Trailer, c pratique.Change) bool {
	at, err := time.Parse(time.RFC3339, valueOf(has, trailerPushed))
	return err == nil && !c.PushedAt.IsZero() && at.After(c.PushedAt)
}

func pushed(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.UTC().Format(pushedForm)
}

func valueOf(has []Trailer, key string) string {
	for _, tr := range has {
		if tr.Key == key {
			return tr.Value
		}
	}
	return ""
}

// earlier finds the newest commit that brought this image to this target.
func earlier(t Target, c pratique.Change) Search {
	return func(_ string, has []Trailer) Step {
		if slices.Contains(has, Trailer{trailerImage, c.Subject.String()}) && slices.Contains(has, Trailer{trailerTarget, oneLine(t.Name)}) {
			return Found
		}
		return GoOn
	}
}

func digest(d pratique.Digest) string {
	if d.IsZero() {
		return ""
	}
	return d.String()
}

// digestIn returns the digest in a replaced value, which is a digest or an image reference.
func digestIn(value string) string {
	d, err := pratique.ParseDigest(value[strings.LastIndexByte(value, '@')+1:])
	if err != nil || d.IsZero() {
		return ""
	}
	return d.String()
}
