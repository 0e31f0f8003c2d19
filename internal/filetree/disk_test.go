package filetree_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/filetree"
)

// onDisk lists a directory as the model does.
func onDisk(t *testing.T, root string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		name := strings.TrimPrefix(path, root+"/")
		switch {
		case d.IsDir():
			all = append(all, name+" d ")
		case d.Type() == fs.ModeSymlink:
			to, err := os.Readlink(path)
			if err != nil {
				return err
			}
			all = append(all, name+" l "+to)
		default:
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			all = append(all, name+" f "+string(content))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

// blob writes a file below an OCI layout.
func blob(t *testing.T, layout, mediaType string, body []byte) map[string]any {
	t.Helper()
	d := pratique.DigestOf(body)
	if err := os.WriteFile(filepath.Join(layout, "blobs/sha256", d.Hex()), body, 0o600); err != nil {
		t.Fatal(err)
	}
	return map[string]any{"mediaType": mediaType, "digest": d.String(), "size": len(body)}
}

func encoded(t *testing.T, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// layout writes an image as an OCI layout.
func layout(t *testing.T, dir string, all []layerOf) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, "blobs/sha256"), 0o700); err != nil {
		t.Fatal(err)
	}
	var ids []string
	var blobs []any
	for _, l := range all {
		body := packed(t, l)
		ids = append(ids, pratique.DigestOf(body).String())
		blobs = append(blobs, blob(t, dir, "application/vnd.oci.image.layer.v1.tar", body))
	}
	config := blob(t, dir, "application/vnd.oci.image.config.v1+json", encoded(t, map[string]any{
		"os": "linux", "architecture": "amd64", "config": map[string]any{},
		"rootfs": map[string]any{"type": "layers", "diff_ids": ids}}))
	manifest := blob(t, dir, "application/vnd.oci.image.manifest.v1+json", encoded(t, map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": config, "layers": blobs}))
	manifest["annotations"] = map[string]string{"org.opencontainers.image.ref.name": "it"}
	for name, body := range map[string][]byte{
		"oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`),
		"index.json": encoded(t, map[string]any{"schemaVersion": 2, "manifests": []any{manifest}}),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAgainstUmoci: what the tree says is what umoci leaves on disk.
func TestAgainstUmoci(t *testing.T) {
	umoci, err := exec.LookPath("umoci")
	if err != nil || os.Getuid() != 0 {
		t.Skip("umoci is not here, or may not make devices and owners")
	}
	random, compared, differ := rand.New(rand.NewPCG(3, 4)), 0, 0
	for compared < 20 {
		all := drawn(someBytes(random, 3*(3+random.IntN(9))))
		img, err := new(filetree.Cache).Image(t.Context(), image(t, all...))
		if err != nil || len(listed(t, img)) < 2 {
			continue
		}
		dir := t.TempDir()
		layout(t, filepath.Join(dir, "layout"), all)
		out, err := exec.Command(umoci, "raw", "unpack", "--image", filepath.Join(dir, "layout")+
			":it", filepath.Join(dir, "root")).CombinedOutput()
		if err != nil {
			// it refuses what lies over a file of a lower layer, for example
			t.Logf("%v: umoci: %s", all, out)
			continue
		}
		compared++
		got, want := listed(t, img), onDisk(t, filepath.Join(dir, "root"))
		if slices.Equal(full(got), full(want)) {
			continue
		}
		// umoci unpacks all layers into one directory. That shows another tree than overlayfs where
		// a layer only implies a directory in the place of a lower layer's link.
		native := model{}
		for _, l := range all {
			if err := native.unpack(l, nil); err != nil {
				t.Fatalf("%v: umoci unpacks what the model does not: %v", all, err)
			}
		}
		if slices.Equal(full(got), full(native.list())) ||
			!slices.Equal(full(want), full(native.list())) {
			t.Fatalf("%v\n got %q\nwant %q", all, got, want)
		}
		differ++
	}
	if differ > compared/4 {
		t.Errorf("%d of %d differ", differ, compared)
	}
}

// full leaves out directories with nothing in them: umoci makes none for whiteouts.
func full(list []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(line string) bool {
		name, empty := strings.CutSuffix(line, " d ")
		return empty && !slices.ContainsFunc(list, func(other string) bool {
			return strings.HasPrefix(other, name+"/") && !strings.HasSuffix(other, " d ")
		})
	})
}

// TestAgainstTar: GNU tar unpacks a layer into an empty directory as the tree has it.
func TestAgainstTar(t *testing.T) {
	program, err := exec.LookPath("tar")
	if err != nil {
		t.Skip("tar is not here")
	}
	random, compared := rand.New(rand.NewPCG(5, 6)), 0
	for compared < 40 {
		entries := drawn(someBytes(random, 3*(2+random.IntN(8))))[0]
		// tar takes whiteouts for files, and absolute links for those of this machine.
		entries = slices.DeleteFunc(entries, func(e header) bool {
			return strings.Contains(e.name, ".wh.") || strings.HasPrefix(e.text, "/")
		})
		img, err := new(filetree.Cache).Image(t.Context(), image(t, entries))
		if err != nil || len(entries) == 0 {
			continue
		}
		root := t.TempDir()
		unpack := exec.Command(program, "-x", "-P", "-C", root)
		unpack.Stdin = bytes.NewReader(packed(t, entries))
		if out, err := unpack.CombinedOutput(); err != nil {
			// it makes no directories through a link that leads to nothing, and keeps full ones
			t.Logf("%v: tar: %s", entries, out)
			continue
		}
		compared++
		if got, want := listed(t, img), onDisk(t, root); !slices.Equal(got, want) {
			t.Fatalf("%v\n got %q\nwant %q", entries, got, want)
		}
	}
}
