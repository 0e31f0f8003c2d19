package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/cmd/pratique/cli/clitest"
	"github.com/pratique-dev/pratique/internal/testenv/images"
	"github.com/pratique-dev/pratique/internal/testenv/vulndb"
)

// Everything below may go wrong in the world. None of it may end in a commit, or be lost.

func notification(host, repository, tag string, d pratique.Digest) string {
	return fmt.Sprintf(`{"events":[{"id":"%s-%s-%s","timestamp":"2026-03-09T14:44:26Z","action":"push","target":{"mediaType":"application/vnd.oci.image.manifest.v1+json",
"digest":%q,"size":708,"length":708,"repository":%q,"url":"http://%s/v2/x","tag":%q},"request":{"id":"1","host":%q,"method":"PUT"},"actor":{"name":"ci"},"source":{"addr":"r"}}]}`,
		repository, tag, host, d, repository, host, tag, host)
}

func TestHostileNotifications(t *testing.T) {
	t.Parallel()
	l := newLine(t, lineOptions{})
	l.serve()
	host, digest := l.registry.Host(), pratique.DigestOf([]byte("x"))
	tests := []struct {
		name   string
		body   io.Reader
		header map[string]string
		want   []int // 0: the connection was cut
	}{
		{"100 MB", io.LimitReader(zeros{}, 100<<20), nil, []int{200, 0}},
		{"wrong JSON", strings.NewReader(`{"events":[{`), nil, []int{200}},
		{"forged host", strings.NewReader(notification("evil.example.com", "team/app", "1",
			digest)), nil, []int{200}},
		{"repository not allowed", strings.NewReader(notification(host, "other/app", "1", digest)),
			nil, []int{200}},
		{"path tricks in the tag",
			strings.NewReader(notification(host, "team/app", "../../x", digest)), nil, []int{200}},
		{"no secret", strings.NewReader(notification(host, "team/app", "1", digest)),
			map[string]string{"Authorization": ""}, []int{401}},
		{"wrong secret", strings.NewReader(notification(host, "team/app", "1", digest)),
			map[string]string{"Authorization": "Bearer wrong-wrong-wrong"}, []int{401}},
		{"compressed", strings.NewReader("x"), map[string]string{"Content-Encoding": "gzip"}, []int{415}},
		{"pull", strings.NewReader(strings.Replace(notification(host, "team/app", "1", digest),
			`"push"`, `"pull"`, 1)), nil, []int{200}},
	}
	for _, tt := range tests {
		got := l.post(tt.body, tt.header)
		ok := false
		for _, want := range tt.want {
			ok = ok || got == want
		}
		if !ok {
			t.Errorf("%s: status %d, want one of %v", tt.name, got, tt.want)
		}
	}
	// What was dropped without being ignored on purpose is on record, and an honest push still
	// works.
	l.awaitState(l.push("team/app:1.0", l.build(images.Clean())), pratique.StateDeployed)
	if l.commits() != 2 {
		t.Errorf("%d commits", l.commits())
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// TestVanishedImage notifies of an image that is not there.
func TestVanishedImage(t *testing.T) {
	t.Parallel()
	l := newLine(t, lineOptions{})
	l.serve()
	digest := pratique.DigestOf([]byte("vanished"))
	if status := l.post(strings.NewReader(notification(l.registry.Host(), "team/app", "1.0",
		digest)), nil); status != http.StatusAccepted {
		t.Fatalf("status %d", status)
	}
	image := l.awaitState(digest, pratique.StateFailed)
	if image.Failure.Kind != pratique.NotFound || !image.Failure.Final ||
		image.Failure.Stage != "inspect" {
		t.Errorf("failure %+v", image.Failure)
	}
	l.noCommit()
}

func (l *line) noCommit() {
	l.t.Helper()
	if n := l.commits(); n != 1 {
		l.t.Errorf("%d commits, want the first one only", n)
	}
}

// TestLayerThatDoesNotMatch lets the registry serve other bytes for a layer than its digest says.
func TestLayerThatDoesNotMatch(t *testing.T) {
	t.Parallel()
	var forged atomic.Value
	forged.Store("")
	l := newLine(t, lineOptions{wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if digest, _ := forged.Load().(string); digest != "" && r.Method == http.MethodGet &&
				strings.HasSuffix(r.URL.Path, digest) {
				_, _ = io.WriteString(w, "these are other bytes")
				return
			}
			next.ServeHTTP(w, r)
		})
	}})
	image := l.build(images.Clean())
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	layer, err := layers[1].Digest()
	if err != nil {
		t.Fatal(err)
	}
	digest := l.push("team/app:1.0", image)
	forged.Store(layer.String())
	l.serve()
	seen := l.awaitState(digest, pratique.StateFailed)
	if seen.Failure.Kind != pratique.Corrupt || !strings.Contains(seen.Failure.Message, layer.String()) {
		t.Errorf("failure %+v", seen.Failure)
	}
	l.noCommit()
}

// TestNotAnImage pushes a chart under a tag.
func TestNotAnImage(t *testing.T) {
	t.Parallel()
	l := newLine(t, lineOptions{})
	l.serve()
	chart := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1),
		"application/vnd.cncf.helm.config.v1+json")
	chart, err := mutate.AppendLayers(chart, static.NewLayer([]byte("chart"),
		"application/vnd.cncf.helm.chart.content.v1.tar+gzip"))
	if err != nil {
		t.Fatal(err)
	}
	image := l.awaitState(l.push("team/app:1.0", chart), pratique.StateIgnored)
	if image.Detail == "" {
		t.Error("no reason is given")
	}
	l.noCommit()
}

// TestDatabaseComesLate has no database at first. The push waits, and is evaluated when there is
// one.
func TestDatabaseComesLate(t *testing.T) {
	t.Parallel()
	l := newLine(t, lineOptions{noDB: true})
	stop := l.serve()
	digest := l.push("team/app:1.0", l.build(images.Clean()))
	image := l.await(digest, "a failed attempt", func(i api.Image) bool { return i.Failure != nil })
	if image.Failure.Final || image.Failure.Kind != pratique.Unavailable ||
		!strings.Contains(image.Failure.Message, "database") {
		t.Errorf("failure %+v", image.Failure)
	}
	l.noCommit()
	stop()
	l.writeDatabase(nil)
	l.serve()
	l.awaitState(digest, pratique.StateDeployed)
}

func TestDatabaseTooOld(t *testing.T) {
	t.Parallel()
	old, err := vulndb.Excerpt() // of 2024, and honest about it
	if err != nil {
		t.Fatal(err)
	}
	l := newLine(t, lineOptions{database: &old})
	l.serve()
	image := l.awaitState(l.push("team/app:1.0", l.build(images.Clean())), pratique.StateDenied)
	if len(image.Verdict.Reasons) != 1 || image.Verdict.Reasons[0].Rule != "database_age" {
		t.Errorf("reasons %+v", image.Verdict.Reasons)
	}
	l.noCommit()
}

// TestRefusedPush has a protected branch at first. The change waits, and is made when the branch
// lets it.
func TestRefusedPush(t *testing.T) {
	t.Parallel()
	l := newLine(t, lineOptions{})
	hook := filepath.Join(l.git.Dir("config"), "hooks", "pre-receive")
	writeExecutable(t, hook, "#!/bin/sh\necho 'main is protected'\nexit 1\n")
	stop := l.serve()
	digest := l.push("team/app:1.0", l.build(images.Clean()))
	image := l.await(digest, "a refused push", func(i api.Image) bool { return i.Failure != nil })
	if image.Failure.Stage != "deploy" || image.Failure.Kind != pratique.Denied ||
		!strings.Contains(image.Failure.Message, "main is protected") {
		t.Errorf("failure %+v", image.Failure)
	}
	l.noCommit()
	stop()
	writeExecutable(t, hook, "#!/bin/sh\nexit 0\n")
	l.serve()
	l.awaitState(digest, pratique.StateDeployed)
	if l.commits() != 2 {
		t.Errorf("%d commits", l.commits())
	}
}

// TestConfigRepositoryMovedOn commits beside the service all the time.
func TestConfigRepositoryMovedOn(t *testing.T) {
	t.Parallel()
	l := newLine(t, lineOptions{})
	l.serve()
	l.awaitState(l.push("team/app:1.0", l.build(images.Clean())), pratique.StateDeployed)
	if _, err := l.git.Advance(t.Context(), "config", "Somebody else's change",
		map[string]string{"other.txt": "x\n"}); err != nil {
		t.Fatal(err)
	}
	spec := images.Clean()
	spec.Text = "next"
	digest := l.push("team/app:1.1", l.build(spec))
	l.awaitState(digest, pratique.StateDeployed)
	l.checkFiles(digest, "1.1")
	if l.commits() != 4 || l.gitOutput("show", "main:other.txt") != "x" {
		t.Errorf("%d commits, other.txt %q", l.commits(), l.gitOutput("show", "main:other.txt"))
	}
	if merges := l.gitOutput("rev-list", "--merges", "--count", "main"); merges != "0" {
		t.Errorf("%s merges", merges)
	}
}

// TestForgedSummary lets somebody who can write to the registry, but has not the key, replace the
// attestations between attesting and deploying.
func TestForgedSummary(t *testing.T) {
	t.Parallel()
	l := newLine(t, lineOptions{})
	hook := filepath.Join(l.git.Dir("config"), "hooks", "pre-receive")
	writeExecutable(t, hook, "#!/bin/sh\nexit 1\n")
	stop := l.serve()
	digest := l.push("team/app:1.0", l.build(images.Clean()))
	l.await(digest, "a refused push", func(i api.Image) bool { return i.Failure != nil })
	stop()
	tag, err := name.NewTag(l.registry.Host() + "/team/app:sha256-" + digest.Hex() + ".att")
	if err != nil {
		t.Fatal(err)
	}
	forged := static.NewLayer([]byte(`{"payloadType":"application/vnd.in-toto+json","payload":"e30=","signatures":[{"keyid":"","sig":"AA=="}]}`), "application/vnd.dsse.envelope.v1+json")
	image, err := mutate.Append(empty.Image, mutate.Addendum{Layer: forged,
		Annotations: map[string]string{"predicateType": pratique.PredicateVSA,
			"dev.cosignproject.cosign/signature": ""}})
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, image); err != nil {
		t.Fatal(err)
	}
	writeExecutable(t, hook, "#!/bin/sh\nexit 0\n")
	l.serve()
	// The forged one is never acted on: the image is attested anew, and the commit names our own
	// summary.
	seen := l.awaitState(digest, pratique.StateDeployed)
	if trailers := l.gitOutput("log", "-1", "--format=%(trailers)", "main"); count(seen,
		pratique.FactAttested) != 2 || !strings.Contains(trailers, seen.VSA.String()) {
		t.Errorf("%d times attested, VSA %s, trailers:\n%s", count(seen, pratique.FactAttested),
			seen.VSA, trailers)
	}
}

// TestRenamedService changes the verifier's id between two submissions: the old summary no longer
// serves, and the service makes another one.
func TestRenamedService(t *testing.T) {
	t.Parallel()
	l := newLine(t, lineOptions{})
	stop := l.serve()
	spec := images.Clean()
	l.awaitState(l.push("team/app:1.0", l.build(spec)), pratique.StateDeployed)
	stop()
	l.write("pratique.yaml", clitest.ReadText(t, l.configFile)+
		"\nsigning: {verifierID: \"https://renamed.example.com\"}\n")
	l.serve()
	s, err := l.client.Submit(t.Context(), l.registry.Host()+"/team/app:1.0", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	if s, err = l.client.Wait(t.Context(), s.ID, nil); err != nil || s.State != pratique.StateDeployed {
		t.Errorf("state %q, %v, %+v", s.State, err, s.Failure)
	}
}

// TestLostEvidence empties the evidence store behind the service's back.
func TestLostEvidence(t *testing.T) {
	t.Parallel()
	l := newLine(t, lineOptions{})
	stop := l.serve()
	digest := l.push("team/app:1.0", l.build(images.Clean()))
	l.awaitState(digest, pratique.StateDeployed)
	stop()
	if err := os.RemoveAll(filepath.Join(l.dir, "data", "evidence")); err != nil {
		t.Fatal(err)
	}
	l.serve()
	s, err := l.client.Submit(t.Context(), l.registry.Host()+"/team/app:1.0", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	if s, err = l.client.Wait(t.Context(), s.ID, nil); err != nil || s.State != pratique.StateDeployed {
		t.Errorf("state %q, %v, %+v", s.State, err, s.Failure)
	}
}

// TestRegistryOutage checks that an image waits for a registry that is down.
func TestRegistryOutage(t *testing.T) {
	t.Parallel()
	var down atomic.Bool
	l := newLine(t, lineOptions{wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if down.Load() {
				http.Error(w, "down", http.StatusServiceUnavailable)
				return
			}
			next.ServeHTTP(w, r)
		})
	}})
	image := l.build(images.Clean())
	digest := l.push("team/app:1.0", image)
	down.Store(true)
	l.serve()
	time.AfterFunc(2*time.Second, func() { down.Store(false) })
	l.awaitState(digest, pratique.StateDeployed)
}
