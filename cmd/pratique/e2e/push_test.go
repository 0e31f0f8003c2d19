package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/internal/testenv/images"
)

// TestCleanPushIsCommitted follows a push to the config repository, and checks the result with git
// and with the command-line cosign, as somebody would who has never heard of this service.
func TestCleanPushIsCommitted(t *testing.T) {
	t.Parallel()
	l := newLine(t, lineOptions{})
	l.serve()
	digest := l.push("team/app:1.0", l.build(images.Clean()))
	image := l.awaitState(digest, pratique.StateDeployed)
	if image.Outcome != pratique.Allow || len(image.Deployments) != 1 || len(image.Attestations) != 5 {
		t.Errorf("outcome %q, %d deployments, %d attestations", image.Outcome,
			len(image.Deployments), len(image.Attestations))
	}
	if image.Database == nil || image.Database.AgeSeconds < 3500 || image.Packages != 6 {
		t.Errorf("database %+v, %d packages", image.Database, image.Packages)
	}
	commit := image.Deployments[0].ID
	if head := l.gitOutput("rev-parse", "main"); head != commit || l.commits() != 2 {
		t.Errorf("the branch is at %s after %d commits, the fact says %s", head, l.commits(), commit)
	}
	l.checkFiles(digest, "1.0")
	l.checkTrailers(image)
	l.checkWithCosign(image)
}

func (l *line) checkFiles(digest pratique.Digest, tag string) {
	l.t.Helper()
	app := l.registry.Host() + "/team/app"
	if got, want := l.gitOutput("show", "main:clusters/production/kustomization.yaml"),
		"images:\n  - name: "+app+"\n    newTag: \""+tag+"\"\n    digest: "+digest.String(); got != want {
		l.t.Errorf("kustomization.yaml is\n%s\nwant\n%s", got, want)
	}
	// What begins with a digit is quoted, so that no reader of YAML takes it for a number.
	if got, want := l.gitOutput("show", "main:clusters/production/marked.yaml"), "image: \""+app+
		":"+tag+"@"+digest.String()+"\" # {\"$pratique\": \""+app+"\"}"; got != want {
		l.t.Errorf("marked.yaml is\n%s\nwant\n%s", got, want)
	}
	if got := l.gitOutput("show",
		"main:clusters/staging/kustomization.yaml"); strings.Contains(got, "sha256") {
		l.t.Errorf("a file outside the target's path was edited:\n%s", got)
	}
}

func (l *line) checkTrailers(image api.Image) {
	l.t.Helper()
	trailers := l.gitOutput("log", "-1", "--format=%(trailers)", "main")
	for _, want := range []string{
		"Pratique-Image: " + image.Image, "Pratique-Verdict: " + image.VerdictDigest.String(),
		"Pratique-VSA: " + image.VSA.String(), "Pratique-Profile: " + image.Verdict.Profile.String(),
	} {
		if !strings.Contains(trailers, want+"\n") && !strings.HasSuffix(trailers, want) {
			l.t.Errorf("trailers lack %q:\n%s", want, trailers)
		}
	}
}

// cosignBinary is the command line that make test builds from this module's graph.
func cosignBinary(t testing.TB) string {
	t.Helper()
	binary := os.Getenv("PRATIQUE_COSIGN")
	if binary == "" {
		t.Fatal("PRATIQUE_COSIGN must name the cosign command line; make test builds it and sets the variable")
	}
	return binary
}

func (l *line) checkWithCosign(image api.Image) {
	l.t.Helper()
	binary := cosignBinary(l.t)
	key := filepath.Join(l.dir, "data", "signing", "cosign.pub")
	run := func(args ...string) (string, error) {
		command := exec.CommandContext(l.t.Context(), binary,
			append(args, "--key", key, "--insecure-ignore-tlog", image.Image)...)
		command.Env = []string{"HOME=" + l.t.TempDir()}
		out, err := command.CombinedOutput()
		return string(out), err
	}
	if out, err := run("verify"); err != nil {
		l.t.Errorf("cosign verify: %v\n%s", err, out)
	}
	for _, predicate := range []string{"spdxjson", "cyclonedx", "vuln", pratique.PredicateVSA} {
		if out, err := run("verify-attestation", "--type", predicate); err != nil {
			l.t.Errorf("cosign verify-attestation --type %s: %v\n%s", predicate, err, out)
		}
	}
	if out, err := run("verify-attestation", "--type", "slsaprovenance"); err == nil {
		l.t.Errorf("cosign found a provenance that nobody wrote:\n%s", out)
	}
}

func TestVulnerablePushIsDenied(t *testing.T) {
	t.Parallel()
	l := newLine(t, lineOptions{})
	l.serve()
	digest := l.push("team/app:1.0", l.build(images.Vulnerable()))
	image := l.awaitState(digest, pratique.StateDenied)
	if image.Outcome != pratique.Deny || len(image.Verdict.Reasons) != 5 || image.Counts.Total() != 9 {
		t.Errorf("outcome %q, reasons %+v, counts %v", image.Outcome, image.Verdict.Reasons, image.Counts)
	}
	if l.commits() != 1 || len(image.Deployments) != 0 {
		t.Errorf("%d commits, deployments %+v", l.commits(), image.Deployments)
	}
	for _, a := range image.Attestations {
		if a.PredicateType == "" {
			t.Error("a denied image was signed: a verifier that looks at signatures alone would accept it")
		}
	}
	if len(image.Attestations) != 4 {
		t.Errorf("%d attestations, want both SBOMs, the findings and the verdict",
			len(image.Attestations))
	}
}

// TestSamePushAgain checks that the same digest under the same tag makes no second commit, and that
// nothing that we attach to the image comes back as work: no loop.
func TestSamePushAgain(t *testing.T) {
	t.Parallel()
	l := newLine(t, lineOptions{})
	l.serve()
	image := l.build(images.Clean())
	digest := l.push("team/app:1.0", image)
	first := l.awaitState(digest, pratique.StateDeployed)
	// The registry would send another id for another push: it is a repeat all the same.
	if status := l.post(strings.NewReader(notification(l.registry.Host(), "team/app", "1.0",
		digest)), nil); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	// A submission is none: somebody wants to know.
	if _, err := l.client.Submit(t.Context(), l.registry.Host()+"/team/app:1.0", "", 0); err != nil {
		t.Fatal(err)
	}
	second := l.await(digest, "the second event's end", func(i api.Image) bool {
		return count(i, pratique.FactCompleted) == 2
	})
	if l.commits() != 2 || len(second.Deployments) != 1 || second.State != pratique.StateDeployed {
		t.Errorf("%d commits, state %q, deployments %+v", l.commits(), second.State, second.Deployments)
	}
	if second.VSA != first.VSA || count(second, pratique.FactAttested) != 1 ||
		count(second, pratique.FactInspected) != 1 {
		t.Errorf("the second event repeated work: %+v", second.Facts)
	}
	// Notifications are sent and worked on in their order: when this push has ended, all that the
	// first has led to is done.
	l.awaitState(l.push("team/other:1.0", l.version("later")), pratique.StateAllowed)
	if after := l.await(digest, "", func(api.Image) bool {
		return true
	}); len(after.Facts) != len(second.Facts) {
		t.Errorf("facts go on after the end: %+v", after.Facts[len(second.Facts):])
	}
}

func count(i api.Image, kind pratique.FactKind) int {
	n := 0
	for _, f := range i.Facts {
		if f.Kind == kind {
			n++
		}
	}
	return n
}

// TestNewestPushWins checks that an older image that is evaluated late does not overwrite a newer
// one, and that moving a tag back is a push like any other.
func TestNewestPushWins(t *testing.T) {
	t.Parallel()
	l := newLine(t, lineOptions{})
	older, newer := images.Clean(), images.Clean()
	older.Text, newer.Text = "older", "newer"
	a, b := l.build(older), l.build(newer)
	// Both are pushed while nobody works; the registry keeps the notifications and sends them in
	// order.
	first := l.push("team/app:1.0", a)
	second := l.push("team/app:1.0", b)
	l.serve()
	l.awaitState(second, pratique.StateDeployed)
	l.awaitState(first, pratique.StateSuperseded)
	l.checkFiles(second, "1.0")
	commits := l.commits()
	l.push("team/app:1.0", a)
	l.awaitState(first, pratique.StateDeployed)
	l.checkFiles(first, "1.0")
	if l.commits() != commits+1 {
		t.Errorf("%d commits after moving the tag back, %d before", l.commits(), commits)
	}
}

// TestIndex checks that every platform is inspected and attested, and that the index has the worst
// verdict.
func TestIndex(t *testing.T) {
	t.Parallel()
	l := newLine(t, lineOptions{})
	l.serve()
	arm := images.Clean()
	arm.Architecture = "arm64"
	good, err := images.Index(l.build(images.Clean()), l.build(arm))
	if err != nil {
		t.Fatal(err)
	}
	digest := l.push("team/app:1.0", good)
	image := l.awaitState(digest, pratique.StateDeployed)
	if len(image.Children) != 2 || len(image.Attestations) != 2 {
		t.Errorf("children %+v, %d attestations on the index", image.Children, len(image.Attestations))
	}
	for _, c := range image.Children {
		child := l.await(c.Digest, "the child's attestations", func(i api.Image) bool {
			return len(i.Attestations) == 5
		})
		if child.Outcome != pratique.Allow || child.Platform != c.Platform {
			t.Errorf("child %+v: outcome %q", c, child.Outcome)
		}
	}
	bad := images.Vulnerable()
	bad.Architecture = "arm64"
	mixed, err := images.Index(l.build(images.Clean()), l.build(bad))
	if err != nil {
		t.Fatal(err)
	}
	denied := l.awaitState(l.push("team/app:1.1", mixed), pratique.StateDenied)
	if len(denied.Verdict.Reasons) != 5 || denied.Verdict.Reasons[0].Platform != "linux/arm64" {
		t.Errorf("reasons %+v", denied.Verdict.Reasons)
	}
	if l.commits() != 2 {
		t.Errorf("%d commits", l.commits())
	}
}

// TestWantedPlatforms checks that platforms which the configuration leaves out do not count.
func TestWantedPlatforms(t *testing.T) {
	t.Parallel()
	l := newLine(t, lineOptions{extra: "platforms: [linux/amd64]"})
	l.serve()
	bad := images.Vulnerable()
	bad.Architecture = "arm64"
	mixed, err := images.Index(l.build(images.Clean()), l.build(bad))
	if err != nil {
		t.Fatal(err)
	}
	l.awaitState(l.push("team/app:1.0", mixed), pratique.StateDeployed)
	// Another spelling, or a variant, must not hide an image that runs on a wanted platform.
	for i, spelling := range []string{"x86_64", "386"} {
		hidden := images.Vulnerable()
		hidden.Architecture = spelling
		index, err := images.Index(l.build(images.Clean()), l.build(hidden))
		if err != nil {
			t.Fatal(err)
		}
		l.awaitState(l.push(fmt.Sprintf("team/app:hidden%d", i), index), pratique.StateDenied)
	}
	only, err := images.Index(l.build(bad))
	if err != nil {
		t.Fatal(err)
	}
	none := l.awaitState(l.push("team/app:1.1", only), pratique.StateFailed)
	if !strings.Contains(none.Failure.Message, "none of the platforms") {
		t.Errorf("failure %+v", none.Failure)
	}
}

// TestEachLayerOnce counts what is fetched: a layer that two images share is fetched once.
func TestEachLayerOnce(t *testing.T) {
	t.Parallel()
	var fetched sync.Map
	l := newLine(t, lineOptions{wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, blob, ok := strings.Cut(r.URL.Path, "/blobs/"); ok && r.Method == http.MethodGet {
				n, _ := fetched.LoadOrStore(blob, new(atomic.Int64))
				n.(*atomic.Int64).Add(1)
			}
			next.ServeHTTP(w, r)
		})
	}})
	l.serve()
	next := images.Clean()
	next.Text = "another application on the same base"
	for tag, spec := range map[string]images.Spec{"1": images.Clean(), "2": next} {
		image := l.build(spec)
		l.awaitState(l.push("team/app:"+tag, image), pratique.StateDeployed)
		layers, err := image.Layers()
		if err != nil {
			t.Fatal(err)
		}
		for i, layer := range layers {
			digest, err := layer.Digest()
			if err != nil {
				t.Fatal(err)
			}
			n, ok := fetched.Load(digest.String())
			if !ok || n.(*atomic.Int64).Load() != 1 {
				t.Errorf("layer %d of image %s was fetched %v times", i, tag, n)
			}
		}
	}
}
