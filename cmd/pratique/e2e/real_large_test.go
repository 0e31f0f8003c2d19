package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pratique-dev/pratique"
)

// TestLargeImage measures what an image of 1 GiB costs: the real base, and eight layers of 128 MiB,
// half of which does not compress. It prints wall time, processor time, bytes fetched and the most
// memory that the service and its children held together, beside the two scanners' command lines.
// It fails if a layer was fetched twice, or if anything is left.
func TestLargeImage(t *testing.T) {
	data := realData(t)
	tools := commandLines(t)
	l := newLine(t, lineOptions{
		config: realConfig, noDB: true, onDisk: true, policy: "  blockAt: CRITICAL",
		files: func(host string) fileSet {
			return fileSet{"clusters/production/large/kustomization.yaml": kustomization(host+
				"/team/large", "")}
		},
	})
	l.push("aqua/trivy-db:2", fromLayout(t, filepath.Join(data, "db", "oci"), "trivy-db-a:2"))
	b := &bench{line: l, tools: tools, tree: startService(t, tools["PRATIQUE_BINARY"], l.configFile)}
	l.awaitReady()
	b.prepareTools()
	image := largeImage(t, fromLayout(t, filepath.Join(data, "images"), "base:1"))
	packed := packedSize(t, image)
	b.upload("team/large", image)
	b.tree.awaitIdle()
	idle := b.tree.memory()
	stop := b.tree.watchMemory()
	cpu := b.tree.cpu()
	started := time.Now()
	var settled pratique.Digest
	requests, down := b.traffic(func() {
		b.put("team/large:1", image)
		settled = digestOfImage(t, image)
		b.awaitState(settled, pratique.StateDeployed)
	})
	wall := time.Since(started)
	cpu = b.tree.cpu() - cpu
	peak := stop()
	ref := b.registry.Host() + "/team/large@" + settled.String()
	trivy := b.run("PRATIQUE_TRIVY", "image", "--scanners", "vuln", "--format", "json", "--output",
		filepath.Join(b.dir, "trivy.json"),
		"--cache-dir", b.cache, "--skip-db-update", "--quiet", ref)
	syft := b.run("PRATIQUE_SYFT", "scan", "registry:"+ref, "-q", "-o", "spdx-json="+
		filepath.Join(b.dir, "spdx"), "-o", "cyclonedx-json="+filepath.Join(b.dir, "cdx"))
	fmt.Printf("\n| image of 1 GiB, %.0f MB packed | wall s | CPU s | down | memory |\n|---|---|---|---|---|\n"+
		"| Pratique, push to commit | %.2f | %.2f | %.0f MB, %d requests | %d MiB, idle %d MiB |\n| trivy, findings only | %.2f | %.2f | %.0f MB | |\n| syft, both SBOMs | %.2f | %.2f | %.0f MB | |\n\n",
		float64(packed)/1e6, wall.Seconds(), cpu.Seconds(), float64(down)/1e6, requests, peak>>20,
		idle>>20,
		trivy.wall.Seconds(), trivy.cpu.Seconds(), float64(trivy.bytes)/1e6, syft.wall.Seconds(),
		syft.cpu.Seconds(), float64(syft.bytes)/1e6)
	const evidence = 12 << 20 // manifests, and the attestations that are read back
	if down > packed+evidence {
		t.Errorf("%d bytes were fetched of an image of %d", down, packed)
	}
	if left, err := filepath.Glob(filepath.Join(b.dir, "*", "tmp", "*", "child-*",
		"job-*")); err != nil || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
}

func packedSize(t *testing.T, image v1.Image) int64 {
	t.Helper()
	manifest, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	var total int64
	for _, l := range manifest.Layers {
		total += l.Size
	}
	return total
}

// largeImage lays eight layers over the base.
func largeImage(t *testing.T, base v1.Image) v1.Image {
	t.Helper()
	dir := t.TempDir()
	var layers []v1.Layer
	for i := range 8 {
		path := filepath.Join(dir, fmt.Sprint(i))
		largeLayer(t, path, i)
		layer, err := tarball.LayerFromFile(path, tarball.WithMediaType(types.OCILayer))
		if err != nil {
			t.Fatal(err)
		}
		layers = append(layers, layer)
	}
	image, err := mutate.AppendLayers(base, layers...)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// largeLayer has 2,000 small files, 64 MiB of noise and about 60 MiB of log lines.
func largeLayer(t *testing.T, path string, i int) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	file := func(name string, content []byte) {
		t.Helper()
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644,
			Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	for k := range 2000 {
		file(fmt.Sprintf("data/l%d/small/%d/%d.txt", i, k/100, k),
			bytes.Repeat(fmt.Appendf(nil, "line %d of layer %d\n", k, i), 200))
	}
	r := rand.NewChaCha8([32]byte{byte(i)})
	noise := make([]byte, 16<<20)
	for k := range 4 {
		if _, err := io.ReadFull(r, noise); err != nil {
			t.Fatal(err)
		}
		file(fmt.Sprintf("data/l%d/rnd%d.bin", i, k), noise)
	}
	for k := range 4 {
		line := fmt.Sprintf("%d.%d GET /item/%d 200\n", i, r.Uint64(), k)
		file(fmt.Sprintf("data/l%d/txt%d.log", i, k),
			[]byte(strings.Repeat(line, (16<<20-2_000_000)/len(line))))
	}
	for _, c := range []io.Closer{w, z, f} {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// memory is what the processes of the tree hold together, in bytes; pages that several share are
// counted once.
func (p *processTree) memory() int64 {
	p.t.Helper()
	var total int64
	for _, pid := range p.pids() {
		own, files, _ := held(pid)
		total += own + files
	}
	return total
}

// held is what a process holds in bytes, pages that others have too in proportion: its own, and
// those of files that it has mapped, which the kernel drops when it needs the room. It is not ok if
// the process has just ended.
func held(pid int) (own, files int64, ok bool) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, 0, false
	}
	kib := func(key string) (n int64) {
		_, after, _ := bytes.Cut(raw, []byte(key))
		_, err := fmt.Sscan(string(after), &n)
		ok = err == nil
		return n << 10
	}
	files = kib("Pss_File:")
	return kib("Pss:") - files, files, ok
}

// watchMemory looks twenty times a second until stop is called, which gives the most that it saw.
func (p *processTree) watchMemory() (stop func() int64) {
	done := make(chan struct{})
	var seen []int64
	var looking sync.WaitGroup
	looking.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			seen = append(seen, p.memory())
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	})
	return func() int64 {
		close(done)
		looking.Wait()
		return slices.Max(seen)
	}
}
