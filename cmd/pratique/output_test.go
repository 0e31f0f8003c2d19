package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/internal/config"
)

const spoken = "\x1b]0;pwned\a\x1b[2J\n::error::injected\r##[stop-commands]x\u009b32m\u202e"

// speaks reports whether text would be obeyed by a terminal or by the runner of a CI job.
func speaks(text string) bool {
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

// TestDescriptionsSpeakToNobody: every text in an answer is somebody else's.
func TestDescriptionsSpeakToNobody(t *testing.T) {
	reason := pratique.Reason{Rule: spoken, Message: spoken, Package: spoken, Finding: spoken, Platform: pratique.Platform(spoken)}
	commit := pratique.Commit{Target: spoken, Remote: spoken, Branch: spoken, ID: "c0ffee", Files: []pratique.FileChange{{Path: spoken, Line: 1, Old: spoken, New: spoken}}}
	s := api.Submission{
		ID: "e1", Ref: spoken, Image: appImage, Detail: spoken, State: "denied", Outcome: pratique.Deny, Done: true,
		Reasons: []pratique.Reason{reason}, Commits: []pratique.Commit{commit},
	}
	i := api.Image{State: "denied", Outcome: pratique.Deny, Detail: spoken, Image: appImage, Deployments: []pratique.Commit{commit}}
	i.Verdict = &pratique.Verdict{Reasons: []pratique.Reason{reason}, Notes: []pratique.Reason{reason}, Profile: pratique.Profile{Name: spoken}}
	for name, text := range map[string]string{"submission": describeSubmission(s), "image": describeImage(i, nil, false), "summary": stepSummary(s)} {
		if speaks(text) {
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

// TestVerbsSpeakToNobody: what a verb forgets to escape is escaped at its outputs.
func TestVerbsSpeakToNobody(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config\x1b[31m.yaml")
	if err := os.WriteFile(file, config.Sample, 0o600); err != nil {
		t.Fatal(err)
	}
	stderr, restore := captureStderr(t)
	root := newCommand()
	root.SetArgs([]string{"config", "check", file + "\n::error::not there"})
	err := root.ExecuteContext(t.Context())
	if report(err) != exitUnknown {
		t.Errorf("the file is there: %v", err)
	}
	restore()
	text := readText(t, stderr)
	if !strings.Contains(text, "not there") || speaks(text) {
		t.Errorf("printed %q", text)
	}
	var out bytes.Buffer
	log := newLogger(config.Log{Format: "json"}, &out)
	log.InfoContext(t.Context(), spoken)
	log = newLogger(config.Log{}, &out)
	log.InfoContext(t.Context(), spoken)
	if speaks(out.String()) || strings.Count(out.String(), "\n") != 2 {
		t.Errorf("logged %q", out.String())
	}
}

// captureStderr has the process write standard error to a file until restore is called.
func captureStderr(t *testing.T) (file string, restore func()) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	old := os.Stderr
	os.Stderr = f
	return f.Name(), func() {
		os.Stderr = old
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}
