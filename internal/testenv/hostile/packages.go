package hostile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
)

// noise is n bytes that mean nothing, always the same.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{9}).Read(b)
	return b
}

// Rpm is an installed system whose database of packages, in each of RPM's three formats, begins as
// it should and goes on as it likes.
func Rpm(format string) []Entry {
	file := map[string]func() Entry{"berkeley": berkeley, "ndb": ndb, "sqlite": sqlite}[format]
	return []Entry{File("etc/rocky-release", []byte("Rocky Linux release 8.9 (Green Obsidian)\n")),
		file()}
}

func berkeley() Entry {
	b := noise(64 << 10)
	clear(b[:512])
	binary.LittleEndian.PutUint32(b[12:], 0x061561) // the magic of a hash database
	binary.LittleEndian.PutUint32(b[16:], 9)
	binary.LittleEndian.PutUint32(b[20:], 4096)
	b[25] = 8 // a metadata page
	binary.LittleEndian.PutUint32(b[32:], 1<<31)
	return File("var/lib/rpm/Packages", b)
}

func ndb() Entry {
	return File("var/lib/rpm/Packages.db",
		append([]byte("RpmP\x00\x00\x00\x00\x01\x00\x00\x00\xff\xff\xff\xff"), noise(32<<10)...))
}

func sqlite() Entry {
	return File("var/lib/rpm/rpmdb.sqlite",
		append([]byte("SQLite format 3\x00\x10\x00\x01\x01\x00\x40\x20\x20"), noise(32<<10)...))
}

// Apk and Dpkg are databases with fields without a name or a value, and noise.
func Apk() []Entry {
	return []Entry{
		File("etc/alpine-release", []byte("3.19.1\n")),
		File("lib/apk/db/installed", append([]byte("C:Q1\nP:\nV:\n\nP:musl\nV:"), noise(1<<20)...)),
	}
}

// Dpkg is a damaged status file.
func Dpkg() []Entry {
	return []Entry{
		File("var/lib/dpkg/status",
			append([]byte("Package: \x00\nStatus: install ok installed\nVersion: "), noise(1<<20)...)),
		File("var/lib/dpkg/info/x.md5sums", noise(1<<16)),
	}
}

// LongLines is a status file of dpkg whose fields have n bytes.
func LongLines(n int) []byte {
	return []byte("Package: " + string(bytes.Repeat([]byte("x"), n)) +
		"\nStatus: install ok installed\nVersion: 1\n\n")
}

// LongVersions is a status file of dpkg with n packages, each with a version of so many bytes,
// which dpkg would take.
func LongVersions(n, bytes int) Entry {
	status := ""
	for i := range n {
		status += stanza(fmt.Sprintf("libssl%d", i), "3.0.9-1"+strings.Repeat("a", bytes))
	}
	return File("var/lib/dpkg/status", []byte(status))
}

// DeepJSON is the description of a Node.js package that is n lists within each other.
func DeepJSON(n int) Entry {
	body := append(append([]byte(`{"name":"deep","version":"1.0.0","contributors":`),
		bytes.Repeat([]byte("["), n)...), bytes.Repeat([]byte("]"), n)...)
	return File("app/node_modules/deep/package.json", append(body, '}'))
}

// ManyPackages is a Debian with n packages, which is more than any parser has room for.
func ManyPackages(n int) Entry {
	var b bytes.Buffer
	for i := range n {
		b.WriteString(stanza(fmt.Sprintf("package-%d", i), "1.0"))
	}
	return File("var/lib/dpkg/status", b.Bytes())
}

// ManyVersions is a status file of dpkg with one package in n versions.
func ManyVersions(n int) Entry {
	var b bytes.Buffer
	for i := range n {
		b.WriteString(stanza("openssl", fmt.Sprintf("3.0.9-%d", i)))
	}
	return File("var/lib/dpkg/status", b.Bytes())
}
