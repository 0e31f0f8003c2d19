package webhook

import (
	"strings"
	"testing"
)

func TestReferencesAreSplitAtTheirMarks(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]reference{
		"ghcr.io/acme/app":                  {"ghcr.io", "acme/app", "", ""},
		"ghcr.io/acme/app:1.4.2":            {"ghcr.io", "acme/app", "1.4.2", ""},
		"localhost/app":                     {"localhost", "app", "", ""},
		"acme/app":                          {"acme", "app", "", ""},
		"registry:5000/app":                 {"registry:5000", "app", "", ""},
		"registry:5000/a/b/c:1@sha256:abc":  {"registry:5000", "a/b/c", "1", "sha256:abc"},
		"[::1]:5000/a@sha256:abc":           {"[::1]:5000", "a", "", "sha256:abc"},
		"eu.gcr.io/p:q/app:1":               {"eu.gcr.io", "p:q/app", "1", ""},
		"example.com/a/../../etc:--flag":    {"example.com", "a/../../etc", "--flag", ""},
		"user:pass:registry.example.com/a:": {},
		"example.com/a:":                    {},
		"example.com/:tag":                  {},
		"example.com/":                      {},
		"example.com":                       {},
		"/a:1":                              {},
		"":                                  {},
		"@":                                 {},
		"example.com/a@":                    {},
		"example.com/a@sha256:abc@x":        {},
		"https://example.com/a:1":           {},
		"example.com/a: 1":                  {},
		"example.com/a:1\n":                 {},
		"example.com/a\x00:1":               {},
	} {
		got, err := splitReference(text)
		if got != want || (err == nil) != (want.path != "") {
			t.Errorf("%q: got %+v, %v, want %+v", text, got, err, want)
		}
	}
}

func TestWrongReferenceIsQuotedClipped(t *testing.T) {
	t.Parallel()
	if _, err := splitReference(strings.Repeat("x", 10_000)); err == nil || len(err.Error()) > 250 {
		t.Errorf("got %v", err)
	}
}
