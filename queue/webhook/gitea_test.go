package webhook_test

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pratique-dev/pratique/queue/webhook"
)

// realGitea sends a captured request, changed by change, as it came. The secret is the one with
// which Gitea signed it.
func realGitea(t *testing.T, path string, change func(body []byte) []byte) (int, *fixture) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	captured, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(captured.Body)
	if err != nil {
		t.Fatal(err)
	}
	f := sender(t, "gitea", "", func(r *webhook.Receiver) {
		r.Registry, r.Auth.Secrets = "127.0.0.1:33000", []string{"s3cret-s3cret-s3cret"}
	})
	status, _, _ := f.send(t, bytes.NewReader(change(body)), func(r *http.Request) {
		r.Header = captured.Header
	})
	return status, f
}

func TestRealGitea(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]struct {
		event   string
		ignored string
	}{
		"01-push-tag":           {event: "127.0.0.1:33000/acme/team/app:1.4.2"},
		"02-push-tag-moved":     {event: "127.0.0.1:33000/acme/team/app:1.4.2"},
		"03-push-digest":        {ignored: "untagged"},
		"04-push-signature-tag": {ignored: "signature-tag"},
		"05-push-index":         {ignored: "untagged"},
		"06-push-index":         {ignored: "untagged"},
		"07-push-index":         {event: "127.0.0.1:33000/acme/team/multi:2.0"},
		"08-delete-tag":         {ignored: "delete"},
		"09-delete-digest":      {ignored: "delete"},
	} {
		status, f := realGitea(t, "testdata/gitea-real/"+name+".http", func(body []byte) []byte {
			return body
		})
		if want.event == "" {
			if diff := cmp.Diff(map[string]int{"ignored:" + want.ignored: 1},
				f.counts); diff != "" || status != http.StatusOK {
				t.Errorf("%s: status %d, %s", name, status, diff)
			}
			continue
		}
		if status != http.StatusAccepted || len(f.events) != 1 {
			t.Errorf("%s: status %d, events %v, drops %v", name, status, f.events, f.drops)
			continue
		}
		e := f.events[0]
		if e.Ref.String() != want.event || e.Actor != "ci" || e.Delivery == "" || e.OccurredAt.IsZero() {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

func TestChangedRequestOfRealGiteaIsRefused(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("testdata/gitea-real/*.http")
	if err != nil || len(paths) != 9 {
		t.Fatalf("%d files, %v", len(paths), err)
	}
	for _, path := range paths {
		status, f := realGitea(t, path, func(body []byte) []byte {
			return []byte(strings.Replace(string(body), `"name": "team/`, `"name": "evil/`, 1))
		})
		if status != http.StatusUnauthorized || len(f.events)+len(f.drops) > 0 {
			t.Errorf("%s: status %d, events %v, drops %v", path, status, f.events, f.drops)
		}
	}
}
