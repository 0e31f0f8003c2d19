package e2e

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/cmd/pratique/child"
)

const (
	// memoryRest is how long the service rests before it is measured.
	memoryRest = 30 * time.Second
	// mostChild is what one process that parses images may hold then, mostAtRest all processes
	// together.
	mostChild, mostAtRest = 120 << 20, 200 << 20
	// burst is how many images are pushed at once.
	burst = 18
)

// TestMemoryAtRest measures what the service and its children hold: after the start, after a burst
// of real images, and when it has rested. It fails if they hold on to more than they should, and
// prints a table for docs/performance.md.
func TestMemoryAtRest(t *testing.T) {
	data, binary := realData(t), os.Getenv("PRATIQUE_BINARY")
	if binary == "" {
		t.Skip("PRATIQUE_BINARY is not set: make bench-memory DATA=DIR")
	}
	l := newLine(t, lineOptions{config: realConfig, noDB: true, onDisk: true,
		policy: "  blockAt: CRITICAL"})
	l.push("aqua/trivy-db:2", fromLayout(t, filepath.Join(data, "db", "oci"), "trivy-db-a:2"))
	b := &bench{line: l, tree: startService(t, binary, l.configFile)}
	l.awaitReady()
	table := "| MiB | service | children that parse | those that match | together | mapped files |\n|---|---|---|---|---|---|\n"
	row := func(when string) memoryUse {
		use := b.tree.use()
		table += fmt.Sprintf("| %s | %s | %s | %s | %s | %s |\n", when, mib(use.service),
			mib(use.parse...), mib(use.match...), mib(use.total()), mib(use.files))
		return use
	}
	b.tree.awaitIdle()
	row("started")
	// push pushes images at once, and returns how long it takes until all are evaluated.
	push := func(versions []v1.Image) float64 {
		for i, image := range versions {
			b.upload(fmt.Sprintf("team/app-%d", i%6), image)
		}
		b.tree.awaitIdle()
		started := time.Now()
		for i, image := range versions {
			b.put(fmt.Sprintf("team/app-%d:%s", i%6, digestOfImage(t, image).Hex()[:12]), image)
		}
		for _, image := range versions {
			l.awaitState(digestOfImage(t, image), pratique.StateAllowed)
		}
		return time.Since(started).Seconds()
	}
	versions := b.versions(t, data, 2*burst+1)
	row(fmt.Sprintf("after %d images in %.1f s", burst, push(versions[:burst])))
	time.Sleep(memoryRest)
	rested := row(fmt.Sprintf("%.0f s later", memoryRest.Seconds()))
	row(fmt.Sprintf("after the next image, in %.2f s", push(versions[burst:burst+1])))
	time.Sleep(memoryRest)
	row(fmt.Sprintf("%.0f s later", memoryRest.Seconds()))
	row(fmt.Sprintf("after %d more in %.1f s", burst, push(versions[burst+1:])))
	fmt.Printf("\n%s\n", table)
	if most := slices.Max(append(rested.parse, rested.match...)); most > mostChild {
		t.Errorf("a child holds %d MiB at rest, more than %d", most>>20, mostChild>>20)
	}
	if rested.total() > mostAtRest {
		t.Errorf("all processes hold %d MiB at rest, more than %d", rested.total()>>20, mostAtRest>>20)
	}
}

// versions are n images: real ones, each with a file more.
func (b *bench) versions(t *testing.T, data string, n int) []v1.Image {
	t.Helper()
	var all []v1.Image
	for i := range n {
		source := fromLayout(t, filepath.Join(data, "images"), benchImages[i%3]+":1")
		file := fmt.Appendf(nil, `{"name":"app","version":"1.0.%d","license":"MIT"}`, i)
		var layer bytes.Buffer
		w := tar.NewWriter(&layer)
		err := w.WriteHeader(&tar.Header{Name: "app/package.json", Mode: 0o644, Size: int64(len(file))})
		_, writeErr := w.Write(file)
		if err := errors.Join(err, writeErr, w.Close()); err != nil {
			t.Fatal(err)
		}
		image, err := mutate.AppendLayers(source, static.NewLayer(layer.Bytes(),
			types.OCIUncompressedLayer))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, image)
	}
	return all
}

// memoryUse is what processes hold in bytes; pages that several share are counted once.
type memoryUse struct {
	service      int64
	parse, match []int64
	// files are pages of mapped files, of which the program itself is by far the largest.
	files int64
}

func (u memoryUse) total() int64 {
	total := u.service
	for _, n := range append(u.parse, u.match...) {
		total += n
	}
	return total
}

// use looks at each process of the tree.
func (p *processTree) use() memoryUse {
	p.t.Helper()
	var use memoryUse
	for _, pid := range p.pids() {
		own, files, ok := held(pid)
		arguments, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
		if !ok || err != nil {
			continue // it has just ended
		}
		use.files += files
		switch {
		case pid == p.root:
			use.service = own
		case bytes.Contains(arguments, []byte("--"+child.MatchFlag)):
			use.match = append(use.match, own)
		default:
			use.parse = append(use.parse, own)
		}
	}
	return use
}

func mib(bytes ...int64) string {
	var all []string
	for _, n := range bytes {
		all = append(all, strconv.FormatInt(n>>20, 10))
	}
	return strings.Join(all, ", ")
}
