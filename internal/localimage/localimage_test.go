package localimage

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/layers"
	"github.com/pratique-dev/pratique/internal/registry"
	"github.com/pratique-dev/pratique/internal/testenv/images"
)

func build(t *testing.T, text string) v1.Image {
	t.Helper()
	spec := images.Clean()
	spec.Text = text
	img, err := images.Build(spec)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func digestOf(t *testing.T, img v1.Image) pratique.Digest {
	t.Helper()
	raw, err := img.RawManifest()
	must(t, err)
	return pratique.DigestOf(raw)
}

// fetch has the service's own client and layer store read what is served, with all their checks.
func fetch(t *testing.T, image string) (pratique.Manifest, []pratique.Digest, error) {
	t.Helper()
	s, err := Serve(t.Context(), image, t.TempDir(), Limits{})
	if err != nil {
		return pratique.Manifest{}, nil, err
	}
	defer func() { must(t, s.Close()) }()
	client, err := registry.New(registry.Config{Hosts: []registry.Host{{Name: s.Ref().Repository.Registry}}})
	must(t, err)
	m, err := client.Resolve(t.Context(), s.Ref())
	if err != nil {
		return m, nil, err
	}
	store, err := layers.Open(t.TempDir(), 0)
	must(t, err)
	defer store.Close()
	var diffs []pratique.Digest
	for _, child := range m.Images() {
		img, release, err := store.Image(t.Context(), client, m.Subject.Sibling(child.Digest))
		if err != nil {
			return m, nil, err
		}
		release()
		for _, l := range img.Layers {
			diffs = append(diffs, l.DiffID)
		}
	}
	return m, diffs, nil
}

func pack(t *testing.T, dir string, zipped bool) string {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(&out)
	if zipped {
		w = tar.NewWriter(z)
	}
	must(t, w.AddFS(os.DirFS(dir)))
	must(t, w.Close())
	if zipped {
		must(t, z.Close())
	}
	path := filepath.Join(t.TempDir(), "image.tar")
	must(t, os.WriteFile(path, out.Bytes(), 0o600))
	return path
}

// TestServe reads images from everything that people have.
func TestServe(t *testing.T) {
	t.Parallel()
	first, second := build(t, "first"), build(t, "second")
	dir := t.TempDir()
	to, err := layout.Write(dir, empty.Index)
	must(t, err)
	must(t, to.AppendImage(first, layout.WithAnnotations(map[string]string{refName: "app:1"})))
	alone := t.TempDir()
	must(t, os.CopyFS(alone, os.DirFS(dir)))
	must(t, to.AppendImage(second, layout.WithAnnotations(map[string]string{refName: "app:2"})))
	index, err := images.Index(first, second)
	must(t, err)
	both := t.TempDir()
	to, err = layout.Write(both, empty.Index)
	must(t, err)
	must(t, to.AppendIndex(index))
	tags := map[name.Tag]v1.Image{}
	for text, img := range map[string]v1.Image{"app:1": first, "app:2": second} {
		tag, err := name.NewTag(text)
		must(t, err)
		tags[tag] = img
	}
	saved := filepath.Join(t.TempDir(), "saved.tar")
	must(t, tarball.MultiWriteToFile(saved, tags))
	for what, test := range map[string]struct {
		image  string
		want   v1.Image // nil: the manifest is one that we make, or an index
		layers int
	}{
		"a layout":                 {alone, first, 2},
		"one of two by its name":   {dir + ":app:2", second, 2},
		"one of two by its digest": {dir + "@" + digestOf(t, second).String(), second, 2},
		"a packed layout":          {pack(t, alone, false), first, 2},
		"one of two, packed":       {pack(t, dir, true) + ":app:2", second, 2},
		"an index":                 {both, nil, 4},
		"what docker save writes":  {saved + ":app:2", nil, 2},
	} {
		t.Run(what, func(t *testing.T) {
			m, diffs, err := fetch(t, test.image)
			if err != nil {
				t.Fatal(err)
			}
			if len(diffs) != test.layers ||
				(test.want != nil && m.Subject.Digest != digestOf(t, test.want)) {
				t.Errorf("%+v with layers %v", m, diffs)
			}
			config, err := second.ConfigFile()
			must(t, err)
			if last := diffs[len(diffs)-1].String(); test.want != first &&
				last != config.RootFS.DiffIDs[1].String() {
				t.Errorf("the last layer is %s", last)
			}
		})
	}
}

// TestRefuses: what is not an image, or not whole, is refused by us or by the client's checks.
func TestRefuses(t *testing.T) {
	t.Parallel()
	sound := t.TempDir()
	to, err := layout.Write(sound, empty.Index)
	must(t, err)
	must(t, to.AppendImage(build(t, "x"), layout.WithAnnotations(map[string]string{refName: "app:1"})))
	with := func(change func(dir string)) string {
		dir := t.TempDir()
		must(t, os.CopyFS(dir, os.DirFS(sound)))
		change(dir)
		return dir
	}
	blobs := func(dir string, change func(path string)) {
		must(t, fs.WalkDir(os.DirFS(dir), "blobs", func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				change(filepath.Join(dir, path))
			}
			return err
		}))
	}
	junk := filepath.Join(t.TempDir(), "junk")
	must(t, os.WriteFile(junk, []byte("junk"), 0o600))
	cut := pack(t, sound, true)
	raw, err := os.ReadFile(cut)
	must(t, err)
	must(t, os.WriteFile(cut, raw[:len(raw)/2], 0o600))
	for what, image := range map[string]string{
		"nothing":             filepath.Join(t.TempDir(), "none"),
		"an empty directory":  t.TempDir(),
		"junk":                junk,
		"a file that was cut": cut,
		"another name":        sound + ":app:2",
		"no blobs": with(func(dir string) {
			must(t, os.RemoveAll(filepath.Join(dir, "blobs")))
		}),
		"spoilt blobs": with(func(dir string) {
			blobs(dir, func(path string) { must(t, os.WriteFile(path, []byte("{}"), 0o600)) })
		}),
		"links out of it": with(func(dir string) {
			blobs(dir, func(path string) {
				must(t, errors.Join(os.Remove(path), os.Symlink("/etc/passwd", path)))
			})
		}),
	} {
		if _, _, err := fetch(t, image); err == nil {
			t.Errorf("%s is taken", what)
		}
	}
}

func TestRepository(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{"/tmp/My App_v2.tar.gz": "my-app-v2", "app": "app",
		"/.tar": "image"} {
		got := (&Server{path: path}).Repository()
		if err := got.Validate(); err != nil || got.Path != want {
			t.Errorf("%s: %s, %v", path, got, err)
		}
	}
}
