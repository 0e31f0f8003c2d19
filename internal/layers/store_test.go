package layers

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/pratique-dev/pratique"
)

const (
	plainLayer = "application/vnd.oci.image.layer.v1.tar"
	gzipLayer  = plainLayer + "+gzip"
	zstdLayer  = plainLayer + "+zstd"
)

// tarOf makes a layer of one file with n bytes that do not compress.
func tarOf(t testing.TB, seed, n int) []byte {
	t.Helper()
	content := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed)}).Read(content)
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	if err := w.WriteHeader(&tar.Header{Name: fmt.Sprintf("file-%d", seed), Size: int64(n),
		Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func gzipped(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zstded(t testing.TB, b []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(b, nil)
}

// remoteLayer is a layer as a registry has it. It counts how often it was opened.
type remoteLayer struct {
	Descriptor
	bytes  []byte
	opened atomic.Int32
}

func layerOf(t testing.TB, seed, n int) *remoteLayer {
	raw := tarOf(t, seed, n)
	return describe(gzipLayer, gzipped(t, raw), raw)
}

func describe(mediaType string, compressed, raw []byte) *remoteLayer {
	return &remoteLayer{bytes: compressed, Descriptor: Descriptor{
		Digest: pratique.DigestOf(compressed), DiffID: pratique.DigestOf(raw), MediaType: mediaType,
		Size: int64(len(compressed))}}
}

func (l *remoteLayer) open(context.Context) (io.ReadCloser, error) {
	l.opened.Add(1)
	return io.NopCloser(bytes.NewReader(l.bytes)), nil
}

func openStore(t testing.TB, dir string, maxBytes int64) *Store {
	t.Helper()
	s, err := Open(dir, maxBytes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// fetch gets a layer and checks the file it gives.
func fetch(t testing.TB, s *Store, l *remoteLayer) (Layer, func()) {
	t.Helper()
	got, release, err := s.Get(t.Context(), l.Descriptor, l.open)
	if err != nil {
		t.Fatal(err)
	}
	checkFile(t, got)
	return got, release
}

func checkFile(t testing.TB, l Layer) {
	t.Helper()
	raw, err := os.ReadFile(l.Path)
	if err != nil {
		t.Fatal(err)
	}
	if got := pratique.DigestOf(raw); got != l.DiffID {
		t.Fatalf("file has digest %s, want %s", got, l.DiffID)
	}
}

// files lists the store's layers, and its leftovers with their directory.
func files(t testing.TB, dir string) (layers, rest []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		name, _ := filepath.Rel(dir, path)
		switch {
		case err != nil || d.IsDir() || name == "lock":
		case filepath.Ext(name) == ".tar":
			layers = append(layers, name)
		default:
			rest = append(rest, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return layers, rest
}

func wantKind(t testing.TB, err error, want pratique.Kind) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %v", want)
	}
	if got := pratique.KindOf(err); got != want {
		t.Errorf("kind %v, want %v: %v", got, want, err)
	}
}

func TestCompressions(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openStore(t, dir, 0)
	raw := tarOf(t, 1, 300<<10)
	half := len(raw) / 2
	for _, l := range []*remoteLayer{
		describe(gzipLayer, gzipped(t, raw), raw),
		// two members, as eStargz has
		describe(gzipLayer, append(gzipped(t, raw[:half]), gzipped(t, raw[half:])...), raw),
		describe(zstdLayer, zstded(t, raw), raw),
		// the bytes decide
		describe("application/vnd.docker.image.rootfs.diff.tar.gzip", zstded(t, raw), raw),
		describe(plainLayer, raw, raw),
	} {
		got, release := fetch(t, s, l)
		if got.Digest != l.Digest || got.Size != l.Size || got.MediaType != l.MediaType {
			t.Errorf("layer %+v", got)
		}
		release()
		if l.opened.Load() != 1 {
			t.Errorf("%s: a new compressed form was believed unseen", l.MediaType)
		}
		// Known now, and after a restart too.
		_, release = fetch(t, s, l)
		release()
		if l.opened.Load() != 1 {
			t.Errorf("%s: fetched twice", l.MediaType)
		}
	}
	empty := describe(plainLayer, nil, nil)
	_, release := fetch(t, s, empty)
	release()
	if stored, rest := files(t, dir); len(stored) != 2 || len(rest) != 2 {
		t.Errorf("files %v, %v", stored, rest)
	}
}

func TestBadLayers(t *testing.T) {
	t.Parallel()
	raw := tarOf(t, 1, 1<<16)
	z := gzipped(t, raw)
	flipped := bytes.Clone(z)
	flipped[len(z)/2] ^= 1
	with := func(change func(l *remoteLayer)) *remoteLayer {
		l := describe(gzipLayer, z, raw)
		change(l)
		return l
	}
	cut := &pratique.Error{Kind: pratique.Unavailable, Err: io.ErrUnexpectedEOF}
	bomb := make([]byte, 2<<20)
	var wide bytes.Buffer
	w, err := zstd.NewWriter(&wide, zstd.WithWindowSize(64<<20))
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Write(raw)
	// flushed before its size is known, so it names the window
	if err = errors.Join(err, w.Flush(), w.Close()); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		layer *remoteLayer
		want  pratique.Kind
	}{
		"other bytes": {with(func(l *remoteLayer) { l.bytes = flipped }), pratique.Corrupt},
		"other layer": {with(func(l *remoteLayer) {
			l.bytes = gzipped(t, tarOf(t, 2, 1<<16))
			l.Size = int64(len(l.bytes))
		}), pratique.Corrupt},
		// the OS in the header
		"other compression": {with(func(l *remoteLayer) {
			l.bytes = bytes.Clone(z)
			l.bytes[9] ^= 1
		}), pratique.Corrupt},
		"wrong diff id": {with(func(l *remoteLayer) {
			l.DiffID = pratique.DigestOf(nil)
		}), pratique.Corrupt},
		"truncated":         {with(func(l *remoteLayer) { l.bytes = z[:len(z)-20] }), pratique.Corrupt},
		"truncated, honest": {describe(gzipLayer, z[:len(z)-20], raw), pratique.Corrupt},
		"longer": {with(func(l *remoteLayer) {
			l.bytes = append(bytes.Clone(z), z...)
		}), pratique.Corrupt},
		"junk behind": {describe(gzipLayer, append(bytes.Clone(z), "junk"...), raw),
			pratique.Corrupt},
		"not compressed": {describe(gzipLayer, []byte("hello"), raw), pratique.Corrupt},
		"zstd damaged": {describe(zstdLayer,
			append(zstded(t, raw)[:1000], make([]byte, 1000)...), raw), pratique.Corrupt},
		"secretly gzip":     {describe(plainLayer, z, raw), pratique.Corrupt},
		"gzip bomb":         {describe(gzipLayer, gzipped(t, bomb), bomb), pratique.Exhausted},
		"zstd bomb":         {describe(zstdLayer, zstded(t, bomb), bomb), pratique.Exhausted},
		"zstd, wide window": {describe(zstdLayer, wide.Bytes(), raw), pratique.Exhausted},
		"expands too far": {describe(plainLayer, make([]byte, 5<<20), make([]byte, 5<<20)),
			pratique.Exhausted},
		"not a layer": {with(func(l *remoteLayer) {
			l.MediaType = "application/vnd.in-toto+json"
		}), pratique.Invalid},
		"no diff id": {with(func(l *remoteLayer) {
			l.DiffID = pratique.Digest{}
		}), pratique.Invalid},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := openStore(t, dir, 64<<20)
			s.Limits = Limits{ExpandedBytes: 4 << 20, RatioFloor: 256 << 10}
			_, release, err := s.Get(t.Context(), test.layer.Descriptor, test.layer.open)
			release()
			wantKind(t, err, test.want)
			if stored, rest := files(t, dir); len(stored)+len(rest) != 0 {
				t.Errorf("kept %v %v", stored, rest)
			}
			if n, _, bytes := s.dir.Stats(); n != 0 || bytes != 0 {
				t.Errorf("%d bytes of %d layers", bytes, n)
			}
			// The same diff id from a good source is not spoilt by it.
			_, release = fetch(t, s, describe(gzipLayer, z, raw))
			release()
		})
	}
	t.Run("network", func(t *testing.T) {
		t.Parallel()
		l := describe(gzipLayer, z, raw)
		s := openStore(t, t.TempDir(), 0)
		for _, body := range []io.Reader{io.MultiReader(bytes.NewReader(z[:100]), failing{cut}),
			failing{errors.New("untyped")}} {
			_, _, err := s.Get(t.Context(), l.Descriptor, func(context.Context) (io.ReadCloser, error) {
				return io.NopCloser(body), nil
			})
			wantKind(t, err, pratique.Unavailable)
		}
		_, _, err := s.Get(t.Context(), l.Descriptor, func(context.Context) (io.ReadCloser, error) {
			return nil, pratique.Errorf(pratique.NotFound, "fetch layer", "gone")
		})
		wantKind(t, err, pratique.NotFound)
	})
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// TestPairs: a manifest pairs the digest of a layer nobody saw with the diff id of one that is here.
func TestPairs(t *testing.T) {
	t.Parallel()
	s := openStore(t, t.TempDir(), 0)
	clean, evil := layerOf(t, 1, 1000), layerOf(t, 2, 1000)
	_, release := fetch(t, s, clean)
	defer release()
	evil.DiffID = clean.DiffID
	_, _, err := s.Get(t.Context(), evil.Descriptor, evil.open)
	wantKind(t, err, pratique.Corrupt)
	lying := &remoteLayer{Descriptor: clean.Descriptor, bytes: clean.bytes}
	lying.Size++
	_, _, err = s.Get(t.Context(), lying.Descriptor, lying.open)
	wantKind(t, err, pratique.Corrupt)
	_, again := fetch(t, s, clean)
	again()
}

func TestConcurrentGet(t *testing.T) {
	t.Parallel()
	s := openStore(t, t.TempDir(), 0)
	l := layerOf(t, 1, 100<<10)
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if i%4 == 0 {
				cancel() // those who gave up must not take the others with them
			}
			got, release, err := s.Get(ctx, l.Descriptor, l.open)
			defer release()
			if i%4 == 0 {
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
			checkFile(t, got)
		})
	}
	group.Wait()
	// Who was canceled while holding the turn may have opened it in vain.
	if n := l.opened.Load(); n < 1 || n > 6 {
		t.Errorf("fetched %d times", n)
	}

	once := layerOf(t, 2, 100<<10)
	for range 20 {
		group.Go(func() {
			_, release, err := s.Get(t.Context(), once.Descriptor, once.open)
			if err != nil {
				t.Error(err)
			}
			release()
		})
	}
	group.Wait()
	if n := once.opened.Load(); n != 1 {
		t.Errorf("fetched %d times by 20 at once", n)
	}
}

func TestEviction(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const size = 5 << 10
	s := openStore(t, dir, 20<<10) // room for three
	a, b, c, d := layerOf(t, 1, size), layerOf(t, 2, size), layerOf(t, 3, size), layerOf(t, 4, size)
	inUse, releaseA := fetch(t, s, a)
	_, releaseB := fetch(t, s, b)
	releaseB()
	_, releaseC := fetch(t, s, c)
	releaseC()
	_, again := fetch(t, s, b) // c is the least recently used now
	again()
	_, releaseD := fetch(t, s, d)
	releaseD()
	checkFile(t, inUse)
	for l, want := range map[*remoteLayer]int32{a: 1, b: 1, c: 2, d: 1} {
		if l == c {
			continue
		}
		_, release := fetch(t, s, l)
		release()
		if got := l.opened.Load(); got != want {
			t.Errorf("layer %s fetched %d times, want %d", l.Digest, got, want)
		}
	}
	_, release := fetch(t, s, c)
	release()
	if c.opened.Load() != 2 {
		t.Error("the least recently used layer was not the one that went")
	}
	checkFile(t, inUse)

	// All in use: an error, and never somebody's layer.
	held := []func(){releaseA}
	for _, l := range []*remoteLayer{b, c} {
		_, release := fetch(t, s, l)
		held = append(held, release)
	}
	_, _, err := s.Get(t.Context(), d.Descriptor, d.open)
	wantKind(t, err, pratique.Unavailable)
	checkFile(t, inUse)
	for _, release := range held {
		release()
		release() // twice does no harm
	}
	_, release = fetch(t, s, d)
	release()
	huge := layerOf(t, 5, 20<<10)
	_, _, err = s.Get(t.Context(), huge.Descriptor, huge.open)
	wantKind(t, err, pratique.Exhausted)
	if used(s) > 20<<10 || used(s) < 0 {
		t.Errorf("%d bytes in use", used(s))
	}
}

// TestEvictionUnderLoad gets more layers at once than fit, and reads each while it is held.
func TestEvictionUnderLoad(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openStore(t, dir, 120<<10)
	var all []*remoteLayer
	for i := range 12 {
		all = append(all, layerOf(t, i, 20<<10))
	}
	var group sync.WaitGroup
	for worker := range 4 {
		group.Go(func() {
			for i := range 24 {
				l := all[(i*(worker+1)+worker)%len(all)]
				got, release, err := s.Get(t.Context(), l.Descriptor, l.open)
				if err != nil {
					if pratique.KindOf(err) != pratique.Unavailable {
						t.Error(err)
					}
					continue
				}
				checkFile(t, got)
				release()
			}
		})
	}
	group.Wait()
	var sum int64
	stored, _ := files(t, dir)
	for _, name := range stored {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		sum += info.Size()
	}
	if sum != used(s) || sum > 120<<10 {
		t.Errorf("%d bytes on disk, %d accounted", sum, used(s))
	}
}

func TestRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openStore(t, dir, 0)
	good, torn, unnoted := layerOf(t, 1, 1000), layerOf(t, 2, 1000), layerOf(t, 3, 1000)
	for _, l := range []*remoteLayer{good, torn, unnoted} {
		_, release := fetch(t, s, l)
		release()
	}
	if _, err := Open(dir, 0); pratique.KindOf(err) != pratique.Unavailable {
		t.Errorf("opened twice: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// What a crash, a power failure and a full disk leave behind.
	if err := os.Truncate(filepath.Join(dir, layerFile(torn.DiffID)), 700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, unnoted.DiffID.Hex()+".json"), []byte(`[{"dig`),
		0o600); err != nil {
		t.Fatal(err)
	}
	leftovers := []string{"tmp/abc-1", strings.Repeat("1", 64) + ".json"}
	for _, name := range append(leftovers, "README") {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s = openStore(t, dir, 0)
	_, rest := files(t, dir)
	for _, name := range leftovers {
		if strings.Contains(strings.Join(rest, " "), name) {
			t.Errorf("%s is still there", name)
		}
	}
	if !strings.Contains(strings.Join(rest, " "), "README") {
		t.Error("a file that is not ours was removed")
	}
	for l, want := range map[*remoteLayer]int32{good: 1, torn: 2, unnoted: 2} {
		_, release := fetch(t, s, l)
		release()
		if got := l.opened.Load(); got != want {
			t.Errorf("layer fetched %d times, want %d", got, want)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// A smaller store than before makes room at once.
	s = openStore(t, dir, 3000)
	if stored, _ := files(t, dir); len(stored) != 1 || used(s) > 3000 {
		t.Errorf("%d layers, %d bytes", len(stored), used(s))
	}
}

// registryOf is a Source over layers in memory.
type registryOf struct {
	remote Remote
	layers map[pratique.Digest]*remoteLayer
}

func (r registryOf) Image(context.Context, pratique.Subject) (Remote, error) { return r.remote, nil }

func (r registryOf) Layer(ctx context.Context, _ pratique.Repository,
	d Descriptor) (io.ReadCloser, error) {
	return r.layers[d.Digest].open(ctx)
}

func (r registryOf) Has(_ context.Context, repo pratique.Repository, d Descriptor) error {
	if repo != r.remote.Subject.Repository {
		return pratique.Errorf(pratique.NotFound, "find layer", "%s has no %s", repo, d.Digest)
	}
	return nil
}

// TestLayerOfAnotherRepository: layers that another repository brought are used for an image only
// if its own has them.
func TestLayerOfAnotherRepository(t *testing.T) {
	t.Parallel()
	s := openStore(t, t.TempDir(), 0)
	l := layerOf(t, 1, 1000)
	ours := pratique.Subject{Repository: pratique.Repository{Registry: "r.test", Path: "a"},
		Digest: pratique.DigestOf([]byte("m"))}
	from := registryOf{layers: map[pratique.Digest]*remoteLayer{l.Digest: l},
		remote: Remote{Subject: ours, Layers: []Descriptor{l.Descriptor}}}
	for range 2 { // fetched, and known
		_, release, err := s.Image(t.Context(), from, ours)
		if err != nil {
			t.Fatal(err)
		}
		release()
	}
	theirs := elsewhere{from, pratique.Subject{Repository: pratique.Repository{Registry: "r.test",
		Path: "b"}, Digest: ours.Digest}}
	_, _, err := s.Image(t.Context(), theirs, theirs.subject)
	wantKind(t, err, pratique.NotFound)
	if l.opened.Load() != 1 || inUse(s) != 0 {
		t.Errorf("opened %d times, %d users", l.opened.Load(), inUse(s))
	}
}

// elsewhere is the same image in a repository without its layers.
type elsewhere struct {
	registryOf
	subject pratique.Subject
}

func (e elsewhere) Image(context.Context, pratique.Subject) (Remote, error) {
	r := e.remote
	r.Subject = e.subject
	return r, nil
}

func TestStoreImage(t *testing.T) {
	t.Parallel()
	s := openStore(t, t.TempDir(), 0)
	source := registryOf{layers: map[pratique.Digest]*remoteLayer{}, remote: Remote{
		Subject: pratique.Subject{Repository: pratique.Repository{Registry: "r.test", Path: "a"},
			Digest: pratique.DigestOf([]byte("m"))},
		Platform: "linux/amd64", MediaType: "m", Manifest: []byte("m"), Config: []byte("c")}}
	for i := range 10 {
		l := layerOf(t, i%9, 1000+i%9) // one layer occurs twice
		source.layers[l.Digest] = l
		source.remote.Layers = append(source.remote.Layers, l.Descriptor)
	}
	img, release, err := s.Image(t.Context(), source, source.remote.Subject)
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range img.Layers {
		checkFile(t, l)
		if l.Digest != source.remote.Layers[i].Digest {
			t.Errorf("layer %d is another", i)
		}
	}
	release()
	release()
	if n := inUse(s); n != 0 {
		t.Errorf("%d layers in use after release", n)
	}
	bad := source.layers[source.remote.Layers[9].Digest]
	bad.bytes = bad.bytes[1:]
	fresh := openStore(t, t.TempDir(), 0)
	_, release, err = fresh.Image(t.Context(), source, source.remote.Subject)
	release()
	wantKind(t, err, pratique.Corrupt)
	if n := inUse(fresh); n != 0 {
		t.Errorf("%d layers in use after a failure", n)
	}
}

func FuzzExpand(f *testing.F) {
	raw := tarOf(f, 1, 10)
	f.Add(gzipped(f, raw), gzipLayer)
	f.Add(zstded(f, raw), zstdLayer)
	f.Add(raw, plainLayer)
	s := &Store{Limits: Limits{ExpandedBytes: 1 << 20, RatioFloor: 1 << 10}}
	f.Fuzz(func(t *testing.T, b []byte, mediaType string) {
		if !IsLayerType(mediaType) {
			return
		}
		var out bytes.Buffer
		want := Descriptor{Digest: pratique.DigestOf(b), DiffID: pratique.DigestOf(raw),
			MediaType: mediaType, Size: int64(len(b))}
		n, err := s.expand(t.Context(), bytes.NewReader(b), want, &out)
		if err == nil && (out.String() != string(raw) || n.size != int64(len(raw))) {
			t.Errorf("expanded to %q", out.Bytes())
		}
		if err != nil && !pratique.KindOf(err).Permanent() {
			t.Errorf("kind of %v", err)
		}
		if out.Len() > 1<<20 {
			t.Errorf("wrote %d bytes", out.Len())
		}
	})
}

// realLayer is a layer like real ones: thousands of files that compress to about a third.
func realLayer(t testing.TB, size int) *remoteLayer {
	t.Helper()
	random := rand.NewChaCha8([32]byte{7})
	words := make([][]byte, 4096)
	for i := range words {
		words[i] = make([]byte, 3+i%13)
		_, _ = random.Read(words[i])
	}
	var raw bytes.Buffer
	w := tar.NewWriter(&raw)
	content := make([]byte, 0, 32<<10)
	for n := 0; raw.Len() < size; n++ {
		content = content[:0]
		for len(content) < 16<<10 {
			content = append(content, words[random.Uint64()%uint64(len(words))]...)
		}
		if err := w.WriteHeader(&tar.Header{Name: fmt.Sprintf("usr/share/file-%d", n),
			Size: int64(len(content)), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return describe(gzipLayer, gzipped(t, raw.Bytes()), raw.Bytes())
}

// BenchmarkGet is the first sight of a layer of 33 MB or so; the rate is that of its compressed
// bytes.
func BenchmarkGet(b *testing.B) {
	l := realLayer(b, 100<<20)
	b.SetBytes(int64(len(l.bytes)))
	b.ReportMetric(float64(len(l.bytes))/1e6, "MB")
	for b.Loop() {
		s, err := Open(b.TempDir(), 0)
		if err != nil {
			b.Fatal(err)
		}
		_, release, err := s.Get(b.Context(), l.Descriptor, l.open)
		if err != nil {
			b.Fatal(err)
		}
		release()
		_ = s.Close()
	}
}

// TestFormsAtOnce asks for a layer in two compressed forms while both are fetched.
func TestFormsAtOnce(t *testing.T) {
	t.Parallel()
	raw := tarOf(t, 1, 1<<16)
	forms := []*remoteLayer{describe(gzipLayer, gzipped(t, raw), raw),
		describe(zstdLayer, zstded(t, raw), raw), describe(plainLayer, raw, raw)}
	s := openStore(t, t.TempDir(), 0)
	var all sync.WaitGroup
	// not called before the end: a mutex would order what is to be seen without order
	releases := make([]func(), 12)
	for i := range releases {
		all.Go(func() {
			l := forms[i%len(forms)]
			got, release, err := s.Get(t.Context(), l.Descriptor, l.open)
			if err != nil || got.Entries != 1 {
				t.Errorf("%d entries, error %v", got.Entries, err)
			}
			releases[i] = release
		})
	}
	all.Wait()
	for _, release := range releases {
		release()
	}
}

// inUse counts the layers in use, used the bytes of layers and reservations.
func inUse(s *Store) int {
	_, n, _ := s.dir.Stats()
	return n
}

func used(s *Store) int64 {
	_, _, bytes := s.dir.Stats()
	return bytes
}
