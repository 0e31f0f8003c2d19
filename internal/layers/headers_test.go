package layers

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
)

// look passes a stream through headers in pieces of n bytes.
func look(stream []byte, most int64, n int) (int64, error) {
	h := newHeaders(most)
	for len(stream) > 0 {
		piece := stream[:min(n, len(stream))]
		if _, err := h.Write(piece); err != nil {
			return h.entries, err
		}
		stream = stream[len(piece):]
	}
	return h.entries, h.end()
}

func entries(t testing.TB, all ...*tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, h := range all {
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write(make([]byte, h.Size)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// forge changes the first header of a stream and mends its checksum.
func forge(stream []byte, change func(header []byte)) []byte {
	stream = bytes.Clone(stream)
	change(stream)
	copy(stream[148:156], "        ")
	sum := 0
	for _, c := range stream[:tarBlock] {
		sum += int(c)
	}
	copy(stream[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return stream
}

// negative is the size -1 in base 256.
var negative = []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

func TestHeaders(t *testing.T) {
	t.Parallel()
	file := func(name string, size int64) *tar.Header {
		return &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644}
	}
	long := strings.Repeat("d/", 200) + "f"
	gnu := &tar.Header{Typeflag: tar.TypeReg, Name: long, Size: 5, Format: tar.FormatGNU}
	pax := &tar.Header{Typeflag: tar.TypeReg, Name: long, Size: 5, Format: tar.FormatPAX}
	link := &tar.Header{Typeflag: tar.TypeSymlink, Name: "l", Linkname: "../../../etc/passwd"}
	device := &tar.Header{Typeflag: tar.TypeBlock, Name: "sda", Devmajor: 8}
	plain := entries(t, file("a", 700))
	paxSize := entries(t, &tar.Header{Typeflag: tar.TypeReg, Name: "a", Size: 700,
		PAXRecords: map[string]string{"X.y": "z"}, Format: tar.FormatPAX})
	for name, test := range map[string]struct {
		stream  []byte
		entries int64
		want    pratique.Kind
		says    string
	}{
		"nothing":        {nil, 0, pratique.Unknown, ""},
		"end mark alone": {make([]byte, 1024), 0, pratique.Unknown, ""},
		"files": {entries(t, file("a", 0), file("b", 1), file("c", 512), file("d", 513),
			file("e", 70000)), 5, pratique.Unknown, ""},
		"links, devices": {entries(t, link, device, file("x", 3), link), 4, pratique.Unknown, ""},
		"long names":     {entries(t, gnu, pax, file("x", 3)), 5, pratique.Unknown, ""},
		"no end mark":    {plain[:1536], 1, pratique.Unknown, ""},
		"more zeros":     {append(bytes.Clone(plain), make([]byte, 9000)...), 1, pratique.Unknown, ""},
		"what follows": {append(bytes.Clone(plain), "anything at all"...), 1, pratique.Corrupt,
			"follows the end"},
		"another tar": {append(bytes.Clone(plain), plain...), 1, pratique.Corrupt,
			"follows the end"},
		"a late byte": {append(append(bytes.Clone(plain), make([]byte, 5000)...), 1), 1,
			pratique.Corrupt, "follows the end"},
		"unknown type": {forge(plain, func(h []byte) {
			h[156] = 'Q'
		}), 1, pratique.Corrupt, "no runtime takes"},
		"link with a size": {forge(entries(t, link), func(h []byte) {
			copy(h[124:], "77777777777")
		}), 1, pratique.Corrupt, "with content"},
		"base 256": {forge(plain, func(h []byte) {
			copy(h[124:136], []byte{0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 700 >> 8, 700 & 0xff})
		}), 1, pratique.Unknown, ""},
		"too many": {entries(t, file("a", 0), file("b", 0), file("c", 0), file("d", 0),
			file("e", 0), file("f", 0)), 6, pratique.Exhausted, "more than 5 entries"},
		"below zero": {forge(plain, func(h []byte) {
			copy(h[124:136], negative)
		}), 1, pratique.Corrupt, "below zero"},
		"octal minus": {forge(plain, func(h []byte) {
			copy(h[124:136], "-0000000001\x00")
		}), 1, pratique.Corrupt, "below zero"},
		"beyond 63 bits": {forge(plain, func(h []byte) {
			copy(h[124:136], append([]byte{0x80, 1}, make([]byte, 10)...))
		}), 1, pratique.Corrupt, "no size"},
		"wrong checksum":  {append([]byte("b"), plain[1:]...), 1, pratique.Corrupt, "checksum"},
		"no tar":          {bytes.Repeat([]byte("<html>"), 100), 1, pratique.Corrupt, "checksum"},
		"cut in a header": {plain[:100], 0, pratique.Corrupt, "within"},
		"cut in a file":   {plain[:1000], 1, pratique.Corrupt, "within"},
		"cut in a record": {paxSize[:600], 1, pratique.Corrupt, "within"},
		"hole":            {append(make([]byte, 512), plain...), 0, pratique.Corrupt, "zeros"},
		"broken record": {bytes.Replace(paxSize, []byte("X.y="), []byte("X.y:"), 1), 1,
			pratique.Corrupt, "cannot be read"},
		"negative record": {forge(paxSize, func(h []byte) {
			copy(h[512:], "11 size=-1\n")
			copy(h[124:], "00000000013")
		}), 1, pratique.Corrupt, "below zero"},
		"record too large": {forge(paxSize, func(h []byte) {
			copy(h[124:], "00010000000")
		}), 1, pratique.Exhausted, "extended header"},
		"endless record": {forge(paxSize, func(h []byte) {
			copy(h[124:], "00003777777")
		}), 1, pratique.Corrupt, "within"},
		"path": {entries(t, file(strings.Repeat("x", 5000), 1)), 1, pratique.Exhausted,
			"path of 5000 bytes"},
		"nesting": {entries(t, file(strings.Repeat("x/", 600)+"f", 0)), 1,
			pratique.Exhausted, "600 directories"},
		"global size": {forge(paxSize, func(h []byte) {
			h[156] = 'g'
			copy(h[512:], "10 size=3\n")
			copy(h[124:], "00000000012")
		}), 1, pratique.Corrupt, "global"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, piece := range []int{1, 511, 4096, 1 << 20} {
				n, err := look(test.stream, 5, piece)
				if pratique.KindOf(err) != test.want || err != nil &&
					!strings.Contains(err.Error(), test.says) || n != test.entries {
					t.Fatalf("in pieces of %d: %d entries, error %v", piece, n, err)
				}
			}
		})
	}
}

// disguised are streams in which entries would hide if sizes were not taken as archive/tar takes
// them: it sees three entries or more, and who goes by the other size one, with content.
func disguised(t testing.TB) map[string][]byte {
	t.Helper()
	hidden := entries(t, &tar.Header{Typeflag: tar.TypeReg, Name: "b"},
		&tar.Header{Typeflag: tar.TypeReg, Name: "c"}, &tar.Header{Typeflag: tar.TypeReg, Name: "d"})
	cover := entries(t, &tar.Header{Typeflag: tar.TypeReg, Name: "a", Size: int64(len(hidden))})
	head := func(change func(h []byte)) []byte { return forge(cover, change)[:tarBlock] }
	none := head(func(h []byte) { copy(h[124:], "00000000000") })
	size := pax("size", fmt.Sprint(len(hidden)))
	return map[string][]byte{
		"directory by its name": append(head(func(h []byte) {
			h[0], h[1], h[156] = 'a', '/', 0
		}), hidden...),
		"directory by a long name": bytes.Join([][]byte{record(t, 'L', "a/\x00"), head(func(h []byte) {
			h[156] = 0
		}), hidden}, nil),
		"directory by a record": bytes.Join([][]byte{record(t, 'x', "11 path=a/\n"), head(func(h []byte) {
			h[156] = 0
		}), hidden}, nil),
		"a size that is taken back": bytes.Join([][]byte{record(t, 'x', size+"8 size=\n"), none,
			hidden}, nil),
		"a size before a global one": bytes.Join([][]byte{record(t, 'x', size),
			record(t, 'g', "8 a.b=c\n"), none, hidden}, nil),
	}
}

func TestDisguisedEntries(t *testing.T) {
	t.Parallel()
	for name, stream := range disguised(t) {
		t.Run(name, func(t *testing.T) {
			listed := int64(0)
			for r := tar.NewReader(bytes.NewReader(stream)); ; listed++ {
				if _, err := r.Next(); err != nil {
					if !errors.Is(err, io.EOF) {
						t.Fatal("archive/tar:", err)
					}
					break
				}
			}
			counted, err := look(stream, 100, 100)
			if listed < 3 || counted < listed && err == nil {
				t.Errorf("archive/tar sees %d entries, counted are %d", listed, counted)
			}
		})
	}
}

// FuzzHeaders holds headers against archive/tar: what it lets through has no entry of which
// archive/tar says that the size is below zero, and no more entries than it counted.
func FuzzHeaders(f *testing.F) {
	plain := entries(f, &tar.Header{Typeflag: tar.TypeReg, Name: "a", Size: 3},
		&tar.Header{Typeflag: tar.TypeSymlink, Name: "b", Linkname: "a"})
	f.Add(plain)
	f.Add(entries(f, &tar.Header{Typeflag: tar.TypeReg, Name: strings.Repeat("long/", 40) + "f",
		Size: 9, Format: tar.FormatPAX}))
	f.Add(entries(f, &tar.Header{Typeflag: tar.TypeReg, Name: strings.Repeat("long/", 40) + "f",
		Size: 9, Format: tar.FormatGNU}))
	f.Add(forge(plain, func(h []byte) { copy(h[124:136], negative) }))
	f.Add(forge(plain, func(h []byte) { h[156] = 'S'; h[482] = 1; copy(h[257:], "ustar  \x00") }))
	for _, stream := range disguised(f) {
		f.Add(stream)
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		counted, err := look(stream, 100, 100)
		again, errAgain := look(stream, 100, 1<<20)
		if counted != again || (err == nil) != (errAgain == nil) {
			t.Fatalf("%d %v, in one piece %d %v", counted, err, again, errAgain)
		}
		if err != nil {
			if !pratique.KindOf(err).Permanent() {
				t.Errorf("kind of %v", err)
			}
			return
		}
		r, listed := tar.NewReader(bytes.NewReader(stream)), int64(0)
		for {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return // stricter than we are, which is fine
			}
			if listed++; h.Size < 0 || listed > counted {
				t.Fatalf("archive/tar: entry %d of %d, size %d", listed, counted, h.Size)
			}
		}
	})
}

// BenchmarkHeaders is the cost of looking, over a stream with a header in every 16 KiB.
func BenchmarkHeaders(b *testing.B) {
	var all []*tar.Header
	for i := range 1000 {
		all = append(all, &tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("usr/share/file-%d",
			i), Size: 16 << 10})
	}
	stream := entries(b, all...)
	b.SetBytes(int64(len(stream)))
	for b.Loop() {
		if _, err := look(stream, 1e6, copyBuffer); err != nil {
			b.Fatal(err)
		}
	}
}
