package tags_test

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	"github.com/sirupsen/logrus"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/signer"
	"github.com/pratique-dev/pratique/signer/oci/storetest"
	"github.com/pratique-dev/pratique/signer/oci/tags"
)

// newDistribution runs CNCF Distribution, the registry that most people run, with its checks of
// manifests.
func newDistribution(t *testing.T) *storetest.Registry {
	t.Helper()
	logrus.SetOutput(io.Discard)
	config, err := configuration.Parse(strings.NewReader("version: 0.1\nstorage:\n  inmemory: {}\n"))
	if err != nil {
		t.Fatal(err)
	}
	return storetest.Serve(t, handlers.NewApp(context.Background(), config))
}

// TestRequests counts what one image costs, so that it does not grow unnoticed.
func TestRequests(t *testing.T) {
	reg := newDistribution(t)
	subject := reg.Push(t, "team/app")
	own := testKey(t, 0)
	store := tags.NewStore(reg, tags.Limits{})
	reg.Requests()
	attach(t, store, own, subject, statements(t, subject, pratique.Allow))
	requests := reg.Requests()
	// Each call makes its own pusher and puller; without a transport that carries a token, each
	// asks once.
	pings := len(filter(requests, "GET /v2/", "/v2/"))
	t.Log(pings, "pings;", list(requests))
	// Two manifests: read, written, read back. Seven blobs in two requests. Five of them read back.
	if got, want := len(requests)-pings, 3*2+7*2+5; got != want {
		t.Errorf("attaching took %d requests, want %d", got, want)
	}
	if _, err := store.Verified(t.Context(), subject, own, pratique.PredicateVSA); err != nil {
		t.Fatal(err)
	}
	if requests := reg.Requests(); len(requests) != 3 {
		t.Errorf("verifying the summary took %s", list(requests))
	}
	sts := statements(t, subject, pratique.Deny)
	attach(t, store, own, subject, sts[3:])
	if requests := reg.Requests(); len(requests) > 14 {
		t.Errorf("replacing the summary took %s", list(requests))
	} else {
		t.Log("replacing the summary:", list(requests))
	}
	// A denial takes the signature back, and leaves a manifest that the registry accepts.
	if _, err := attachAll(t, store, subject, signer.SimpleSignature{}, envelopes(t, own, sts[3:]),
		own); err != nil {
		t.Fatal(err)
	}
	_, err := signatureOf(t, store, subject, own)
	wantKind(t, err, pratique.NotFound, "withdrawn")
}
