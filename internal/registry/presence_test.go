package registry

import (
	"net/http"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/layers"
)

func TestHas(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	body := []byte("the bytes of a layer")
	there := layers.Descriptor{Digest: f.blob(body), Size: int64(len(body))}
	gone := layers.Descriptor{Digest: pratique.DigestOf([]byte("other")), Size: 5}
	getOnly := false
	f.answer = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/other/") && strings.Contains(r.URL.Path, "/blobs/") {
			w.WriteHeader(http.StatusNotFound)
			return true
		}
		if getOnly && r.Method == http.MethodHead && strings.Contains(r.URL.Path, "/blobs/") {
			w.WriteHeader(http.StatusForbidden)
			return true
		}
		return false
	}
	c, err := New(Config{Hosts: []Host{{Name: f.host()}}})
	if err != nil {
		t.Fatal(err)
	}
	repo := func(path string) pratique.Repository {
		return pratique.Repository{Registry: f.host(), Path: path}
	}
	for range 3 {
		if err := c.Has(t.Context(), repo("app"), there); err != nil {
			t.Fatal(err)
		}
	}
	if n := f.count("/blobs/"); n != 1 {
		t.Errorf("asked %d times for one layer", n)
	}
	err = c.Has(t.Context(), repo("other/app"), there) // what one repository has says nothing of another
	if pratique.KindOf(err) != pratique.NotFound ||
		!strings.Contains(err.Error(), "push the image again") {
		t.Errorf("of another repository: %v", err)
	}
	if err = c.Has(t.Context(), repo("app"), gone); pratique.KindOf(err) != pratique.NotFound {
		t.Errorf("of none: %v", err)
	}
	wrong := there
	wrong.Size++
	if err = c.Has(t.Context(), repo("third"), wrong); pratique.KindOf(err) != pratique.Corrupt {
		t.Errorf("of another size: %v", err)
	}
	getOnly = true
	if err = c.Has(t.Context(), repo("fourth"), there); err != nil {
		t.Errorf("where only GET is answered: %v", err)
	}
	getOnly = false
	before := f.count("/blobs/")
	if body, err := c.Layer(t.Context(), repo("fifth"), there); err != nil {
		t.Fatal(err)
	} else if err := body.Close(); err != nil {
		t.Fatal(err)
	}
	if err = c.Has(t.Context(), repo("fifth"), there); err != nil || f.count("/blobs/") != before+1 {
		t.Errorf("of a layer that was fetched: %v, %d questions", err, f.count("/blobs/")-before)
	}
}

// TestLayerAnnotations: what a manifest says of a layer to lazy runtimes goes with it, and cannot
// be said twice.
func TestLayerAnnotations(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	c := client(t, f, Config{})
	subject := pratique.Subject{Repository: ref(f, "").Repository}
	subject.Digest = f.image(t, "lazy", func(_, layer, _ object) {
		layer["annotations"] = object{"containerd.io/snapshot/stargz/toc.digest": "sha256:0"}
	})
	img, err := c.Image(t.Context(), subject)
	if err != nil || img.Layers[0].Annotations["containerd.io/snapshot/stargz/toc.digest"] != "sha256:0" {
		t.Errorf("%+v, %v", img.Layers, err)
	}
	subject.Digest = f.image(t, "twice", func(_, layer, _ object) {
		layer["annotations"], layer["Annotations"] = object{"a": "b"}, object{"a": "c"}
	})
	_, err = c.Image(t.Context(), subject)
	wantKind(t, err, pratique.Invalid)
}
