package registry

import (
	"encoding/json"
	"math"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pratique-dev/pratique"
)

var comparable = cmpopts.EquateComparable(pratique.Digest{})

func TestResolveImage(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	digest := f.image(t, "v1", nil)
	c := client(t, f, Config{})
	want := pratique.Manifest{
		Subject:   pratique.Subject{Repository: ref(f, "").Repository, Digest: digest},
		MediaType: pratique.TypeOCIManifest, Platform: "linux/arm64/v8",
	}
	byAlias := ref(f, "v1")
	byAlias.Repository.Registry = "registry.test"
	byDigest := ref(f, "")
	byDigest.Digest = digest
	for _, r := range []pratique.ImageRef{ref(f, "v1"), byAlias, byDigest} {
		got, err := c.Resolve(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, comparable); diff != "" {
			t.Errorf("%s: %s", r, diff)
		}
	}
	if n := f.count("/manifests/"); n != 3 {
		t.Errorf("%d manifest requests for 3 refs", n)
	}
	if n := f.count("/blobs/"); n != 1 {
		t.Errorf("%d requests for one configuration", n)
	}
	got, err := c.Digest(t.Context(), ref(f, "v1"))
	if err != nil || got != digest {
		t.Errorf("Digest = %v, %v", got, err)
	}
}

func TestNotImage(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(m, layer, config object)
		want   string
	}{
		"cosign signature": {func(_, layer, _ object) {
			layer["mediaType"] = "application/vnd.dev.cosign.simplesigning.v1+json"
		}, "simplesigning"},
		"cosign attestation": {func(_, layer, _ object) {
			layer["mediaType"] = "application/vnd.dsse.envelope.v1+json"
		}, "dsse"},
		"bundle layers": {func(_, layer, _ object) {
			layer["mediaType"] = "application/vnd.dev.sigstore.bundle.v0.3+json"
		}, "bundle"},
		"sbom": {func(_, layer, _ object) {
			layer["mediaType"] = "application/vnd.cyclonedx+json"
		}, "cyclonedx"},
		"helm chart": {func(m, _, _ object) {
			m["config"] = object{"mediaType": "application/vnd.cncf.helm.config.v1+json",
				"digest": "sha256:" + strings.Repeat("0", 64), "size": 2}
		}, "helm"},
		"artifact": {func(m, _, config object) {
			m["artifactType"] = "application/vnd.example+type"
			m["config"] = object{"mediaType": "application/vnd.oci.empty.v1+json",
				"digest": "sha256:" + strings.Repeat("0", 64), "size": 2}
		}, "example"},
		"unknown manifest": {func(m, _, _ object) {
			m["mediaType"] = "application/vnd.example.manifest+json"
		}, "example"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			f.image(t, "v1", test.change)
			got, err := client(t, f, Config{}).Resolve(t.Context(), ref(f, "v1"))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(got.NotImage, test.want) {
				t.Errorf("NotImage %q, want something with %q", got.NotImage, test.want)
			}
		})
	}
}

// TestRunnableIsAnImage: what is said of an image keeps no runtime from running it.
func TestRunnableIsAnImage(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(m, layer, config object){
		"artifact type": func(m, _, _ object) { m["artifactType"] = "application/vnd.example+type" },
		"subject": func(m, _, _ object) {
			m["subject"] = object{"mediaType": pratique.TypeOCIManifest, "digest": "sha256:" +
				strings.Repeat("1", 64), "size": 2}
		},
		"no media type": func(m, _, _ object) { delete(m, "mediaType") },
		"docker":        func(m, _, _ object) { m["mediaType"] = pratique.TypeDockerManifest },
		"layers beside one": func(m, l, _ object) {
			m["annotations"] = object{"Layers": "x", "layers": "y"}
		},
		"labels in any case": func(_, _, c object) {
			c["config"] = object{"Labels": object{"OS": "a", "os": "b", "architecture": "c"}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			digest := f.image(t, "v1", change)
			for _, header := range []string{pratique.TypeOCIManifest, typeSchema1Signed,
				"application/json", "text/html; charset=x", "", pratique.TypeDockerList} {
				f.types["v1"], f.types[digest.String()] = header, header
				c := client(t, f, Config{})
				got, err := c.Resolve(t.Context(), ref(f, "v1"))
				if err != nil || got.NotImage != "" || got.Subject.Digest != digest ||
					got.Platform != "linux/arm64/v8" {
					t.Errorf("with the header %q: %+v, %v", header, got, err)
				}
				if _, err := c.Image(t.Context(), got.Subject); err != nil {
					t.Errorf("with the header %q: %v", header, err)
				}
			}
		})
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	hash := func(c string) string { return "sha256:" + strings.Repeat(c, 64) }
	tests := map[string]struct {
		change func(m, layer, config object)
		want   pratique.Kind
	}{
		"foreign layer": {func(_, l, _ object) {
			l["urls"] = []string{"http://169.254.169.254/"}
		}, pratique.Invalid},
		"encrypted layer": {func(_, l, _ object) {
			l["mediaType"] = gzipLayer + "+encrypted"
		}, pratique.Invalid},
		"layer over limit": {func(_, l, _ object) { l["size"] = int64(9) << 30 }, pratique.Exhausted},
		"overflowing layers": {func(m, l, _ object) {
			m["layers"] = []any{l, object{"mediaType": gzipLayer, "digest": hash("2"),
				"size": int64(math.MaxInt64)}}
		}, pratique.Exhausted},
		"negative size": {func(_, l, _ object) { l["size"] = -1 }, pratique.Invalid},
		"sha512, cut": {func(_, l, _ object) {
			l["digest"] = "sha512:" + strings.Repeat("0", 64)
		}, pratique.Invalid},
		"blake3": {func(_, l, _ object) {
			l["digest"] = "blake3:" + strings.Repeat("0", 64)
		}, pratique.Invalid},
		"schema 1": {func(m, _, _ object) { m["schemaVersion"] = 1 }, pratique.Invalid},
		"schema 1 by type": {func(m, _, _ object) {
			m["mediaType"] = typeSchema1Signed
		}, pratique.Invalid},
		"index and image": {func(m, _, _ object) { m["manifests"] = []any{} }, pratique.Invalid},
		"index type, no index": {func(m, _, _ object) {
			m["mediaType"] = pratique.TypeOCIIndex
		}, pratique.Invalid},
		"name twice": {func(m, l, _ object) { m["Layers"] = []any{l, l} }, pratique.Invalid},
		"platform": {func(_, _, c object) {
			c["os"] = "linux\nFAKE LOG LINE"
		}, pratique.Invalid},
		"config missing": {func(m, _, _ object) {
			m["config"] = object{"mediaType": pratique.TypeOCIConfig, "digest": hash("3"), "size": 2}
		}, pratique.NotFound},
		"config over limit": {func(m, _, _ object) {
			m["config"] = object{"mediaType": pratique.TypeOCIConfig, "digest": hash("3"),
				"size": 5 << 20}
		}, pratique.Exhausted},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			f.image(t, "v1", test.change)
			got, err := client(t, f, Config{}).Resolve(t.Context(), ref(f, "v1"))
			if err == nil {
				t.Fatalf("resolved to %+v", got)
			}
			wantKind(t, err, test.want)
		})
	}
}

func TestRefusedManifests(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	good := f.image(t, "good", nil)
	many := make([]any, 65)
	for i := range many {
		many[i] = object{"mediaType": pratique.TypeOCIManifest, "digest": good.String(), "size": 3}
	}
	f.manifest(t, "children", pratique.TypeOCIIndex, object{"schemaVersion": 2, "manifests": many})
	f.manifest(t, "large", pratique.TypeOCIManifest,
		[]byte(`{"schemaVersion":2,"annotations":{"x":"`+strings.Repeat("x", 5<<20)+`"}}`))
	f.manifest(t, "html", "text/html", []byte("<html>welcome to the captive portal</html>"))
	f.manifest(t, "deep", pratique.TypeOCIManifest, []byte(strings.Repeat("[", 10000)))
	f.manifest(t, "two", pratique.TypeOCIManifest, []byte(`{"schemaVersion":2}{}`))
	f.manifest(t, "empty", pratique.TypeOCIManifest, []byte(``))
	c := client(t, f, Config{})
	for tag, want := range map[string]pratique.Kind{
		"children": pratique.Exhausted, "large": pratique.Exhausted, "html": pratique.Invalid,
		"deep": pratique.Invalid, "two": pratique.Invalid, "empty": pratique.Invalid,
		"gone": pratique.NotFound,
	} {
		_, err := c.Resolve(t.Context(), ref(f, tag))
		if err == nil {
			t.Errorf("%s: no error", tag)
		}
		if got := pratique.KindOf(err); got != want {
			t.Errorf("%s: kind %v, want %v: %v", tag, got, want, err)
		}
		if err != nil && len(err.Error()) > 1000 {
			t.Errorf("%s: error of %d bytes", tag, len(err.Error()))
		}
	}
	_, err := c.Resolve(t.Context(), pratique.ImageRef{})
	wantKind(t, err, pratique.Invalid)
	_, err = c.Digest(t.Context(), ref(f, "gone"))
	wantKind(t, err, pratique.NotFound)
}

// TestChunkedManifestOverLimit hides the length that a header would give away.
func TestChunkedManifestOverLimit(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.answer = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/manifests/") {
			return false
		}
		for range 3 {
			_, _ = w.Write(make([]byte, 1<<10))
			w.(http.Flusher).Flush()
		}
		return true
	}
	_, err := client(t, f, Config{Limits: Limits{ManifestBytes: 2 << 10}}).Resolve(t.Context(),
		ref(f, "v1"))
	wantKind(t, err, pratique.Exhausted)
}

func TestWrongDigest(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	digest := f.image(t, "v1", nil)
	f.manifests[digest.String()] = append(f.manifests[digest.String()], ' ')
	r := ref(f, "")
	r.Digest = digest
	_, err := client(t, f, Config{}).Resolve(t.Context(), r)
	wantKind(t, err, pratique.Corrupt)

	// A configuration that was replaced by another of the same length.
	var m manifest
	if err := json.Unmarshal(f.manifests["v1"], &m); err != nil {
		t.Fatal(err)
	}
	f.blobs[m.Config.Digest] = []byte(strings.Replace(string(f.blobs[m.Config.Digest]), "linux",
		"lunix", 1))
	_, err = client(t, f, Config{}).Resolve(t.Context(), ref(f, "v1"))
	wantKind(t, err, pratique.Corrupt)
}

func TestImage(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	digest := f.image(t, "v1", nil)
	c := client(t, f, Config{})
	subject := pratique.Subject{Repository: ref(f, "").Repository, Digest: digest}
	img, err := c.Image(t.Context(), subject)
	if err != nil {
		t.Fatal(err)
	}
	if img.Subject != subject || pratique.DigestOf(img.Manifest) != digest ||
		img.Platform != "linux/arm64/v8" || len(img.Layers) != 1 {
		t.Errorf("image %+v", img)
	}
	rc, err := c.Layer(t.Context(), subject.Repository, img.Layers[0])
	if err != nil {
		t.Fatal(err)
	}
	if b, err := readClose(rc); err != nil || pratique.DigestOf(b) != img.Layers[0].Digest {
		t.Errorf("layer of %d bytes, %v", len(b), err)
	}

	refused := map[string]func(m, l, c object){
		"chart": func(m, _, c object) {
			raw, err := json.Marshal(c)
			if err != nil {
				t.Fatal(err)
			}
			m["config"] = f.object("application/vnd.cncf.helm.config.v1+json", raw)
		},
		"diff ids": func(_, _, c object) {
			c["rootfs"] = object{"type": "layers", "diff_ids": []string{}}
		},
		"evidence": func(_, l, _ object) { l["mediaType"] = "application/vnd.dsse.envelope.v1+json" },
		"rootfs":   func(_, _, c object) { c["rootfs"] = object{"type": "blob", "diff_ids": []string{}} },
	}
	for name, change := range refused {
		bad := subject.Sibling(f.image(t, name, change))
		_, err := c.Image(t.Context(), bad)
		if pratique.KindOf(err) != pratique.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	index := f.manifest(t, "multi", pratique.TypeOCIIndex,
		object{"schemaVersion": 2, "manifests": []any{}})
	_, err = c.Image(t.Context(), subject.Sibling(index))
	wantKind(t, err, pratique.Invalid)
}

func TestImageLimits(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	digest := f.image(t, "v1", nil)
	for _, limits := range []Limits{{LayerBytes: 10}, {ImageBytes: 10}} {
		c := client(t, f, Config{Limits: limits})
		_, err := c.Image(t.Context(), pratique.Subject{Repository: ref(f, "").Repository,
			Digest: digest})
		wantKind(t, err, pratique.Exhausted)
	}
	digest = f.image(t, "v2", func(m, l, _ object) { m["layers"] = []any{l, l} })
	c := client(t, f, Config{Limits: Limits{Layers: 1}})
	_, err := c.Image(t.Context(), pratique.Subject{Repository: ref(f, "").Repository, Digest: digest})
	wantKind(t, err, pratique.Exhausted)
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:00","size":1},"layers":[]}`), pratique.TypeOCIManifest)
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"platform":{"os":"linux"}}]}`), "")
	f.Add([]byte(`{"schemaVersion":2,"Manifests":[],"manifests":[]}`), pratique.TypeOCIIndex)
	c, err := New(Config{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte, contentType string) {
		m, err := parse(document{raw: raw, contentType: contentType})
		if err != nil {
			if !pratique.KindOf(err).Permanent() {
				t.Errorf("kind of %v", err)
			}
			return
		}
		if m.Manifests != nil && (m.Config != nil || m.Layers != nil) {
			t.Error("an index and an image")
		}
		if m.isIndex() && m.runnable() {
			t.Error("an index that is an image")
		}
		if m.notImage() == "" && !m.isIndex() && !m.runnable() {
			t.Error("an image that cannot be run")
		}
		if _, err := c.descriptors(m); err == nil && len(m.Layers) > 256 {
			t.Error("limit of layers not kept")
		}
		_, _ = parseConfig(raw)
		if m.runnable() && m.inert() {
			t.Error("an image that nobody can run")
		}
	})
}
