package e2e

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/cmd/pratique/cli/describe"
	"github.com/pratique-dev/pratique/internal/testenv/images"
)

// attachedTag is where signatures (sig) or attestations (att) of an image are.
func (l *line) attachedTag(repository string, d pratique.Digest, suffix string) name.Tag {
	l.t.Helper()
	tag, err := name.NewTag(l.registry.Host()+"/"+repository+":sha256-"+d.Hex()+"."+suffix, name.Insecure)
	if err != nil {
		l.t.Fatal(err)
	}
	return tag
}

// signatures counts those that whoever looks for an image's signatures finds, also behind an index.
func (l *line) signatures(repository string, d pratique.Digest) int {
	l.t.Helper()
	img, err := remote.Image(l.attachedTag(repository, d, "sig"))
	if err != nil {
		return 0
	}
	m, err := img.Manifest()
	if err != nil {
		l.t.Fatal(err)
	}
	return len(m.Layers)
}

// TestDenialTakesEffect has a pusher prepare the registry against a later denial: an index under
// the tag of the attestations, and one under that of the signatures that leads to the signature.
// Then the database changes. The signature is withdrawn, the image is denied, and so is an honest
// one that nobody prepared.
func TestDenialTakesEffect(t *testing.T) {
	t.Parallel()
	l := newLine(t, lineOptions{noDB: true, config: databaseFromRegistry(t)})
	l.publish(time.Now().Add(-2 * time.Hour))
	s := l.serveService()
	pushed := map[string]pratique.Digest{}
	for _, repository := range []string{"team/poison", "team/hidden", "team/honest"} {
		spec := python("flask", "2.0")
		spec.Text = repository
		d := l.push(repository+":1.0", l.build(spec))
		l.awaitState(d, pratique.StateAllowed)
		if l.signatures(repository, d) != 1 {
			t.Fatalf("%s is not signed", repository)
		}
		pushed[repository] = d
	}
	if err := remote.WriteIndex(l.attachedTag("team/poison", pushed["team/poison"], "att"),
		mutate.IndexMediaType(empty.Index, types.OCIImageIndex)); err != nil {
		t.Fatal(err)
	}
	sig := l.attachedTag("team/hidden", pushed["team/hidden"], "sig")
	held, err := remote.Image(sig)
	if err != nil {
		t.Fatal(err)
	}
	index := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex),
		mutate.IndexAddendum{
			Add: held, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux",
				Architecture: "amd64"}},
		})
	if err := remote.WriteIndex(sig, index); err != nil {
		t.Fatal(err)
	}
	if l.signatures("team/hidden", pushed["team/hidden"]) != 1 {
		t.Fatal("the index does not lead to the signature")
	}

	l.publish(time.Now().Add(-time.Hour), pip("CVE-2026-7003", "flask", "3.0", "CRITICAL"))
	l.update(s)
	for repository, d := range pushed {
		image := l.await(d, "a denial that is attested", func(i api.Image) bool {
			return i.State == pratique.StateDenied && i.Outcome == pratique.Deny && !i.Unattested
		})
		if n := l.signatures(repository, d); n != 0 {
			t.Errorf("%s has %d signatures", repository, n)
		}
		if len(image.Attestations) == 0 {
			t.Errorf("%s: nothing is attested", repository)
		}
	}
}

// TestDenialAgainstImmutableTags: the registry lets nobody overwrite a tag. That is said at once,
// with the setting to change; the denial is the event's end, counts at the gate, and is shown and
// counted until the registry takes it.
func TestDenialAgainstImmutableTags(t *testing.T) {
	t.Parallel()
	var immutable atomic.Bool
	l := newLine(t, lineOptions{noDB: true, config: databaseFromRegistry(t),
		wrap: func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !immutable.Load() || r.Method != http.MethodPut ||
					!strings.Contains(r.URL.Path, "/manifests/sha256-") {
					next.ServeHTTP(w, r)
					return
				}
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(http.StatusBadRequest)
				_, _ = io.WriteString(w,
					`{"errors":[{"code":"TAG_INVALID","message":"the tag exists and is immutable"}]}`)
			})
		}})
	l.publish(time.Now().Add(-2 * time.Hour))
	s := l.serveService()
	d := l.push("team/app:1.0", l.build(images.Clean()))
	l.awaitState(d, pratique.StateDeployed)
	immutable.Store(true)
	l.publish(time.Now().Add(-time.Hour), pip("CVE-2026-7004", "pyyaml", "6.1", "CRITICAL"))
	l.update(s)
	image := l.await(d, "the denial", func(i api.Image) bool {
		return i.Outcome == pratique.Deny && i.Unattested && i.Failure != nil
	})
	if !strings.Contains(image.Failure.Message, "sha256-*") || !image.Failure.Final ||
		image.Failure.Attempts != 1 {
		t.Errorf("failure %+v", image.Failure)
	}
	if !strings.Contains(describe.Image(image, nil, false), "the registry does not say so yet") {
		t.Errorf("why:\n%s", describe.Image(image, nil, false))
	}
	if metrics := string(l.get("/metrics")); !strings.Contains(metrics, "pratique_denials_pending 1") {
		t.Error("no metric tells of it")
	}
	immutable.Store(false)
	l.push("team/app:1.1", l.build(images.Clean()))
	l.await(d, "a denial that is attested", func(i api.Image) bool {
		return i.Outcome == pratique.Deny && !i.Unattested
	})
	if n := l.signatures("team/app", d); n != 0 {
		t.Errorf("%d signatures", n)
	}
}
