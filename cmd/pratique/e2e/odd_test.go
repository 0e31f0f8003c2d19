package e2e

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/cmd/pratique/cli/describe"
	"github.com/pratique-dev/pratique/internal/testenv/images"
)

// document is a manifest as somebody wrote it.
type document struct {
	raw []byte
	is  types.MediaType
}

func (d document) RawManifest() ([]byte, error)        { return d.raw, nil }
func (d document) MediaType() (types.MediaType, error) { return d.is, nil }

// odd makes images and indexes that are unusual, in the repository team/odd.
type odd struct{ *line }

type fields = map[string]any

// put pushes a document under a tag, or by digest if that is empty.
func (o odd) put(tag string, mediaType types.MediaType, body fields) pratique.Digest {
	o.t.Helper()
	body["schemaVersion"], body["mediaType"] = 2, mediaType
	raw, err := json.Marshal(body)
	if err != nil {
		o.t.Fatal(err)
	}
	digest := pratique.DigestOf(raw)
	where := "/team/odd:" + tag
	if tag == "" {
		where = "/team/odd@" + digest.String()
	}
	target, err := name.ParseReference(o.registry.Host() + where)
	if err != nil {
		o.t.Fatal(err)
	}
	if err := remote.Put(target, document{raw: raw, is: mediaType}); err != nil {
		o.t.Fatal(err)
	}
	return digest
}

func (o odd) index(tag string, children ...any) pratique.Digest {
	o.t.Helper()
	return o.put(tag, types.OCIImageIndex, fields{"manifests": children})
}

// blob uploads a blob and returns its descriptor.
func (o odd) blob(content, mediaType string) fields {
	o.t.Helper()
	layer := static.NewLayer([]byte(content), types.MediaType(mediaType))
	repository, err := name.NewRepository(o.registry.Host() + "/team/odd")
	if err != nil {
		o.t.Fatal(err)
	}
	if err := remote.WriteLayer(repository, layer); err != nil {
		o.t.Fatal(err)
	}
	return fields{"mediaType": mediaType, "digest": pratique.DigestOf([]byte(content)).String(),
		"size": len(content)}
}

// image pushes an image without a tag, its manifest changed.
func (o odd) image(tag string, image v1.Image, change func(m fields)) pratique.Digest {
	o.t.Helper()
	target, err := name.NewRepository(o.registry.Host() + "/team/odd")
	if err != nil {
		o.t.Fatal(err)
	}
	digest, err := image.Digest()
	if err != nil {
		o.t.Fatal(err)
	}
	if err := remote.Write(target.Digest(digest.String()), image); err != nil {
		o.t.Fatal(err)
	}
	raw, err := image.RawManifest()
	if err != nil {
		o.t.Fatal(err)
	}
	var m fields
	if err := json.Unmarshal(raw, &m); err != nil {
		o.t.Fatal(err)
	}
	change(m)
	return o.put(tag, types.OCIManifestSchema1, m)
}

func oddChild(d pratique.Digest, os, architecture string) fields {
	c := fields{"mediaType": types.OCIManifestSchema1, "digest": d.String(), "size": 500}
	if os != "" {
		c["platform"] = fields{"os": os, "architecture": architecture}
	}
	return c
}

func (o odd) windows() fields {
	config := o.blob(`{"os":"windows","architecture":"amd64","rootfs":{"type":"layers","diff_ids":["sha256:`+strings.Repeat("ab", 32)+`"]}}`, string(types.OCIConfigJSON))
	foreign := o.blob("a registry that has no such layer would not take this manifest",
		"application/octet-stream")
	foreign["mediaType"], foreign["urls"] = types.DockerForeignLayer, []string{"https://example.com/base"}
	return oddChild(o.put("", types.OCIManifestSchema1,
		fields{"config": config, "layers": []any{foreign}}), "windows", "amd64")
}

// lost is a registry that has lost a manifest, which its indexes still name.
type lost struct{ digest atomic.Value }

func (l *lost) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if digest, _ := l.digest.Load().(string); digest != "" && strings.HasSuffix(r.URL.Path, digest) {
			http.NotFound(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// child is the one that is lost.
func (l *lost) child(o odd) fields {
	d := o.put("", types.OCIManifestSchema1,
		fields{"config": o.blob("{}", string(types.OCIConfigJSON)), "layers": []any{}})
	l.digest.Store(d.String())
	return oddChild(d, "linux", "arm64")
}

// evaluated awaits a verdict, and says what it is: "allow", or "deny" with the rules that denied;
// or how the event ended without one.
func (o odd) evaluated(d pratique.Digest) (api.Image, string) {
	o.t.Helper()
	image := o.await(d, "a verdict", func(i api.Image) bool {
		return i.Outcome != "" || i.State == "failed" || i.State == "ignored"
	})
	switch image.Outcome {
	case pratique.Allow:
		return image, "allow"
	case "":
		return image, string(image.State) + ": " + image.Detail
	}
	var rules []string
	for _, r := range image.Verdict.Reasons {
		if len(rules) == 0 || rules[len(rules)-1] != r.Rule {
			rules = append(rules, r.Rule)
		}
	}
	return image, "deny: " + strings.Join(rules, " ")
}

// TestOddIndexes: whatever an index names and a runtime could choose is evaluated, or denies.
func TestOddIndexes(t *testing.T) {
	t.Parallel()
	var lost lost
	l := newLine(t, lineOptions{wrap: lost.wrap})
	l.serve()
	o := odd{l}
	same := func(fields) {}
	clean, bad := o.image("", l.build(images.Clean()), same),
		o.image("", l.build(images.Vulnerable()), same)
	arm := images.Clean()
	arm.Architecture = "arm64"
	cleanARM := o.image("", l.build(arm), same)
	unknown := oddChild(o.image("", l.build(images.Clean()), func(m fields) {
		for _, layer := range m["layers"].([]any) {
			layer.(fields)["mediaType"] = "application/vnd.in-toto+json"
		}
	}), "unknown", "unknown")
	evidence := oddChild(o.image("", l.build(images.Vulnerable()), func(m fields) {
		for _, layer := range m["layers"].([]any) {
			layer.(fields)["mediaType"] = "application/vnd.in-toto+json"
		}
	}), "", "")
	hidden := oddChild(bad, "linux", "amd64")
	hidden["mediaType"] = "application/vnd.example.thing.v1+json"
	const soci = "application/vnd.amazon.soci.index.v2+json"
	lazy := oddChild(o.put("", types.OCIManifestSchema1, fields{
		"artifactType": soci, "config": o.blob("{}", soci),
		"layers": []any{o.blob("ztoc", "application/octet-stream")},
	}), "linux", "amd64")

	digests := map[string]pratique.Digest{
		"hidden child":       o.index("hidden", hidden, oddChild(clean, "linux", "amd64")),
		"evidence as layers": o.index("evidence", evidence, oddChild(clean, "linux", "s390x")),
		"nested": o.index("nested",
			oddChild(o.index("", oddChild(clean, "linux", "amd64"), unknown), "linux", "amd64"),
			oddChild(o.index("", oddChild(cleanARM, "linux", "arm64"), unknown), "linux", "arm64")),
		"nested and vulnerable": o.index("nested-bad",
			oddChild(o.index("", oddChild(bad, "linux", "amd64"), unknown), "linux", "amd64")),
		"SOCI":                 o.index("soci", oddChild(clean, "linux", "amd64"), lazy),
		"windows":              o.index("windows", oddChild(clean, "linux", "amd64"), o.windows()),
		"windows alone":        o.index("windows-alone", o.windows()),
		"another architecture": o.index("other", oddChild(cleanARM, "linux", "amd64")),
		"artifact type": o.image("artifact", l.build(images.Clean()), func(m fields) {
			m["artifactType"] = "application/vnd.example.app"
		}),
		"artifact type, vulnerable": o.image("artifact-bad", l.build(images.Vulnerable()),
			func(m fields) {
				m["artifactType"] = "application/vnd.example.app"
			}),
		"child gone": o.index("gone", oddChild(clean, "linux", "amd64"), lost.child(o)),
		"subject": o.image("subject", l.build(images.Clean()), func(m fields) {
			m["subject"] = oddChild(bad, "", "")
		}),
	}
	for what, want := range map[string]string{
		"hidden child": "deny: severity", "evidence as layers": "deny: platform_not_inspected",
		"nested": "allow", "nested and vulnerable": "deny: severity",
		"SOCI": "allow", "windows": "deny: platform_not_inspected",
		"windows alone": "deny: platform_not_inspected",
		"child gone":    "deny: platform_not_inspected", "another architecture": "allow",
		"artifact type": "allow", "artifact type, vulnerable": "deny: severity", "subject": "allow",
	} {
		if _, got := o.evaluated(digests[what]); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	image, _ := o.evaluated(digests["windows"])
	if len(image.Children) != 1 || image.Children[0].Outcome != pratique.Allow ||
		len(image.Uninspected) != 1 || image.Uninspected[0].Platform != "windows/amd64" {
		t.Errorf("children %+v, uninspected %+v", image.Children, image.Uninspected)
	}
	if text := describe.Image(image, nil, false); !strings.Contains(text,
		"windows/amd64    not inspected sha256:") ||
		!strings.Contains(text, "foreign layers are not read") {
		t.Errorf("why says\n%s", text)
	}
	image, _ = o.evaluated(digests["another architecture"])
	if len(image.Verdict.Notes) == 0 || image.Verdict.Notes[0].Rule != "platform_differs" ||
		image.Children[0].Configured != "linux/arm64" {
		t.Errorf("notes %+v, children %+v", image.Verdict.Notes, image.Children)
	}
}

// TestOddIndexesOfWantedPlatforms: what cannot be inspected and is left out denies nothing.
func TestOddIndexesOfWantedPlatforms(t *testing.T) {
	t.Parallel()
	var lost lost
	l := newLine(t, lineOptions{extra: "platforms: [linux/amd64]", wrap: lost.wrap})
	l.serve()
	o := odd{l}
	clean := oddChild(o.image("", l.build(images.Clean()), func(fields) {}), "linux", "amd64")
	for what, d := range map[string]pratique.Digest{"windows": o.index("windows", clean,
		o.windows()), "child gone": o.index("gone", clean, lost.child(o))} {
		if image, got := o.evaluated(d); got != "allow" || len(image.Children) != 1 ||
			len(image.Uninspected) != 0 {
			t.Errorf("%s: %s, children %+v", what, got, image.Children)
		}
	}
}
