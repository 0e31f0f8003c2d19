package images

import (
	"net/http/httptest"
	"strings"
	"testing"

	ociname "github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func TestImagesAreValidAndRepeatable(t *testing.T) {
	server := httptest.NewServer(registry.New())
	defer server.Close()
	for name, spec := range map[string]Spec{"clean": Clean(), "vulnerable": Vulnerable()} {
		image, err := Build(spec)
		if err != nil {
			t.Fatal(err)
		}
		ref, err := ociname.ParseReference(strings.TrimPrefix(server.URL, "http://") + "/" + name + ":1")
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(ref, image); err != nil {
			t.Fatal(err)
		}
		pulled, err := remote.Image(ref)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Image(pulled); err != nil {
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
		index, err := Index(pulled)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Index(index); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
