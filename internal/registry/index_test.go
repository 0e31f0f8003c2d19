package registry

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pratique-dev/pratique"
)

const (
	inTotoLayer = "application/vnd.in-toto+json"
	soci        = "application/vnd.amazon.soci.index.v2+json"
)

// shelf makes the things that an index may name.
type shelf struct {
	*fake
	t testing.TB
}

func at(os, architecture string) object { return object{"os": os, "architecture": architecture} }

// image is an image whose configuration names the platform.
func (s shelf) image(p object, change func(m, layer, config object)) pratique.Digest {
	return s.fake.image(s.t, "", func(m, layer, config object) {
		delete(config, "variant")
		for name, value := range p {
			config[name] = value
		}
		if change != nil {
			change(m, layer, config)
		}
	})
}

// entry is a descriptor; more is added to it, and what is nil there is left out.
func entry(d fmt.Stringer, more object) object {
	out := object{"mediaType": pratique.TypeOCIManifest, "digest": d.String(), "size": 7}
	for name, value := range more {
		out[name] = value
		if value == nil {
			delete(out, name)
		}
	}
	return out
}

func on(os, architecture string) object { return object{"platform": at(os, architecture)} }

func (s shelf) index(tag string, entries ...any) pratique.Digest {
	return s.manifest(s.t, tag, pratique.TypeOCIIndex,
		object{"schemaVersion": 2, "mediaType": pratique.TypeOCIIndex, "manifests": entries})
}

// lazy is an index for lazy pulling, as SOCI writes it.
func (s shelf) lazy(change func(m object)) pratique.Digest {
	m := object{"schemaVersion": 2, "mediaType": pratique.TypeOCIManifest, "artifactType": soci,
		"config": s.object(soci, []byte("{}")),
		"layers": []any{s.object("application/octet-stream", []byte("ztoc"))}}
	if change != nil {
		change(m)
	}
	return s.manifest(s.t, "", pratique.TypeOCIManifest, m)
}

func typed(t string) func(m, layer, config object) {
	return func(_, layer, _ object) { layer["mediaType"] = t }
}

// want is what an index is to come to: children as "platform", or "platform!configured", and
// uninspected ones as "platform: part of the reason".
type want struct {
	children, uninspected []string
	notImage              bool
	kind                  pratique.Kind // of the error, if there is one
}

func (w want) check(t *testing.T, got pratique.Manifest, err error) {
	t.Helper()
	if w.kind != 0 {
		wantKind(t, err, w.kind)
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	var children []string
	for _, c := range got.Children {
		text := string(c.Platform)
		if c.Configured != "" {
			text += "!" + string(c.Configured)
		}
		children = append(children, text)
	}
	if diff := cmp.Diff(w.children, children); diff != "" {
		t.Errorf("children: %s", diff)
	}
	if len(got.Uninspected) != len(w.uninspected) {
		t.Fatalf("uninspected: %+v, want %q", got.Uninspected, w.uninspected)
	}
	for i, u := range got.Uninspected {
		platform, part, _ := strings.Cut(w.uninspected[i], ": ")
		if string(u.Platform) != platform || !strings.Contains(u.Reason, part) || u.Digest == "" {
			t.Errorf("uninspected %+v, want %q", u, w.uninspected[i])
		}
	}
	if (got.NotImage != "") != w.notImage {
		t.Errorf("NotImage %q", got.NotImage)
	}
}

// TestIndex: what an index names is evaluated, or named as uninspected. Left out is only what no
// runtime can run.
func TestIndex(t *testing.T) {
	t.Parallel()
	amd, arm, z := at("linux", "amd64"), at("linux", "arm64"), at("linux", "s390x")
	onAMD, onZ := on("linux", "amd64"), on("linux", "s390x")
	unknown := on("unknown", "unknown")
	both := []string{"linux/amd64", "linux/arm64"}
	gone := "sha256:" + strings.Repeat("e", 64)
	tests := map[string]struct {
		index func(s shelf)
		want  want
	}{
		"plain": {func(s shelf) {
			s.index("v1", entry(s.image(amd, nil), onAMD), entry(s.image(arm, nil), on("linux", "arm64")))
		}, want{children: both}},
		"attestations are left out": {func(s shelf) {
			annotated := object{"platform": at("unknown", "unknown"),
				"annotations": object{"vnd.docker.reference.type": "attestation-manifest"}}
			s.index("v1", entry(s.image(amd, nil), onAMD),
				entry(s.image(at("unknown", "unknown"), typed(inTotoLayer)), annotated))
		}, want{children: []string{"linux/amd64"}}},
		"an annotation leaves nothing out": {func(s shelf) {
			s.index("v1",
				entry(s.image(amd, nil),
					object{"platform": amd,
						"annotations": object{"vnd.docker.reference.type": "attestation-manifest"}}))
		}, want{children: []string{"linux/amd64"}}},
		"nothing but attestations": {func(s shelf) {
			s.index("v1", entry(s.image(at("unknown", "unknown"), typed(inTotoLayer)), unknown))
		}, want{notImage: true}},
		"empty": {func(s shelf) { s.index("v1") }, want{notImage: true}},
		"twice": {func(s shelf) {
			d := s.image(amd, nil)
			s.index("v1", entry(d, onAMD), entry(d, onAMD))
		}, want{children: []string{"linux/amd64"}}},
		"no matter the index's artifact type": {func(s shelf) {
			s.manifest(s.t, "v1", pratique.TypeOCIIndex,
				object{"schemaVersion": 2, "mediaType": pratique.TypeOCIIndex,
					"artifactType": "application/vnd.example",
					"subject":      entry(s.image(z, nil), nil),
					"manifests":    []any{entry(s.image(amd, nil), onAMD)}})
		}, want{children: []string{"linux/amd64"}}},
		"no matter what the registry calls it": {func(s shelf) {
			s.manifest(s.t, "v1", typeSchema1Signed,
				object{"schemaVersion": 2, "manifests": []any{entry(s.image(amd, nil), onAMD)}})
		}, want{children: []string{"linux/amd64"}}},

		// Attack C1: what a descriptor says hides nothing.
		"an unknown media type": {func(s shelf) {
			s.index("v1",
				entry(s.image(amd, nil),
					object{"platform": amd, "mediaType": "application/vnd.example.thing.v1+json"}),
				entry(s.image(z, nil), onZ))
		}, want{children: []string{"linux/amd64", "linux/s390x"}}},
		"no media type": {func(s shelf) {
			s.index("v1", entry(s.image(amd, nil), object{"platform": amd, "mediaType": nil}),
				entry(s.image(z, nil), onZ))
		}, want{children: []string{"linux/amd64", "linux/s390x"}}},
		"an artifact type": {func(s shelf) {
			s.index("v1", entry(s.image(amd, func(m, _, _ object) {
				m["artifactType"] = soci
			}), object{"platform": amd, "artifactType": soci}))
		}, want{children: []string{"linux/amd64"}}},
		"called an index": {func(s shelf) {
			s.index("v1",
				entry(s.image(amd, nil), object{"platform": amd, "mediaType": pratique.TypeOCIIndex}))
		}, want{children: []string{"linux/amd64"}}},
		"called a layer": {func(s shelf) {
			s.index("v1", entry(s.image(amd, nil), object{"platform": amd, "mediaType": gzipLayer}))
		}, want{children: []string{"linux/amd64"}}},
		"no platform": {func(s shelf) {
			s.index("v1", entry(s.image(arm, nil), nil), entry(s.image(z, nil), onZ))
		}, want{children: []string{"linux/arm64", "linux/s390x"}}},
		"an empty platform": {func(s shelf) {
			s.index("v1", entry(s.image(arm, nil), object{"platform": object{}}),
				entry(s.image(z, nil), object{"platform": object{"variant": "v8"}}))
		}, want{children: []string{"linux/arm64", "linux/s390x"}}},
		"half a platform": {func(s shelf) {
			s.index("v1", entry(s.image(amd, nil), object{"platform": object{"os": "linux"}}),
				entry(s.image(arm, nil), object{"platform": object{"architecture": "arm64"}}))
		}, want{children: both}},
		"half unknown": {func(s shelf) {
			s.index("v1", entry(s.image(amd, nil), on("unknown", "amd64")),
				entry(s.image(arm, nil), object{"platform": object{"os": "unknown"}}))
		}, want{children: []string{"unknown/amd64!linux/amd64", "linux/arm64"}}},
		"a platform that is none": {func(s shelf) {
			s.index("v1", entry(s.image(amd, nil), on("linux\nFAKE", "amd64")))
		}, want{children: []string{"linux/amd64"}}},
		"layers called evidence": {func(s shelf) {
			s.index("v1", entry(s.image(amd, typed(inTotoLayer)), nil), entry(s.image(z, nil), onZ))
		}, want{children: []string{"linux/s390x"}, uninspected: []string{": holds only " + inTotoLayer}}},
		"a layer called evidence beside one that is none": {func(s shelf) {
			s.index("v1", entry(s.image(amd, func(m, l, _ object) {
				m["layers"] = []any{l, entry(s.blob([]byte("x")), object{"mediaType": inTotoLayer})}
			}), onAMD))
		}, want{uninspected: []string{"linux/amd64: not a layer of files"}}},
		"a docker manifest with some configuration": {func(s shelf) {
			s.index("v1", entry(s.image(amd, func(m, _, c object) {
				m["mediaType"] = pratique.TypeDockerManifest
				raw, _ := json.Marshal(c)
				m["config"] = s.object("application/octet-stream", raw)
			}), nil), entry(s.image(z, nil), onZ))
		}, want{children: []string{"linux/s390x"},
			uninspected: []string{": configuration of type application/octet-stream"}}},
		"a docker manifest with the configuration of an artifact": {func(s shelf) {
			s.index("v1", entry(s.lazy(func(m object) {
				m["mediaType"] = pratique.TypeDockerManifest
			}), onAMD))
		}, want{uninspected: []string{"linux/amd64: artifact of type " + soci}}},
		"a manifest that calls itself something else": {func(s shelf) {
			s.index("v1", entry(s.image(amd, func(m, _, _ object) {
				m["mediaType"] = "application/vnd.example.thing.v1+json"
			}), onAMD))
		}, want{uninspected: []string{"linux/amd64: manifest of type application/vnd.example.thing"}}},
		"an index that calls itself something else": {func(s shelf) {
			inner := s.manifest(s.t, "", "",
				object{"schemaVersion": 2, "mediaType": "application/vnd.example.thing.v1+json",
					"manifests": []any{entry(s.image(amd, nil), onAMD)}})
			s.index("v1", entry(inner, onAMD))
		}, want{children: []string{"linux/amd64"}}},

		// What nobody can run.
		"SOCI": {func(s shelf) {
			s.index("v1", entry(s.image(amd, nil), onAMD),
				entry(s.lazy(nil), object{"platform": amd, "artifactType": soci}))
		}, want{children: []string{"linux/amd64"}}},
		"SOCI without its type": {func(s shelf) {
			s.index("v1", entry(s.image(amd, nil), onAMD), entry(s.lazy(func(m object) {
				delete(m, "mediaType")
			}), onAMD))
		}, want{children: []string{"linux/amd64"},
			uninspected: []string{"linux/amd64: artifact of type " + soci}}},
		"SOCI with a layer": {func(s shelf) {
			s.index("v1", entry(s.image(amd, nil), onAMD), entry(s.lazy(func(m object) {
				m["layers"] = []any{s.object(gzipLayer, []byte("x"))}
			}), onAMD))
		}, want{children: []string{"linux/amd64"},
			uninspected: []string{"linux/amd64: artifact of type " + soci}}},
		"WebAssembly": {func(s shelf) {
			s.index("v1", entry(s.image(amd, nil), onAMD), entry(s.lazy(func(m object) {
				m["config"], m["layers"] = s.object("application/vnd.wasm.config.v0+json",
					[]byte("{}")), []any{s.object("application/wasm", []byte("x"))}
			}), on("wasip1", "wasm")))
		}, want{children: []string{"linux/amd64"}, uninspected: []string{"wasip1/wasm: artifact"}}},
		"an artifact manifest without layers": {func(s shelf) {
			d := s.manifest(s.t, "", typeOCIArtifact, object{"mediaType": typeOCIArtifact,
				"artifactType": "x/y", "blobs": []any{}})
			s.index("v1", entry(s.image(amd, nil), onAMD), entry(d, object{"mediaType": typeOCIArtifact}))
		}, want{children: []string{"linux/amd64"}}},

		// Indexes within indexes.
		"nested": {func(s shelf) {
			attestation := entry(s.image(at("unknown", "unknown"), typed(inTotoLayer)), unknown)
			one := s.index("", entry(s.image(amd, nil), onAMD), attestation)
			two := s.index("", entry(s.image(arm, nil), on("linux", "arm64")), attestation)
			s.index("v1", entry(one, object{"mediaType": pratique.TypeOCIIndex, "platform": amd}),
				entry(two, object{"mediaType": pratique.TypeOCIIndex}))
		}, want{children: both}},
		"nested, and the outer one alone says what for": {func(s shelf) {
			s.index("v1", entry(s.index("", entry(s.image(amd, nil), nil)),
				object{"mediaType": pratique.TypeDockerList, "platform": arm}))
		}, want{children: []string{"linux/arm64!linux/amd64"}}},
		"nested, called an image": {func(s shelf) {
			s.index("v1", entry(s.index("", entry(s.image(amd, nil), nil)), onAMD))
		}, want{children: []string{"linux/amd64"}}},
		"nested in unknown/unknown": {func(s shelf) {
			s.index("v1", entry(s.image(amd, nil), onAMD),
				entry(s.index("", entry(s.image(arm, nil), nil)), unknown))
		}, want{children: []string{"linux/amd64"}}},
		"nested, empty": {func(s shelf) {
			s.index("v1", entry(s.image(amd, nil), onAMD), entry(s.index(""), onAMD))
		}, want{children: []string{"linux/amd64"}}},
		"three deep": {func(s shelf) {
			s.index("v1", entry(s.index("", entry(s.index("", entry(s.image(amd, nil), nil)), nil)), nil))
		}, want{children: []string{"linux/amd64"}}},
		"four deep": {func(s shelf) {
			s.index("v1",
				entry(s.index("",
					entry(s.index("", entry(s.index("", entry(s.image(amd, nil), nil)), nil)),
						onAMD)), nil), entry(s.image(z, nil), onZ))
		}, want{children: []string{"linux/s390x"},
			uninspected: []string{"linux/amd64: more than 3 deep"}}},
		"a bush": {func(s shelf) {
			// 8 times 8 times 8 entries of four documents.
			d := s.image(amd, nil)
			for range 2 {
				var same []any
				for i := range 8 {
					same = append(same,
						entry(d, object{"platform": amd, "annotations": object{"n": fmt.Sprint(i)}}))
				}
				d = s.index("v1", same...)
			}
			var same []any
			for range 8 {
				same = append(same, entry(d, nil))
			}
			s.index("v1", same...)
		}, want{kind: pratique.Exhausted}},

		// What cannot be looked into is named.
		"foreign layers": {func(s shelf) {
			windows := s.image(at("windows", "amd64"), func(_, l, _ object) {
				l["urls"] = []string{"https://example.com/base"}
			})
			s.index("v1", entry(s.image(amd, nil), onAMD), entry(windows, on("windows", "amd64")))
		}, want{children: []string{"linux/amd64"},
			uninspected: []string{"windows/amd64: example.com/base"}}},
		"foreign layers, without a platform": {func(s shelf) {
			windows := s.image(at("windows", "amd64"), func(_, l, _ object) {
				l["urls"] = []string{"https://example.com/base"}
			})
			s.index("v1", entry(windows, nil))
		}, want{uninspected: []string{"windows/amd64: example.com/base"}}},
		"sparse": {func(s shelf) {
			s.index("v1", entry(s.image(amd, nil), onAMD),
				object{"mediaType": pratique.TypeOCIManifest, "digest": gone, "size": 7, "platform": arm})
		}, want{children: []string{"linux/amd64"}, uninspected: []string{"linux/arm64: 404"}}},
		"a configuration that is gone": {func(s shelf) {
			s.index("v1", entry(s.image(amd, func(m, _, _ object) {
				m["config"] = object{"mediaType": pratique.TypeOCIConfig, "digest": gone, "size": 2}
			}), onAMD))
		}, want{uninspected: []string{"linux/amd64: 404"}}},
		"schema 1": {func(s shelf) {
			s.index("v1",
				entry(s.manifest(s.t, "", "", object{"schemaVersion": 1, "fsLayers": []any{}}), onAMD))
		}, want{uninspected: []string{"linux/amd64: schema 1"}}},
		"image and index": {func(s shelf) {
			s.index("v1", entry(s.image(amd, func(m, _, _ object) { m["manifests"] = []any{} }), onAMD))
		}, want{uninspected: []string{"linux/amd64: both an index and an image"}}},
		"encrypted": {func(s shelf) {
			s.index("v1", entry(s.image(amd, typed(gzipLayer+"+encrypted")), onAMD))
		},
			want{uninspected: []string{"linux/amd64: +encrypted"}}},
		"blake3": {func(s shelf) {
			s.index("v1", entry(s.image(amd, nil), onAMD),
				object{"mediaType": pratique.TypeOCIManifest, "digest": "blake3:" +
					strings.Repeat("0", 64), "platform": arm})
		}, want{children: []string{"linux/amd64"}, uninspected: []string{"linux/arm64: blake3"}}},
		"too many layers": {func(s shelf) {
			s.index("v1", entry(s.image(amd, func(m, l, _ object) {
				var all []any
				for range 257 {
					all = append(all, l)
				}
				m["layers"] = all
			}), onAMD))
		}, want{uninspected: []string{"linux/amd64: inspect.layers"}}},
		"diff ids that do not fit": {func(s shelf) {
			s.index("v1", entry(s.image(amd, func(_, _, c object) {
				c["rootfs"] = object{"type": "layers", "diff_ids": []string{}}
			}), onAMD))
		}, want{uninspected: []string{"linux/amd64: 0 diff ids for 1 layers"}}},
		"it calls itself something else": {func(s shelf) {
			s.index("v1", entry(s.image(arm, nil), onAMD))
		},
			want{children: []string{"linux/amd64!linux/arm64"}}},
		"it says nothing of itself": {func(s shelf) {
			s.index("v1", entry(s.image(at("", ""), nil), onAMD))
		}, want{children: []string{"linux/amd64"}}},
		"nobody says anything": {func(s shelf) { s.index("v1", entry(s.image(at("", ""), nil), nil)) },
			want{uninspected: []string{": neither the index nor the configuration names the platform"}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := shelf{newFake(t), t}
			test.index(s)
			got, err := client(t, s.fake, Config{}).Resolve(t.Context(), ref(s.fake, "v1"))
			test.want.check(t, got, err)
		})
	}
}

// TestIndexOfWantedPlatforms: the configuration leaves out what certainly runs on none of its
// platforms, and nothing else.
func TestIndexOfWantedPlatforms(t *testing.T) {
	t.Parallel()
	amd := at("linux", "amd64")
	s := shelf{newFake(t), t}
	foreign := s.image(at("windows", "amd64"), func(_, l, _ object) {
		l["urls"] = []string{"https://example.com/base"}
	})
	gone := "sha256:" + strings.Repeat("e", 64)
	s.index("v1",
		entry(s.image(amd, nil), on("linux", "amd64")),
		entry(foreign, on("windows", "amd64")),
		object{"mediaType": pratique.TypeOCIManifest, "digest": gone, "size": 7,
			"platform": at("linux", "arm64")},
		// containers/image takes it where nothing else fits
		entry(s.image(at("linux", "s390x"), nil), nil),
		entry(s.image(at("linux", "386"), nil), on("linux", "386")),
		entry(s.image(at("linux", "ppc64le"), nil), on("linux", "ppc64le")),
		// It calls itself amd64, whatever the index says.
		entry(s.image(amd, func(m, _, _ object) {
			m["annotations"] = object{"n": "other"}
		}), on("linux", "riscv64")),
	)
	for _, test := range []struct {
		platforms []pratique.Platform
		want      want
	}{
		{[]pratique.Platform{"linux/amd64"},
			want{children: []string{"linux/amd64", "linux/s390x", "linux/386",
				"linux/riscv64!linux/amd64"}}},
		{[]pratique.Platform{"linux/amd64", "linux/arm64"}, want{
			children: []string{"linux/amd64", "linux/s390x", "linux/386",
				"linux/riscv64!linux/amd64"}, uninspected: []string{"linux/arm64: 404"},
		}},
		{[]pratique.Platform{"linux/ppc64le"}, want{children: []string{"linux/s390x", "linux/ppc64le"}}},
	} {
		got, err := client(t, s.fake, Config{Platforms: test.platforms}).Resolve(t.Context(),
			ref(s.fake, "v1"))
		test.want.check(t, got, err)
	}
	s.index("v2", entry(s.image(amd, nil), on("linux", "amd64")), entry(foreign, on("windows", "amd64")))
	_, err := client(t, s.fake,
		Config{Platforms: []pratique.Platform{"linux/arm64"}}).Resolve(t.Context(), ref(s.fake, "v2"))
	wantKind(t, err, pratique.Invalid)
	if !strings.Contains(err.Error(), "none of the platforms [linux/arm64]") {
		t.Error(err)
	}
}

// TestIndexOutage: what the next try may find out is an error, and is no platform that could not be
// inspected. That of an image nobody wants keeps nobody.
func TestIndexOutage(t *testing.T) {
	t.Parallel()
	s := shelf{newFake(t), t}
	sick := s.image(at("linux", "arm64"), nil)
	s.index("v1", entry(s.image(at("linux", "amd64"), nil), on("linux", "amd64")),
		entry(sick, on("linux", "arm64")))
	s.answer = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, sick.String()) {
			w.WriteHeader(http.StatusForbidden)
			return true
		}
		return false
	}
	_, err := client(t, s.fake, Config{}).Resolve(t.Context(), ref(s.fake, "v1"))
	wantKind(t, err, pratique.Denied)
	got, err := client(t, s.fake,
		Config{Platforms: []pratique.Platform{"linux/amd64"}}).Resolve(t.Context(), ref(s.fake, "v1"))
	want{children: []string{"linux/amd64"}}.check(t, got, err)
}

func TestIndexBounds(t *testing.T) {
	t.Parallel()
	s := shelf{newFake(t), t}
	var all []any
	for i := range 10 {
		d := s.image(at("linux", "amd64"), func(m, _, _ object) {
			m["annotations"] = object{"n": strings.Repeat("x", 1000+i)}
		})
		all = append(all, entry(d, on("linux", "amd64")))
	}
	s.index("v1", all...)
	for _, limits := range []Limits{{IndexChildren: 9}, {IndexBytes: 9000}} {
		_, err := client(t, s.fake, Config{Limits: limits}).Resolve(t.Context(), ref(s.fake, "v1"))
		wantKind(t, err, pratique.Exhausted)
	}
	if n := s.count("/manifests/sha256"); n > 10 {
		t.Errorf("%d requests for an index over the limits", n)
	}
	got, err := client(t, s.fake, Config{Limits: Limits{IndexChildren: 10}}).Resolve(t.Context(),
		ref(s.fake, "v1"))
	if err != nil || len(got.Children) != 10 {
		t.Errorf("%d children, %v", len(got.Children), err)
	}
}

// TestPanicOfAnEntry: a panic over what an index names ends the reading of that index, and nothing
// else.
func TestPanicOfAnEntry(t *testing.T) {
	t.Parallel()
	// without a host that could be asked
	r := &indexReader{client: &Client{limits: Limits{}.withDefaults()}}
	_, err := r.index(t.Context(),
		manifest{Manifests: []descriptor{{Digest: pratique.DigestOf(nil).String()}}}, platform{}, 1)
	if pratique.KindOf(err) != pratique.Corrupt || !strings.Contains(err.Error(), "panic at") {
		t.Errorf("error %v", err)
	}
}
