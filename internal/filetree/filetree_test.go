package filetree_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/filetree"
)

type layerOf = []header

func TestTree(t *testing.T) {
	for _, test := range []struct {
		name   string
		layers []layerOf
		want   string // what the tree holds, or
		fails  string // what the error says
	}{
		{"the last of two", []layerOf{{file("a", "1"), file("a", "2")}}, "a f 2", ""},
		{"a file over a directory", []layerOf{{file("a/b", "1"), file("a", "2")}}, "a f 2", ""},
		{"a directory over a file", []layerOf{{file("a", "1"), dir("a"), file("a/b", "2")}},
			"a d , a/b f 2", ""},
		{"a directory over a link",
			[]layerOf{{dir("x"), sym("a", "x"), dir("a"), file("a/b", "2")}}, "a d , a/b f 2, x d ", ""},
		{"through a link", []layerOf{{sym("a", "x"), file("a/b", "1")}}, "a l x, x d , x/b f 1", ""},
		{"through an absolute link", []layerOf{{sym("a/l", "/x/y"), file("a/l/b", "1")}},
			"a d , a/l l /x/y, x d , x/y d , x/y/b f 1", ""},
		{"beyond the root", []layerOf{{sym("a/l", "../../../x"), file("a/l/b", "1")}},
			"a d , a/l l ../../../x, x d , x/b f 1", ""},
		{"a circle", []layerOf{{sym("a", "b"), sym("b", "a"), file("a/x", "1")}}, "", "symbolic links"},
		{"below a file", []layerOf{{file("a", "1"), file("a/b", "2")}}, "", "no directory"},
		{"over a file of a lower layer", []layerOf{{file("a", "1")}, {file("a/b", "2")}},
			"a d , a/b f 2", ""},
		{"a hard link", []layerOf{{file("a", "1"), hard("b", "a")}}, "a f 1, b f 1", ""},
		{"a hard link keeps what it was made of",
			[]layerOf{{file("a", "1"), hard("b", "a"), file("a", "2")}}, "a f 2, b f 1", ""},
		{"a hard link from the root", []layerOf{{file("d/a", "1"), hard("b", "/d/a")}},
			"b f 1, d d , d/a f 1", ""},
		{"a hard link through a link",
			[]layerOf{{file("d/a", "1"), sym("l", "d"), hard("b", "l/a")}},
			"b f 1, d d , d/a f 1, l l d", ""},
		{"a hard link to a link", []layerOf{{sym("a", "x"), hard("d/b", "a")}},
			"a l x, d d , d/b l x", ""},
		{"a hard link to itself", []layerOf{{file("a", "1"), hard("a", "a")}}, "", "itself"},
		{"a hard link to a later entry", []layerOf{{hard("b", "a"), file("a", "1")}}, "",
			"where there is no file"},
		{"a hard link to a directory", []layerOf{{dir("a"), hard("b", "a")}}, "", "directory"},
		{"a hard link to nothing", []layerOf{{hard("b", "a")}}, "", "where there is no file"},
		{"a hard link to a lower layer", []layerOf{{file("a", "1")}, {hard("b", "a")}},
			"a f 1, b f 1", ""},
		{"a hard link to what goes later", []layerOf{{file("a", "1")}, {hard("b", "a")},
			{gone(".wh.a")}}, "b f 1", ""},
		{"a hard link to a link to a lower layer",
			[]layerOf{{file("a", "1")}, {hard("b", "a"), hard("c", "b")}}, "a f 1, b f 1, c f 1", ""},
		{"a hard link to what its layer hides",
			[]layerOf{{file("d/a", "1")}, {dir("d"), gone("d/.wh..wh..opq"), hard("b", "d/a")}}, "",
			"hides"},
		{"a hard link to what its layer removes",
			[]layerOf{{file("a", "1")}, {gone(".wh.a"), hard("b", "a")}}, "", "removed"},
		{"a whiteout", []layerOf{{file("d/a", "1"), file("d/b", "1")}, {gone("d/.wh.a")}},
			"d d , d/b f 1", ""},
		{"a whiteout in its own layer comes first",
			[]layerOf{{file("a", "1")}, {gone(".wh.a"), file("a", "2")}}, "a f 2", ""},
		{"a whiteout after the file", []layerOf{{file("a", "1"), gone(".wh.a")}}, "", "runtimes differ"},
		{"a whiteout and a directory", []layerOf{{file("a/b", "1")}, {gone(".wh.a"), dir("a")}}, "",
			"runtimes differ"},
		{"a whiteout without a name", []layerOf{{file("a/b", "1")}, {gone("a/.wh.")}}, "",
			"names nothing"},
		{"a whiteout through a link of its layer",
			[]layerOf{{file("d/a", "1")}, {sym("l", "d"), gone("l/.wh.a")}}, "d d , l l d", ""},
		{"a whiteout through a link of a lower layer", []layerOf{{file("d/a", "1"), sym("l", "d")},
			{gone("l/.wh.a")}}, "", "runtimes differ"},
		{"below a whiteout", []layerOf{{file(".wh.a/b", "1")}}, "", "below a whiteout"},
		{"what AUFS kept", []layerOf{{dir(".wh..wh.plnk"), file(".wh..wh.plnk/1", "1"),
			file("a", "2")}}, "a f 2", ""},
		{"an opaque directory",
			[]layerOf{{file("d/a", "1")}, {dir("d"), file("d/b", "2"), gone("d/.wh..wh..opq")}},
			"d d , d/b f 2", ""},
		{"an opaque root", []layerOf{{file("a", "1")}, {gone(".wh..wh..opq"), file("b", "2")}}, "",
			"runtimes differ"},
		{"a link replaced by a directory", []layerOf{{file("target/keep", "1"), sym("link", "/target")},
			{dir("link"), gone("link/.wh..wh..opq"), file("link/new", "2")}},
			"link d , link/new f 2, target d , target/keep f 1", ""},
		{"a link replaced too late", []layerOf{{file("target/keep", "1"), sym("link", "/target")},
			{gone("link/.wh..wh..opq"), dir("link"), file("link/new", "2")}}, "", "runtimes differ"},
		{"an implied directory over a link", []layerOf{{file("t/a", "1"), sym("l", "t")},
			{file("l/b", "2")}}, "l d , l/b f 2, t d , t/a f 1", ""},
		{"a package database through a link of a lower layer",
			[]layerOf{{file("var/lib/dpkg/status", "1"), sym("l", "var/lib")},
				{file("l/dpkg/status", "2")}}, "", "runtimes differ"},
		{"a package database instead of a link",
			[]layerOf{{file("opt/dpkg/status", "1"), sym("var/lib", "/opt")},
				{file("var/lib/dpkg/status", "2")}}, "", "runtimes differ"},
		{"a directory that was something else before",
			[]layerOf{{file("d/a", "1")}, {sym("d", "x"), dir("d"), file("d/b", "2")}}, "",
			"runtimes differ"},
		{"up from a link of a lower layer", []layerOf{{dir("p/q"), sym("l", "p/q")},
			{sym("a", "l/../x"), file("a/b", "1")}}, "", "runtimes differ"},
		{"a directory replaced by a link", []layerOf{{file("app/a", "1"), file("opt/a", "2")},
			{sym("app", "opt")}}, "app l opt, opt d , opt/a f 2", ""},
		{"removed and made again", []layerOf{{file("d/a", "1")}, {gone(".wh.d")},
			{file("d/b", "2")}}, "d d , d/b f 2", ""},
		{"names are cleaned",
			[]layerOf{{file("./a//b", "1"), file("/c", "2"), file("x/../d", "3")}},
			"a d , a/b f 1, c f 2, d f 3", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			img, err := new(filetree.Cache).Image(t.Context(), image(t, test.layers...))
			if test.fails != "" {
				if err == nil || !strings.Contains(err.Error(), test.fails) ||
					pratique.KindOf(err) != pratique.Corrupt {
					t.Fatalf("got %v (kind %v), want an error about %q", err, pratique.KindOf(err),
						test.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(listed(t, img), ", "); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestResolve(t *testing.T) {
	img, err := new(filetree.Cache).Image(t.Context(), image(t, layerOf{
		file("d/e/f", "1"), sym("abs", "/d"), sym("rel", "d/e"), sym("d/up", "../../../d/e"),
		sym("chain", "abs/up/f"),
		sym("loop", "loop"), sym("a/ping", "pong"), sym("a/pong", "ping"), sym("dangling", "no"),
		sym("via", "rel/../e"), sym("self", "."),
	}))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"d/e/f": "d/e/f", "abs/e/f": "d/e/f", "rel/f": "d/e/f", "d/up/f": "d/e/f", "chain": "d/e/f",
		"loop": "loop", "a/ping": "loop",
		"dangling": "", "via/f": "d/e/f", "self/self/self/d": "d", "d/e/f/g": "", "../../d": "d",
		"/": "", "nothing": "",
		strings.Repeat("self/", 40) + "d": "d", strings.Repeat("self/", 41) + "d": "loop",
	} {
		real, n, err := img.Resolve(name)
		switch {
		case want == "loop":
			if err == nil {
				t.Errorf("%s: no error", name)
			}
		case err != nil || real != want || (n == nil) != (want == "" && name != "/"):
			t.Errorf("%s: got %q, %v, %v; want %q", name, real, n, err, want)
		}
	}
}

// TestBaseIsPutTogetherOnce: whatever is remembered of other images, the answer is that of a memory
// without any.
func TestBaseIsPutTogetherOnce(t *testing.T) {
	base := []layerOf{{file("lib/a", "1"), file("lib/b", "1"), sym("l", "lib")}, {file("etc/x", "1")}}
	memory := new(filetree.Cache)
	for _, upper := range [][]layerOf{
		{{file("app", "1")}}, {{gone("lib/.wh.a"), file("etc/y", "2")}},
		{{file("lib/a", "3")}, {gone("lib/.wh.b")}}, {}, {{gone(".wh.lib")}}, {{file("app", "1")}},
		{{file("lib/a", "3")}, {file("lib/c", "3")}, {file("lib/d", "3")}},
	} {
		img := image(t, slices.Concat(base, upper)...)
		got, err := memory.Image(t.Context(), img)
		if err != nil {
			t.Fatal(err)
		}
		want, err := new(filetree.Cache).Image(t.Context(), img)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := listed(t, got), listed(t, want); !slices.Equal(got, want) {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func someBytes(random *rand.Rand, n int) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(random.UintN(256))
	}
	return data
}

// drawn makes entries of bytes: few names, so that they meet.
func drawn(data []byte) []layerOf {
	names := []string{"a", "b", "a/c", "b/c", "a/c/d", "b/d", "e", "e/c"}
	targets := []string{"a", "b", "../b", "/a/c", "c", "e", "b/c", "../e/c"}
	all := []layerOf{nil}
	for len(data) >= 3 && len(all) < 6 {
		kind, name, to := data[0], names[data[1]%8], targets[data[2]%8]
		last := &all[len(all)-1]
		switch kind % 16 {
		case 0, 1, 2, 3:
			*last = append(*last, file(name, fmt.Sprint(data[2])))
		case 4, 5, 6:
			*last = append(*last, dir(name))
		case 7, 8, 9:
			*last = append(*last, sym(name, to))
		case 10, 11:
			*last = append(*last, hard(name, names[data[2]%8]))
		case 12:
			at := strings.LastIndex(name, "/") + 1
			*last = append(*last, gone(name[:at]+".wh."+name[at:]))
		case 13:
			*last = append(*last, gone(name+"/.wh..wh..opq"))
		default:
			all = append(all, nil)
		}
		data = data[3:]
	}
	return all
}

// agrees compares the tree of layers with what the model makes of them. It reports whether there
// was something to compare.
func agrees(t testing.TB, all []layerOf) bool {
	t.Helper()
	img, err := new(filetree.Cache).Image(t.Context(), image(t, all...))
	want := onOverlay(all)
	if err != nil || want == nil {
		return false
	}
	if got := listed(t, img); !slices.Equal(got, want.list()) {
		t.Fatalf("%v\n got %q\nwant %q", all, got, want.list())
	}
	return true
}

// onOverlay is what the model makes of layers on overlayfs, nil if it cannot unpack them.
func onOverlay(all []layerOf) model {
	m := model{}
	for _, l := range all {
		upper := model{}
		if upper.unpack(l, m) != nil {
			return nil
		}
		m.lay(upper)
	}
	return m
}

func TestAgainstModel(t *testing.T) {
	random, compared := rand.New(rand.NewPCG(1, 2)), 0
	for range 3000 {
		if agrees(t, drawn(someBytes(random, 3*(1+random.IntN(12))))) {
			compared++
		}
	}
	if compared < 1000 {
		t.Errorf("%d images of 3000 were compared only", compared)
	}
}

func FuzzAgainstModel(f *testing.F) {
	f.Add([]byte{0, 1, 1, 14, 0, 0, 7, 0, 1, 12, 2, 2, 14, 0, 0, 0, 2, 3})
	f.Add([]byte{7, 0, 1, 0, 2, 2, 10, 3, 2, 15, 0, 0, 13, 0, 0, 5, 1, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < 200 {
			agrees(t, drawn(data))
		}
	})
}
