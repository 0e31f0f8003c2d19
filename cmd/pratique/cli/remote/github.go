package remote

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/cmd/pratique/cli/describe"
	"github.com/pratique-dev/pratique/internal/display"
)

// writeGitHub writes the outputs and the summary of a GitHub Actions step to the files that the
// runner names.
func writeGitHub(s api.Submission) error {
	outputs, summary := os.Getenv("GITHUB_OUTPUT"), os.Getenv("GITHUB_STEP_SUMMARY")
	if outputs == "" || summary == "" {
		return errors.New("--github needs the runner's GITHUB_OUTPUT and GITHUB_STEP_SUMMARY")
	}
	reasons, err := json.Marshal(append([]pratique.Reason{}, s.Reasons...)) // an empty list, never null
	if err != nil {
		return err
	}
	commit := ""
	if len(s.Commits) > 0 {
		commit = s.Commits[0].ID
	}
	var b strings.Builder
	for _, o := range [][2]string{
		{"decision", describe.Headline(s.State, s.Outcome)}, {"state", string(s.State)},
		{"id", s.ID}, {"digest", s.Digest.String()},
		{"image", s.Image}, {"reasons", string(reasons)}, {"commit", commit},
	} {
		// A line break would let a value set another output.
		fmt.Fprintf(&b, "%s=%s\n", o[0], strings.NewReplacer("\n", " ", "\r", " ").Replace(o[1]))
	}
	return errors.Join(appendTo(outputs, b.String()), appendTo(summary, stepSummary(s)))
}

func appendTo(path, text string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644) //nolint:gosec // the runner's own file, read by the runner
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

func stepSummary(s api.Submission) string {
	var b strings.Builder
	fmt.Fprintf(&b, "### Pratique: %s\n\n%s\n\n", describe.Title(s.State, s.Outcome),
		display.Code(describe.ImageOr(s.Image, s.Ref)))
	if s.Failure != nil && s.State == pratique.StateFailed {
		fmt.Fprintf(&b, "Could not find out, in stage %s: %s\n\n", s.Failure.Stage,
			cell(s.Failure.Message))
	}
	if describe.NotInGit(s.State) && s.Detail != "" {
		fmt.Fprintf(&b, "Why: %s\n\n", cell(s.Detail))
	}
	if len(s.Reasons) > 0 {
		b.WriteString("| rule | why | platform |\n|---|---|---|\n")
		for i, r := range s.Reasons {
			if i == describe.MostReasons {
				fmt.Fprintf(&b, "| | … and %d more | |\n", len(s.Reasons)-describe.MostReasons)
				break
			}
			fmt.Fprintf(&b, "| %s | %s | %s |\n", cell(r.Rule), cell(r.Message), cell(string(r.Platform)))
		}
		b.WriteString("\n")
	}
	for _, c := range s.Commits {
		if c.ID == "" {
			fmt.Fprintf(&b, "In place in %s already\n", cell(c.Target))
			continue
		}
		fmt.Fprintf(&b, "Committed to %s: `%s`\n", cell(c.Target), c.ID)
	}
	return b.String()
}

// markup is what GitHub's Markdown may take for more than text within a line: also links that are
// not marked as such, names and formulas.
const markup = "\\`|*_~[]()<>!&@#:.$"

// cell keeps text from breaking out of a table cell, and from being markup (links and pictures,
// too): it may come from an image. A backslash before punctuation takes its meaning away, in
// Markdown and in tables.
func cell(s string) string {
	var b strings.Builder
	for _, r := range display.Line(s) {
		if strings.ContainsRune(markup, r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}
