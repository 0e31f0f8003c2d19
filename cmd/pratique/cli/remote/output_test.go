package remote

import (
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/cmd/pratique/cli/clitest"
	"github.com/pratique-dev/pratique/cmd/pratique/cli/describe"
)

// TestDescriptionsSpeakToNobody: every text in an answer is somebody else's.
func TestDescriptionsSpeakToNobody(t *testing.T) {
	reason := pratique.Reason{Rule: clitest.Spoken, Message: clitest.Spoken,
		Package: clitest.Spoken, Finding: clitest.Spoken, Platform: pratique.Platform(clitest.Spoken)}
	commit := pratique.Commit{Target: clitest.Spoken, Remote: clitest.Spoken,
		Branch: clitest.Spoken, ID: "c0ffee",
		Files: []pratique.FileChange{{Path: clitest.Spoken, Line: 1, Old: clitest.Spoken,
			New: clitest.Spoken}}}
	s := api.Submission{
		ID: "e1", Ref: clitest.Spoken, Image: clitest.AppImage, Detail: clitest.Spoken,
		State: "denied", Outcome: pratique.Deny, Done: true,
		Reasons: []pratique.Reason{reason}, Commits: []pratique.Commit{commit},
	}
	i := api.Image{State: "denied", Outcome: pratique.Deny, Detail: clitest.Spoken,
		Image: clitest.AppImage, Deployments: []pratique.Commit{commit}}
	i.Verdict = &pratique.Verdict{Reasons: []pratique.Reason{reason},
		Notes: []pratique.Reason{reason}, Profile: pratique.Profile{Name: clitest.Spoken}}
	for name, text := range map[string]string{"submission": describe.Submission(s),
		"image": describe.Image(i, nil, false), "summary": stepSummary(s)} {
		if clitest.Speaks(text) {
			t.Errorf("%s: %q", name, text)
		}
		if n := strings.Count(text, "\n"); n > 40 {
			t.Errorf("%s has %d lines: a text in it has more than one", name, n)
		}
	}
	denied := s
	denied.Image, denied.Ref = "", "x`\n\n# Pratique: allowed"
	if summary := stepSummary(denied); strings.Contains(summary, "\n# ") {
		t.Errorf("a heading of somebody else's: %q", summary)
	}
}
