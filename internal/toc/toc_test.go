package toc_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/containerd/stargz-snapshotter/estargz"
	"github.com/containerd/stargz-snapshotter/estargz/zstdchunked"
	"github.com/klauspost/compress/zstd"
	"go.podman.io/storage/pkg/chunked/compressor"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/layers"
	"github.com/pratique-dev/pratique/internal/testenv/hostile"
	"github.com/pratique-dev/pratique/internal/toc"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// file is an entry of a layer.
type file struct {
	tar.Header
	content []byte
}

func plain(name, content string) file {
	return file{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644,
		Size: int64(len(content))}, []byte(content)}
}

// root is a layer with everything that layers have.
func root() []file {
	return []file{
		{Header: tar.Header{Typeflag: tar.TypeDir, Name: "etc/", Mode: 0o755}},
		plain("etc/os-release", "ID=debian\n"),
		plain("etc/empty", ""),
		{Header: tar.Header{Typeflag: tar.TypeSymlink, Name: "etc/mtab", Linkname: "/proc/mounts",
			Mode: 0o777}},
		{Header: tar.Header{Typeflag: tar.TypeLink, Name: "etc/release", Linkname: "etc/os-release",
			Mode: 0o644}},
		{Header: tar.Header{Typeflag: tar.TypeChar, Name: "null", Mode: 0o666, Devmajor: 1, Devminor: 3}},
		{Header: tar.Header{Typeflag: tar.TypeFifo, Name: "pipe", Mode: 0o600}},
		{Header: tar.Header{Typeflag: tar.TypeDir, Name: "var/", Mode: 0o1777, Uid: 5, Gid: 6}},
		plain("var/.wh.gone", ""),
		plain("var/.wh..wh..opq", ""),
		plain("var/large", strings.Repeat("large ", 3000)),
		plain("var/holes", strings.Repeat("\x00", 9000)),
		{tar.Header{Typeflag: tar.TypeReg, Name: "ping", Mode: 0o4755, Size: 4, Format: tar.FormatPAX,
			PAXRecords: map[string]string{"SCHILY.xattr.security.capability": "\x01\x00\xff"}},
			[]byte("ping")},
		plain("var/"+strings.Repeat("long/", 30)+"name", "x"),
	}
}

func tarOf(t testing.TB, files ...file) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range files {
		must(t, w.WriteHeader(&f.Header))
		_, err := w.Write(f.content)
		must(t, err)
	}
	must(t, w.Close())
	return out.Bytes()
}

// layer is a compressed layer with what its manifest says of it.
type layer struct {
	bytes       []byte
	annotations map[string]string
}

// stargzOf builds an eStargz layer with the library that everybody builds them with.
func stargzOf(t testing.TB, raw []byte, options ...estargz.Option) layer {
	t.Helper()
	blob, err := estargz.Build(io.NewSectionReader(bytes.NewReader(raw), 0, int64(len(raw))),
		append([]estargz.Option{estargz.WithChunkSize(5000)}, options...)...)
	must(t, err)
	all, err := io.ReadAll(blob)
	must(t, err)
	must(t, blob.Close())
	return layer{all, map[string]string{estargz.TOCJSONDigestAnnotation: blob.TOCDigest().String()}}
}

// zstdOf builds a zstd:chunked layer with stargz-snapshotter's library.
func zstdOf(t testing.TB, raw []byte) layer {
	t.Helper()
	said := map[string]string{}
	blob, err := estargz.Build(io.NewSectionReader(bytes.NewReader(raw), 0, int64(len(raw))),
		estargz.WithChunkSize(5000),
		estargz.WithCompression(struct {
			*zstdchunked.Compressor
			*zstdchunked.Decompressor
		}{&zstdchunked.Compressor{CompressionLevel: zstd.SpeedDefault, Metadata: said},
			&zstdchunked.Decompressor{}}))
	must(t, err)
	all, err := io.ReadAll(blob)
	must(t, err)
	must(t, blob.Close())
	said[estargz.TOCJSONDigestAnnotation] = blob.TOCDigest().String()
	return layer{all, said}
}

func skippable(b []byte) []byte {
	head := binary.LittleEndian.AppendUint32([]byte{0x50, 0x2a, 0x4d, 0x18}, uint32(len(b)))
	return append(head, b...)
}

type object = map[string]any

// chunkedOf builds a zstd:chunked layer as containers/storage does (pkg/chunked/compressor): each
// content is a frame of its own, large ones several; then the table, the description of the tar,
// and the footer. change may lie.
func chunkedOf(t testing.TB, files []file, change func(entries []object)) layer {
	t.Helper()
	return chunkedWith(t, files, change, 64)
}

// chunkedWith is chunkedOf with a footer of another size, as earlier versions wrote it.
func chunkedWith(t testing.TB, files []file, change func(entries []object), size int) layer {
	t.Helper()
	raw := tarOf(t, files...)
	z, err := zstd.NewWriter(nil)
	must(t, err)
	var out bytes.Buffer
	add := func(b []byte) int64 {
		at := int64(out.Len())
		if len(b) > 0 {
			out.Write(z.EncodeAll(b, nil))
		}
		return at
	}
	kinds := map[byte]string{tar.TypeReg: "reg", tar.TypeDir: "dir", tar.TypeSymlink: "symlink",
		tar.TypeLink: "hardlink", tar.TypeChar: "char", tar.TypeFifo: "fifo"}
	var entries []object
	section := io.NewSectionReader(bytes.NewReader(raw), 0, int64(len(raw)))
	done := int64(0)
	for r := tar.NewReader(section); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		at, err := section.Seek(0, io.SeekCurrent)
		must(t, err)
		e := object{"type": kinds[h.Typeflag], "name": h.Name, "linkName": h.Linkname,
			"mode": h.Mode, "size": h.Size, "uid": h.Uid, "gid": h.Gid,
			"modtime": h.ModTime, "devMajor": h.Devmajor, "devMinor": h.Devminor}
		xattrs := object{}
		for k, v := range h.PAXRecords {
			if name, ok := strings.CutPrefix(k, "SCHILY.xattr."); ok {
				xattrs[name] = base64.StdEncoding.EncodeToString([]byte(v))
			}
		}
		e["xattrs"] = xattrs
		entries = append(entries, e)
		if h.Size == 0 {
			continue
		}
		add(raw[done:at])
		content := raw[at : at+h.Size]
		done = at + h.Size
		e["digest"] = pratique.DigestOf(content).String()
		const piece = 5000
		for from := 0; from < len(content); from += piece {
			part := content[from:min(from+piece, len(content))]
			if from > 0 {
				e = object{"type": "chunk", "name": h.Name, "chunkOffset": from}
				entries = append(entries, e)
			}
			e["offset"] = add(part)
			e["endOffset"] = out.Len()
			if len(content) > piece {
				e["chunkSize"], e["chunkDigest"] = len(part), pratique.DigestOf(part).String()
				if part[0] == 0 {
					e["chunkType"] = "zeros"
				}
			}
		}
	}
	add(raw[done:])
	if change != nil {
		change(entries)
	}
	split := z.EncodeAll([]byte("the description of the tar"), nil)
	table, err := json.Marshal(object{"version": 1, "entries": entries,
		"tarSplitDigest": pratique.DigestOf(split).String()})
	must(t, err)
	packed := z.EncodeAll(table, nil)
	place := int64(out.Len()) + 8
	out.Write(skippable(packed))
	splitPlace := int64(out.Len()) + 8
	out.Write(skippable(split))
	footer := make([]byte, 64)
	for i, n := range []int64{place, int64(len(packed)), int64(len(table)), 1, splitPlace,
		int64(len(split)), 26} {
		binary.LittleEndian.PutUint64(footer[8*i:], uint64(n))
	}
	copy(footer[56:], "GNUlInUx")
	if size < 64 {
		footer = append(append(footer[:32:32], "GnUlInUx"...), make([]byte, size-40)...)
	}
	out.Write(skippable(footer))
	const key = "io.github.containers.zstd-chunked."
	return layer{out.Bytes(), map[string]string{
		key + "manifest-checksum": pratique.DigestOf(packed).String(),
		key + "manifest-position": fmt.Sprintf("%d:%d:%d:1", place, len(packed), len(table)),
		key + "tarsplit-position": fmt.Sprintf("%d:%d:26", splitPlace, len(split)),
	}}
}

// get has the layer store take a layer.
func get(t testing.TB, l layer) error {
	t.Helper()
	var r io.Reader
	var err error
	mediaType := "application/vnd.oci.image.layer.v1.tar+gzip"
	if bytes.HasPrefix(l.bytes, []byte{0x1f, 0x8b}) {
		r, err = gzip.NewReader(bytes.NewReader(l.bytes))
	} else if bytes.HasPrefix(l.bytes, []byte{0x28, 0xb5}) {
		r, err = zstd.NewReader(bytes.NewReader(l.bytes))
		mediaType = "application/vnd.oci.image.layer.v1.tar+zstd"
	} else {
		r, mediaType = bytes.NewReader(l.bytes), "application/vnd.oci.image.layer.v1.tar"
	}
	must(t, err)
	raw, err := io.ReadAll(r)
	must(t, err)
	return getAs(t, l, mediaType, raw)
}

func getAs(t testing.TB, l layer, mediaType string, raw []byte) error {
	t.Helper()
	store, err := layers.Open(t.TempDir(), 0)
	must(t, err)
	defer func() { must(t, store.Close()) }()
	_, release, err := store.Get(t.Context(), layers.Descriptor{Digest: pratique.DigestOf(l.bytes),
		DiffID: pratique.DigestOf(raw), MediaType: mediaType,
		Size: int64(len(l.bytes)), Annotations: l.annotations},
		func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(l.bytes)), nil
		})
	release()
	return err
}

// storageOf builds a zstd:chunked layer with the library of podman, buildah and skopeo.
func storageOf(t testing.TB, raw []byte) layer {
	t.Helper()
	said := map[string]string{}
	var out bytes.Buffer
	w, err := compressor.ZstdCompressor(&out, said, nil)
	must(t, err)
	_, err = w.Write(raw)
	must(t, err)
	must(t, w.Close())
	return layer{out.Bytes(), said}
}

// TestHonest: layers as the builders of lazy images make them pass, with and without their
// annotations, and layers that are compressed otherwise pass too.
func TestHonest(t *testing.T) {
	t.Parallel()
	raw := tarOf(t, root()...)
	half := len(raw) / 2
	var z, two bytes.Buffer
	w := gzip.NewWriter(&z)
	_, err := w.Write(raw)
	must(t, err)
	must(t, w.Close())
	e, err := zstd.NewWriter(nil)
	must(t, err)
	two.Write(e.EncodeAll(raw[:half], nil))
	two.Write(e.EncodeAll(nil, nil))
	two.Write(e.EncodeAll(raw[half:], nil))
	for name, l := range map[string]layer{
		"tar":                           {bytes: raw},
		"gzip":                          {bytes: z.Bytes()},
		"zstd":                          {bytes: e.EncodeAll(raw, nil)},
		"zstd in frames":                {bytes: two.Bytes()},
		"eStargz":                       stargzOf(t, raw),
		"eStargz, small files together": stargzOf(t, raw, estargz.WithMinChunkSize(40000)),
		"eStargz, files first": stargzOf(t, raw,
			estargz.WithPrioritizedFiles([]string{"ping", "var/large"})),
		"eStargz of nothing":               stargzOf(t, tarOf(t)),
		"zstd:chunked by stargz":           zstdOf(t, raw),
		"zstd:chunked by storage":          storageOf(t, raw),
		"zstd:chunked by storage, of none": storageOf(t, tarOf(t)),
		"zstd:chunked by hand":             chunkedOf(t, root(), nil),
		"zstd:chunked of the year 2023":    chunkedWith(t, root(), nil, 56),
	} {
		if err := get(t, l); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := get(t, layer{bytes: l.bytes}); err != nil {
			t.Errorf("%s without annotations: %v", name, err)
		}
	}
}

// vulnerable is what an attacker wants a lazy node to run, and clean what is to be inspected.
var (
	vulnerable = plain("var/lib/dpkg/status", "Package: libssl3\nVersion: 3.0.9-1\n")
	clean      = plain("var/lib/dpkg/status", "Package: libssl3\nVersion: 3.0.17-1\n")
)

// TestTwoTrees: a layer whose table leads to other files than its tar is refused.
func TestTwoTrees(t *testing.T) {
	t.Parallel()
	zip := func(b []byte) []byte {
		var out bytes.Buffer
		w := gzip.NewWriter(&out)
		_, err := w.Write(b)
		must(t, err)
		must(t, w.Close())
		return out.Bytes()
	}
	// The layers of an eStargz are moved behind a clean tar, and its table and footer with it.
	behind := func(front []byte) layer {
		lying := stargzOf(t, tarOf(t, vulnerable))
		shift := int64(len(front))
		r, err := estargz.Open(io.NewSectionReader(bytes.NewReader(lying.bytes), 0,
			int64(len(lying.bytes))))
		must(t, err)
		e, _ := r.Lookup(vulnerable.Name)
		at, size, err := estargz.OpenFooter(io.NewSectionReader(bytes.NewReader(lying.bytes), 0,
			int64(len(lying.bytes))))
		must(t, err)
		z, err := gzip.NewReader(bytes.NewReader(lying.bytes[at : int64(len(lying.bytes))-size]))
		must(t, err)
		tr := tar.NewReader(z)
		_, err = tr.Next()
		must(t, err)
		table, err := io.ReadAll(tr)
		must(t, err)
		table = bytes.ReplaceAll(table, fmt.Appendf(nil, `"offset": %d`, e.Offset),
			fmt.Appendf(nil, `"offset": %d`, e.Offset+shift))
		out := append(bytes.Clone(front), lying.bytes[:at]...)
		footer := footerAt(int64(len(out)))
		out = append(append(out, zip(tarOf(t, plain("stargz.index.json", string(table))))...), footer...)
		return layer{out,
			map[string]string{estargz.TOCJSONDigestAnnotation: pratique.DigestOf(table).String()}}
	}
	// the vulnerable files are the content of a file, whose header alone is in front
	within := func() layer {
		inner := behind(nil)
		at, _, err := estargz.OpenFooter(io.NewSectionReader(bytes.NewReader(inner.bytes), 0,
			int64(len(inner.bytes))))
		must(t, err)
		z, err := gzip.NewReader(bytes.NewReader(inner.bytes[:at]))
		must(t, err)
		hidden, err := io.ReadAll(z)
		must(t, err)
		cover := tarOf(t, clean, plain("usr/share/data", string(hidden)))
		cover = cover[:bytes.LastIndex(cover, hidden)]
		return behind(zip(cover))
	}
	rename := func(find, with string) func([]object) {
		return func(all []object) {
			for _, e := range all {
				if e["name"] == find {
					e["name"] = with
				}
			}
		}
	}
	set := func(name, field string, value any) func([]object) {
		return func(all []object) {
			for _, e := range all {
				if e["name"] == name && e["type"] != "chunk" {
					e[field] = value
				}
			}
		}
	}
	chunk := func(field string, value any) func([]object) {
		return func(all []object) {
			for _, e := range all {
				if e["name"] == "var/large" && e["type"] == "chunk" {
					e[field] = value
				}
			}
		}
	}
	manyFields := func(all []object) {
		for i := range 200_000 { // to compare each with all others would take minutes
			all[0][fmt.Sprint("x", i)] = i
		}
	}
	emptyPieces := func(all []object) {
		for i, e := range all {
			if e["type"] == "chunk" {
				all[i] = object{"type": "chunk", "name": e["name"]}
			}
		}
	}
	honest := chunkedOf(t, root(), nil)
	old := "x"
	for name, test := range map[string]struct {
		layer layer
		says  string
	}{
		"the corpus": {layer{bytes: hostile.TwoTrees(hostile.File("a",
			[]byte("shown")), hostile.File("a", []byte("hidden"))).Bytes},
			"the table and the tar differ"},
		"a tar behind the tar": {behind(zip(tarOf(t, clean))), "follows the end of the tar"},
		"a tar without an end": {behind(zip(tarOf(t, clean)[:1024])),
			"the table and the tar differ"},
		"a tar within a file": {within(), "differ"},
		"another name": {chunkedOf(t, root(),
			rename("etc/os-release", "var/lib/dpkg/status")), "name"},
		"another spelling of a name": {chunkedOf(t, root(),
			rename("etc/os-release", "./etc/os-release")), "name"},
		"another mode":  {chunkedOf(t, root(), set("ping", "mode", 0o755)), "mode"},
		"another owner": {chunkedOf(t, root(), set("var/", "uid", 0)), "owner"},
		"another target": {chunkedOf(t, root(), set("etc/mtab", "linkName", "/etc/x")),
			"target"},
		"another hard link": {chunkedOf(t, root(), set("etc/release", "linkName", "ping")),
			"target"},
		"another type":   {chunkedOf(t, root(), set("pipe", "type", "dir")), "type"},
		"another device": {chunkedOf(t, root(), set("null", "devMinor", 1)), "device"},
		"no attributes":  {chunkedOf(t, root(), set("ping", "xattrs", nil)), "attributes"},
		"more attributes": {chunkedOf(t, root(), set("etc/os-release", "xattrs",
			object{"user.x": "eA=="})), "attributes"},
		"another size":  {chunkedOf(t, root(), set("etc/os-release", "size", 3)), "size"},
		"another place": {chunkedOf(t, root(), set("etc/os-release", "offset", 0)), "place"},
		"another digest": {chunkedOf(t, root(), set("etc/os-release", "digest",
			pratique.DigestOf([]byte(old)).String())), "bytes"},
		"digest of nothing": {chunkedOf(t, root(),
			set("etc/empty", "digest", pratique.DigestOf([]byte(old)).String())), "pieces"},
		"a piece of something else": {chunkedOf(t, root(),
			chunk("chunkDigest", pratique.DigestOf([]byte(old)).String())), "bytes"},
		"a piece from elsewhere":   {chunkedOf(t, root(), chunk("chunkOffset", 1)), "pieces"},
		"a piece that is no zeros": {chunkedOf(t, root(), chunk("chunkType", "zeros")), "bytes"},
		"a piece within a frame":   {chunkedOf(t, root(), chunk("innerOffset", 1)), "place"},
		"a field in another case": {chunkedOf(t, root(), set("ping", "Name", "x")),
			"some readers take"},
		"endless fields":      {chunkedOf(t, root(), manyFields), "more than 100 fields"},
		"pieces of no length": {chunkedOf(t, root(), emptyPieces), "pieces"},
		"the same path twice": {chunkedOf(t, append(root(), plain("ping", "pong")), nil),
			"order of the entries"},
		"beneath a link": {chunkedOf(t, append(root(), plain("etc/mtab/x", "pong")),
			nil), "order of the entries"},
		"a link for a directory": {chunkedOf(t,
			append(root(), file{Header: tar.Header{Typeflag: tar.TypeSymlink, Name: "var/long",
				Linkname: "/etc"}}), nil), "order of the entries"},
		"taken away and given": {chunkedOf(t, append(root(), plain(".wh.ping", "")), nil),
			"order of the entries"},
		"a frame behind the footer": {layer{append(bytes.Clone(honest.bytes),
			skippable([]byte("x"))...), nil}, "skippable frames"},
		"a frame alone": {layer{append(zstdAll(t, tarOf(t, clean)),
			skippable(make([]byte, 100))...), nil}, "skippable frames"},
		"data behind the table": {layer{append(bytes.Clone(honest.bytes),
			zstdAll(t, []byte{0, 0})...), nil}, "skippable frames"},
		"a footer of eStargz in zstd": {layer{append(zstdAll(t, tarOf(t, clean)),
			skippable(footerAt(3))...), nil}, "is none"},
		"a footer within a tar": {layer{tarOf(t, clean, plain("x", strings.Repeat("x", 512-51)+
			string(footerAt(3))))[:4*512], nil}, "is none"},
		"a footer without table": {layer{append(zip(tarOf(t, clean)), footerAt(0)...), nil},
			"something other than stargz.index.json"},
		"a footer to nowhere": {layer{append(zip(tarOf(t, clean)), footerAt(7)...), nil},
			"points to no table"},
		"a table in another blob": {layer{append(zip(tarOf(t, clean)), externalFooter(t)...), nil},
			"in another image"},
		"an annotation for nothing": {layer{zip(tarOf(t, clean)), map[string]string{
			estargz.TOCJSONDigestAnnotation: pratique.DigestOf(nil).String()}}, "the layer has none"},
		"an annotation for another": {layer{stargzOf(t, tarOf(t, clean)).bytes, map[string]string{
			estargz.TOCJSONDigestAnnotation: pratique.DigestOf(nil).String()}}, "and the layer has"},
		"another position": {layer{honest.bytes, map[string]string{
			"io.github.containers.zstd-chunked.manifest-position": "10:20:30:1"}}, "and the layer has"},
		"another description": {layer{honest.bytes, map[string]string{
			"io.github.containers.zstd-chunked.tarsplit-position": "10:20:30"}}, "and the layer has"},
		"a snapshotter's order": {layer{zip(tarOf(t, clean)), map[string]string{
			"containerd.io/snapshot/remote/stargz.digest": "sha256:00"}}, "nothing checks that"},
	} {
		if err := get(t, test.layer); err == nil || !strings.Contains(err.Error(), test.says) ||
			!pratique.KindOf(err).Permanent() {
			t.Errorf("%s: want %q: %v", name, test.says, err)
		}
	}
}

func zstdAll(t testing.TB, b []byte) []byte {
	z, err := zstd.NewWriter(nil)
	must(t, err)
	return z.EncodeAll(b, make([]byte, 0, len(b)))
}

func footerAt(at int64) []byte { return emptyMember(fmt.Sprintf("%016xSTARGZ", at)) }

func externalFooter(t testing.TB) []byte {
	t.Helper()
	return emptyMember("STARGZEXTERNALTOC")
}

func emptyMember(said string) []byte {
	var out bytes.Buffer
	w, _ := gzip.NewWriterLevel(&out, gzip.NoCompression)
	w.Extra = append([]byte{'S', 'G', byte(len(said)), 0}, said...)
	_ = w.Close() // to memory
	return out.Bytes()
}

// FuzzTable: whatever a table says, the reading ends with an error of a permanent kind, or it says
// what the tar says.
func FuzzTable(f *testing.F) {
	files := []file{clean, plain("x", strings.Repeat("y", 6000))}
	raw := tarOf(f, files...)
	var honest []byte
	_ = chunkedOf(f, files, func(all []object) {
		honest, _ = json.Marshal(object{"version": 1, "entries": all})
	})
	f.Add(honest)
	f.Add([]byte(`{"entries":[]}`))
	f.Add([]byte(`{"entries":[{"name":"x","Name":"y"}],"entries":1}`))
	l := chunkedOf(f, files, nil)
	place := bytes.Index(l.bytes, []byte{0x50, 0x2a, 0x4d, 0x18})
	var starts []toc.Start
	z, err := zstd.NewReader(nil)
	must(f, err)
	for at, out := 0, int64(0); at < place; {
		next := bytes.Index(l.bytes[at+1:place], []byte{0x28, 0xb5, 0x2f, 0xfd}) + at + 1
		if next == at {
			next = place
		}
		starts = append(starts, toc.Start{In: int64(at), Out: out})
		b, err := z.DecodeAll(l.bytes[at:next], nil)
		must(f, err)
		at, out = next, out+int64(len(b))
	}
	f.Fuzz(func(t *testing.T, table []byte) {
		packed := zstdAll(t, table)
		footer := make([]byte, 40)
		for i, n := range []int{place + 8, len(packed), len(table), 1} {
			binary.LittleEndian.PutUint64(footer[8*i:], uint64(n))
		}
		copy(footer[32:], "GnUlInUx")
		at := int64(place + 16 + len(packed))
		found, err := toc.Check(t.Context(), toc.Blob{Size: at + 40, Tail: footer, Zstd: true,
			Starts: starts, Skipped: []toc.Frame{
				{At: int64(place) + 8, Size: int64(len(packed)), Content: packed},
				{At: at, Size: 40, Content: footer}}}, bytes.NewReader(raw), int64(len(raw)))
		if err != nil {
			if !pratique.KindOf(err).Permanent() {
				t.Fatalf("kind of %v", err)
			}
			return
		}
		var said struct{ Entries []struct{ Name, Type string } }
		must(t, json.Unmarshal(table, &said))
		if len(said.Entries) < 2 || said.Entries[0].Name != clean.Name ||
			found.Digest != pratique.DigestOf(table) {
			t.Fatalf("%s passes", table)
		}
	})
}
