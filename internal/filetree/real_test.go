package filetree_test

import (
	"os"
	"testing"

	"github.com/pratique-dev/pratique/internal/filetree"
	"github.com/pratique-dev/pratique/internal/inspector/imagetest"
)

// BenchmarkReal reads the trees of real images: of a base that is new, and of an application on one
// that is known.
func BenchmarkReal(b *testing.B) {
	data := os.Getenv("PRATIQUE_TEST_DATA")
	if data == "" {
		b.Skip("PRATIQUE_TEST_DATA does not say where the images are")
	}
	base, node := imagetest.Load(b, data+"/images", "base:1"), imagetest.Load(b, data+"/images",
		"app-node:1")
	b.Run("new base", func(b *testing.B) {
		for b.Loop() {
			if _, err := new(filetree.Cache).Image(b.Context(), base); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("known image", func(b *testing.B) {
		known := new(filetree.Cache)
		for b.Loop() {
			if _, err := known.Image(b.Context(), node); err != nil {
				b.Fatal(err)
			}
		}
	})
}
