package registry

import (
	"strings"
	"testing"
)

// TestAmbiguity: what two readers may take for different things is refused, attack C12 among it.
func TestAmbiguity(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		`{"manifests":[],"manifests":[]}`:                         "twice",
		`{"manifests":[],"Manifests":[]}`:                         "twice",
		"{\"manifests\":[],\"manifeſtſ\":[]}":                     "twice",
		"{\"manifeſtſ\":[]}":                                      "another spelling",
		`{"Layers":[]}`:                                           "another spelling",
		`{"manifests":[{"Platform":{}}]}`:                         "another spelling",
		`{"manifests":[{"platform":{"OS":"linux"}}]}`:             "another spelling",
		`{"manifests":[{"platform":{"os.Version":"1"}}]}`:         "another spelling",
		`{"config":{"diɡest":"x"},"layers":[]}`:                   "", // another letter, for every reader
		`{"annotations":{"Layers":"x","layers":"y","größe":"z"}}`: "",
		`{"annotations":{"x":"1","x":"2"}}`:                       "twice",
		`{"layers":[{"annotations":{"Digest":"x"}}]}`:             "",
		`{"layers":[]}{}`:                                         "more than one",
		`{"layers":[`:                                             "not JSON",
		strings.Repeat("[", 40) + strings.Repeat("]", 40):         "nested deeper",
	} {
		check(t, raw, shapeManifest, want)
	}
	for raw, want := range map[string]string{
		`{"os":"linux","OS":"windows"}`:                           "twice",
		`{"rootfs":{"diff_ids":[],"Diff_ids":[]}}`:                "twice",
		`{"rootfs":{"Diff_IDs":[]}}`:                              "another spelling",
		`{"config":{"Labels":{"OS":"a","os":"b"},"Env":[]}}`:      "",
		`{"config":{"Labels":{},"labels":{}}}`:                    "twice",
		"{\"config\":{\"Labels\":{},\"labelſ\":{}}}":              "twice",
		`{"config":{"labels":{}}}`:                                "",
		`{"container_config":{"Labels":{}},"docker_version":"1"}`: "",
	} {
		check(t, raw, shapeConfig, want)
	}
	check(t, `{"tags":["a"],"Tags":["b"]}`, shapeTags, "twice")
}

func check(t *testing.T, raw string, s *shape, want string) {
	t.Helper()
	err := checkUnambiguous([]byte(raw), s)
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("%s: %v, want %q", raw, err, want)
	}
}
