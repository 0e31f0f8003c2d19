package layers

import (
	"archive/tar"
	"bytes"
	"fmt"
	"path"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
)

// one is a stream of one entry, written by hand where archive/tar would not write it.
func one(t testing.TB, kind byte, name, link string, records ...string) []byte {
	t.Helper()
	h := &tar.Header{Typeflag: tar.TypeReg, Name: "x", Mode: 0o644}
	raw := forge(entries(t, h), func(b []byte) {
		clear(b[:100])
		copy(b, name)
		copy(b[157:257], link)
		b[156] = kind
	})
	if len(records) == 0 {
		return raw
	}
	return append(record(t, 'x', strings.Join(records, "")), raw...)
}

// pax is one record of an extended header.
func pax(key, value string) string {
	n := len(key) + len(value) + 3
	for n != len(fmt.Sprintf("%d %s=%s\n", n, key, value)) {
		n = len(fmt.Sprintf("%d %s=%s\n", n, key, value))
	}
	return fmt.Sprintf("%d %s=%s\n", n, key, value)
}

// record is an extended header, or a long name.
func record(t testing.TB, kind byte, content string) []byte {
	t.Helper()
	h := entries(t, &tar.Header{Typeflag: tar.TypeReg, Name: "pax_global_header",
		Size: int64(len(content))})[:tarBlock]
	h = append(forge(h, func(b []byte) { b[156] = kind }), content...)
	return append(h, make([]byte, padding(int64(len(content))))...)
}

// sized gives the first header a size without content.
func sized(raw []byte, size int) []byte {
	return forge(raw, func(b []byte) { copy(b[124:136], fmt.Sprintf("%011o\x00", size)) })
}

func TestNames(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("d/", 60) + "../" + strings.Repeat("../", 60) + "up"
	for name, test := range map[string]struct {
		stream []byte
		says   string // empty: it passes
	}{
		"plain":              {one(t, '0', "etc/passwd", ""), ""},
		"old type":           {one(t, 0, "etc/passwd", ""), ""},
		"absolute":           {one(t, '0', "/etc/passwd", ""), ""},
		"dot":                {one(t, '0', "./etc/passwd", ""), ""},
		"up and down":        {one(t, '0', "a/../etc/passwd", ""), ""},
		"absolute and up":    {one(t, '0', "/../etc/passwd", ""), ""},
		"slashes":            {one(t, '0', "etc//passwd", ""), ""},
		"not text":           {one(t, '0', "caf\xe9/\xff\xfe", ""), ""},
		"the root directory": {one(t, '5', "./", ""), ""},
		"root, absolute":     {one(t, '5', "/", ""), ""},
		"old directory":      {one(t, 0, "etc/", ""), ""},
		"dots in a name":     {one(t, '0', "etc/..x", ""), ""},

		"leads out":            {one(t, '0', "../etc/passwd", ""), "leads out"},
		"leads out on the way": {one(t, '0', "a/../../etc/passwd", ""), "leads out"},
		"leads out and back":   {one(t, '0', "../image/etc/passwd", ""), "leads out"},
		"dots alone":           {one(t, '5', "..", ""), "leads out"},
		"record leads out":     {one(t, '0', "x", "", pax("path", "../x")), "leads out"},
		"long name leads out": {append(record(t, 'L', "../x\x00"), one(t, '0', "x", "")...),
			"leads out"},
		"long way out":          {one(t, '0', "x", "", pax("path", deep)), "leads out"},
		"sparse name leads out": {one(t, '0', "x", "", pax("GNU.sparse.name", "../x")), "leads out"},
		"prefix leads out": {forge(one(t, '0', "x", ""), func(b []byte) {
			copy(b[257:265], "ustar\x0000")
			copy(b[345:], "../a")
		}), "leads out"},
		"record, though the header leads out": {one(t, '0', "../x", "", pax("path", "x")), ""},
		"empty record":                        {one(t, '0', "../x", "", pax("path", "")), "leads out"},
		"the last record": {one(t, '0', "x", "", pax("path", "x"),
			pax("path", "../x")), "leads out"},
		"long name before record": {append(record(t, 'L', "x\x00"),
			one(t, '0', "x", "", pax("path", "../x"))...), ""},
		"no name":                    {one(t, '0', "", ""), "without a name"},
		"a directory without a name": {one(t, '5', "", ""), "without a name"},
		"a file as root":             {one(t, '0', ".", ""), "root directory"},
		"a link as root":             {one(t, '2', "./", "etc"), "root directory"},
		"cleaned away":               {one(t, '0', "a/..", ""), "root directory"},
		"a file with a slash":        {one(t, '0', "etc/", ""), "ends with a slash"},

		"device": {forge(one(t, '3', "null", ""), func(b []byte) {
			copy(b[329:], "0000001\x000000003\x00")
		}), ""},
		"device 0":       {one(t, '3', "etc/passwd", ""), "0 and 0"},
		"block device 0": {one(t, '4', "etc/passwd", ""), ""},
		"pipe":           {one(t, '6', "run/pipe", ""), ""},
		"contiguous":     {one(t, '7', "etc/passwd", ""), "no runtime takes"},
		"sparse, GNU":    {one(t, 'S', "etc/passwd", ""), "no runtime takes"},
		"vendor":         {one(t, 'A', "etc/passwd", ""), "no runtime takes"},
		"solaris":        {one(t, 'X', "etc/passwd", ""), "no runtime takes"},
		"control":        {one(t, 1, "etc/passwd", ""), "no runtime takes"},

		"symbolic link out":   {one(t, '2', "x", "../../../etc/passwd"), ""},
		"hard link":           {one(t, '1', "x", "./etc/passwd"), ""},
		"hard link, absolute": {one(t, '1', "x", "/etc/passwd"), ""},
		"hard link to itself": {one(t, '1', "x", "x"), ""},
		"hard link out":       {one(t, '1', "x", "../etc/passwd"), "out of the image"},
		"hard link out by a record": {one(t, '1', "x", "y", pax("linkpath", "a/../../y")),
			"out of the image"},
		"hard link out by a long name": {append(record(t, 'K', "../y\x00"),
			one(t, '1', "x", "y")...), "out of the image"},
		"hard link to nothing":          {one(t, '1', "x", ""), "or to nothing"},
		"hard link to the root":         {one(t, '1', "x", "/"), "root directory"},
		"hard link to a whiteout":       {one(t, '1', "x", ".wh..wh.plnk/1.2"), "to a whiteout"},
		"hard link with content":        {sized(one(t, '1', "x", "y"), 512), "with content"},
		"directory with content":        {sized(one(t, '5', "x/", ""), 512), "with content"},
		"hard link, a record's content": {one(t, '1', "x", "y", pax("size", "5")), "with content"},

		"whiteout":                  {one(t, '0', "etc/.wh.passwd", ""), ""},
		"whiteout at the top":       {one(t, '0', ".wh.etc", ""), ""},
		"whiteout as AUFS wrote it": {one(t, '1', "etc/.wh.passwd", "var/.wh.cache"), ""},
		"opaque":                    {one(t, '0', "etc/.wh..wh..opq", ""), ""},
		"whiteout with a prefix":    {one(t, '0', "etc/.wh.x.wh.y", ""), ""},
		"no whiteout":               {one(t, '0', "etc/.who", ""), ""},
		"whiteout of nothing":       {one(t, '0', "etc/.wh.", ""), "without a name"},
		"of nothing, at the top":    {one(t, '0', ".wh.", ""), "without a name"},
		"whiteout of the directory": {one(t, '0', "etc/.wh..", ""), "without a name"},
		"whiteout of the parent":    {one(t, '0', "etc/.wh...", ""), "without a name"},
		"private to AUFS":           {one(t, '0', ".wh..wh.aufs", ""), "of a whiteout"},
		"private to AUFS, deeper":   {one(t, '5', "x/.wh..wh.orph/", ""), "no file"},
		"of a whiteout":             {one(t, '0', "etc/.wh..wh.passwd", ""), "of a whiteout"},
		"within a whiteout":         {one(t, '0', "etc/.wh.x/passwd", ""), "within a whiteout"},
		"links of AUFS":             {one(t, '0', ".wh..wh.plnk/1.2", ""), "within a whiteout"},
		"opaque at the top":         {one(t, '0', ".wh..wh..opq", ""), "of the root"},
		"opaque directory":          {one(t, '5', "etc/.wh..wh..opq/", ""), "no file"},
		"old opaque directory":      {one(t, 0, "etc/.wh..wh..opq/", ""), "no file"},
		"whiteout as a link":        {one(t, '2', "etc/.wh.passwd", "/etc/hosts"), "no file"},
		"whiteout with content": {append(sized(one(t, '0', "etc/.wh.passwd", ""), 512)[:512],
			make([]byte, 1024)...), "with content"},
		"whiteout by a record": {one(t, '0', "x", "", pax("path", "etc/.wh.")), "without a name"},
		"whiteout, cleaned":    {one(t, '0', "etc/x/../.wh.", ""), "without a name"},
		"whiteout in disguise": {one(t, '0', "etc/.wh.x/..", ""), ""},
		"overlay's whiteout": {one(t, '5', "etc/", "",
			pax("SCHILY.xattr.trusted.overlay.opaque", "y")), "overlay"},
		"overlay's other directory": {one(t, '5', "etc/", "",
			pax("SCHILY.xattr.trusted.overlay.redirect", "/opt")), "overlay"},
		"overlay without privileges": {one(t, '5', "etc/", "",
			pax("SCHILY.xattr.user.overlay.opaque", "y")), "overlay"},
		"other attributes": {one(t, '0', "x", "", pax("SCHILY.xattr.security.capability",
			"\x01\x00"), pax("LIBARCHIVE.creationtime", "1")), ""},

		"global comment": {append(record(t, 'g', pax("comment", "3f5a")),
			one(t, '0', "x", "")...), ""},
		"global path": {append(record(t, 'g', pax("path", "etc/passwd")),
			one(t, '0', "x", "")...), "a global header with"},
		"global owner": {append(record(t, 'g', pax("uid", "0")),
			one(t, '0', "x", "")...), "a global header with"},
		"global attribute": {append(record(t, 'g', pax("SCHILY.xattr.user.x", "0")),
			one(t, '0', "x", "")...), "a global header with"},
		"global, named like a file": {forge(append(record(t, 'g', pax("comment", "x")),
			one(t, '0', "x", "")...), func(b []byte) {
			clear(b[:100])
			copy(b, "etc/passwd")
		}), "name of something else"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, piece := range []int{1, 1 << 20} {
				_, err := look(test.stream, 100, piece)
				switch {
				case test.says == "" && err != nil:
					t.Fatalf("refused: %v", err)
				case test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)):
					t.Fatalf("want %q: %v", test.says, err)
				case err != nil && pratique.KindOf(err) != pratique.Corrupt:
					t.Fatalf("kind of %v", err)
				}
			}
		})
	}
}

// FuzzLocate holds locate against path.Clean, by which all runtimes go, and the names that headers
// finds against those of archive/tar.
func FuzzLocate(f *testing.F) {
	for _, name := range []string{"a", "/a", "./a", "a/../b", "../a", "/../a", "a/../../b", "", ".",
		"..", "a//b/", "a/./b/..", "\xff/\x00"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		at := parsePath([]byte(name), nil)
		want := path.Clean(name)
		if out := want == ".." || strings.HasPrefix(want, "../"); out != at.escapes {
			t.Fatalf("%q cleaned is %q, out: %v", name, want, at.escapes)
		}
		if at.escapes {
			return
		}
		var parts []string
		for _, p := range at.parts {
			parts = append(parts, name[p.from:p.to])
		}
		if got := strings.Join(parts, "/"); got != strings.TrimPrefix(strings.TrimPrefix(want, "/"),
			".") && got != strings.TrimPrefix(want, "/") {
			t.Fatalf("%q is %q, want %q", name, got, want)
		}
		if at.isRoot() != (want == "." || want == "/") {
			t.Fatalf("%q is the root: %v", name, at.isRoot())
		}
	})
}

// TestNamesOfArchiveTar: the names of an entry are those that archive/tar gives it, whatever says
// them.
func TestNamesOfArchiveTar(t *testing.T) {
	t.Parallel()
	at := func(magic string, place int, text string) func([]byte) {
		return func(b []byte) { copy(b[257:265], magic); copy(b[place:], text) }
	}
	for what, stream := range map[string][]byte{
		"no magic": forge(one(t, '0', "name", ""), at("\x00\x00\x00\x00\x00\x00\x00\x00", 345,
			"prefix")),
		"ustar": forge(one(t, '0', "name", ""), at("ustar\x0000", 345, "prefix")),
		"ustar, a": forge(one(t, '0', strings.Repeat("n", 100), ""),
			at("ustar\x00ab", 345, strings.Repeat("p", 155))),
		"star": forge(forge(one(t, '0', "name", ""),
			at("ustar\x0000", 345, strings.Repeat("p", 131))), at("ustar\x0000", 508, "tar\x00")),
		"GNU":            forge(one(t, '0', "name", ""), at("ustar  \x00", 345, "00000000000\x00")),
		"GNU, mangled":   forge(one(t, '0', "name", ""), at("ustar  \x00", 345, "prefix")),
		"GNU, not ASCII": forge(one(t, '0', "name", ""), at("ustar  \x00", 345, "pr\xe9fix")),
		"record":         one(t, '0', "name", "", pax("path", "other/name")),
		"empty record":   one(t, '0', "name", "", pax("path", "")),
		"twice": append(record(t, 'x', pax("path", "first")),
			one(t, '0', "name", "", pax("mtime", "1"))...),
		"both": append(record(t, 'L', "long\x00name"),
			one(t, '0', "name", "", pax("path", "short"))...),
		"empty long": append(record(t, 'L', "\x00long"),
			one(t, '0', "name", "", pax("path", "short"))...),
		"link, record": one(t, '1', "name", "target", pax("linkpath", "other/target")),
		"link, long": append(record(t, 'K', "long/target\x00"),
			one(t, '2', "name", "target", pax("linkpath", "other"))...),
		"link, global": append(append(record(t, 'K', "long/target\x00"),
			record(t, 'g', pax("comment", "x"))...), one(t, '2', "name", "target")...),
	} {
		var want *tar.Header
		for r := tar.NewReader(bytes.NewReader(stream)); ; {
			h, err := r.Next()
			if err != nil {
				break
			}
			want = h
		}
		if want == nil {
			t.Fatalf("%s: archive/tar finds nothing", what)
		}
		h, last := newHeaders(100), len(stream)-3*tarBlock
		if _, err := h.Write(stream[:last]); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		e := h.assemble(stream[last:last+tarBlock], stream[last+156], 0)
		got := []string{string(e.name), string(e.link)}
		if got[0] != want.Name || got[1] != want.Linkname {
			t.Errorf("%s: %q, archive/tar says %q and %q", what, got, want.Name, want.Linkname)
		}
	}
}
