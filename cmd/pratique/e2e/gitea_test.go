package e2e

import (
	"net/http"
	"os"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/internal/testenv/images"
	"github.com/pratique-dev/pratique/queue/reconcile"
)

// giteaLineConfig is a configuration for which Gitea is the only registry.
func giteaLineConfig(host string) *template.Template {
	return template.Must(template.New("").Parse(strings.ReplaceAll(`
dataDir: {{.Dir}}/data
listen: {{.Listen}}
registries:
  - host: GITEA
    username: ci
    password: "file:{{.Dir}}/gitea-token"
receivers:
  - name: gitea
    format: gitea
    registry: GITEA
    repositories: ["acme/**"]
    secrets: ["file:{{.Dir}}/gitea-webhook"]
reconcile:
  interval: 24h
  requestsPerMinute: 6000
  repositories:
    - repository: GITEA/acme/team/app
workers: {inspect: 1}
database: {dir: "{{.Dir}}/db"}
deploy:
  targets:
    - name: production
      repository: {{.Git}}
      path: clusters/production
      images: ["GITEA/acme/**"]
api:
  tokens:
    - {name: test, token: "file:{{.Dir}}/token", submit: true}
queue: {noSync: true}
`, "GITEA", host)))
}

// giteaLine is a service beside a real Gitea, and the webhook that joins them.
type giteaLine struct {
	*line
	gitea  *gitea
	secret string
	hook   int64
}

func newGiteaLine(t *testing.T) *giteaLine {
	t.Helper()
	g := startGitea(t)
	l := &giteaLine{gitea: g, secret: "the secret of " + g.token}
	l.line = newLine(t, lineOptions{config: giteaLineConfig(g.host), files: func(string) fileSet {
		images := "images:\n"
		for _, name := range []string{"app", "multi"} {
			images += "  - name: " + g.host + "/acme/team/" + name + "\n    newTag: \"0\"\n"
		}
		return fileSet{"clusters/production/kustomization.yaml": images}
	}})
	l.write("gitea-webhook", l.secret)
	l.write("gitea-token", g.token)
	l.hook = g.hook(l.baseURL+"/webhooks/gitea", l.secret)
	return l
}

// TestRealGitea follows pushes to the registry of a real Gitea, which tells of them by its own
// webhook.
func TestRealGitea(t *testing.T) {
	started := time.Now()
	l := newGiteaLine(t)
	t.Logf("Gitea %s is up after %s", l.gitea.version, time.Since(started).Round(time.Millisecond))
	l.serve()
	l.checkDocumentedVersion()
	l.gitea.checkForgets(l.build(images.Clean()), l.build(images.Vulnerable()))
	l.pushes()
	l.burst()
	l.unheard()
}

// checkDocumentedVersion: the documents name the version that is tested.
func (l *giteaLine) checkDocumentedVersion() {
	text, err := os.ReadFile("../../../docs/webhooks.md")
	if err != nil {
		l.t.Fatal(err)
	}
	if want := "a real Gitea " + strings.TrimPrefix(l.gitea.version,
		"v"); !strings.Contains(strings.Join(strings.Fields(string(text)), " "), want) {
		l.t.Errorf("docs/webhooks.md does not say %q", want)
	}
}

func (l *giteaLine) pushes() {
	other := images.Clean()
	other.Text = "another application"
	// Children of their own: a digest that is in two repositories has to be asked for by both names.
	amd, arm := images.Clean(), images.Clean()
	amd.Text, arm.Text, arm.Architecture = "for many platforms", "for many platforms", "arm64"
	index, err := images.Index(l.build(amd), l.build(arm))
	if err != nil {
		l.t.Fatal(err)
	}

	first := l.gitea.push("acme/team/app:1.0", l.build(images.Clean()))
	image := l.awaitState(first, pratique.StateDeployed)
	l.checkWithCosign(image)
	if want := l.gitea.host + "/acme/team/app@" + first.String(); image.Image != want ||
		len(image.Attestations) != 5 {
		l.t.Errorf("image %s with %d attestations, want %s with 5", image.Image,
			len(image.Attestations), want)
	}
	l.checkDeployed(first)

	// The webhook names the tag alone: that the second digest is evaluated shows that the registry
	// was asked for it.
	second := l.gitea.push("acme/team/app:1.0", l.build(other))
	l.checkWithCosign(l.awaitState(second, pratique.StateDeployed))
	l.checkDeployed(second)

	l.gitea.putAgain("acme/team/app:1.0", l.build(other)) // Gitea tells of it, though nothing changed
	l.gitea.push("acme/team/app:sha256-"+strings.Repeat("ab", 32)+".sig", l.build(images.Vulnerable()))
	whole := l.gitea.push("acme/team/multi:2.0", index)
	multi := l.awaitState(whole, pratique.StateDeployed)
	if len(multi.Children) != 2 {
		l.t.Errorf("children of the index: %+v", multi.Children)
	}
	for _, c := range multi.Children {
		l.await(c.Digest, "the child's attestations", func(i api.Image) bool {
			return len(i.Attestations) > 0
		})
	}
	bad := l.gitea.push("acme/team/app:bad", l.build(images.Vulnerable()))
	l.awaitState(bad, pratique.StateDenied)

	l.checkHistory(map[string]int{"1.0": 3, "2.0": 1, "bad": 1})
	// Everything was answered before this; time enough for a loop to show.
	before := l.gitea.settled(l.hook, 0)
	time.Sleep(2 * time.Second)
	if after := l.gitea.deliveries(l.hook); len(after) != len(before) {
		l.t.Errorf("Gitea goes on sending: %+v", after[len(before):])
	}
	for tag, digest := range map[string]pratique.Digest{"1.0": first, "1.0 again": second,
		"2.0": whole, "bad": bad} {
		image := l.await(digest, "the end of its event", func(i api.Image) bool {
			return count(i, pratique.FactCompleted) > 0
		})
		if count(image, pratique.FactResolved) != 1 || count(image, pratique.FactEvaluated) != 1 ||
			count(image, pratique.FactCompleted) != 1 {
			l.t.Errorf("%s was not evaluated exactly once: %+v", tag, image.Facts)
		}
	}
	if n := l.commits(); n != 4 {
		l.t.Errorf("%d commits, want one for each of three pushes after the first of the repository", n)
	}
}

// checkDeployed: the config repository names the digest.
func (l *giteaLine) checkDeployed(digest pratique.Digest) {
	l.t.Helper()
	if got := l.gitOutput("show",
		"main:clusters/production/kustomization.yaml"); !strings.Contains(got, digest.String()) {
		l.t.Errorf("the config repository does not name %s:\n%s", digest, got)
	}
}

// checkHistory reads what Gitea noted of its deliveries: the pushes of tags were accepted, and
// nothing else was. The service's own signatures and attestations are among the rest.
func (l *giteaLine) checkHistory(pushed map[string]int) {
	l.t.Helper()
	taken, ours := map[string]int{}, 0
	for _, d := range l.gitea.settled(l.hook, 10) {
		switch {
		case !d.succeeded:
			l.t.Errorf("not delivered: %+v", d)
		case d.action == "created" && pushed[d.version] > 0:
			taken[d.version]++
			if d.status != http.StatusAccepted {
				l.t.Errorf("a push of a tag was answered %+v", d)
			}
		case d.status != http.StatusOK:
			l.t.Errorf("no push of a tag, and yet %+v", d)
		case strings.HasPrefix(d.version, "sha256-"):
			ours++
		}
	}
	for tag, want := range pushed {
		if taken[tag] != want {
			l.t.Errorf("tag %s was told of %d times, want %d", tag, taken[tag], want)
		}
	}
	if ours < 10 {
		l.t.Errorf("Gitea told of %d signatures and attestations only; did it tell of the service's own?", ours)
	}
}

// burst moves a tag as soon as what it named is known, and then faster than anybody can look. Gitea
// forgets the manifest that a moved tag named, so an image is gone while it is inspected, or before
// it was asked for. The last is deployed, and what was known before ends in a named state.
func (l *giteaLine) burst() {
	var known []pratique.Digest
	push := func(text string) pratique.Digest {
		spec := images.Clean()
		spec.Text = text
		return l.gitea.push("acme/team/multi:burst", l.build(spec))
	}
	for _, text := range []string{"1", "2", "3"} {
		digest := push(text)
		l.await(digest, "the first fact", func(api.Image) bool { return true })
		known = append(known, digest)
	}
	push("4")
	last := push("5")
	l.awaitState(last, pratique.StateDeployed)
	for _, digest := range known {
		image := l.await(digest, "an end", func(i api.Image) bool {
			return count(i, pratique.FactCompleted) > 0 || i.Failure != nil && i.Failure.Final
		})
		switch image.State {
		// the last if it was quick enough
		case pratique.StateSuperseded, pratique.StateFailed, pratique.StateDeployed:
		default:
			l.t.Errorf("state %q, %q, of an image whose tag was moved", image.State, image.Detail)
		}
	}
	l.checkDeployed(last)
}

// unheard pushes what the service cannot hear of: the first because its webhook has another secret,
// the second because the webhook is switched off. The sweep finds both.
func (l *giteaLine) unheard() {
	l.gitea.switchOff(l.hook)
	wrong := l.gitea.hook(l.baseURL+"/webhooks/gitea", "not "+l.secret)
	var digests []pratique.Digest
	push := func(tag string) {
		spec := images.Clean()
		spec.Text = tag
		digests = append(digests, l.gitea.push("acme/team/app:"+tag, l.build(spec)))
	}
	push("2.0")
	for _, d := range l.gitea.settled(wrong, 1) {
		if d.status != http.StatusUnauthorized || d.succeeded {
			l.t.Errorf("a wrong secret was answered %+v", d)
		}
	}
	l.gitea.switchOff(wrong)
	heard := len(l.gitea.deliveries(l.hook)) + len(l.gitea.deliveries(wrong))
	push("3.0")

	before, err := l.client.Reconciliations(l.t.Context())
	if err != nil || len(before) != 1 {
		l.t.Fatalf("%+v, %v", before, err)
	}
	for _, digest := range digests {
		if image, err := l.client.Image(l.t.Context(),
			digest.String()); pratique.KindOf(err) != pratique.NotFound {
			l.t.Errorf("before the sweep: %+v, %v", image, err)
		}
	}
	sweep := l.sweep(before[0])
	for _, digest := range digests {
		if image := l.await(digest, "a verdict", func(i api.Image) bool {
			return count(i, pratique.FactCompleted) > 0
		}); image.Outcome != pratique.Allow {
			l.t.Errorf("%+v", image)
		}
	}
	if sweep.News != 2 || sweep.Unchanged != 2 || sweep.Skipped["signature-tag"] == 0 {
		l.t.Errorf("want 2 news, and 1.0 and bad unchanged: %+v", sweep)
	}
	if again := l.sweep(sweep); again.News != 0 || again.Unchanged != 4 {
		l.t.Errorf("want nothing new: %+v", again)
	}
	if now := len(l.gitea.deliveries(l.hook)) + len(l.gitea.deliveries(wrong)); now != heard {
		l.t.Errorf("webhooks that are switched off told of %d things", now-heard)
	}
}

// sweep asks for a sweep, and waits for its end.
func (l *giteaLine) sweep(before pratique.Sweep) pratique.Sweep {
	l.t.Helper()
	if _, err := l.client.Reconcile(l.t.Context(), nil); err != nil {
		l.t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		all, err := l.client.Reconciliations(l.t.Context())
		if err != nil || len(all) != 1 {
			l.t.Fatalf("%+v, %v", all, err)
		}
		if all[0].State == reconcile.Idle && all[0].Finished.After(before.Finished) {
			return all[0]
		}
		if time.Now().After(deadline) {
			l.t.Fatalf("the sweep does not end: %+v", all[0])
		}
	}
}
