package registry

import (
	"archive/tar"
	"bytes"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/layers"
)

func name512(b []byte) string {
	sum := sha512.Sum512(b)
	return "sha512:" + hex.EncodeToString(sum[:])
}

// image512 is an image in which layers, diff ids and the configuration go by sha512. It is there by
// both names.
func (s shelf) image512(tag string) (pratique.Digest, string) {
	var stream bytes.Buffer
	w := tar.NewWriter(&stream)
	if err := w.WriteHeader(&tar.Header{Name: "etc/hello", Mode: 0o644, Size: 5}); err != nil {
		s.t.Fatal(err)
	}
	_, _ = w.Write([]byte("hello"))
	if err := w.Close(); err != nil {
		s.t.Fatal(err)
	}
	layer := zip(s.t, stream.Bytes())
	config, err := json.Marshal(object{"os": "linux", "architecture": "amd64",
		"rootfs": object{"type": "layers", "diff_ids": []string{name512(stream.Bytes())}}})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, b := range [][]byte{layer, config} {
		s.blobs[name512(b)] = b
	}
	digest := s.manifest(s.t, tag, pratique.TypeOCIManifest, object{
		"schemaVersion": 2, "mediaType": pratique.TypeOCIManifest,
		"config": object{"mediaType": pratique.TypeOCIConfig, "digest": name512(config),
			"size": len(config)},
		"layers": []any{object{"mediaType": gzipLayer, "digest": name512(layer), "size": len(layer)}},
	})
	raw := s.manifests[digest.String()]
	s.manifests[name512(raw)], s.types[name512(raw)] = raw, pratique.TypeOCIManifest
	return digest, name512(raw)
}

// TestSHA512: what is named by sha512 is fetched and checked by that, and known by sha256 from then
// on.
func TestSHA512(t *testing.T) {
	t.Parallel()
	s := shelf{newFake(t), t}
	digest, long := s.image512("v1")
	store, err := layers.Open(t.TempDir(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	c := client(t, s.fake, Config{})
	byTag := ref(s.fake, "v1")
	id, err := pratique.ParseContentID(long)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []pratique.ImageRef{byTag, byTag.WithContentID(id),
		ref(s.fake, "").WithContentID(id)} {
		m, err := c.Resolve(t.Context(), r)
		if err != nil || m.Subject.Digest != digest || m.Platform != "linux/amd64" {
			t.Errorf("%s: %+v, %v", r, m, err)
		}
		if got, err := c.Digest(t.Context(), r); err != nil || got != digest {
			t.Errorf("%s: digest %v, %v", r, got, err)
		}
	}
	subject := pratique.Subject{Repository: byTag.Repository, Digest: digest}
	for range 2 { // from the registry, and from the store
		img, release, err := store.Image(t.Context(), c, subject)
		if err != nil {
			t.Fatal(err)
		}
		l := img.Layers[0]
		if l.Digest != pratique.DigestOf(s.blobs[l.DigestName.String()]) || l.DiffIDName.IsZero() ||
			l.DiffID.IsZero() || l.DiffID == l.Digest {
			t.Errorf("layer %+v", l)
		}
		disk, err := img.V1()
		if err != nil {
			t.Fatal(err)
		}
		config, err := disk.ConfigFile()
		if err != nil || config.RootFS.DiffIDs[0].String() != l.DiffID.String() {
			t.Errorf("configuration %+v, %v", config, err)
		}
		if _, err := disk.LayerByDiffID(config.RootFS.DiffIDs[0]); err != nil {
			t.Error(err)
		}
		release()
	}
	if n := s.count("/blobs/sha512"); n != 2 {
		t.Errorf("%d blobs were asked for", n)
	}
}

func TestSHA512InAnIndex(t *testing.T) {
	t.Parallel()
	s := shelf{newFake(t), t}
	digest, long := s.image512("one")
	s.manifest(t, "v1", pratique.TypeOCIIndex,
		object{"schemaVersion": 2, "mediaType": pratique.TypeOCIIndex, "manifests": []any{
			object{"mediaType": pratique.TypeOCIManifest, "digest": long, "size": 7,
				"platform": at("linux", "amd64")}}})
	got, err := client(t, s.fake, Config{}).Resolve(t.Context(), ref(s.fake, "v1"))
	want{children: []string{"linux/amd64"}}.check(t, got, err)
	if err == nil && got.Children[0].Digest != digest {
		t.Errorf("child %+v, want %s", got.Children, digest)
	}

	// Nothing can be signed by a digest that the registry does not serve.
	delete(s.manifests, digest.String())
	got, err = client(t, s.fake, Config{}).Resolve(t.Context(), ref(s.fake, "v1"))
	want{uninspected: []string{"linux/amd64: but not as sha256:"}}.check(t, got, err)
	id, _ := pratique.ParseContentID(long)
	_, err = client(t, s.fake, Config{}).Resolve(t.Context(), ref(s.fake, "").WithContentID(id))
	wantKind(t, err, pratique.Invalid)
}

func TestSHA512ThatDoesNotMatch(t *testing.T) {
	t.Parallel()
	for _, part := range []string{"layer", "configuration", "manifest"} {
		s := shelf{newFake(t), t}
		digest, long := s.image512("v1")
		var m manifest
		if err := json.Unmarshal(s.manifests["v1"], &m); err != nil {
			t.Fatal(err)
		}
		r := ref(s.fake, "v1")
		switch part {
		case "layer":
			b := bytes.Clone(s.blobs[m.Layers[0].Digest])
			b[len(b)-1] ^= 1
			s.blobs[m.Layers[0].Digest] = b
		case "configuration":
			s.blobs[m.Config.Digest] = bytes.Replace(s.blobs[m.Config.Digest], []byte("linux"),
				[]byte("lunix"), 1)
		case "manifest":
			s.manifests[long] = append(bytes.Clone(s.manifests[long]), ' ')
			id, _ := pratique.ParseContentID(long)
			r = ref(s.fake, "").WithContentID(id)
		}
		c := client(t, s.fake, Config{})
		_, err := c.Resolve(t.Context(), r)
		if part == "layer" {
			store, openErr := layers.Open(t.TempDir(), 0)
			if openErr != nil {
				t.Fatal(openErr)
			}
			_, _, err = store.Image(t.Context(), c, pratique.Subject{Repository: r.Repository,
				Digest: digest})
		}
		if pratique.KindOf(err) != pratique.Corrupt {
			t.Errorf("%s: %v", part, err)
		}
	}
}
