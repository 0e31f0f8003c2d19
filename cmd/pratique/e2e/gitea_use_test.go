package e2e

import (
	"database/sql"
	"encoding/json"
	"errors"
	"net/http"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	_ "modernc.org/sqlite" // reads Gitea's database

	"github.com/pratique-dev/pratique"
)

// target is a place in the registry, as OWNER/NAME:TAG, and what opens it.
func (g *gitea) target(ref string) (name.Reference, remote.Option) {
	g.t.Helper()
	target, err := name.ParseReference(g.host + "/" + ref)
	if err != nil {
		g.t.Fatal(err)
	}
	return target, remote.WithAuth(&authn.Basic{Username: giteaUser, Password: g.password})
}

// putAgain puts the manifest of an image that is there; push would see that, and leave it.
func (g *gitea) putAgain(ref string, what remote.Taggable) {
	g.t.Helper()
	target, auth := g.target(ref)
	if err := remote.Put(target, what, auth); err != nil {
		g.t.Fatal(err)
	}
}

func (g *gitea) has(ref string) bool {
	g.t.Helper()
	target, auth := g.target(ref)
	_, err := remote.Head(target, auth)
	var answer *transport.Error
	if err != nil && (!errors.As(err, &answer) || answer.StatusCode != http.StatusNotFound) {
		g.t.Fatal(err)
	}
	return err == nil
}

// checkForgets: as docs/webhooks.md says, Gitea forgets a manifest when its tag is moved, unless it
// was pushed by digest. The owner has no webhook.
func (g *gitea) checkForgets(one, two v1.Image) {
	g.t.Helper()
	const repository = giteaUser + "/moved"
	digest := g.push(repository+":1", one).String()
	g.push(repository+":1", two)
	forgotten := !g.has(repository + "@" + digest)
	g.push(repository+":1", one)
	g.putAgain(repository+"@"+digest, one)
	g.push(repository+":1", two)
	if kept := g.has(repository + "@" + digest); !forgotten || !kept {
		g.t.Errorf("forgotten: %t; kept where it was pushed by digest: %t; want both", forgotten, kept)
	}
}

// push pushes an image, or an index, and returns its digest.
func (g *gitea) push(ref string, what remote.Taggable) pratique.Digest {
	g.t.Helper()
	target, auth := g.target(ref)
	var err error
	if index, ok := what.(v1.ImageIndex); ok {
		err = remote.WriteIndex(target, index, auth)
	} else {
		err = remote.Write(target, what.(v1.Image), auth)
	}
	if err != nil {
		g.t.Fatal(err)
	}
	raw, err := what.RawManifest()
	if err != nil {
		g.t.Fatal(err)
	}
	return pratique.DigestOf(raw)
}

// delivery is an entry of a webhook's history: what was sent, and what the receiver answered; 0 is
// no answer yet.
type delivery struct {
	action, version string
	status          int
	succeeded       bool
}

// deliveries is the history of a webhook, oldest first. The API does not show it, only a page for
// people does; so this reads the table behind that.
func (g *gitea) deliveries(hook int64) []delivery {
	g.t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(g.dir, "gitea.db")+
		"?mode=ro&_pragma=busy_timeout(10000)")
	if err != nil {
		g.t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.QueryContext(g.t.Context(),
		`SELECT payload_content, response_content, is_succeed FROM hook_task WHERE hook_id = ? ORDER BY id`, hook)
	if err != nil {
		g.t.Fatal(err)
	}
	defer rows.Close()
	var all []delivery
	for rows.Next() {
		var d delivery
		var payload, response sql.NullString
		if err := rows.Scan(&payload, &response, &d.succeeded); err != nil {
			g.t.Fatal(err)
		}
		var sent struct {
			Action  string `json:"action"`
			Package struct {
				Version string `json:"version"`
			} `json:"package"`
		}
		var answered struct {
			Status int `json:"status"`
		}
		if err := json.Unmarshal([]byte(payload.String), &sent); err != nil {
			g.t.Fatal(err)
		}
		if response.String != "" {
			if err := json.Unmarshal([]byte(response.String), &answered); err != nil {
				g.t.Fatal(err)
			}
		}
		d.action, d.version, d.status = sent.Action, sent.Package.Version, answered.Status
		all = append(all, d)
	}
	if err := rows.Err(); err != nil {
		g.t.Fatal(err)
	}
	return all
}

// settled waits until everything that was sent has an answer.
func (g *gitea) settled(hook int64, atLeast int) []delivery {
	g.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		all, open := g.deliveries(hook), 0
		for _, d := range all {
			if d.status == 0 {
				open++
			}
		}
		if open == 0 && len(all) >= atLeast {
			return all
		}
		if time.Now().After(deadline) {
			g.t.Fatalf("%d deliveries, %d of them without an answer; want %d at least", len(all),
				open, atLeast)
		}
	}
}
