package images

import (
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func TestImagesAreValidAndRepeatable(t *testing.T) {
	for name, spec := range map[string]Spec{"clean": Clean(), "vulnerable": Vulnerable()} {
		image, err := Build(spec)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Image(image); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		again, err := Build(spec)
		if err != nil {
			t.Fatal(err)
		}
		one, _ := image.Digest()
		two, _ := again.Digest()
		if one != two {
			t.Errorf("%s: built twice: %s and %s", name, one, two)
		}
		index, err := Index(image)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Index(index); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
