package syft

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/inspector/imagetest"
	"github.com/pratique-dev/pratique/internal/testenv/images"
	"github.com/pratique-dev/pratique/sbom"
)

// TestLinkedPackages: the SBOM has what a container would see, however it is packed.
func TestLinkedPackages(t *testing.T) {
	for _, test := range images.AllLinked() {
		t.Run(test.Name, func(t *testing.T) {
			docs, err := generator.Generate(t.Context(), imagetest.BuildOf(t, test.Layers...))
			if test.Refused {
				// Circles of links are for the scanner to tell; whoever reads files finds nothing
				// there.
				if pratique.KindOf(err) != pratique.Corrupt && (err != nil || docs.Packages > 0) {
					t.Fatalf("got %v and %d packages, want an error of kind corrupt", err, docs.Packages)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			summary, err := sbom.DecodeSPDX(docs.SPDX)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, p := range summary.Packages {
				got = append(got, strings.ToLower(p.Name)+" "+p.Version)
			}
			slices.Sort(got)
			// Syft writes Python's names so
			want := strings.Split(strings.ToLower(strings.Join(test.Packages, "\n")), "\n")
			if diff := cmp.Diff(want, slices.Compact(got)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestLinkedRPM: the database of RPM is found wherever links put it.
func TestLinkedRPM(t *testing.T) {
	for _, test := range images.LinkedRPM(imagetest.RPMDatabase(t)) {
		t.Run(test.Name, func(t *testing.T) {
			docs, err := generator.Generate(t.Context(), imagetest.BuildOf(t, test.Layers...))
			if err != nil {
				t.Fatal(err)
			}
			summary, err := sbom.DecodeSPDX(docs.SPDX)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{"bash", "openssl-libs"} {
				if !slices.ContainsFunc(summary.Packages, func(p sbom.Package) bool {
					return p.Name == want
				}) {
					t.Errorf("%s is not in the SBOM", want)
				}
			}
		})
	}
}
