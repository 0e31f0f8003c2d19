package registry

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/pratique-dev/pratique"
)

// fake is a registry that serves whatever it is told, wrong or right. Answer, if set, goes first.
type fake struct {
	*httptest.Server
	mu        sync.Mutex
	manifests map[string][]byte // by tag or digest
	types     map[string]string
	blobs     map[string][]byte
	answer    func(w http.ResponseWriter, r *http.Request) bool
	requests  []*http.Request
}

func newFake(t testing.TB) *fake {
	f := &fake{manifests: map[string][]byte{}, types: map[string]string{}, blobs: map[string][]byte{}}
	f.Server = httptest.NewServer(http.HandlerFunc(f.serve))
	t.Cleanup(f.Close)
	return f
}

func (f *fake) host() string { return strings.TrimPrefix(f.URL, "http://") }

func (f *fake) serve(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests = append(f.requests, r)
	if f.answer != nil && f.answer(w, r) {
		return
	}
	id := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	var raw []byte
	var ok bool
	switch {
	case r.URL.Path == "/v2/":
		return
	case strings.Contains(r.URL.Path, "/manifests/"):
		raw, ok = f.manifests[id]
		w.Header().Set("Content-Type", f.types[id])
		w.Header().Set("Docker-Content-Digest", pratique.DigestOf(raw).String())
	case strings.Contains(r.URL.Path, "/blobs/"):
		raw, ok = f.blobs[id]
	}
	if !ok {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"gone"}]}`)
		return
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(raw)))
	_, _ = w.Write(raw)
}

// count returns how often paths with this part were asked for.
func (f *fake) count(part string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, r := range f.requests {
		if strings.Contains(r.URL.Path, part) {
			n++
		}
	}
	return n
}

func (f *fake) blob(b []byte) pratique.Digest {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := pratique.DigestOf(b)
	f.blobs[d.String()] = b
	return d
}

// manifest stores v as JSON under its digest and, unless empty, a tag.
func (f *fake) manifest(t testing.TB, tag, mediaType string, v any) pratique.Digest {
	t.Helper()
	raw, ok := v.([]byte)
	if !ok {
		var err error
		if raw, err = json.Marshal(v); err != nil {
			t.Fatal(err)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	d := pratique.DigestOf(raw)
	for _, id := range []string{d.String(), tag} {
		f.manifests[id], f.types[id] = raw, mediaType
	}
	return d
}

type object = map[string]any

func (f *fake) object(mediaType string, b []byte) object {
	return object{"mediaType": mediaType, "digest": f.blob(b).String(), "size": len(b)}
}

const gzipLayer = "application/vnd.oci.image.layer.v1.tar+gzip"

// image makes a manifest of one layer; change may alter it before it is stored.
func (f *fake) image(t testing.TB, tag string, change func(m, layer, config object)) pratique.Digest {
	t.Helper()
	tarball := []byte("not really a tar, but nobody here looks inside: " + tag)
	layer := f.object(gzipLayer, zip(t, tarball))
	cfg := object{"os": "linux", "architecture": "arm64", "variant": "v8",
		"rootfs": object{"type": "layers", "diff_ids": []string{pratique.DigestOf(tarball).String()}}}
	m := object{"schemaVersion": 2, "mediaType": pratique.TypeOCIManifest, "layers": []any{layer}}
	if change != nil {
		change(m, layer, cfg)
	}
	raw, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if m["config"] == nil {
		m["config"] = f.object(pratique.TypeOCIConfig, raw)
	}
	mediaType, _ := m["mediaType"].(string)
	return f.manifest(t, tag, mediaType, m)
}

func zip(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// client returns a client for the fake, and a ref to a tag in it.
func client(t testing.TB, f *fake, cfg Config) *Client {
	t.Helper()
	if cfg.Hosts == nil {
		cfg.Hosts = []Host{{Name: f.host(), Aliases: []string{"registry.test"}}}
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func ref(f *fake, tag string) pratique.ImageRef {
	return pratique.ImageRef{Repository: pratique.Repository{Registry: f.host(), Path: "team/app"},
		Tag: tag}
}

func wantKind(t *testing.T, err error, want pratique.Kind) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %v", want)
	}
	if got := pratique.KindOf(err); got != want {
		t.Errorf("kind %v, want %v: %v", got, want, err)
	}
}

func readClose(rc io.ReadCloser) ([]byte, error) {
	b, err := io.ReadAll(rc)
	if closing := rc.Close(); err == nil {
		err = closing
	}
	return b, err
}
