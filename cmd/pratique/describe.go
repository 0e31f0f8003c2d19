package main

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
)

// mostReasons bounds what is printed; --json has all of them.
const mostReasons = 20

// describeSubmission is a finished submission for people.
func describeSubmission(s api.Submission) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", strings.ToUpper(headline(s.State, s.Outcome)), imageOr(s.Image, s.Ref))
	if s.Failure != nil && s.State == string(pratique.StateFailed) {
		fmt.Fprintf(&b, "  could not find out, in stage %s: %s\n", s.Failure.Stage, printable(s.Failure.Message))
	} else if s.Detail != "" && len(s.Reasons) == 0 {
		fmt.Fprintf(&b, "  why: %s\n", printable(s.Detail))
	}
	writeReasons(&b, s.Reasons)
	for _, c := range s.Commits {
		writeCommit(&b, c)
	}
	return b.String()
}

// headline is the verdict where there is one; how the work ended otherwise.
func headline(state string, outcome pratique.Outcome) string {
	switch {
	case state == string(pratique.StateFailed) || state == string(pratique.StateIgnored) || state == string(pratique.StateCancelled):
		return state
	case outcome == pratique.Allow:
		return "allowed"
	case outcome == pratique.Deny:
		return "denied"
	default:
		return state
	}
}

func imageOr(image, ref string) string {
	if image != "" {
		return image
	}
	return ref
}

func writeReasons(b *strings.Builder, reasons []pratique.Reason) {
	for i, r := range reasons {
		if i == mostReasons {
			fmt.Fprintf(b, "  … and %d more reasons\n", len(reasons)-mostReasons)
			return
		}
		where := ""
		if r.Platform != "" {
			where = " (" + string(r.Platform) + ")"
		}
		fmt.Fprintf(b, "  %s: %s%s\n", printable(r.Rule), printable(r.Message), where)
	}
}

func writeCommit(b *strings.Builder, c pratique.Commit) {
	id := c.ID
	if id == "" {
		id = "an earlier commit"
	}
	fmt.Fprintf(b, "  committed to %s: %s on %s of %s\n", c.Target, id, c.Branch, c.Remote)
	for _, f := range c.Files {
		fmt.Fprintf(b, "    %s:%d\n", f.Path, f.Line)
	}
}

// describeImage is all that is known about an image, for people.
func describeImage(i api.Image) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", strings.ToUpper(headline(i.State, i.Outcome)), i.Image)
	for _, t := range i.Tags {
		fmt.Fprintf(&b, "  tag %s\n", t.Tag)
	}
	if i.Detail != "" && (i.Verdict == nil || len(i.Verdict.Reasons) == 0) {
		fmt.Fprintf(&b, "  why: %s\n", printable(i.Detail))
	}
	if i.Failure != nil && i.State == string(pratique.StateFailed) {
		fmt.Fprintf(&b, "  could not find out, in stage %s: %s\n", i.Failure.Stage, printable(i.Failure.Message))
	}
	if v := i.Verdict; v != nil {
		fmt.Fprintf(&b, "\nVerdict of %s, policy %s %s\n", stamp(v.JudgedAt), v.Policy.Name, v.Policy.Digest)
		writeReasons(&b, v.Reasons)
		for _, n := range v.Notes {
			fmt.Fprintf(&b, "  note, %s: %s\n", printable(n.Rule), printable(n.Message))
		}
	}
	describeEvidence(&b, i)
	for _, c := range i.Children {
		fmt.Fprintf(&b, "  %-16s %s %s\n", c.Platform, c.Outcome, c.Digest)
	}
	if len(i.Deployments) > 0 {
		b.WriteString("\nDeployments\n")
		for _, c := range i.Deployments {
			writeCommit(&b, c)
		}
	}
	b.WriteString("\nFacts\n")
	for _, f := range i.Facts {
		fmt.Fprintf(&b, "  %s  %-10s %s\n", stamp(f.At), f.Kind, f.By)
	}
	return b.String()
}

func describeEvidence(b *strings.Builder, i api.Image) {
	if i.Database != nil {
		fmt.Fprintf(b, "\nFindings in %d packages", i.Packages)
		for _, s := range pratique.Severities() {
			if n := i.Counts[s]; n > 0 {
				fmt.Fprintf(b, ", %d %s", n, s)
			}
		}
		fmt.Fprintf(b, " (%d fixable)\n  database %s of %s, %s old\n", i.Fixable, i.Database.Digest, stamp(i.Database.UpdatedAt),
			age(time.Duration(i.Database.AgeSeconds)*time.Second))
	}
	if s := i.Sections; s != nil {
		found := map[pratique.Section]int{
			pratique.SectionSecrets: s.Secrets, pratique.SectionMisconfigurations: s.Misconfigurations, pratique.SectionLicences: s.Licences,
		}
		b.WriteString("\nLooked for, too\n")
		for _, section := range s.Scanned {
			fmt.Fprintf(b, "  %d %s\n", found[section], printable(string(section)))
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

// printable keeps text that comes from an image from speaking to a terminal, or to a CI runner's log, which
// takes some lines as commands.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
}

// age is a time span in the unit that people think in.
func age(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= 2*day {
		return fmt.Sprintf("%d days", d/day)
	}
	return fmt.Sprintf("%d hours", d/time.Hour)
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }
