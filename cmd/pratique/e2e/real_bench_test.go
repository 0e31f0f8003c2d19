package e2e

import (
	"cmp"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/testenv/images"
)

// benchImages are pushed in this order into a service with an empty data directory: base is cold,
// the next two lie on layers that are known by then, the last shares nothing with them.
var benchImages = []string{"base", "app-go", "app-node", "app-clean"}

// configFiles is the number of manifests in the config repository.
const configFiles = 300

// measure is one image on one side, or one step of it.
type measure struct {
	wall, cpu       time.Duration
	requests, bytes int64
	// stages are the times from the push to each fact, and to the commit.
	stages map[string]time.Duration
}

// series are the measures of all repetitions, by image and then by step; "" is the whole.
type series map[string]map[string][]measure

func (s series) add(image, step string, m measure) {
	if s[image] == nil {
		s[image] = map[string][]measure{}
	}
	s[image][step] = append(s[image][step], m)
}

// TestSideBySide measures the time from a push until the commit is in the config repository, for
// the service and for the sequence of command lines that does the same, on one registry, in turns.
// It fails only if a side does not get there: times are printed, as Markdown tables for
// docs/performance.md, and evaluated by people.
func TestSideBySide(t *testing.T) {
	data := realData(t)
	tools := commandLines(t)
	repetitions, err := strconv.Atoi(cmp.Or(os.Getenv("PRATIQUE_BENCH_REPETITIONS"), "5"))
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := series{}, series{}
	var memory []int64
	for r := range repetitions {
		memory = append(memory, sideBySide(t, data, tools, r, ours, theirs))
	}
	fmt.Print(benchReport(t, repetitions, ours, theirs, memory))
}

// sideBySide is one repetition, with everything made anew. It returns the peak memory of the
// service.
func sideBySide(t *testing.T, data string, tools tools, repetition int, ours, theirs series) int64 {
	t.Helper()
	l := newLine(t, lineOptions{
		config: realConfig, noDB: true, onDisk: true,
		// No finding of this database is CRITICAL, and those without a severity are allowed, so
		// that every image is committed.
		policy: "  blockAt: CRITICAL",
		files:  func(host string) fileSet { return benchFiles(host, "team") },
	})
	if _, err := l.git.Create(t.Context(), "commandline",
		benchFiles(l.registry.Host(), "cli")); err != nil {
		t.Fatal(err)
	}
	l.push("aqua/trivy-db:2", fromLayout(t, filepath.Join(data, "db", "oci"), "trivy-db-a:2"))
	bench := &bench{line: l, tools: tools, tree: startService(t, tools["PRATIQUE_BINARY"], l.configFile)}
	l.awaitReady()
	bench.prepare()
	for i, image := range benchImages {
		source := fromLayout(t, filepath.Join(data, "images"), image+":1")
		sides := []func(){
			func() { ours.add(image, "", bench.service(image, source)) },
			func() { bench.commandLine(image, source, theirs) },
		}
		// Neither side is always the first to read an image.
		first := (i + repetition) % len(sides)
		sides[first]()
		sides[1-first]()
	}
	return bench.tree.peakMemory()
}

func benchFiles(host, folder string) fileSet {
	files := fileSet{}
	for _, image := range benchImages {
		files["clusters/production/"+image+"/kustomization.yaml"] = kustomization(host+"/"+folder+
			"/"+image, "")
	}
	for i := range configFiles {
		files[fmt.Sprintf("clusters/production/other-%03d/deployment.yaml", i)] = fmt.Sprintf(
			"apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: other-%03d\nspec:\n  template:\n    spec:\n      containers:\n        - name: main\n          image: registry.example.com/other/app-%03d:1.0.%d\n", i, i, i)
	}
	return files
}

func kustomization(image, digest string) string {
	text := "images:\n  - name: " + image + "\n    newTag: \"0\"\n"
	if digest != "" {
		text += "    digest: " + digest + "\n"
	}
	return text
}

func (l *line) awaitReady() {
	l.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		response, err := http.Get(l.baseURL + "/readyz")
		if err != nil {
			continue
		}
		_ = response.Body.Close()
		if response.StatusCode == http.StatusOK {
			return
		}
	}
	l.t.Fatal("the service did not become ready")
}

// bench is what one repetition measures with.
type bench struct {
	*line
	tools tools
	tree  *processTree
	// putRequests and putBytes are what pushing a manifest costs in the counts of the registry.
	putRequests, putBytes int64
	cache, key            string
}

// prepare makes what the command lines need, and measures a push that the service is not to hear of.
func (b *bench) prepare() {
	b.t.Helper()
	b.prepareTools()
	image := b.build(images.Clean())
	b.upload("quiet/image", image)
	b.putRequests, b.putBytes = b.traffic(func() { b.put("quiet/image:1", image) })
}

// upload pushes everything but the manifest: that is what the registry notifies of.
func (b *bench) upload(repository string, image v1.Image) {
	b.t.Helper()
	repo, err := name.NewRepository(b.registry.Host() + "/" + repository)
	if err != nil {
		b.t.Fatal(err)
	}
	blobs, err := image.Layers()
	if err != nil {
		b.t.Fatal(err)
	}
	config, err := partial.ConfigLayer(image)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, blob := range append(blobs, config) {
		if err := remote.WriteLayer(repo, blob, remote.WithContext(b.t.Context())); err != nil {
			b.t.Fatal(err)
		}
	}
}

func (b *bench) put(ref string, image v1.Image) {
	b.t.Helper()
	target, err := name.ParseReference(b.registry.Host() + "/" + ref)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := remote.Put(target, image, remote.WithContext(b.t.Context())); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) traffic(do func()) (requests, bytes int64) {
	requests, bytes = b.registry.Traffic()
	do()
	after, bytesAfter := b.registry.Traffic()
	return after - requests, bytesAfter - bytes
}

// head reads the branch from the file in which Git keeps it: a git process for each look would cost
// more than what is measured.
func (b *bench) head() string {
	b.t.Helper()
	raw, err := os.ReadFile(filepath.Join(b.git.Dir("config"), "refs", "heads", "main"))
	if err != nil {
		b.t.Fatal(err)
	}
	return strings.TrimSpace(string(raw))
}

// service pushes the image for the service, and measures until its commit is there.
func (b *bench) service(image string, source v1.Image) measure {
	b.t.Helper()
	digest := digestOfImage(b.t, source)
	b.upload("team/"+image, source)
	b.tree.awaitIdle()
	var m measure
	before, cpu := b.head(), b.tree.cpu()
	m.requests, m.bytes = b.traffic(func() {
		started := time.Now()
		b.put("team/"+image+":1", source)
		for b.head() == before {
			if time.Since(started) > patience {
				b.awaitState(digest, pratique.StateDeployed) // says what is wrong
			}
			time.Sleep(time.Millisecond)
		}
		m.wall = time.Since(started)
		settled := b.awaitState(digest, pratique.StateDeployed)
		b.tree.awaitIdle()
		m.stages = map[string]time.Duration{"commit": m.wall}
		for _, f := range settled.Facts {
			m.stages[string(f.Kind)] = f.At.Sub(started)
		}
	})
	m.cpu = b.tree.cpu() - cpu
	m.requests -= b.putRequests
	m.bytes -= b.putBytes
	if file := b.gitOutput("show", "main:clusters/production/"+image+
		"/kustomization.yaml"); !strings.Contains(file, digest.String()) {
		b.t.Errorf("the commit is not of %s:\n%s", digest, file)
	}
	return m
}

func digestOfImage(t testing.TB, image v1.Image) pratique.Digest {
	t.Helper()
	raw, err := image.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	return pratique.DigestOf(raw)
}
