package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"text/template"

	"github.com/google/go-containerregistry/pkg/v1"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/internal/testenv/images"
)

// sweepsConfig has a registry whose own notifications are about other repositories, so that nobody
// tells of pushes but sweeps, and a pipeline that reports what it likes.
const sweepsConfig = `
dataDir: {{.Dir}}/data
listen: {{.Listen}}
registries:
  - host: {{.Registry}}
receivers:
  - {name: main, registry: {{.Registry}}, repositories: ["nobody/**"], secrets: ["file:{{.Dir}}/webhook"]}
  - {name: ci, format: cloudevents, registry: {{.Registry}}, insecure: true}
reconcile:
  interval: 10h
  requestsPerMinute: 6000
  repositories: [{repository: {{.Registry}}/team/shop}]
workers: {inspect: 1}
database: {dir: "{{.Dir}}/db"}
deploy:
  targets:
    - {name: production, repository: {{.Git}}, path: clusters/production, images: ["{{.Registry}}/team/**"]}
api:
  anonymousRead: true
  tokens:
    - {name: test, token: "file:{{.Dir}}/token", operate: true, submit: true, repositories: ["{{.Registry}}/team/*"]}
queue: {noSync: true}
`

// version is the clean image with another text in it, and so with a digest of its own.
func (l *line) version(name string) v1.Image {
	l.t.Helper()
	spec := images.Clean()
	spec.Text = name
	return l.build(spec)
}

// TestSweepOrdersNothing: the first sweep of a repository that has a history leaves Git alone,
// whatever the order of its list. What a moved tag names now is written where Git names that tag,
// and anything else only if it is asked for by name, or its sender reports it after all.
func TestSweepOrdersNothing(t *testing.T) {
	t.Parallel()
	var shop string
	l := newLine(t, lineOptions{
		config: template.Must(template.New("").Parse(sweepsConfig)),
		files: func(host string) fileSet {
			shop = host + "/team/shop"
			return fileSet{"clusters/production/shop/kustomization.yaml": "images:\n  - name: " +
				shop + "\n    newTag: v1.10.0\n"}
		},
	})
	digests := map[string]pratique.Digest{}
	for _, tag := range []string{"v1.8.0", "v1.9.0", "v1.10.0"} {
		digests[tag] = l.push("team/shop:"+tag, l.version(tag))
	}
	inGit := func() string {
		return l.gitOutput("show", "main:clusters/production/shop/kustomization.yaml")
	}
	holds := func(tag string, digest pratique.Digest) {
		t.Helper()
		if got := inGit(); !strings.Contains(got, "newTag: "+tag) ||
			!strings.Contains(got, digest.String()) {
			t.Errorf("Git holds\n%s\nwant %s at %s", got, tag, digest)
		}
	}
	l.serve()
	for tag, digest := range digests {
		image := l.await(digest, "an end", func(i api.Image) bool {
			return count(i, pratique.FactCompleted) > 0
		})
		if image.Outcome != pratique.Allow || len(image.Attestations) == 0 {
			t.Errorf("%s: %+v", tag, image)
		}
	}
	l.awaitIdle()
	holds("v1.10.0", digests["v1.10.0"]) // its digest was missing, and nothing else was written
	if l.commits() != 2 {
		t.Errorf("%d commits:\n%s", l.commits(), l.gitOutput("log", "--format=%s", "main"))
	}

	env := program{env: []string{"PRATIQUE_URL=" + l.baseURL, "PRATIQUE_TOKEN=" + l.token}}
	moved := l.push("team/shop:v1.10.0", l.version("v1.10.0 again"))
	newer := l.push("team/shop:v1.11.0", l.version("v1.11.0"))
	env.run(t, "reconcile", shop).want(t, 0, "2 new")
	l.await(moved, "its commit", func(i api.Image) bool { return len(i.Deployments) == 1 })
	l.await(newer, "an end", func(i api.Image) bool { return count(i, pratique.FactCompleted) > 0 })
	l.awaitIdle()
	if holds("v1.10.0", moved); l.commits() != 3 {
		t.Errorf("%d commits", l.commits())
	}
	env.run(t, "reconcile", "--deploy", shop+":v1.11.0").want(t, 0, "ALLOWED", "committed to production")
	if holds("v1.11.0", newer); l.commits() != 4 {
		t.Errorf("%d commits", l.commits())
	}
	env.run(t, "reconcile", "--deploy", shop+":v9").want(t, 2, "2>team/shop:v9", "2>404")
	env.run(t, "reconcile", "--deploy", l.registry.Host()+"/payments/app:v1").want(t, 2,
		"2>token test may reconcile only images of ")

	// A sweep was faster than the sender. Its report is no repeat.
	last := l.push("team/shop:v1.12.0", l.version("v1.12.0"))
	env.run(t, "reconcile", shop).want(t, 0, "1 new")
	l.await(last, "an end", func(i api.Image) bool { return count(i, pratique.FactCompleted) > 0 })
	event := fmt.Sprintf(`{"specversion":"1.0","id":"1","source":"/ci","type":"image.pushed","data":{"repository":"team/shop","tag":"v1.12.0","digest":%q}}`, last)
	if status := l.send("/webhooks/ci", event); status != http.StatusAccepted {
		t.Errorf("the sender's report: status %d", status)
	}
	l.await(last, "its commit", func(i api.Image) bool { return len(i.Deployments) == 1 })
	if holds("v1.12.0", last); l.commits() != 5 {
		t.Errorf("%d commits", l.commits())
	}
}

// TestSubmittedTagIsConfirmed: whoever submits may write any tag beside a digest. It gets its
// verdict, and the tag is named nowhere and written nowhere. Nor does the verdict depend on the
// tag: two of one digest do not take turns.
func TestSubmittedTagIsConfirmed(t *testing.T) {
	t.Parallel()
	l := newLine(t, lineOptions{config: template.Must(template.New("").Parse(sweepsConfig))})
	l.serve()
	l.awaitServing()
	app := l.registry.Host() + "/team/app"
	digest := l.push("team/app:dev", l.version("dev"))
	l.push("team/app:latest", l.version("dev"))
	env := program{env: []string{"PRATIQUE_URL=" + l.baseURL, "PRATIQUE_TOKEN=" + l.token}}
	out := env.run(t, "submit", "--wait", app+":release-9@"+digest.String())
	if !strings.Contains(out.out, "the registry has no tag release-9") || l.commits() != 1 {
		t.Errorf("%s%s, %d commits", out.out, out.err, l.commits())
	}
	image := l.awaitState(digest, pratique.StateSuperseded)
	if len(image.Tags) > 0 || image.Outcome != pratique.Allow {
		t.Errorf("tags %+v, outcome %s", image.Tags, image.Outcome)
	}
	attested := image.VSA
	for _, tag := range []string{"dev", "latest"} {
		env.run(t, "submit", "--wait", app+":"+tag+"@"+digest.String()).want(t, 0, "ALLOWED")
		if image := l.await(digest, "", func(api.Image) bool { return true }); image.VSA != attested {
			t.Errorf("under %s there is another summary", tag)
		}
	}
}
