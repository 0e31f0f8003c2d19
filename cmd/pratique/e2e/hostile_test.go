package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/template"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/internal/testenv/hostile"
	"github.com/pratique-dev/pratique/internal/testenv/images"
)

// envHostile runs the full sizes: make test-hostile.
const envHostile = "PRATIQUE_TEST_HOSTILE"

// plot is a registry that serves what no honest one would store.
type plot struct {
	mu        sync.Mutex
	manifests map[string]hostile.Image // by tag and by digest
	blobs     map[string][]byte
}

func (p *plot) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
		p.mu.Lock()
		img, isManifest := p.manifests[at]
		blob, isBlob := p.blobs[at]
		p.mu.Unlock()
		read := r.Method == http.MethodGet || r.Method == http.MethodHead
		switch {
		case read && isManifest && strings.Contains(r.URL.Path, "/manifests/"):
			w.Header().Set("Content-Type", img.MediaType)
			w.Header().Set("Docker-Content-Digest", img.Digest().String())
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(img.Manifest))
		case read && isBlob && strings.Contains(r.URL.Path, "/blobs/"):
			w.Header().Set("Content-Type", "application/octet-stream")
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(blob))
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// add serves img, under the digest that it is called by.
func (p *plot) add(tag string, d pratique.Digest, img hostile.Image) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.manifests[tag], p.manifests[d.String()] = img, img
	for digest, b := range img.Blobs {
		p.blobs[digest.String()] = b
	}
}

// hostileCase is an image, and how it has to end.
type hostileCase struct {
	name  string
	image func(full bool) hostile.Image
	// state is where the event ends. The rest is about failures: kind, and a word of the reason.
	state pratique.State
	kind  pratique.Kind
	says  string
	// as is the digest by which the image is called, if not by its own.
	as pratique.Digest
}

func sized(full bool, quick, large int64) int64 {
	if full {
		return large
	}
	return quick
}

// on puts a layer with these entries on a small Debian.
func on(entries ...hostile.Entry) func(bool) hostile.Image {
	return func(bool) hostile.Image {
		return hostile.Of(hostile.Base(), hostile.Gzip(bytes.NewReader(hostile.Tar(entries...))))
	}
}

func layer(stream func(full bool) io.Reader) func(bool) hostile.Image {
	return func(full bool) hostile.Image { return hostile.Of(hostile.Base(), hostile.Gzip(stream(full))) }
}

func raw(stream []byte) func(bool) hostile.Image {
	return layer(func(bool) io.Reader { return bytes.NewReader(stream) })
}

func hostileCases() []hostileCase {
	const allowed, failed = pratique.StateAllowed, pratique.StateFailed
	const limit, corrupt, invalid = pratique.Exhausted, pratique.Corrupt, pratique.Invalid
	bad := func(name string, image func(bool) hostile.Image, kind pratique.Kind,
		says string) hostileCase {
		return hostileCase{name: name, image: image, state: failed, kind: kind, says: says}
	}
	fine := func(name string, image func(bool) hostile.Image) hostileCase {
		return hostileCase{name: name, image: image, state: allowed}
	}
	var entries []hostile.Entry
	for i := range 200 {
		entries = append(entries,
			hostile.File(fmt.Sprintf("app/lib/python3/site-packages/x%d-1.dist-info/METADATA", i%3),
				[]byte("Name: x\nVersion: "+strconv.Itoa(i)+"\n")))
	}
	inner := hostile.Of(hostile.Base())
	return append(linkedCases(), []hostileCase{
		// Limits of the layer store.
		bad("gzip bomb", layer(func(full bool) io.Reader {
			return hostile.Zeros("zeros", sized(full, 80<<20, 3<<30))
		}), limit, "expands to more than"),
		bad("zstd bomb", func(full bool) hostile.Image {
			return hostile.Of(hostile.Base(),
				hostile.Zstd(hostile.Zeros("zeros", sized(full, 80<<20, 3<<30))))
		}, limit, "expands to more than"),
		bad("5 GB of zeros", layer(func(full bool) io.Reader {
			return hostile.Zeros("zeros", sized(full, 90<<20, 5<<30))
		}), limit, "expands to more than"),
		bad("too many entries", layer(func(full bool) io.Reader {
			return hostile.Many(int(sized(full, 3_000, 1_100_000)))
		}), limit, "entries"),
		fine("many entries", layer(func(full bool) io.Reader {
			return hostile.Many(int(sized(full, 1_000, 100_000)))
		})),
		bad("too many entries in all", func(full bool) hostile.Image {
			part := hostile.Gzip(hostile.Many(int(sized(full, 1_500, 600_000))))
			return hostile.Of(hostile.Base(), part, part)
		}, limit, "entries together"),
		// Tar streams that are not what they say.
		bad("negative size", raw(hostile.NegativeSize()), corrupt, "below zero"),
		bad("no tar", raw([]byte(strings.Repeat("<html>", 1000))), corrupt, "checksum"),
		bad("long path", on(hostile.File(strings.Repeat("x", 5000), nil)), limit, "path of 5000 bytes"),
		bad("deep path", on(hostile.File(strings.Repeat("x/", 1500)+"x", nil)), limit,
			"1500 directories"),
		bad("truncated layer", func(bool) hostile.Image {
			l := hostile.Base()
			l.Bytes = l.Bytes[:len(l.Bytes)/2]
			return hostile.Of(l)
		}, corrupt, "unexpected EOF"),
		bad("truncated tar", raw(hostile.Tar(hostile.File("a", make([]byte, 5000)))[:3000]),
			corrupt, "ends within"),
		bad("wrong diff id", func(bool) hostile.Image {
			l := hostile.Base()
			l.DiffID = pratique.DigestOf(nil)
			return hostile.Of(l)
		}, corrupt, "the configuration says"),
		// Manifests.
		bad("huge manifest", func(full bool) hostile.Image {
			return hostile.HugeManifest(int(sized(full, 5<<20, 100<<20)))
		}, limit, "larger than"),
		bad("many layers", func(bool) hostile.Image {
			all := make([]hostile.Layer, 600)
			for i := range all {
				all[i] = hostile.Base()
			}
			return hostile.Of(all...)
		}, limit, "600 layers"),
		// What it names is not there, so that it could not be inspected.
		{name: "index of indexes", image: func(bool) hostile.Image {
			return hostile.Nested(hostile.Nested(inner))
		}, state: pratique.StateDenied},
		bad("index of thousands", func(bool) hostile.Image {
			return hostile.Index(5000)
		}, limit, "5000 manifests"),
		{name: "index that contains itself", image: func(bool) hostile.Image {
			return hostile.Index(1)
		}, state: failed, kind: corrupt,
			// which is what its child is called
			says: "the bytes have digest", as: pratique.DigestOf(fmt.Append(nil, 0))},
		bad("foreign layer", func(bool) hostile.Image {
			l := hostile.Base()
			l.URLs = []string{"http://169.254.169.254/latest/meta-data"}
			return hostile.Of(l)
		}, invalid, "foreign layers are not read"),
		// What parsers have to live with.
		fine("links", on(hostile.Link("a", "b"), hostile.Link("b", "a"),
			hostile.Link("self", "self"), hostile.Link("etc/passwd", "../../../../etc/passwd"),
			hostile.Link("root", "/"), hostile.Link("app/requirements.txt", "/etc/shadow"),
			hostile.File("etc/shadow", nil), hostile.Hard("shadow", "/etc/shadow"))),
		bad("hard link out", on(hostile.Hard("up", "../../../etc/shadow")), corrupt,
			"to something out of the image"),
		bad("hard link to nothing", on(hostile.Hard("gone", "no/such/file")), corrupt,
			"no runtime can make it"),
		bad("package database in a circle", on(hostile.Link("var/lib/rpm", "/var/lib/rpm")),
			corrupt, "lead in a circle"),
		fine("devices", on(device("dev/sda", '4'), device("dev/zero", '3'),
			device("var/lib/dpkg/fifo", '6'), device("app/package.json", '3'))),
		bad("whiteouts", on(hostile.File("etc/.wh.passwd", nil), hostile.File("x/.wh..wh.aufs",
			nil)), corrupt, "a whiteout of a whiteout"),
		bad("whiteout without a name", on(hostile.File("lib/apk/.wh.", nil)), corrupt,
			"a whiteout without a name"),
		bad("whiteout of everything", on(hostile.File(".wh..wh..opq", nil)), corrupt,
			"a whiteout of the root"),
		bad("whiteout with content", on(hostile.File("etc/.wh.passwd", []byte("content"))), corrupt,
			"a whiteout with content"),
		bad("whiteout as a link", on(hostile.Link("etc/.wh.hosts", "/etc")), corrupt,
			"a whiteout that is no file"),
		fine("names that are absolute, or not text",
			raw(bytes.Join([][]byte{cut(hostile.RawName("/abs")), cut(hostile.RawName("a/../b")),
				hostile.RawName("\xff\xfe")}, nil))),
		bad("names that lead out",
			raw(bytes.Join([][]byte{cut(hostile.RawName("/abs")),
				hostile.RawName("../var/lib/dpkg/status")}, nil)), corrupt, "leads out of the image"),
		bad("names that lead out in the end", raw(hostile.RawName("a/../../b")), corrupt,
			"leads out of the image"),
		bad("a file for the root directory", raw(hostile.RawName("/")), corrupt,
			"in the place of the root directory"),
		bad("types that no runtime takes",
			raw(hostile.Forge(hostile.RawName("etc/passwd"), func(h []byte) {
				h[156] = '7'
			})), corrupt, "no runtime takes"),
		bad("bytes after the end",
			raw(append(hostile.Tar(hostile.File("a", nil)),
				hostile.Tar(hostile.File("b", nil))...)), corrupt, "follows the end of the tar"),
		bad("a table of contents that lies", func(bool) hostile.Image {
			return hostile.Of(hostile.Base(),
				hostile.TwoTrees(hostile.File("var/lib/dpkg/status", []byte("clean")),
					hostile.File("var/lib/dpkg/status", []byte("not clean"))))
		}, corrupt, "the table and the tar differ"),
		fine("duplicates", on(entries...)),
		bad("sparse, GNU", raw(hostile.Sparse("big.bin", 5<<30)), corrupt, "no runtime takes"),
		bad("sparse, PAX", raw(hostile.SparsePAX("bigger.bin", 5<<30)), limit, "file too large"),
		bad("sparse package file", raw(hostile.SparsePAX("app/package-lock.json", 5<<30)), limit,
			"file too large"),
		bad("sparse jar", raw(hostile.SparsePAX("app/big.jar", 5<<30)), limit, "file too large"),
		bad("damaged rpm, berkeley", on(hostile.Rpm("berkeley")...), corrupt,
			"var/lib/rpm/Packages cannot be read"),
		bad("damaged rpm, ndb", on(hostile.Rpm("ndb")...), corrupt,
			"var/lib/rpm/Packages.db cannot be read"),
		bad("damaged rpm, sqlite", on(hostile.Rpm("sqlite")...), corrupt,
			"var/lib/rpm/rpmdb.sqlite cannot be read"),
		// Syft panics, and Trivy comes upon a line that is too long
		bad("damaged apk", on(hostile.Apk()...), corrupt, ""),
		bad("damaged dpkg", on(hostile.Dpkg()...), corrupt, "var/lib/dpkg/status cannot be read"),
		fine("damaged files that are no package database",
			on(hostile.File("app/node_modules/x/package.json", []byte("{")),
				hostile.File("app/lib/python3/site-packages/x-1.dist-info/METADATA", []byte("\x00")),
				hostile.File("app/go.mod", []byte("module\n")))),
		// Texts that an image chooses: facts and reasons carry them.
		bad("many versions of one package", on(hostile.ManyVersions(200)), limit,
			"more than 100 versions"),
		bad("long versions", on(hostile.LongVersions(12, 60_000)), limit, "name, version or id of"),
		bad("long name of a module",
			on(hostile.File("bin/forged", hostile.GoBinary("path\tevil\nmod\tevil\tv0.0.0\t\ndep\t"+
				strings.Repeat("../", 1000)+"\tv1\n"))),
			limit, "name, version or id of"),
		fine("large labels", func(bool) hostile.Image { return hostile.Labeled(500_000) }),
		bad("huge labels", func(bool) hostile.Image {
			return hostile.Labeled(2 << 20)
		}, limit, "the labels have"),
		fine("deep json", on(hostile.DeepJSON(1_000_000))),
		bad("long lines", func(full bool) hostile.Image {
			return on(hostile.File("var/lib/dpkg/status.d/x",
				hostile.LongLines(int(sized(full, 8<<20, 60<<20)))))(full)
		}, corrupt, "var/lib/dpkg/status.d/x cannot be read"),
		fine("go binaries",
			on(hostile.File("bin/forged", hostile.GoBinary("path\tevil\nmod\tevil\tv0.0.0\t\ndep\t"+
				strings.Repeat("../", 300)+"\tv1\n")),
				hostile.File("bin/lying", hostile.LyingGoBinary()),
				hostile.File("bin/cut", hostile.LyingGoBinary()[:100]))),
		fine("jars", func(full bool) hostile.Image {
			return on(hostile.File("app/nested.jar", hostile.NestedJar(int(sized(full, 40, 300)))),
				hostile.File("app/lying.jar", hostile.LyingJar(0xfffffff0)),
				hostile.File("app/short.jar", hostile.LyingJar(1)),
				hostile.File("app/cut.jar", hostile.Jar(nil)[:60]),
				hostile.File("app/bomb.war",
					hostile.Jar(map[string][]byte{"lib/bomb.jar": make([]byte,
						sized(full, 20<<20, 1<<30))})))(full)
		}),
	}...)
}

// linkedCases are images of which a careless reader finds no vulnerable package: they are denied as
// if they were plain.
func linkedCases() []hostileCase {
	var all []hostileCase
	for _, linked := range images.AllLinked() {
		if !strings.HasPrefix(linked.Name, "dpkg: ") {
			continue
		}
		var layers []hostile.Layer
		for _, l := range linked.Layers {
			layers = append(layers, hostile.Gzip(bytes.NewReader(l)))
		}
		all = append(all, hostileCase{name: linked.Name, image: func(bool) hostile.Image {
			return hostile.Of(layers...)
		}, state: pratique.StateDenied})
	}
	return all
}

// cut takes the end mark off a stream.
func cut(stream []byte) []byte { return stream[:len(stream)-1024] }

func device(name string, kind byte) hostile.Entry {
	e := hostile.Link(name, "")
	e.Typeflag, e.Devmajor, e.Devminor = kind, 8, 1
	return e
}

const hostileConfig = `
dataDir: {{.Dir}}/disk/data
listen: {{.Listen}}
log: {level: warn}
registries:
  - host: {{.Registry}}
receivers:
  - name: main
    registry: {{.Registry}}
    secrets: ["file:{{.Dir}}/webhook"]
database: {dir: "{{.Dir}}/db"}
api: {tokens: [{name: test, token: "file:{{.Dir}}/token", submit: true}]}
queue: {noSync: true}
`

// TestHostileImages sends each image of the corpus through the whole service, all at once. Each
// ends as the table says, the service stays small, nothing is left on disk, and an honest image
// passes after them.
func TestHostileImages(t *testing.T) {
	if raceDetector {
		t.Skip("the limits on memory and time are for processes as they are; make test-hostile has its own run")
	}
	full := os.Getenv(envHostile) != ""
	limits := "workers: {inspect: 2}\ninspect: {timeout: 60s, memory: 768MiB, written: 512MiB, layerSize: 64MiB, inFlight: 256MiB, entries: 2000}\n"
	if full {
		limits = "workers: {inspect: 2}\ninspect: {timeout: 5m}\n"
	}
	p := &plot{manifests: map[string]hostile.Image{}, blobs: map[string][]byte{}}
	l := newLine(t,
		lineOptions{wrap: p.wrap, config: template.Must(template.New("").Parse(hostileConfig + limits))})
	service := l.start("never")
	l.awaitReady()
	digests := map[string]pratique.Digest{}
	cases := hostileCases()
	for i, c := range cases {
		img, tag := c.image(full), fmt.Sprintf("h%d", i)
		d := img.Digest()
		if !c.as.IsZero() {
			d = c.as
		}
		digests[c.name] = d
		p.add(tag, d, img)
		if status := l.post(strings.NewReader(notification(l.registry.Host(), "team/app", tag, d)),
			nil); status != http.StatusAccepted {
			t.Fatalf("%s: status %d", c.name, status)
		}
	}
	for _, c := range cases {
		got := l.await(digests[c.name], "an end of "+c.name, func(i api.Image) bool { return ended(i) })
		if got.State != c.state {
			t.Errorf("%s: state %q, want %q; failure %+v", c.name, got.State, c.state, got.Failure)
			continue
		}
		if c.state == pratique.StateFailed && (got.Failure.Kind != c.kind || !got.Failure.Final ||
			!strings.Contains(got.Failure.Message, c.says)) {
			t.Errorf("%s: failure %+v, want %v with %q", c.name, got.Failure, c.kind, c.says)
		}
		if got.Failure != nil {
			t.Logf("%s: %s: %.200s", c.name, got.Failure.Kind, got.Failure.Message)
		}
	}
	l.awaitState(l.push("team/app:good", l.build(images.Clean())), pratique.StateAllowed)
	l.nothingLeft()
	peak := peakMemory(t, service.command.Process.Pid)
	t.Logf("the service needed %d MiB at most", peak>>20)
	if peak > 600<<20 {
		t.Errorf("the service needed %d MiB", peak>>20)
	}
}

// ended reports whether the event is over.
func ended(i api.Image) bool {
	switch i.State {
	case pratique.StateAllowed, pratique.StateDenied, pratique.StateFailed, pratique.StateIgnored, pratique.StateDeployed, pratique.StateSuperseded:
		return true
	}
	return false
}

// nothingLeft looks for what jobs left in the directories of children and of the layer store. The
// one directory that a child keeps between jobs has links to databases, and an empty one.
func (l *line) nothingLeft() {
	l.t.Helper()
	data := filepath.Join(l.dir, "disk", "data")
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		var left []string
		for _, dir := range []string{"tmp", "layers/tmp"} {
			err := filepath.WalkDir(filepath.Join(data, dir), func(path string, d os.DirEntry,
				err error) error {
				if strings.HasPrefix(d.Name(), "pratique-trivy-") {
					return filepath.SkipDir
				}
				if err == nil && (d.Type().IsRegular() && d.Name() != "lock" ||
					strings.HasPrefix(d.Name(), "job-")) {
					left = append(left, path)
				}
				return err
			})
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				l.t.Fatal(err)
			}
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			l.t.Errorf("left on disk: %v", left)
			return
		}
	}
}

// peakMemory is the most memory that a process has held, in bytes.
func peakMemory(t testing.TB, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Skip("this system does not say how much memory a process needed")
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		t.Fatal("no VmHWM")
	}
	kib, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

// TestDeadlyImage pushes an image that a child has no room for, among others: it fails at once, and
// the others pass.
func TestDeadlyImage(t *testing.T) {
	t.Parallel()
	if raceDetector {
		t.Skip("the race detector takes several times the memory that a child may use here")
	}
	p := &plot{manifests: map[string]hostile.Image{}, blobs: map[string][]byte{}}
	limits := "workers: {inspect: 2}\ninspect: {memory: 256MiB}\n"
	l := newLine(t,
		lineOptions{wrap: p.wrap, config: template.Must(template.New("").Parse(hostileConfig + limits))})
	l.start("never")
	l.awaitReady()
	deadly := on(hostile.ManyPackages(50_000))(false)
	p.add("deadly", deadly.Digest(), deadly)
	l.post(strings.NewReader(notification(l.registry.Host(), "team/app", "deadly", deadly.Digest())), nil)
	var good []pratique.Digest
	for i := range 2 {
		spec := images.Clean()
		spec.Text = strconv.Itoa(i)
		good = append(good, l.push(fmt.Sprintf("team/app:good%d", i), l.build(spec)))
	}
	for _, d := range good {
		l.awaitState(d, pratique.StateAllowed)
	}
	got := l.awaitState(deadly.Digest(), pratique.StateFailed)
	if f := got.Failure; f.Kind != pratique.Exhausted || !f.Final || f.Attempts != 1 ||
		!strings.Contains(f.Message, "too much memory") {
		t.Errorf("failure %+v", f)
	}
	if n := count(got, pratique.FactFailed); n != 1 {
		t.Errorf("%d failures on record", n)
	}
	l.awaitState(l.push("team/app:last", l.build(images.Vulnerable())), pratique.StateDenied)
	l.nothingLeft()
}
