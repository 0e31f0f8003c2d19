package cli

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestCLIPage: docs/cli.md has a section for every verb, and names the flags that it has and no
// others.
func TestCLIPage(t *testing.T) {
	page, err := os.ReadFile("../../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	for _, section := range strings.Split(string(page), "\n### ")[1:] {
		name, text, _ := strings.Cut(section, "\n")
		text, _, _ = strings.Cut(text, "\n## ")
		sections[name] = text
	}
	named := regexp.MustCompile("`--([a-z-]+)")
	usage := regexp.MustCompile(`(?m)^ +(?:-., )?--([a-z-]+)`)
	for _, verb := range verbs(New()) {
		name := verb.CommandPath()
		section, ok := sections[name]
		if !ok {
			t.Errorf("docs/cli.md has no section %q", name)
			continue
		}
		delete(sections, name)
		want := flags(usage, verb.LocalFlags().FlagUsages()+verb.InheritedFlags().FlagUsages())
		got := flags(named, section)
		if !slices.Equal(got, want) {
			t.Errorf("docs/cli.md, %s: the flags are %q, and the section names %q", name, want, got)
		}
	}
	for name := range sections {
		t.Errorf("docs/cli.md has a section %q, and there is no such verb", name)
	}
}

// flags returns the names that a pattern finds, but for --help, which every verb has.
func flags(pattern *regexp.Regexp, text string) []string {
	var names []string
	for _, match := range pattern.FindAllStringSubmatch(text, -1) {
		if match[1] != "help" {
			names = append(names, match[1])
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// verbs returns the commands that do something, except what cobra adds.
func verbs(c *cobra.Command) []*cobra.Command {
	if !c.HasSubCommands() {
		return []*cobra.Command{c}
	}
	var all []*cobra.Command
	for _, sub := range c.Commands() {
		if !sub.Hidden && sub.Name() != "help" && sub.Name() != "completion" {
			all = append(all, verbs(sub)...)
		}
	}
	return all
}
