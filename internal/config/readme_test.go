package config

import (
	"os"
	"strings"
	"testing"
)

// TestReadme: the configuration that the README offers to copy is one, and does not write one push
// to two environments.
func TestReadme(t *testing.T) {
	page, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(page), "```yaml\n# pratique.yaml\n")
	text, _, found := strings.Cut(text, "```")
	if !found {
		t.Fatal("README.md has no configuration")
	}
	for _, name := range []string{"WEBHOOK_AUTHORIZATION", "GIT_PASSWORD", "PRATIQUE_TOKEN"} {
		t.Setenv(name, "a secret of the test, long enough")
	}
	c, err := Parse("README.md", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	paths := map[string]bool{}
	for _, target := range c.Deploy.Targets {
		if target.Path == "" || len(target.Tags) == 0 || paths[target.Path] {
			t.Errorf("target %s shares its folder, or takes every tag", target.Name)
		}
		paths[target.Path] = true
	}
	if warnings := c.Warnings(); len(paths) < 2 || len(warnings) > 0 {
		t.Errorf("%d targets, warnings: %v", len(paths), warnings)
	}
}
