package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
)

// machines are what images are chosen for. Containers/image takes their words as they are,
// containerd normalizes them.
var machines = []string{"linux/amd64", "linux/arm64", "linux/arm/v7", "linux/arm/v6", "linux/386",
	"linux/s390x", "windows/amd64"}

// TestAgainstRuntimes: whatever the readers of containers/image and of containerd choose from
// random indexes and could run, on whatever machine, is evaluated, or is named as uninspected, or
// the index is refused. Make test-runtimes builds the program with the readers, and sets
// PRATIQUE_RUNTIMES to its path.
func TestAgainstRuntimes(t *testing.T) {
	binary := os.Getenv("PRATIQUE_RUNTIMES")
	if binary == "" {
		t.Skip("PRATIQUE_RUNTIMES does not name the program; make test-runtimes builds it")
	}
	count, seed := 250, uint64(1)
	if text := os.Getenv("PRATIQUE_RUNTIMES_CASES"); text != "" {
		if _, err := fmt.Sscanf(text, "%d,%d", &count, &seed); err != nil {
			t.Fatal(err)
		}
	}
	type blob struct {
		Type    string `json:"type"`
		Content []byte `json:"content"`
	}
	type oneCase struct {
		Top   pratique.Digest `json:"top"`
		Blobs map[string]blob `json:"blobs"`
	}
	var in struct {
		Cases    []oneCase `json:"cases"`
		Machines []string  `json:"machines"`
	}
	in.Machines = machines
	fakes := make([]*fake, count)
	for i := range fakes {
		gen := &chaos{Rand: rand.New(rand.NewPCG(seed, uint64(i))), shelf: shelf{newFake(t), t}}
		c := oneCase{Top: gen.index(0), Blobs: map[string]blob{}}
		fakes[i] = gen.fake
		for id, raw := range fakes[i].manifests {
			c.Blobs[id] = blob{Type: fakes[i].types[id], Content: raw}
		}
		for id, raw := range fakes[i].blobs {
			c.Blobs[id] = blob{Content: raw}
		}
		in.Cases = append(in.Cases, c)
	}
	raw, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), binary)
	var stdout, stderr bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = bytes.NewReader(raw), &stdout, &stderr
	if err := command.Run(); err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	var chosen [][]struct{ Runtime, Machine, Digest, Error string }
	if err := json.Unmarshal(stdout.Bytes(), &chosen); err != nil {
		t.Fatal(err)
	}
	runs, evaluated := 0, 0
	for i, answers := range chosen {
		top := ref(fakes[i], "")
		top.Digest = in.Cases[i].Top
		for _, platforms := range [][]pratique.Platform{nil, {"linux/amd64"}, {"linux/arm64"},
			{"linux/arm/v7", "windows/amd64"}} {
			m, err := client(t, fakes[i], Config{Platforms: platforms}).Resolve(t.Context(), top)
			for _, a := range answers {
				if a.Digest == "" || len(platforms) > 0 &&
					!slices.Contains(platforms, pratique.Platform(a.Machine)) {
					continue
				}
				runs++
				switch {
				case err != nil || uninspectedReason(m, a.Digest) != "":
				case isEvaluated(m, a.Digest):
					evaluated++
				default:
					t.Errorf("case %d with platforms %v: %s on %s runs %s, which is neither evaluated nor named: %+v\n%s", i, platforms, a.Runtime, a.Machine, a.Digest, m,
						fakes[i].manifests[top.Digest.String()])
				}
			}
		}
	}
	t.Logf("%d times a runtime runs something, which was evaluated %d times", runs, evaluated)
	if runs < count || evaluated < count/2 {
		t.Errorf("the cases are too odd to say anything: %d run, %d evaluated", runs, evaluated)
	}
}

func isEvaluated(m pratique.Manifest, digest string) bool {
	return slices.ContainsFunc(m.Children, func(c pratique.Child) bool {
		return c.Digest.String() == digest
	})
}

func uninspectedReason(m pratique.Manifest, digest string) string {
	for _, u := range m.Uninspected {
		if u.Digest == digest {
			return u.Reason
		}
	}
	return ""
}

// chaos makes indexes of all that an attacker, or a strange tool, might put into one.
type chaos struct {
	*rand.Rand
	shelf
	made int
}

func pick[T any](r *chaos, of ...T) T { return of[r.IntN(len(of))] }

// rarely is true once in n times.
func (r *chaos) rarely(n int) bool { return r.IntN(n) == 0 }

func (r *chaos) platform() any {
	if r.rarely(6) {
		return pick[any](r, nil, object{}, object{"os": "linux"}, object{"architecture": "amd64"},
			object{"variant": "v8"}, at("unknown", "unknown"), at("unknown", "amd64"))
	}
	p := at(pick(r, "linux", "linux", "linux", "linux", "windows", "Linux", "freebsd"),
		pick(r, "amd64", "amd64", "amd64", "arm64", "arm64", "arm", "386", "s390x", "x86_64",
			"aarch64", "pdp11"))
	if r.rarely(3) {
		p["variant"] = pick(r, "v5", "v6", "v7", "v8", "8", "v9", "v2", "x")
	}
	if r.rarely(8) {
		p["os.version"], p["os.features"] = pick(r, "", "10.0.17763.1", "x"),
			[]string{pick(r, "win32k", "y")}
	}
	return p
}

func (r *chaos) index(depth int) pratique.Digest {
	var entries []any
	for range r.IntN(4) + 1 {
		d := r.document(depth)
		e := object{"mediaType": r.types[d.String()], "digest": d.String(),
			"size": len(r.manifests[d.String()])}
		if p := r.platform(); p != nil || r.rarely(2) {
			e["platform"] = p
		}
		if r.rarely(5) {
			e["mediaType"] = pick[any](r, nil, "", "application/vnd.example.thing.v1+json",
				pratique.TypeOCIIndex, pratique.TypeDockerManifest, pratique.TypeOCIManifest, gzipLayer)
		}
		if r.rarely(6) {
			e["artifactType"] = soci
		}
		if r.rarely(6) {
			e["annotations"] = pick(r, object{"io.github.containers.compression.zstd": "true"},
				object{"vnd.docker.reference.type": "attestation-manifest"})
		}
		entries = append(entries, e)
	}
	t := pick(r, pratique.TypeOCIIndex, pratique.TypeOCIIndex, pratique.TypeDockerList)
	body := object{"schemaVersion": 2, "mediaType": t, "manifests": entries}
	return r.finish(t, body)
}

// finish stores a document, and may say something else of it than it is.
func (r *chaos) finish(t string, body object) pratique.Digest {
	if r.rarely(8) {
		body["artifactType"] = "application/vnd.example"
	}
	switch {
	case r.rarely(8):
		delete(body, "mediaType")
	case r.rarely(20):
		body["mediaType"] = pick(r, "application/vnd.example.thing.v1+json", pratique.TypeOCIIndex,
			pratique.TypeDockerManifest, pratique.TypeOCIManifest, pratique.TypeDockerList)
	}
	if r.rarely(12) {
		t = pick(r, "application/json", "", pratique.TypeOCIIndex, pratique.TypeOCIManifest,
			pratique.TypeDockerManifest, pratique.TypeDockerList)
	}
	r.made++
	body["annotations"] = object{"number": strconv.Itoa(r.made)}
	return r.manifest(r.t, "", t, body)
}

func (r *chaos) document(depth int) pratique.Digest {
	if depth < 3 && r.rarely(4) {
		return r.index(depth + 1)
	}
	t := pick(r, pratique.TypeOCIManifest, pratique.TypeOCIManifest, pratique.TypeDockerManifest)
	configType, layerType := pratique.TypeOCIConfig, gzipLayer
	if t == pratique.TypeDockerManifest {
		configType, layerType = pratique.TypeDockerConfig,
			"application/vnd.docker.image.rootfs.diff.tar.gzip"
	}
	if r.rarely(5) {
		configType = pick(r, soci, "application/octet-stream", "",
			"application/vnd.oci.empty.v1+json", pratique.TypeOCIConfig, pratique.TypeDockerConfig,
			"application/vnd.docker.plugin.v1+json")
	}
	if r.rarely(5) {
		layerType = pick(r, inTotoLayer, "application/octet-stream",
			"application/vnd.dev.cosign.simplesigning.v1+json", gzipLayer+"+encrypted",
			"application/vnd.oci.image.layer.v1.tar", "")
	}
	config := object{}
	if p, ok := r.platform().(object); ok {
		config = p
	}
	var layers []any
	var diffIDs []string
	for range r.IntN(3) {
		tarball := []byte(fmt.Sprint("layer ", r.made, len(layers), r.Uint64()))
		layer := r.object(layerType, zip(r.t, tarball))
		if r.rarely(15) {
			layer["urls"] = []string{"https://example.com/x"}
		}
		layers, diffIDs = append(layers, layer), append(diffIDs, pratique.DigestOf(tarball).String())
	}
	config["rootfs"] = object{"type": "layers", "diff_ids": diffIDs}
	raw, err := json.Marshal(config)
	if err != nil {
		r.t.Fatal(err)
	}
	if r.rarely(15) {
		raw = []byte(pick(r, "{}", "[]", "null", strings.Repeat(" ", 10)))
	}
	body := object{"schemaVersion": 2, "mediaType": t, "config": r.object(configType, raw),
		"layers": layers}
	if r.rarely(20) {
		delete(body, pick(r, "config", "layers"))
	}
	if r.rarely(10) {
		body["subject"] = object{"mediaType": t, "digest": pratique.DigestOf(raw).String(), "size": 2}
	}
	return r.finish(t, body)
}
