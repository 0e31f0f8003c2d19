package webhook_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique/internal/config"
	"github.com/pratique-dev/pratique/queue/webhook"
)

// tableRow is a format's row in the table of docs/webhooks.md.
func tableRow(f webhook.Format) string {
	var methods []string
	for _, m := range f.Methods {
		methods = append(methods, "`"+string(m)+"`")
	}
	digest := "told"
	if f.Digestless {
		digest = "asked for"
	}
	return fmt.Sprintf("| [%s](#%s) | `%s` | %s | %s |", f.Sender, f.Name, f.Name,
		strings.Join(methods, ", "), digest)
}

// answersOf is the paragraph of a format's section that says what the sender makes of our answers.
func answersOf(f webhook.Format) string {
	a := f.Statuses()
	text := fmt.Sprintf("Answers: ignored %d, refused %d, busy %d. It repeats: %s. It loses: %s.",
		a.Ignored, a.Refused, a.Busy, a.Retries, a.Loses)
	if a.Disables != "" {
		text += fmt.Sprintf(" It gives the webhook up after: %s.", a.Disables)
	}
	return text
}

var sectionPattern = regexp.MustCompile(`(?m)^## (.+)$`)

// extras are the parts of docs/webhooks.md by their headings; that before the first is "".
func extras(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../../docs/webhooks.md")
	if err != nil {
		t.Fatal(err)
	}
	all, name, start := map[string]string{}, "", 0
	for _, at := range sectionPattern.FindAllSubmatchIndex(text, -1) {
		all[name] = string(text[start:at[0]])
		name, start = string(text[at[2]:at[3]]), at[1]
	}
	all[name] = string(text[start:])
	return all
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

func TestEveryFormatIsDocumented(t *testing.T) {
	t.Parallel()
	all := extras(t)
	if n := len(webhook.Formats()); len(all) != n+1 {
		t.Errorf("%d extras for %d formats", len(all)-1, n)
	}
	for _, f := range webhook.Formats() {
		text, ok := all[f.Name]
		if !ok {
			t.Errorf("no section %q", f.Name)
			continue
		}
		if !strings.Contains(all[""], tableRow(f)+"\n") {
			t.Errorf("the table has no row\n%s", tableRow(f))
		}
		if want := answersOf(f); !strings.Contains(oneLine(text), want) {
			t.Errorf("the section %s does not say\n%s", f.Name, want)
		}
		for _, line := range []string{"- Where: ", "- URL: ", "- Secret: ", "- Events: ",
			"- Leave off: ", "Test: `pratique webhook test "} {
			if strings.Count(text, "\n"+line) != 1 {
				t.Errorf("the section %s should have one line %q", f.Name, line)
			}
		}
	}
}

var (
	yamlPattern     = regexp.MustCompile("(?s)```yaml\n(.*?)```")
	registryPattern = regexp.MustCompile(`(?m)^  registry: (.+)$`)
	secretPattern   = regexp.MustCompile(`file:/etc/pratique/[a-z-]+`)
)

func TestDocumentedReceiversAreValid(t *testing.T) {
	t.Parallel()
	secretFile := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secretFile, []byte(sampleSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, text := range extras(t) {
		if name == "" {
			continue
		}
		block := yamlPattern.FindStringSubmatch(text)
		if block == nil {
			t.Errorf("%s: no YAML", name)
			continue
		}
		registry := registryPattern.FindStringSubmatch(block[1])
		if registry == nil {
			t.Errorf("%s: no registry", name)
			continue
		}
		document := "registries:\n- host: " + registry[1] + "\nreceivers:\n" +
			secretPattern.ReplaceAllLiteralString(block[1], "file:"+secretFile)
		conf, err := config.Parse(name, []byte(document))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, r := range conf.Receivers {
			if r.Format != name {
				t.Errorf("the section %s has a receiver of %s", name, r.Format)
			}
		}
	}
}
