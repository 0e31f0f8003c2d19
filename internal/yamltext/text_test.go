package yamltext

import (
	"context"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func parse(t *testing.T, content string) *Text {
	t.Helper()
	text, err := Parse(t.Context(), []byte(content))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestWhere: each value that is marked by its text stands where its text says.
func TestWhere(t *testing.T) {
	t.Parallel()
	text := parse(t, `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop, labels: {a.b/c: '@Deployment shop/web metadata.labels["a.b/c"]'}}
spec:
  template:
    metadata: {name: inner}
    spec:
      containers:
      - image: "@Deployment shop/web spec.template.spec.containers[0].image"
      - - "@Deployment shop/web spec.template.spec.containers[1][0]"
---
kind: List
metadata: {}
items:
- kind: Job
  metadata: {name: "{{ .Release.Name }}"}
  x: "@Job x"
- kind: Job
  metadata: {name: b}
  "": "@Job b [\"\"]"
- x: "@List items[2].x"
--- '@'
---
images: ["@images[0]"]
---
kind: Bad kind
metadata: {name: "a\u202eb", namespace: [x]}
x: "@x"
`+"---\n"+strings.Repeat("a:\n ", 0)+"{"+strings.Repeat("abcdefgh: {", 40)+`x: "@…`+strings.Repeat(".abcdefgh", 28)+`.x"`+strings.Repeat("}", 41)+"\n")
	var nodes []*yaml.Node
	for _, n := range text.Nodes {
		if strings.HasPrefix(n.Value, "@") {
			nodes = append(nodes, n)
		}
	}
	where := text.Locations(nodes...)
	if len(nodes) != 10 || len(where) != len(nodes) {
		t.Errorf("%d nodes, %d places", len(nodes), len(where))
	}
	for _, n := range nodes {
		if got := where[n].Object.At(where[n].Field); "@"+got != n.Value {
			t.Errorf("line %d: %q, want %q", n.Line, got, n.Value[1:])
		}
	}
}

// TestBounds: what may be too much is not parsed, and parsing ends with its context.
func TestBounds(t *testing.T) {
	t.Parallel()
	if _, err := Parse(t.Context(), []byte(strings.Repeat("---\n", MaxNodes))); err == nil {
		t.Error("parsed more than is allowed")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Parse(ctx, []byte("a: b\n")); err == nil {
		t.Error("parsed without time")
	}
}

// TestSaid: what is tagged as binary is said as a reader decodes it.
func TestSaid(t *testing.T) {
	t.Parallel()
	for content, want := range map[string]string{
		"!!binary aW1hZ2Vz": "images",
		"%TAG !x! tag:yaml.org,2002:bin\n--- !x!ary aW1hZ2Vz": "images",
		"!<tag:yaml.org,2002:binary> aW1h\n Z2Vz":             "aW1h Z2Vz",
		"!!str aW1hZ2Vz": "aW1hZ2Vz", "!!binary '?'": "?",
	} {
		if got := Value(parse(t, content+"\n").Roots()[0]); got != want {
			t.Errorf("%q says %q, want %q", content, got, want)
		}
	}
}
