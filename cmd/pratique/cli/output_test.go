package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique/cmd/pratique/cli/clitest"
	"github.com/pratique-dev/pratique/cmd/pratique/cli/verb"
	"github.com/pratique-dev/pratique/internal/config"
)

// TestVerbsSpeakToNobody: what a verb forgets to escape is escaped at its outputs.
func TestVerbsSpeakToNobody(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config\x1b[31m.yaml")
	if err := os.WriteFile(file, config.Sample, 0o600); err != nil {
		t.Fatal(err)
	}
	stderr, restore := captureStderr(t)
	root := New()
	root.SetArgs([]string{"config", "check", file + "\n::error::not there"})
	err := root.ExecuteContext(t.Context())
	if verb.Report(err) != verb.Unknown {
		t.Errorf("the file is there: %v", err)
	}
	restore()
	text := clitest.ReadText(t, stderr)
	if !strings.Contains(text, "not there") || clitest.Speaks(text) {
		t.Errorf("printed %q", text)
	}
	var out bytes.Buffer
	log := NewLogger(config.Log{Format: "json"}, &out)
	log.InfoContext(t.Context(), clitest.Spoken)
	log = NewLogger(config.Log{}, &out)
	log.InfoContext(t.Context(), clitest.Spoken)
	if clitest.Speaks(out.String()) || strings.Count(out.String(), "\n") != 2 {
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
