package registry

import (
	"bytes"
	"context"
	"testing"

	"github.com/pratique-dev/pratique"
)

// FuzzIndex reads an index and two things that it may name, all three of them as somebody likes to
// write them: $1 and $2 in the index, and $2 in the first thing, become the digests of these. What
// a naive runtime runs is evaluated or named, or the index is refused.
func FuzzIndex(f *testing.F) {
	image := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"$c","size":97},"layers":[]}`)
	config := []byte(`{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":[]}}`)
	image = bytes.ReplaceAll(image, []byte("97"), []byte("78"))
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"mediaType":"x","digest":"$1","size":1,"platform":{"os":"linux","architecture":"amd64"}},{"digest":"$2"}]}`), image, image, config)
	f.Add([]byte(`{"manifests":[{"digest":"$1","platform":{"os":"unknown","architecture":"unknown"}},{"digest":"$2"}]}`), image, []byte(`{"config":{"mediaType":"x"},"layers":[{}]}`), config)
	f.Add([]byte(`{"manifests":[{"digest":"$1","platform":{"os":"linux"}}]}`),
		[]byte(`{"manifests":[{"digest":"$2"}]}`), image, config)
	host := Host{Name: "127.0.0.1:1"}
	f.Fuzz(func(t *testing.T, index, first, second, config []byte) {
		c, err := New(Config{Hosts: []Host{host}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // what is not at hand is not fetched
		where, err := c.target(pratique.Repository{Registry: host.Name, Path: "app"})
		if err != nil {
			t.Fatal(err)
		}
		put := func(raw []byte, names ...string) string {
			for i := 0; i < len(names); i += 2 {
				raw = bytes.ReplaceAll(raw, []byte(names[i]), []byte(names[i+1]))
			}
			id := pratique.DigestOf(raw).ContentID()
			c.documents.put(where.repo, id, document{raw: raw})
			return id.String()
		}
		conf := put(config)
		two := put(second, "$c", conf)
		one := put(first, "$2", two, "$c", conf)
		top := bytes.ReplaceAll(bytes.ReplaceAll(index, []byte("$1"), []byte(one)), []byte("$2"),
			[]byte(two))
		m, err := parse(document{raw: top})
		if err != nil || !m.isIndex() {
			return
		}
		var found pratique.Manifest
		if err := c.list(ctx, where, m, &found); err != nil {
			return
		}
		for _, d := range m.Manifests {
			if d.Platform != nil && d.Platform.unknown() {
				continue
			}
			id, err := d.id()
			if err != nil {
				continue
			}
			doc, ok := c.documents.get(where.repo, id)
			if !ok {
				continue
			}
			inner, err := parse(doc)
			if err != nil || !inner.runnable() {
				continue
			}
			if !isEvaluated(found, d.Digest) && uninspectedReason(found, d.Digest) == "" {
				t.Errorf("%s is an image, and is neither evaluated nor named: %+v", d.Digest, found)
			}
		}
		for _, child := range found.Children {
			if child.Platform == "" || child.Digest.IsZero() {
				t.Errorf("child %+v", child)
			}
		}
		for _, u := range found.Uninspected {
			if u.Reason == "" || len(u.Reason) > 500 || len(u.Digest) > 200 || len(u.Platform) > 200 {
				t.Errorf("uninspected %+v", u)
			}
		}
	})
}
