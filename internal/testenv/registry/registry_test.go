package registry

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func TestPushIsNotified(t *testing.T) {
	type envelope struct {
		Events []struct {
			Action string
			Target struct{ Digest, Repository, Tag string }
		}
	}
	got := make(chan envelope, 100)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var e envelope
		if err := json.Unmarshal(body, &e); err != nil || r.Header.Get("Authorization") != "Bearer x" {
			t.Errorf("notification %q, authorization %q", body, r.Header.Get("Authorization"))
		}
		got <- e
	}))
	defer hook.Close()
	s, err := Start(t.Context(), Config{NotifyURL: hook.URL, Authorization: "Bearer x"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	img, err := random.Image(100, 1)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(s.Host() + "/team/app:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img); err != nil {
		t.Fatal(err)
	}
	want, _ := img.Digest()
	deadline := time.After(10 * time.Second)
	for {
		select {
		case e := <-got:
			if target := e.Events[0].Target; target.Tag == "1" {
				if e.Events[0].Action != "push" || target.Repository != "team/app" ||
					target.Digest != want.String() {
					t.Errorf("notification %+v", e)
				}
				if requests, _ := s.Traffic(); requests == 0 {
					t.Error("no requests counted")
				}
				return
			}
		case <-deadline:
			t.Fatal("no notification of the tag")
		}
	}
}
