package filetree_test

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/filetree"
	"github.com/pratique-dev/pratique/internal/layers"
)

// TestStream: a stream of entries as they are is the layer, and one of entries under other names
// has their content.
func TestStream(t *testing.T) {
	long := strings.Repeat("d/", 80) + "long"
	entries := layerOf{dir("d"), file("d/a", strings.Repeat("a", 700)), file(long, "b"),
		sym("d/l", "a"), file("empty", ""), hard("d/h", "d/a"), file("end", "c")}
	of := image(t, entries)
	img, err := new(filetree.Cache).Image(t.Context(), of)
	if err != nil {
		t.Fatal(err)
	}
	l := img.Layers[0]
	var as, renamed []filetree.Item
	for _, e := range l.Entries {
		as = append(as, filetree.Item{Path: e.Name, Entry: e, AsIs: true})
		if e.Type == tar.TypeReg {
			renamed = append(renamed, filetree.Item{Path: "new/" + e.Name,
				Content: l.Lookup(e.Name).File})
		}
	}
	renamed = append(renamed, filetree.Item{Path: "l", Type: tar.TypeSymlink, Link: "x"},
		filetree.Item{Path: ".wh.x", Type: tar.TypeReg})
	if got, want := streamed(t, img, as), packed(t, entries); !bytes.Equal(got, want) {
		t.Errorf("got %d bytes, want the %d of the layer", len(got), len(want))
	}
	again := streamed(t, img, as[1:3])
	if names := namesIn(t, again); !slices.Equal(names, []string{"d/a", long}) {
		t.Errorf("got %q", names)
	}
	want := []string{"new/d/a", "new/" + long, "new/empty", "new/end", "l", ".wh.x"}
	if names := namesIn(t, streamed(t, img, renamed)); !slices.Equal(names, want) {
		t.Errorf("got %q, want %q", names, want)
	}
	for _, item := range renamed[:4] {
		if got, want := content(t, img, item.Content),
			map[string]string{"new/d/a": strings.Repeat("a", 700), "new/" + long: "b",
				"new/end": "c"}[item.Path]; got != want {
			t.Errorf("%s: got %q, want %q", item.Path, got, want)
		}
	}
	if err := os.Truncate(of.Layers[0].Path, 3<<9); err != nil {
		t.Fatal(err)
	}
	body, err := img.Open(l, renamed[:1])
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if _, err := io.Copy(io.Discard, body); err == nil {
		t.Error("a layer that was cut is read to its end")
	}
}

func streamed(t *testing.T, img *filetree.Image, items []filetree.Item) []byte {
	t.Helper()
	body, err := img.Open(img.Layers[0], items)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	out, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func namesIn(t *testing.T, stream []byte) []string {
	t.Helper()
	var all []string
	for r := tar.NewReader(bytes.NewReader(stream)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, h.Name)
	}
}

// TestWork: a layer whose names lead in endless detours is an error, soon.
func TestWork(t *testing.T) {
	detour := strings.Repeat("a/../", 800) // 1,600 steps
	entries := layerOf{dir("a"), sym("l", detour+"a/..")}
	through := strings.Repeat("l/", 38) // each time
	for range 3000 {
		entries = append(entries, file(through+"f", ""))
	}
	_, err := new(filetree.Cache).Image(t.Context(), image(t, entries))
	if pratique.KindOf(err) != pratique.Exhausted {
		t.Errorf("got %v, want an error of kind exhausted", err)
	}
}

// TestScanErrors: what is no tar stream, and what ends too early, is an error.
func TestScanErrors(t *testing.T) {
	whole := packed(t, layerOf{file("a", strings.Repeat("x", 5000)), file("b", "y")})
	for name, body := range map[string][]byte{"no tar": []byte(strings.Repeat("<html>", 200)),
		"cut": whole[:2000]} {
		path := filepath.Join(t.TempDir(), "layer")
		if err := os.WriteFile(path, body, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := new(filetree.Cache).Image(t.Context(),
			layers.Image{Layers: []layers.Layer{{Path: path}}}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := new(filetree.Cache).Image(t.Context(),
		layers.Image{Layers: []layers.Layer{{Path: "/no/such/file"}}}); err == nil {
		t.Error("a file that is not there: no error")
	}
}

// TestMemoryIsBounded: neither images that cannot be read nor what is derived from layers keeps
// more headers than are to be kept.
func TestMemoryIsBounded(t *testing.T) {
	layer := func() *filetree.Layer { return &filetree.Layer{Entries: make([]filetree.Entry, 200_000)} }
	memory := new(filetree.Cache)
	for range 5 {
		memory.Hold(layer())
		if _, err := memory.Image(t.Context(), image(t, layerOf{hard("b", "a")})); err == nil {
			t.Fatal("no error")
		}
	}
	if n := memory.Held(); n > 300_000 {
		t.Errorf("%d headers are kept", n)
	}
	var derived filetree.PerLayer[int]
	made, first := 0, layer()
	derive := func(*filetree.Layer) int { made++; return made }
	for want, l := range []*filetree.Layer{first, first, layer(), first} {
		derived.Get(l, derive)
		if want = []int{1, 1, 2, 3}[want]; made != want { // the second one had the first one forgotten
			t.Errorf("derived %d times, want %d", made, want)
		}
	}
}
