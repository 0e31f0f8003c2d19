package e2e

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pratique-dev/pratique/cmd/pratique/cli/db"
	"github.com/pratique-dev/pratique/cmd/pratique/settings"
	"github.com/pratique-dev/pratique/internal/config"
	"github.com/pratique-dev/pratique/internal/testenv/images"
	"github.com/pratique-dev/pratique/internal/testenv/vulndb"
	"github.com/pratique-dev/pratique/scanner/trivy/database"
)

func (b *scanBench) layer(dir string) string {
	b.t.Helper()
	raw, err := vulndb.Pack(dir)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.file("db-"+filepath.Base(filepath.Dir(dir))+".tar.gz", string(raw))
}

// TestDBVerbs looks at, updates and imports a database while no service runs.
func TestDBVerbs(t *testing.T) {
	t.Parallel()
	b := newScanBench(t)
	older, newer := b.writeDB(100*time.Hour), b.writeDB(time.Hour)
	conf := b.config("")
	b.run("db", "status", "--config", conf).want(t, 1, "none", b.host+"/aqua/trivy-db:2")
	b.run("db", "update", "--config", conf).want(t, 2, "2>404")
	b.run("db", "status", "--config", conf).want(t, 1, "last error", "404", "next look")
	b.run("db", "import", b.layer(older), "--config", conf).want(t, 0, "now in use: sha256:",
		"warning: the vulnerability database is 4 days old, and every image is denied: policy.maxDatabaseAge is 3 days")
	b.run("db", "status", "--config", conf).want(t, 1, "too old", "policy.maxDatabaseAge is 3 days",
		"4 days ago")
	if err := vulndb.Push(t.Context(), newer, b.host+"/aqua/trivy-db:2"); err != nil {
		t.Fatal(err)
	}
	// it failed a moment ago
	b.run("db", "update", "--config", conf).want(t, 0, "unchanged", "--force asks now")
	b.run("db", "update", "--config", conf, "--force").want(t, 0, "now in use: sha256:",
		"2>updating the vulnerability database")
	got := b.run("db", "status", "--config", conf, "--json").want(t, 0)
	var all []db.Status
	if err := json.Unmarshal([]byte(got.out), &all); err != nil || len(all) != 1 {
		t.Fatalf("%s: %v", got.out, err)
	}
	s := all[0]
	if s.Current == nil || s.Current.Digest.IsZero() || s.Current.NextUpdate.IsZero() || s.TooOld ||
		s.LimitSeconds != 72*3600 ||
		s.AgeSeconds < 3600 || len(s.Generations) != 2 || s.Failures != 0 || !s.Due.After(time.Now()) {
		t.Errorf("status %+v", s)
	}
	b.run("db", "import", older, "--config", conf).want(t, 1,
		"2>it is older than the one in use: built ", "2>--force")
	b.run("db", "import", b.file("junk", "junk"), "--config", conf).want(t, 1,
		"2>junk: neither a layer with trivy.db")
	b.run("db", "import", filepath.Join(b.dir, "none"), "--config", conf).want(t, 1, "2>none")
	b.run("db", "import", older, "--config", conf, "--force").want(t, 0, "now in use: sha256:")
	b.run("db", "import").want(t, 2, "2>FILE")
	nowhere := b.file("nowhere.yaml", "dataDir: "+b.dir+"/data\ndatabase: {offline: true}\n")
	b.run("db", "update", "--config", nowhere).want(t, 2, "2>pratique db import", "2>database.offline")
	b.run("db", "updat").want(t, 2, "2>unknown command")
	static := b.file("static.yaml", "dataDir: "+b.dir+"/other\ndatabase: {dir: '"+newer+"'}\n")
	b.run("db", "status", "--config", static).want(t, 0, newer, "sha256:")
	b.run("db", "import", older, "--config", static).want(t, 1, "2>database.dir")
	offline := b.file("offline.yaml", "dataDir: "+b.dir+"/offline\ndatabase: {offline: true}\n")
	b.run("db", "update", "--config", offline).want(t, 2,
		"2>database.offline is true: use pratique db import")
	b.run("db", "import", newer, "--config", offline).want(t, 0, "now in use")
}

// TestDBWhileServing: while the service owns the database, the verbs have it do what is wanted, and
// a scan reads what it keeps.
func TestDBWhileServing(t *testing.T) {
	t.Parallel()
	b := newScanBench(t)
	older, newer := b.writeDB(10*time.Hour), b.writeDB(time.Hour)
	conf := b.config("  offline: true\n")
	c, err := config.Load(conf)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	heard := make(chan struct{}, 1)
	// Only the part of the service that owns the database.
	c = settings.WithDefaults(c)
	cfg := settings.Database(c, settings.Below(c.DataDir))
	cfg.OnUpdate = func(database.Generation, error) { heard <- struct{}{} }
	store, err := database.Open(cfg, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- store.Run(ctx) }()
	b.run("db", "import", b.layer(older), "--config", conf).want(t, 0, "now in use: sha256:",
		"from "+b.dir)
	<-heard
	b.run("db", "status", "--config", conf).want(t, 0, "10 hours ago", "good until")
	ref := b.push("team/app:1", build(t, images.Vulnerable()))
	first, err := store.Current()
	if err != nil {
		t.Fatal(err)
	}
	b.run("scan", ref, "--config", conf, "--quiet", "--offline").want(t, 0, first.Digest.String(),
		"10 hours ago")
	b.run("db", "import", newer, "--config", conf).want(t, 0, "now in use: sha256:")
	<-heard
	b.run("db", "import", older, "--config", conf).want(t, 1, "2>--force")
	b.run("db", "import", b.file("junk", "junk"), "--config", conf).want(t, 1, "2>unpack")
	b.run("db", "update", "--config", conf, "--force").want(t, 2,
		"2>database.offline is true: use pratique db import")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	b.run("db", "import", newer, "--config", conf).want(t, 0, "unchanged")
	if left, _ := filepath.Glob(filepath.Join(b.dir, "data/database/requests/*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if raw, err := os.ReadFile(filepath.Join(b.dir, "data/database/current")); err != nil ||
		strings.Count(string(raw), "\n") != 2 {
		t.Errorf("pointer %q, %v", raw, err)
	}
}
