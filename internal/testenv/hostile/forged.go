package hostile

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/pratique-dev/pratique"
)

// Forge changes the first header of a stream and mends its checksum.
func Forge(stream []byte, change func(header []byte)) []byte {
	stream = bytes.Clone(stream)
	change(stream)
	copy(stream[148:156], "        ")
	sum := 0
	for _, c := range stream[:512] {
		sum += int(c)
	}
	copy(stream[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return stream
}

// NegativeSize gives the first entry the size -1.
func NegativeSize() []byte {
	return Forge(Tar(File("etc/passwd", []byte("x"))), func(h []byte) {
		copy(h[124:136], bytes.Repeat([]byte{0xff}, 12))
	})
}

// Sparse is a file of that many bytes of which nothing is stored, in GNU's old format.
func Sparse(name string, size int64) []byte {
	return Forge(Tar(File(name, nil)), func(h []byte) {
		h[156] = tar.TypeGNUSparse
		copy(h[257:265], "ustar  \x00")
		clear(h[345:512])
		// One piece of no bytes at the end, as tar writes it, and the real size.
		copy(h[386:398], number(size))
		copy(h[398:410], number(0))
		copy(h[483:495], number(size))
	})
}

// SparsePAX is the same in the format 1.0 of PAX.
func SparsePAX(name string, size int64) []byte {
	content := make([]byte, 512)
	copy(content, fmt.Sprintf("1\n%d\n0\n", size))
	var records strings.Builder
	for _, kv := range []string{"GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=" +
		name, fmt.Sprintf("GNU.sparse.realsize=%d", size)} {
		n := len(kv) + 2
		for n != len(fmt.Sprintf("%d %s\n", n, kv)) {
			n = len(fmt.Sprintf("%d %s\n", n, kv))
		}
		fmt.Fprintf(&records, "%d %s\n", n, kv)
	}
	header := Tar(File("PaxHeaders/x", []byte(records.String())))
	return append(Forge(header[:len(header)-1024], func(h []byte) {
		h[156] = tar.TypeXHeader
	}), Tar(File("GNUSparseFile.0/x", content))...)
}

// number is a size in base 256, which holds any.
func number(n int64) []byte {
	field := make([]byte, 12)
	binary.BigEndian.PutUint64(field[4:], uint64(n))
	field[0] = 0x80
	return field
}

// RawName is a stream of one file whose name archive/tar would not write.
func RawName(name string) []byte {
	return Forge(Tar(File("x", []byte("x"))), func(h []byte) {
		clear(h[:100])
		copy(h, name)
	})
}

// Jar is an archive with a manifest that names a library, and the files given.
func Jar(files map[string][]byte) []byte {
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	write := func(name string, content []byte) {
		f, err := w.Create(name)
		must(err)
		_, err = f.Write(content)
		must(err)
	}
	write("META-INF/MANIFEST.MF",
		[]byte("Manifest-Version: 1.0\nImplementation-Title: evil\nImplementation-Version: 1.0\n"))
	for name, content := range files {
		write(name, content)
	}
	must(w.Close())
	return out.Bytes()
}

// NestedJar is jars within jars.
func NestedJar(depth int) []byte {
	jar := Jar(nil)
	for range depth {
		jar = Jar(map[string][]byte{"lib/inner.jar": jar})
	}
	return jar
}

// LyingJar says of its one file that it has four gigabytes, or only a byte.
func LyingJar(size uint32) []byte {
	jar := Jar(map[string][]byte{"META-INF/maven/g/a/pom.properties": []byte("groupId=g\nartifactId=a\nversion=1\n")})
	for at := 0; ; {
		i := bytes.Index(jar[at:], []byte("PK\x01\x02"))
		if i < 0 {
			return jar
		}
		at += i + 24
		binary.LittleEndian.PutUint32(jar[at:], size)
	}
}

// GoBinary is a 64-bit ELF file whose build information says what it likes, or lies beyond the end
// of the file.
func GoBinary(modules string) []byte {
	const sentinel = "\x30\x77\xaf\x0c\x92\x74\x08\x02\x41\xe1\xc1\x07\xe6\xd6\x18\xe6"
	end, _ := hex.DecodeString("f932433186182072008242104116d8f2")
	modules = sentinel + modules + string(end)
	var info bytes.Buffer
	info.WriteString("\xff Go buildinf:\x08\x02")
	info.Write(make([]byte, 32-info.Len()))
	for _, s := range []string{"go1.22.0", modules} {
		info.Write(binary.AppendUvarint(nil, uint64(len(s))))
		info.WriteString(s)
	}
	return elf(info.Bytes())
}

// LyingGoBinary says that its build information has 2^62 bytes.
func LyingGoBinary() []byte {
	var info bytes.Buffer
	info.WriteString("\xff Go buildinf:\x08\x02")
	info.Write(make([]byte, 32-info.Len()))
	info.Write(binary.AppendUvarint(nil, 1<<62))
	return elf(info.Bytes())
}

// elf wraps data into an executable with one writable segment and a section .go.buildinfo.
func elf(data []byte) []byte {
	const base, head, program, section = 0x400000, 64, 56, 64
	names := "\x00.go.buildinfo\x00.shstrtab\x00"
	start := (head + program + 15) &^ 15
	out := make([]byte, start)
	out = append(out, data...)
	namesAt := len(out)
	out = append(out, names...)
	sectionsAt := len(out)
	le := binary.LittleEndian
	copy(out, "\x7fELF\x02\x01\x01")
	le.PutUint16(out[16:], 2)
	le.PutUint16(out[18:], 62)
	le.PutUint32(out[20:], 1)
	le.PutUint64(out[24:], base)
	le.PutUint64(out[32:], head)
	le.PutUint64(out[40:], uint64(sectionsAt))
	for at, v := range map[int]uint16{52: head, 54: program, 56: 1, 58: section, 60: 3, 62: 2} {
		le.PutUint16(out[at:], v)
	}
	le.PutUint32(out[head:], 1)
	le.PutUint32(out[head+4:], 6) // readable and writable
	for at, v := range map[int]int{8: start, 16: base, 24: base, 32: len(data), 40: len(data), 48: 16} {
		le.PutUint64(out[head+at:], uint64(v))
	}
	add := func(name, kind uint32, addr, offset, size int) {
		s := make([]byte, section)
		le.PutUint32(s, name)
		le.PutUint32(s[4:], kind)
		le.PutUint64(s[16:], uint64(addr))
		le.PutUint64(s[24:], uint64(offset))
		le.PutUint64(s[32:], uint64(size))
		le.PutUint64(s[48:], 16)
		out = append(out, s...)
	}
	add(0, 0, 0, 0, 0)
	add(1, 1, base, start, len(data))
	add(15, 3, 0, namesAt, len(names))
	return out
}

// Nested is an index of an index.
func Nested(inner Image) Image {
	d := descriptor{MediaType: pratique.TypeOCIIndex, Digest: inner.Digest(), Size: len(inner.Manifest)}
	return Image{MediaType: pratique.TypeOCIIndex, Manifest: encode(map[string]any{
		"schemaVersion": 2, "mediaType": pratique.TypeOCIIndex, "manifests": []descriptor{d},
	})}
}

// Index is an index of n children, none of which is there.
func Index(n int) Image {
	all := make([]descriptor, n)
	for i := range all {
		all[i] = descriptor{MediaType: pratique.TypeOCIManifest,
			Digest: pratique.DigestOf(fmt.Append(nil, i)), Size: 500}
	}
	return Image{MediaType: pratique.TypeOCIIndex, Manifest: encode(map[string]any{
		"schemaVersion": 2, "mediaType": pratique.TypeOCIIndex, "manifests": all,
	})}
}

// HugeManifest is a manifest of n bytes.
func HugeManifest(n int) Image {
	img := Of(Base())
	img.Manifest = bytes.Replace(img.Manifest, []byte(`{`),
		append(append([]byte(`{"annotations":{"a":"`), bytes.Repeat([]byte("x"), n)...), `"},`...), 1)
	return img
}
