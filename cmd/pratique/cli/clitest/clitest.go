// Package clitest has what tests of the command line share: submissions of every kind, and text
// that nobody should print.
package clitest

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
)

// ReadText reads a file.
func ReadText(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// What submissions and images in tests have.
var (
	DescribedAt = time.Date(2026, 3, 1, 12, 0, 0, 0, time.FixedZone("somewhere", 3600))
	AppDigest   = pratique.DigestOf([]byte("app"))
	AppImage    = "registry.test/team/app@" + AppDigest.String()
)

// Reasons makes n of them, all different.
func Reasons(n int) []pratique.Reason {
	var all []pratique.Reason
	for i := range n {
		all = append(all, pratique.Reason{Rule: "severity",
			Message: fmt.Sprintf("CRITICAL CVE-2026-%04d in openssl 1.0, fixed in 2.0", i)})
	}
	return all
}

// Submissions are the ends that a submission can have; the text for each is in the tests.
func Submissions() map[string]api.Submission {
	base := api.Submission{ID: "e1", Ref: "registry.test/team/app:1.0", Image: AppImage,
		Digest: AppDigest, Done: true}
	with := func(change func(*api.Submission)) api.Submission {
		s := base
		change(&s)
		return s
	}
	return map[string]api.Submission{
		"deployed": with(func(s *api.Submission) {
			s.State, s.Outcome = "deployed", pratique.Allow
			s.Commits = []pratique.Commit{
				{Target: "production", ID: "c0ffee", Created: true, Branch: "main",
					Remote: "https://git.test/config.git",
					Files:  []pratique.FileChange{{Path: "a/kustomization.yaml", Line: 3}}},
				{Target: "staging", Branch: "main", Remote: "https://git.test/config.git"},
			}
		}),
		"allowed": with(func(s *api.Submission) {
			s.State, s.Outcome, s.Detail = "allowed", pratique.Allow, "no target asks for it"
		}),
		"superseded": with(func(s *api.Submission) {
			s.State, s.Outcome, s.Detail = "superseded", pratique.Allow, "the tag has moved on"
		}),
		"reverted": with(func(s *api.Submission) {
			s.State, s.Outcome, s.Detail = "reverted", pratique.Allow, "Git holds 1.1"
		}),
		"denied": with(func(s *api.Submission) {
			s.State, s.Outcome, s.Detail, s.Reasons = "denied", pratique.Deny,
				Reasons(1)[0].Message, Reasons(25)
		}),
		"denied platform": with(func(s *api.Submission) {
			s.State, s.Outcome, s.Reasons = "denied", pratique.Deny, Reasons(1)
			s.Reasons[0].Platform = "linux/arm64"
		}),
		"failed": with(func(s *api.Submission) {
			s.State, s.Image, s.Digest, s.Detail = "failed", "", pratique.Digest{}, "inspect: no such tag"
			s.Failure = &pratique.Failed{Stage: "inspect", Kind: pratique.NotFound,
				Message: "no such tag", Final: true}
		}),
		// Evaluated, and then the gate could not find out: that is no verdict for whoever waits.
		"failed after the verdict": with(func(s *api.Submission) {
			s.State, s.Outcome = "failed", pratique.Allow
			s.Failure = &pratique.Failed{Stage: "deploy", Kind: pratique.Denied,
				Message: "main is protected", Final: true}
		}),
		"deployed after a failed attempt": with(func(s *api.Submission) {
			s.State, s.Outcome = "deployed", pratique.Allow
			s.Failure = &pratique.Failed{Stage: "inspect", Kind: pratique.Unavailable, Message: "down"}
		}),
		"ignored": with(func(s *api.Submission) {
			s.State, s.Detail = "ignored", "it is a Helm chart"
		}),
	}
}

// Spoken would be obeyed by terminals, and by the runners of CI jobs.
const Spoken = "\x1b]0;pwned\a\x1b[2J\n::error::injected\r##[stop-commands]x\u009b32m\u202e"

// Speaks reports whether text would be obeyed by a terminal or by the runner of a CI job.
func Speaks(text string) bool {
	if strings.ContainsAny(text, "\x1b\a\r\u009b\u202e") || strings.Contains(text, "##[") {
		return true
	}
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "::") {
			return true
		}
	}
	return false
}
