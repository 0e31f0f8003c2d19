package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"text/template"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/cmd/pratique/service"
	"github.com/pratique-dev/pratique/internal/testenv/images"
	"github.com/pratique-dev/pratique/internal/testenv/vulndb"
)

// databaseFromRegistry is the configuration with a database that the service downloads from the
// line's registry.
func databaseFromRegistry(t *testing.T) *template.Template {
	t.Helper()
	text := lineConfig.Tree.Root.String()
	changed := strings.Replace(text, `database: {dir: "{{.Dir}}/db"}`,
		`database: {interval: 1s, sources: ["{{.Registry}}/mirror/trivy-db:2"]}`, 1)
	changed = strings.Replace(changed, "- host: {{.Registry}}",
		"- {host: \"{{.Registry}}\", plainHTTP: true}", 1)
	if changed == text {
		t.Fatal("the configuration has no database that could be replaced")
	}
	return template.Must(template.New("").Parse(changed))
}

// publish makes a database of the excerpt and what is added to it, and publishes it in the line's
// registry.
func (l *line) publish(updatedAt time.Time, added ...vulndb.Advisory) {
	l.t.Helper()
	d, err := vulndb.Excerpt()
	if err != nil {
		l.t.Fatal(err)
	}
	d.UpdatedAt, d.NextUpdate = updatedAt.UTC(), updatedAt.Add(time.Second).UTC()
	d.Advisories = append(d.Advisories, added...)
	dir := l.t.TempDir()
	databaseMutex.Lock()
	err = d.Write(dir)
	databaseMutex.Unlock()
	if err == nil {
		err = vulndb.Push(l.t.Context(), dir, l.registry.Host()+"/mirror/trivy-db:2")
	}
	if err != nil {
		l.t.Fatal(err)
	}
}

func pip(id, pkg, below, severity string) vulndb.Advisory {
	return vulndb.Advisory{
		ID: id, Bucket: "pip::GitHub Security Advisory pip", Package: pkg,
		Vulnerable: []string{"<" + below},
		Patched:    []string{below}, Title: "trouble in " + pkg, Severity: severity,
	}
}

// serveService is serve for tests that reach into the service.
func (l *line) serveService() *service.Service {
	l.t.Helper()
	s, _ := l.serveWith(service.Options{Edge: l.edges.add, Queue: quick})
	return s
}

// update has the service take the database that was published last, and waits until all is matched
// against it.
func (l *line) update(s *service.Service) pratique.Rescan {
	l.t.Helper()
	if _, err := s.Inspect.Database.Update(l.t.Context()); err != nil {
		l.t.Fatal(err)
	}
	want, err := s.Inspect.Database.Current()
	if err != nil {
		l.t.Fatal(err)
	}
	var r pratique.Rescan
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if r, err = s.Inspect.Inventory.Rescan(); err != nil {
			l.t.Fatal(err)
		}
		if r.To.Digest == want.Digest && !r.FinishedAt.IsZero() {
			return r
		}
	}
	l.t.Fatalf("rescanning did not end: %+v", r)
	return r
}

func python(name, version string) images.Spec {
	spec := images.Clean()
	spec.Python = []images.Module{{Name: name, Version: version, License: "MIT"}}
	return spec
}

func (l *line) findings(d pratique.Digest) []string {
	l.t.Helper()
	var report pratique.Report
	if err := json.Unmarshal(l.get("/api/v1/images/"+d.String()+"/report"), &report); err != nil {
		l.t.Fatal(err)
	}
	ids := []string{}
	for _, f := range report.Findings {
		ids = append(ids, f.ID)
	}
	return ids
}

// TestNewDatabase deploys four images, and then the database changes: one gets a grave finding and
// is denied, one a mild one and stays allowed without a commit, one lost the only finding it had,
// and of the last nothing is written.
func TestNewDatabase(t *testing.T) {
	t.Parallel()
	l := newLine(t, lineOptions{noDB: true, config: databaseFromRegistry(t)})
	old := pip("CVE-2026-7000", "jinja2", "4.0", "LOW")
	l.publish(time.Now().Add(-2*time.Hour), old)
	s := l.serveService()
	grave := l.push("team/app:1.0", l.build(images.Clean()))
	l.awaitState(grave, pratique.StateDeployed)
	mild := l.push("team/mild:1.0", l.build(python("flask", "2.0")))
	freed := l.push("team/freed:1.0", l.build(python("jinja2", "3.0")))
	untouched := l.push("team/untouched:1.0", l.build(python("click", "8.0")))
	for _, d := range []pratique.Digest{mild, freed, untouched} {
		l.awaitState(d, pratique.StateAllowed)
	}
	first := l.update(s)
	if first.From != (pratique.Digest{}) || first.Everything == "" {
		t.Errorf("the first database: %+v", first)
	}
	before := map[pratique.Digest]int{}
	for _, d := range []pratique.Digest{grave, mild, freed, untouched} {
		before[d] = len(l.await(d, "anything", func(api.Image) bool { return true }).Facts)
	}
	if got := l.findings(freed); len(got) != 1 || got[0] != old.ID {
		t.Errorf("the finding to be withdrawn: %v", got)
	}
	commits := l.commits()

	l.publish(time.Now().Add(-time.Hour), pip("CVE-2026-7001", "pyyaml", "6.1", "CRITICAL"),
		pip("CVE-2026-7002", "flask", "3.0", "LOW"))
	r := l.update(s)
	if r.From != first.To.Digest || r.Everything != "" || r.Lists != 5 || r.Affected != 3 ||
		r.Matched != 3 || r.Changed != 3 || r.NewlyAffected != 2 {
		t.Errorf("rescanning %+v", r)
	}
	image := l.await(grave, "the new verdict", func(i api.Image) bool {
		return i.State == pratique.StateDenied
	})
	if image.Affected == nil || image.Affected.Total != 1 ||
		image.Affected.Findings[0].ID != "CVE-2026-7001" || image.Database.Digest != r.To.Digest {
		t.Errorf("affected %+v, database %+v", image.Affected, image.Database)
	}
	if got := l.findings(grave); len(got) != 1 || got[0] != "CVE-2026-7001" {
		t.Errorf("findings %v", got)
	}
	for d, want := range map[pratique.Digest]int{mild: 1, freed: 0} {
		image := l.await(d, "an end of the new evaluation", func(i api.Image) bool {
			return len(i.Facts) > before[d] && i.Facts[len(i.Facts)-1].Kind == pratique.FactCompleted
		})
		if image.State != pratique.StateAllowed || len(l.findings(d)) != want ||
			(image.Affected != nil) != (want > 0) {
			t.Errorf("state %s, findings %v, affected %+v", image.State, l.findings(d), image.Affected)
		}
		if image.Verdict == nil || image.Verdict.EvaluatedAt.Before(r.StartedAt) || image.VSA.IsZero() {
			t.Errorf("the verdict is not made anew: %+v", image.Verdict)
		}
	}
	if image := l.await(untouched, "anything", func(api.Image) bool {
		return true
	}); len(image.Facts) != before[untouched] {
		t.Errorf("facts about an image that nothing changed for: %+v", image.Facts)
	}
	if l.commits() != commits {
		t.Errorf("%d commits, %d before", l.commits(), commits)
	}
	var status api.ServiceStatus
	if err := json.Unmarshal(l.get("/api/v1/status"), &status); err != nil {
		t.Fatal(err)
	}
	if status.Rescan == nil || status.Rescan.FinishedAt.IsZero() ||
		status.Rescan.To.Digest != r.To.Digest || status.Rescan.Changed != 3 ||
		status.Rescan.NewlyAffected != 2 {
		t.Errorf("status %+v", status.Rescan)
	}

	// Of a push of a known image nothing is matched: its lists were, with this database.
	served := s.Inspect.Matchers.Requests()
	l.push("team/untouched:2.0", l.build(python("click", "8.0")))
	l.await(untouched, "a match with the new database", func(i api.Image) bool {
		return i.Database.Digest == r.To.Digest && i.State == pratique.StateAllowed
	})
	if now := s.Inspect.Matchers.Requests(); now != served {
		t.Errorf("%d requests to children for a push of known lists", now-served)
	}
	l.checkMetrics(t)
}

func (l *line) checkMetrics(t *testing.T) {
	t.Helper()
	metrics := string(l.get("/metrics"))
	for _, want := range []string{`pratique_rescan_lists{state="affected"} 3`,
		`pratique_rescan_images{state="newly-affected"} 2`, `pratique_rescan_running_seconds 0`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
}

// TestCrashWhileRescanning kills the service at every edge of a rescan, and wants what would have
// come without that: the image is denied, its new findings are on record once, and an image that
// nothing changed for is left alone.
func TestCrashWhileRescanning(t *testing.T) {
	t.Parallel()
	for _, edge := range []string{
		"rescan:before-begin", "rescan:after-begin", "rescan:after-match", "rescan:after-matched",
		"rescan:before-facts", "rescan:after-facts", "rescan:after-jobs",
	} {
		t.Run(edge, func(t *testing.T) {
			t.Parallel()
			l := newLine(t, lineOptions{noDB: true, config: databaseFromRegistry(t)})
			l.publish(time.Now().Add(-2 * time.Hour))
			p := l.start("never")
			grave := l.push("team/app:1.0", l.build(images.Clean()))
			l.awaitState(grave, pratique.StateDeployed)
			untouched := l.push("team/untouched:1.0", l.build(python("click", "8.0")))
			before := l.awaitState(untouched, pratique.StateAllowed)
			l.awaitRescanned()
			p.stop()

			l.publish(time.Now().Add(-time.Hour), pip("CVE-2026-7001", "pyyaml", "6.1", "CRITICAL"))
			dying := l.start(edge)
			if signal := dying.wait(); signal != syscall.SIGKILL {
				t.Fatalf("the service was not killed at the edge, but by %v", signal)
			}
			again := l.start("never")
			image := l.await(grave, "the new verdict", func(i api.Image) bool {
				return i.State == pratique.StateDenied
			})
			l.awaitRescanned()
			kinds := map[pratique.FactKind]int{}
			for _, f := range image.Facts {
				kinds[f.Kind]++
			}
			if kinds[pratique.FactAffected] != 1 || kinds[pratique.FactScanned] != 2 ||
				kinds[pratique.FactEvaluated] != 2 {
				t.Errorf("facts %v", kinds)
			}
			if after := l.await(untouched, "anything", func(api.Image) bool {
				return true
			}); len(after.Facts) != len(before.Facts) {
				t.Errorf("%d facts about an image that nothing changed for, %d before",
					len(after.Facts), len(before.Facts))
			}
			again.stop()
			l.checkIndex()
		})
	}
}

// awaitRescanned waits until nothing is left to be matched against the database in use.
func (l *line) awaitRescanned() {
	l.t.Helper()
	var status api.ServiceStatus
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err := json.Unmarshal(l.get("/api/v1/status"), &status); err != nil {
			l.t.Fatal(err)
		}
		if r := status.Rescan; r != nil && status.Database != nil && !r.FinishedAt.IsZero() &&
			r.To.Digest == status.Database.Digest {
			return
		}
	}
	l.t.Fatalf("rescanning did not end: %+v", status.Rescan)
}

// TestInventoryIsRebuilt deletes the inventory between two databases: it is made from the ledger,
// everything is matched against the new one, and an image whose answer is the same is left alone.
func TestInventoryIsRebuilt(t *testing.T) {
	t.Parallel()
	l := newLine(t, lineOptions{noDB: true, config: databaseFromRegistry(t)})
	l.publish(time.Now().Add(-2 * time.Hour))
	p := l.start("never")
	grave := l.push("team/app:1.0", l.build(images.Clean()))
	l.awaitState(grave, pratique.StateDeployed)
	untouched := l.push("team/untouched:1.0", l.build(python("click", "8.0")))
	before := l.awaitState(untouched, pratique.StateAllowed)
	p.stop()
	if err := os.Remove(filepath.Join(l.dir, "data", "inventory.db")); err != nil {
		t.Fatal(err)
	}
	l.publish(time.Now().Add(-time.Hour), pip("CVE-2026-7001", "pyyaml", "6.1", "CRITICAL"))
	l.start("never")
	l.await(grave, "the new verdict", func(i api.Image) bool { return i.State == pratique.StateDenied })
	l.awaitRescanned()
	if after := l.await(untouched, "anything", func(api.Image) bool {
		return true
	}); len(after.Facts) != len(before.Facts) {
		t.Errorf("%d facts about an image that nothing changed for, %d before", len(after.Facts),
			len(before.Facts))
	}
}

// TestNewDatabaseForAnIndex: of two platforms one has a new finding. The index is evaluated again,
// and the other platform's report names the new database, too, so that its age does not count
// against it.
func TestNewDatabaseForAnIndex(t *testing.T) {
	t.Parallel()
	l := newLine(t, lineOptions{noDB: true, config: databaseFromRegistry(t)})
	l.publish(time.Now().Add(-2 * time.Hour))
	s := l.serveService()
	first, second := python("flask", "2.0"), python("click", "8.0")
	second.Architecture = "arm64"
	one, other := l.build(first), l.build(second)
	index, err := images.Index(one, other)
	if err != nil {
		t.Fatal(err)
	}
	digest := l.push("team/multi:1.0", index)
	before := l.awaitState(digest, pratique.StateAllowed)
	l.update(s)

	l.publish(time.Now().Add(-time.Hour), pip("CVE-2026-7001", "flask", "3.0", "CRITICAL"))
	r := l.update(s)
	if r.Changed != 1 || r.NewlyAffected != 1 || r.Touched != 2 {
		t.Errorf("rescanning %+v", r)
	}
	after := l.await(digest, "the new verdict", func(i api.Image) bool {
		return i.State == pratique.StateDenied
	})
	if after.VerdictDigest == before.VerdictDigest || len(after.Verdict.Children) != 2 {
		t.Errorf("verdict %+v", after.Verdict)
	}
	for image, affected := range map[pratique.Digest]bool{digestOfImage(t, one): true,
		digestOfImage(t, other): false} {
		platform := l.await(image, "anything", func(api.Image) bool { return true })
		if platform.Database.Digest != r.To.Digest || (platform.Affected != nil) != affected {
			t.Errorf("%s: database %s, affected %+v", platform.Platform, platform.Database.Digest,
				platform.Affected)
		}
	}
	for _, c := range after.Verdict.Children {
		if want := map[bool]pratique.Outcome{true: pratique.Deny,
			false: pratique.Allow}[c.Digest == digestOfImage(t, one)]; c.Outcome != want {
			t.Errorf("%s: %s, want %s", c.Platform, c.Outcome, want)
		}
	}
}
