// Package describe says what the API answers in words for people. It is pure.
package describe

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/cmd/pratique/words"
	"github.com/pratique-dev/pratique/internal/display"
)

// MostReasons bounds what is printed; --json has all of them.
const MostReasons = 20

// Submission is a finished submission for people.
func Submission(s api.Submission) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", strings.ToUpper(Title(s.State, s.Outcome)),
		display.Line(ImageOr(s.Image, s.Ref)))
	if s.Failure != nil && s.State == pratique.StateFailed {
		fmt.Fprintf(&b, "  could not find out, in stage %s: %s\n", s.Failure.Stage,
			display.Line(s.Failure.Message))
	} else if s.Detail != "" && len(s.Reasons) == 0 {
		fmt.Fprintf(&b, "  why: %s\n", display.Line(s.Detail))
	}
	writeReasons(&b, "reasons", s.Reasons, false)
	for _, c := range s.Commits {
		writeCommit(&b, c)
	}
	return b.String()
}

// Title is the headline, with the end where Git holds something else than what was allowed.
func Title(state pratique.State, outcome pratique.Outcome) string {
	if NotInGit(state) {
		return Headline(state, outcome) + ", and " + string(state)
	}
	return Headline(state, outcome)
}

// Headline is the verdict where there is one; how the work ended otherwise.
func Headline(state pratique.State, outcome pratique.Outcome) string {
	ended := slices.Contains(pratique.Ends(), state) && state.Outcome() == ""
	switch {
	case !ended && outcome == pratique.Allow:
		return "allowed"
	case !ended && outcome == pratique.Deny:
		return "denied"
	}
	return string(state)
}

// ImageOr is the image, or what was asked for if no image is known.
func ImageOr(image, ref string) string {
	if image != "" {
		return image
	}
	return ref
}

// writeReasons writes reasons or notes, and all of them only if that is wanted.
func writeReasons(b *strings.Builder, what string, reasons []pratique.Reason, all bool) {
	prefix := ""
	if what == "notes" {
		prefix = "note, "
	}
	for i, r := range reasons {
		if i == MostReasons && !all {
			fmt.Fprintf(b, "  … and %d more %s; pratique why --all prints them\n",
				len(reasons)-MostReasons, what)
			return
		}
		where := ""
		if r.Platform != "" {
			where = " (" + display.Line(string(r.Platform)) + ")"
		}
		fmt.Fprintf(b, "  %s%s: %s%s\n", prefix, display.Line(r.Rule), display.Line(r.Message), where)
	}
}

func writeCommit(b *strings.Builder, c pratique.Commit) {
	did := "committed to"
	if !c.Created {
		did = "in place in" // since a commit that another event made, or a person
	}
	id := c.ID
	if id == "" {
		id = "an earlier commit"
	}
	fmt.Fprintf(b, "  %s %s: %s on %s of %s\n", did, display.Line(c.Target), display.Line(id),
		display.Line(c.Branch), display.Line(c.Remote))
	for _, f := range c.Files {
		fmt.Fprintf(b, "    %s:%d%s\n", display.Line(f.Path), f.Line, objectOf(f.Object, f.Field))
	}
	if c.MoreFiles > 0 {
		fmt.Fprintf(b, "    and %d more places\n", c.MoreFiles)
	}
}

// Image is all that is known about an image, for people: of reasons and notes the first ones,
// unless all are wanted. What the config repositories hold is in git, nil if that is not known.
func Image(i api.Image, git *api.ImagePlaces, all bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", strings.ToUpper(Title(i.State, i.Outcome)), display.Line(i.Image))
	for _, t := range i.Tags {
		fmt.Fprintf(&b, "  tag %s\n", display.Line(t.Tag))
	}
	if i.Detail != "" && (i.Verdict == nil || len(i.Verdict.Reasons) == 0) {
		fmt.Fprintf(&b, "  why: %s\n", display.Line(i.Detail))
	}
	writeFailure(&b, i)
	for _, p := range i.Problems {
		fmt.Fprintf(&b, "  target %s has a place that cannot be edited: %s\n",
			display.Line(p.Target), display.Line(p.String()))
	}
	writePending(&b, i)
	if v := i.Verdict; v != nil {
		fmt.Fprintf(&b, "\nVerdict of %s, profile %s %s\n", words.Stamp(v.EvaluatedAt),
			display.Line(v.Profile.Name), v.Profile.Digest)
		writeReasons(&b, "reasons", v.Reasons, all)
		writeReasons(&b, "notes", v.Notes, all)
	}
	describeEvidence(&b, i)
	for _, u := range i.Uninspected {
		fmt.Fprintf(&b, "  %-16s not inspected %s: %s\n",
			display.Line(cmp.Or(string(u.Platform), "no platform")), display.Line(u.Digest),
			display.Line(u.Reason))
	}
	if len(i.Deployments) > 0 {
		b.WriteString("\nDeployments\n")
		for _, c := range i.Deployments {
			writeCommit(&b, c)
		}
		for _, d := range i.Drifted {
			fmt.Fprintf(&b, "  %s does not hold it any longer, %s: %s\n", display.Line(d.Target),
				display.Line(string(d.State)), display.Line(d.Detail))
		}
	}
	places(&b, git)
	b.WriteString("\nFacts\n")
	for _, f := range i.Facts {
		fmt.Fprintf(&b, "  %s  %-10s %s\n", words.Stamp(f.At), f.Kind, f.By)
	}
	return b.String()
}

// writePending says what is not yet as the facts say it should be.
func writePending(b *strings.Builder, i api.Image) {
	because := ""
	if f := i.Failure; f != nil {
		because = fmt.Sprintf(": %s (attempt %d, stage %s)", display.Line(f.Message), f.Attempts,
			display.Line(f.Stage))
	}
	if i.Unattested {
		fmt.Fprintf(b, "  denied, and the registry does not say so yet; tried again%s\n", because)
	}
	if i.Unmatched {
		fmt.Fprintf(b, "  not looked at with the newest vulnerability database%s\n", because)
	}
}

func describeEvidence(b *strings.Builder, i api.Image) {
	describeFindings(b, i)
	if s := i.Extras; s != nil {
		found := map[pratique.ExtraKind]int{
			pratique.ExtraSecrets: s.Secrets, pratique.ExtraMisconfigurations: s.Misconfigurations,
			pratique.ExtraLicenses: s.Licenses,
		}
		b.WriteString("\nLooked for, too\n")
		for _, section := range s.Kinds {
			fmt.Fprintf(b, "  %d %s\n", found[section], display.Line(string(section)))
		}
	}
	if len(i.Attestations) > 0 {
		b.WriteString("\nIn the registry, verified\n")
		for _, a := range i.Attestations {
			what := a.PredicateType
			if what == "" {
				what = "image signature"
			}
			fmt.Fprintf(b, "  %-52s %s\n", what, a.Digest)
		}
	}
}

// describeFindings are those of an image, or of each platform of an index, which has none of its
// own.
func describeFindings(b *strings.Builder, i api.Image) {
	switch {
	case len(i.Children) > 0:
		packages, fixable, counts := 0, 0, pratique.Counts{}
		for _, c := range i.Children {
			packages, fixable = packages+c.Packages, fixable+c.Fixable
			for severity, n := range c.Counts {
				counts[severity] += n
			}
		}
		fmt.Fprintf(b, "\nFindings in %s: %s%s (%d fixable)\n", words.Counted(len(i.Children),
			"platform"), words.Counted(packages, "package"), countsText(counts), fixable)
		for _, c := range i.Children {
			outcome := string(c.Outcome)
			if outcome == "" {
				outcome = "not known"
			}
			fmt.Fprintf(b, "  %-16s %s, %s%s (%d fixable)  %s\n", display.Line(string(c.Platform)),
				outcome, words.Counted(c.Packages, "package"), countsText(c.Counts), c.Fixable, c.Digest)
			if c.Configured != "" {
				fmt.Fprintf(b, "  %-16s its own configuration says %s\n", "",
					display.Line(string(c.Configured)))
			}
		}
	case i.Database != nil:
		fmt.Fprintf(b, "\nFindings in %s%s (%d fixable)\n", words.Counted(i.Packages, "package"),
			countsText(i.Counts), i.Fixable)
	}
	if i.Database != nil {
		fmt.Fprintf(b, "  database %s of %s, %s old\n", i.Database.Digest,
			words.Stamp(i.Database.UpdatedAt),
			words.Age(time.Duration(i.Database.AgeSeconds)*time.Second))
	}
}

func countsText(counts pratique.Counts) string {
	var b strings.Builder
	for _, s := range pratique.Severities() {
		if n := counts[s]; n > 0 {
			fmt.Fprintf(&b, ", %d %s", n, s)
		}
	}
	return b.String()
}

// writeFailure says why the last attempt failed, whether or not there will be another.
func writeFailure(b *strings.Builder, i api.Image) {
	f := i.Failure
	switch {
	case f == nil:
	case i.State == pratique.StateFailed:
		fmt.Fprintf(b, "  could not find out, in stage %s: %s\n", display.Line(f.Stage),
			display.Line(f.Message))
	case !f.Final && newestTry(i):
		when := ""
		if !i.NextAttempt.IsZero() {
			when = " at " + words.Stamp(i.NextAttempt)
		}
		fmt.Fprintf(b, "  trying again%s after attempt %d in stage %s: %s\n", when, f.Attempts,
			display.Line(f.Stage), display.Line(f.Message))
	}
}

// newestTry reports whether work has come no further since it failed the last time, and goes on.
func newestTry(i api.Image) bool {
	for n := len(i.Facts) - 1; n >= 0; n-- {
		switch i.Facts[n].Kind {
		case pratique.FactDeployed, pratique.FactDrifted: // one target may have it while another fails
		case pratique.FactFailed:
			return true
		default:
			return false
		}
	}
	return false
}

// NotInGit reports whether an image was allowed, and Git holds another one where it belongs.
func NotInGit(state pratique.State) bool {
	return state == pratique.StateSuperseded || state == pratique.StateReverted
}
