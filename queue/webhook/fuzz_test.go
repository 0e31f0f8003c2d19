package webhook_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique/queue/webhook"
)

// FuzzParse gives every body to every format, with a header in front of it where there is one.
func FuzzParse(f *testing.F) {
	f.Add(file(f, "push.json"))
	f.Add(file(f, "delete.json"))
	for _, dir := range sampleDirs(f) {
		for _, path := range sampleFiles(f, dir) {
			text, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			if filepath.Ext(path) == ".json" {
				text = append([]byte("\n"), text...)
			}
			f.Add(string(text))
		}
	}
	captured, err := filepath.Glob("testdata/gitea-real/*.http")
	if err != nil || len(captured) == 0 {
		f.Fatalf("%d captured requests, %v", len(captured), err)
	}
	for _, path := range captured {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		// without the request line
		_, rest, _ := strings.Cut(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n")
		f.Add(rest)
	}
	f.Add("\n{\"events\":[{}]}")
	f.Add("\n{\"events\":null}")
	f.Add("X-GitHub-Event: 00")
	f.Fuzz(func(t *testing.T, text string) {
		one := parseSample(text)
		for _, format := range webhook.Formats() {
			all, err := webhook.Parse(format.Name, one.header, one.body)
			if err != nil && all != nil {
				t.Errorf("%s: notifications beside an error", format.Name)
			}
			// One event in the header may have no data.
			if len(all) > max(1, len(one.body)) {
				t.Errorf("%s: %d notifications from %d bytes", format.Name, len(all), len(one.body))
			}
			for _, n := range all {
				if _, err := n.At.MarshalJSON(); err != nil {
					t.Errorf("%s: %v", format.Name, err)
				}
			}
		}
	})
}
