package incremental

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pratique-dev/pratique/internal/layers"
	plain "github.com/pratique-dev/pratique/sbom/syft"
)

// TestCatalogersAreApproved fails when Syft changes, until a person has looked at what this package
// believes of it. To approve a version:
//
//  1. Read the diff of Syft's catalogers and of file.Resolver: does a cataloger learn of an image in
//     another way than by asking the resolver? Do those in perFile take each file for itself, and do
//     those in perTree relate only what they found themselves?
//  2. Compare with the command line of the new version: make e2e-real DATA=DIR.
//  3. Write the version and the catalogers that this test prints to testdata/catalogers.txt.
func TestCatalogersAreApproved(t *testing.T) {
	const file = "testdata/catalogers.txt"
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	have := append([]string{"syft " + requiredVersion(t)}, catalogers(t)...)
	if diff := cmp.Diff(strings.Fields(string(raw)),
		strings.Fields(strings.Join(have, "\n"))); diff != "" {
		t.Errorf("Syft is another one than that in %s (-approved +now); the comment of this test says what to do\n%s\n%s",
			file, diff, strings.Join(have, "\n"))
	}
	for _, name := range append(perFile(), perTree()...) {
		if !slices.Contains(have, name) {
			t.Errorf("%s is believed to be harmless, and Syft has no such cataloger", name)
		}
	}
}

// requiredVersion is that of Syft in go.mod.
func requiredVersion(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", "..", "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(fields) >= 2 && fields[0] == "github.com/anchore/syft" {
			return fields[1]
		}
	}
	t.Fatal("go.mod does not name Syft")
	return ""
}

// catalogers are the names of those that Syft says it used.
func catalogers(t *testing.T) []string {
	t.Helper()
	var used []string
	err := plain.TinyImage(nil, func(img layers.Image) error {
		read, cleanup, err := plain.Open(t.Context(), img)
		if err != nil {
			return err
		}
		defer func() { _ = cleanup() }() // nothing was made
		found, err := full.Catalog(t.Context(), plain.Source(img, read), full.Config())
		if err != nil {
			return err
		}
		raw, err := json.Marshal(found.Descriptor.Configuration)
		if err != nil {
			return err
		}
		var audit struct {
			Catalogers struct{ Used []string }
		}
		err = json.Unmarshal(raw, &audit)
		used = audit.Catalogers.Used
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(used)
	return used
}
