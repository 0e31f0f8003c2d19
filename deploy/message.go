package deploy

import (
	"fmt"
	"strings"
	"time"

	"github.com/pratique-dev/pratique"
)

// The trailers of a commit. Each verdict, summary and policy is named by digest, so that a commit
// can be checked with git and cosign alone.
const (
	trailerImage    = "Pratique-Image"    // registry/path@sha256:…
	trailerTag      = "Pratique-Tag"      // the tag that was pushed
	trailerTarget   = "Pratique-Target"   // the configured name of the place
	trailerVerdict  = "Pratique-Verdict"  // digest of the verdict document
	trailerVSA      = "Pratique-VSA"      // digest of the signed verification summary
	trailerProfile  = "Pratique-Profile"  // name and digest of the rules
	trailerEvent    = "Pratique-Event"    // the push that led here
	trailerPushed   = "Pratique-Pushed"   // when that push was reported, RFC 3339 in UTC
	trailerPrevious = "Pratique-Previous" // a digest that was replaced
)

// shownFiles and namedBefore bound the list of files and that of replaced digests in a message.
const (
	shownFiles  = 50
	namedBefore = 50
)

// message is the subject and body of a commit.
func message(t Target, c pratique.Change, changes []pratique.FileChange) string {
	var b strings.Builder
	fmt.Fprintf(&b, "deploy %s:%s sha256:%.12s to %s\n", c.Subject.Repository, c.Tag,
		c.Subject.Digest.Hex(), oneLine(t.Name))
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
		fmt.Fprintf(&b, "\n- %s, line %d%s: %s -> %s", oneLine(change.Path), change.Line,
			in(change.Object, change.Field), old, change.New)
	}
	if shown > shownFiles {
		fmt.Fprintf(&b, "\n- and %d more", shown-shownFiles)
	}
	return b.String()
}

// in returns where in its file a value is, to follow the line number; empty if that is unknown.
func in(o pratique.Object, field string) string {
	if at := oneLine(o.At(field)); at != "" {
		return " (" + at + ")"
	}
	return ""
}

func profile(p pratique.Profile) string {
	if p.Digest.IsZero() {
		return ""
	}
	return p.String()
}

// trailers are the evidence of a commit. Empty values are left out.
func trailers(t Target, c pratique.Change, changes []pratique.FileChange) []Trailer {
	all := []Trailer{
		{trailerImage, c.Subject.String()},
		{trailerTag, c.Tag},
		{trailerTarget, t.Name},
		{trailerVerdict, digest(c.Verdict)},
		{trailerVSA, digest(c.VSA)},
		{trailerProfile, profile(c.Profile)},
		{trailerEvent, c.Event},
		{trailerPushed, pushed(c.PushedAt)},
	}
	seen := map[string]bool{}
	for _, change := range changes {
		if old := digestIn(change.Old); old != "" && change.Old != change.New && !seen[old] &&
			len(seen) < namedBefore {
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

// pushedForm is RFC 3339 with milliseconds.
const pushedForm = "2006-01-02T15:04:05.000Z07:00"

func pushed(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.UTC().Format(pushedForm)
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
