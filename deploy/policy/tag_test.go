package policy

import (
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
)

const deny = "package pratique\n\ndeny contains {\"rule\": \"r\", \"message\": \"m\"} if "

// A policy that was written when the tag was part of the input must not load and then deny nothing.
func TestLoadRefusesRulesAboutTheTag(t *testing.T) {
	t.Parallel()
	for name, rule := range map[string]string{
		"plain":            `input.image.tag == "latest"`,
		"brackets":         `input["image"]["tag"] == "latest"`,
		"negated":          `not startswith(input.image.tag, "release-")`,
		"variable":         `{ image := input.image; image.tag == "latest" }`,
		"object.get":       `object.get(input.image, "tag", "") == "latest"`,
		"object.get path":  `object.get(input, ["image", "tag"], "") == "latest"`,
		"function":         "f(input.image)\n\nf(image) if image.tag == \"latest\"",
		"key in variable":  `{ key := "tag"; input.image[key] == "latest" }`,
		"iteration":        `{ some key, value in input.image; key == "tag"; value == "latest" }`,
		"rule":             "image.tag == \"latest\"\n\nimage := input.image",
		"in comprehension": `count([1 | f(input.image)]) > 0` + "\n\nf(i) if i.tag",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := policyDir(t, "a.rego",
				"package pratique\n\ndeny contains {\"rule\": \"tag\", \"message\": \"m\"} if "+rule+"\n")
			_, err := Load(t.Context(), Config{Dir: dir})
			if pratique.KindOf(err) != pratique.Invalid ||
				!strings.Contains(err.Error(), "a.rego:") ||
				!strings.Contains(err.Error(), "cannot read the tag of an image") {
				t.Errorf("error %v (%v)", err, pratique.KindOf(err))
			}
		})
	}
}

// Other things may be called tag.
func TestLoadTakesOtherTags(t *testing.T) {
	t.Parallel()
	for name, files := range map[string][]string{
		"label":       {"a.rego", deny + `input.image.labels.tag == "x"`},
		"get a label": {"a.rego", deny + `object.get(input.image.labels, "tag", "") == "x"`},
		"label alias": {"a.rego", deny + `{ labels := input.image.labels; labels.tag == "x" }`},
		"rule's name": {"a.rego",
			"package pratique\n\ndeny contains {\"rule\": \"tag\", \"message\": \"tag\"} if tag\n\ntag if input.sbom.packages == 0"},
		"title": {"a.rego", deny + `{ some f in input.scan.findings; contains(f.title, "tag") }`},
		"other module": {"a.rego",
			"package pratique\n\nimport data.pratique.lib\n\ndeny contains {\"rule\": \"r\", \"message\": \"m\"} if lib.tag", "lib.rego", "package pratique.lib\n\ntag := false"},
		"tests": {"a.rego", deny + "input.sbom.packages == 0", "a_test.rego",
			"package pratique_test\n\ntest_x if data.pratique.deny == set() with input as {\"image\": {\"tag\": \"1\"}, \"sbom\": {\"packages\": 1}}"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := Load(t.Context(), Config{Dir: policyDir(t, files...)}); err != nil {
				t.Error(err)
			}
		})
	}
}
