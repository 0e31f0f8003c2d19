package layers_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/partial"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/inspector/imagetest"
	"github.com/pratique-dev/pratique/internal/layers"
)

func TestV1(t *testing.T) {
	src := imagetest.Build(t, imagetest.Files{"a": "1"}, imagetest.Files{"b": "2"})
	img, err := src.V1()
	if err != nil {
		t.Fatal(err)
	}
	if d, err := img.Digest(); err != nil || d.String() != src.Subject.Digest.String() {
		t.Errorf("digest %v %v", d, err)
	}
	if d, err := partial.Digest(img); err != nil || d.String() != src.Subject.Digest.String() {
		t.Errorf("digest of the manifest %v %v", d, err)
	}
	if m, err := img.MediaType(); err != nil || string(m) != src.MediaType {
		t.Errorf("media type %v %v", m, err)
	}
	if n, err := img.Size(); err != nil || n != int64(len(src.Manifest)) {
		t.Errorf("size %v %v", n, err)
	}
	config, err := img.ConfigFile()
	if err != nil || config.Config.User != "65532" {
		t.Errorf("config %+v %v", config, err)
	}
	parts, err := img.Layers()
	if err != nil || len(parts) != 2 {
		t.Fatalf("layers %v %v", parts, err)
	}
	for i, l := range src.Layers {
		diffID, err := parts[i].DiffID()
		if err != nil || diffID.String() != l.DiffID.String() {
			t.Errorf("diff id %v %v", diffID, err)
		}
		same, err := img.LayerByDiffID(diffID)
		if err != nil || same != parts[i] {
			t.Errorf("layer by diff id: %v %v", same, err)
		}
		r, err := parts[i].Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r)
		if err != nil || pratique.DigestOf(body) != l.DiffID {
			t.Errorf("content of layer %d: %v", i, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if n, err := parts[i].Size(); err != nil || n != l.Size {
			t.Errorf("size %d %v", n, err)
		}
		if _, err := parts[i].Compressed(); err == nil {
			t.Error("compressed bytes out of nowhere")
		}
	}
	name, err := img.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := img.LayerByDigest(name); err != nil {
		t.Errorf("configuration as a layer: %v", err)
	}
	name.Hex = pratique.DigestOf(nil).Hex()
	if _, err := img.LayerByDigest(name); pratique.KindOf(err) != pratique.NotFound {
		t.Errorf("unknown layer: %v", err)
	}
}

func TestV1RefusesWhatDoesNotBelongTogether(t *testing.T) {
	for name, spoil := range map[string]func(*layers.Image){
		"another manifest": func(i *layers.Image) { i.Manifest = append(i.Manifest, '\n') },
		"manifest is no JSON": func(i *layers.Image) {
			i.Manifest = []byte("{")
			i.Subject.Digest = pratique.DigestOf(i.Manifest)
		},
		"another configuration":  func(i *layers.Image) { i.Config = append(i.Config, '\n') },
		"configuration is empty": func(i *layers.Image) { i.Config = nil },
		"a layer too few":        func(i *layers.Image) { i.Layers = i.Layers[:1] },
		"a layer twice": func(i *layers.Image) {
			i.Layers = append(i.Layers[:1:1], i.Layers[0])
		},
		"layers exchanged": func(i *layers.Image) {
			i.Layers[0], i.Layers[1] = i.Layers[1], i.Layers[0]
		},
		"another diff id": func(i *layers.Image) { i.Layers[1].DiffID = pratique.DigestOf(nil) },
	} {
		img := imagetest.Build(t, imagetest.Files{"a": "1"}, imagetest.Files{"b": "2"})
		spoil(&img)
		if _, err := img.V1(); pratique.KindOf(err) != pratique.Corrupt {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// TestKindOf: an image must not be tried again for a day because it leads a parser to where it may
// not go.
func TestKindOf(t *testing.T) {
	wrapped := func(err error) error {
		return fmt.Errorf("walk error: %w", &fs.PathError{Op: "open", Path: "/etc/shadow", Err: err})
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, test := range []struct {
		ctx  context.Context
		err  error
		want pratique.Kind
	}{
		{t.Context(), wrapped(syscall.EACCES), pratique.Corrupt},
		{t.Context(), wrapped(syscall.EPERM), pratique.Corrupt},
		{t.Context(), wrapped(syscall.ENOENT), pratique.Corrupt},
		{t.Context(), errors.New("no such format"), pratique.Corrupt},
		{t.Context(), wrapped(syscall.EFBIG), pratique.Exhausted},
		{t.Context(), wrapped(syscall.ENOSPC), pratique.Unavailable},
		{t.Context(), pratique.Wrap(pratique.Unavailable, "open layer", "",
			wrapped(syscall.EACCES)), pratique.Unavailable},
		{ended, errors.New("it stopped"), pratique.Unavailable},
	} {
		if got := layers.KindOf(test.ctx, test.err); got != test.want {
			t.Errorf("kind %v of %v, want %v", got, test.err, test.want)
		}
	}
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "gone"))
	if got := layers.KindOf(t.Context(), wrapped(syscall.ENOENT)); got != pratique.Unavailable {
		t.Errorf("kind %v without a directory for temporary files", got)
	}
}
