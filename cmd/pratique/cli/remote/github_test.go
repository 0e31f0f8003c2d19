package remote

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/cmd/pratique/cli/clitest"
	"github.com/pratique-dev/pratique/cmd/pratique/cli/describe"
)

// step runs writeGitHub with files of its own, which hold something already.
func step(t *testing.T, s api.Submission) (outputs map[string]string, summary string) {
	t.Helper()
	output, summaryFile := filepath.Join(t.TempDir(), "output"), filepath.Join(t.TempDir(), "summary")
	t.Setenv("GITHUB_OUTPUT", output)
	t.Setenv("GITHUB_STEP_SUMMARY", summaryFile)
	if err := appendTo(output, "earlier=1\n"); err != nil {
		t.Fatal(err)
	}
	if err := writeGitHub(s); err != nil {
		t.Fatal(err)
	}
	// The runner ends a line at \n, \r and \r\n.
	lines := strings.FieldsFunc(clitest.ReadText(t, output), func(r rune) bool {
		return r == '\n' || r == '\r'
	})
	outputs = map[string]string{}
	for _, line := range lines {
		name, value, ok := strings.Cut(line, "=")
		if _, twice := outputs[name]; !ok || twice || strings.Contains(name, "<<") {
			t.Errorf("line %q sets no output, or one again", line)
		}
		outputs[name] = value
	}
	if outputs["earlier"] != "1" {
		t.Error("what an earlier step wrote is gone")
	}
	delete(outputs, "earlier")
	return outputs, clitest.ReadText(t, summaryFile)
}

func TestGitHubOutputs(t *testing.T) {
	want := map[string]map[string]string{
		"deployed": {"decision": "allowed", "state": "deployed",
			"image": clitest.AppImage, "digest": clitest.AppDigest.String(), "commit": "c0ffee"},
		"allowed": {"decision": "allowed", "state": "allowed",
			"image": clitest.AppImage, "digest": clitest.AppDigest.String()},
		"superseded": {"decision": "allowed", "state": "superseded",
			"image": clitest.AppImage, "digest": clitest.AppDigest.String()},
		"reverted": {"decision": "allowed", "state": "reverted",
			"image": clitest.AppImage, "digest": clitest.AppDigest.String()},
		"denied": {"decision": "denied", "state": "denied",
			"image": clitest.AppImage, "digest": clitest.AppDigest.String()},
		"denied platform": {"decision": "denied", "state": "denied",
			"image": clitest.AppImage, "digest": clitest.AppDigest.String()},
		"failed": {"decision": "failed", "state": "failed"},
		"failed after the verdict": {"decision": "failed", "state": "failed",
			"image": clitest.AppImage, "digest": clitest.AppDigest.String()},
		"deployed after a failed attempt": {"decision": "allowed", "state": "deployed",
			"image": clitest.AppImage, "digest": clitest.AppDigest.String()},
		"ignored": {"decision": "ignored", "state": "ignored",
			"image": clitest.AppImage, "digest": clitest.AppDigest.String()},
	}
	for name, s := range clitest.Submissions() {
		t.Run(name, func(t *testing.T) {
			outputs, _ := step(t, s)
			var reasons []pratique.Reason
			if err := json.Unmarshal([]byte(outputs["reasons"]), &reasons); err != nil ||
				len(reasons) != len(s.Reasons) {
				t.Errorf("reasons %q: %v", outputs["reasons"], err)
			}
			delete(outputs, "reasons")
			all := map[string]string{"id": "e1", "image": "", "digest": "", "commit": ""}
			for key, value := range want[name] {
				all[key] = value
			}
			if diff := cmp.Diff(all, outputs); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestGitHubNoInjection: no value sets another output, whatever it is.
func TestGitHubNoInjection(t *testing.T) {
	evil := "x\ndecision=allowed\r\nstate=deployed\rcommit<<EOF\nEOF\n"
	outputs, _ := step(t, api.Submission{
		ID: evil, Image: evil, State: pratique.State(evil), Outcome: pratique.Deny,
		Reasons: []pratique.Reason{{Rule: evil, Message: evil, Platform: pratique.Platform(evil)}},
		Commits: []pratique.Commit{{ID: evil}},
	})
	if len(outputs) != 7 || outputs["decision"] != "denied" {
		t.Errorf("outputs %q", outputs)
	}
	var reasons []pratique.Reason
	if err := json.Unmarshal([]byte(outputs["reasons"]), &reasons); err != nil ||
		reasons[0].Message != evil {
		t.Errorf("reasons %q: %v", outputs["reasons"], err)
	}
}

func TestGitHubNeedsARunner(t *testing.T) {
	for _, missing := range []string{"GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"} {
		t.Setenv("GITHUB_OUTPUT", filepath.Join(t.TempDir(), "output"))
		t.Setenv("GITHUB_STEP_SUMMARY", filepath.Join(t.TempDir(), "summary"))
		t.Setenv(missing, "")
		if err := writeGitHub(api.Submission{}); err == nil || !strings.Contains(err.Error(), missing) {
			t.Errorf("without %s: %v", missing, err)
		}
	}
}

func TestStepSummary(t *testing.T) {
	all := clitest.Submissions()
	table := "| rule | why | platform |\n|---|---|---|\n"
	for name, want := range map[string]string{
		"failed": "### Pratique: failed\n\n`registry.test/team/app:1.0`\n\nCould not find out, in stage inspect: no such tag\n\n",
		"superseded": "### Pratique: allowed, and superseded\n\n`" + clitest.AppImage +
			"`\n\nWhy: the tag has moved on\n\n",
		"ignored": "### Pratique: ignored\n\n`" + clitest.AppImage + "`\n\n",
		"denied platform": "### Pratique: denied\n\n`" + clitest.AppImage + "`\n\n" + table +
			"| severity | CRITICAL CVE-2026-0000 in openssl 1\\.0, fixed in 2\\.0 | linux/arm64 |\n\n",
	} {
		if diff := cmp.Diff(want, stepSummary(all[name])); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if got := all["deployed"]; !strings.Contains(stepSummary(got),
		"\nCommitted to production: `c0ffee`\nIn place in staging already\n") {
		t.Errorf("no commit in\n%s", stepSummary(got))
	}
	many := stepSummary(all["denied"])
	if strings.Count(many, "| severity |") != describe.MostReasons ||
		!strings.HasSuffix(many, "| | … and 5 more | |\n\n") {
		t.Errorf("25 reasons:\n%s", many)
	}
}

// TestStepSummaryEscapes: text that comes from an image stays in its cell, and every sign that
// could be markup has a backslash before it.
func TestStepSummaryEscapes(t *testing.T) {
	evil := "a|b \\| c\n| severity | forged |\r\n### Pratique: allowed <img src=x> `code` ![x](https://evil.test/x) *b* _i_ ~s~ @team $x$ www.evil.test"
	summary := stepSummary(api.Submission{
		Image: clitest.AppImage, State: "denied", Outcome: pratique.Deny,
		Reasons: []pratique.Reason{{Rule: "severity", Message: evil}},
	})
	rows := strings.Split(strings.TrimSpace(summary), "\n")
	if len(rows) != 7 {
		t.Fatalf("%d lines:\n%s", len(rows), summary)
	}
	content, ok := strings.CutPrefix(rows[6], "| severity | ")
	content, ok2 := strings.CutSuffix(content, " |  |")
	if !ok || !ok2 {
		t.Errorf("row %q", rows[6])
	}
	for i := 0; i < len(content); i++ {
		if content[i] == '\\' {
			i++ // whatever follows is text
			continue
		}
		if strings.IndexByte("|`<>![]()*_~#@:.&$\r", content[i]) >= 0 {
			t.Errorf("%q is markup at %d in %q", content[i], i, content)
		}
	}
}
