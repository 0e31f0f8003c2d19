package images

import (
	"archive/tar"
	"bytes"
	"fmt"
	"strings"
)

// Linked is an image whose packages lie where only a reader finds them who unpacks it as runtimes
// do.
type Linked struct {
	Name string
	// Layers are tar streams, lowest first.
	Layers [][]byte
	// Packages are those of the file system that a container sees, as "name version", sorted.
	Packages []string
	// OS is the release that it has.
	OS string
	// Refused says that runtimes unpack it differently, or not at all, in which case nobody may say
	// what is in it.
	Refused bool
}

type entry struct {
	name, text string
	kind       byte
}

func put(name, text string) entry    { return entry{name, text, tar.TypeReg} }
func folder(name string) entry       { return entry{name, "", tar.TypeDir} }
func symlink(name, to string) entry  { return entry{name, to, tar.TypeSymlink} }
func hardlink(name, to string) entry { return entry{name, to, tar.TypeLink} }
func without(name string) entry      { return entry{name, "", tar.TypeReg} }

// stream packs entries as they come: the same name twice, if need be.
func stream(entries ...entry) []byte {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Typeflag: e.kind, Mode: 0o644, ModTime: created,
			Format: tar.FormatPAX}
		if e.kind == tar.TypeReg {
			h.Size = int64(len(e.text))
		} else {
			h.Linkname, h.Mode = e.text, 0o755
		}
		_ = w.WriteHeader(h) // to memory
		if e.kind == tar.TypeReg {
			_, _ = w.Write([]byte(e.text))
		}
	}
	_ = w.Close()
	return out.Bytes()
}

// alpine is a package database of Alpine.
func alpine(packages ...string) string {
	var out strings.Builder
	for _, p := range packages {
		name, version, _ := strings.Cut(p, " ")
		fmt.Fprintf(&out,
			"P:%s\nV:%s\nA:x86_64\nS:1\nI:1\nT:t\nU:u\nL:MIT\no:%s\nm:a\nt:1\nc:1\n\n", name,
			version, name)
	}
	return out.String()
}

const (
	apkDB      = "lib/apk/db/installed"
	osRelease  = "etc/os-release"
	alpine311  = "ID=alpine\nVERSION_ID=3.11.0\nPRETTY_NAME=\"Alpine Linux v3.11\"\n"
	alpine322  = "ID=alpine\nVERSION_ID=3.22.0\nPRETTY_NAME=\"Alpine Linux v3.22\"\n"
	harmlessly = "zlib 9.9.9-r0"
	muslOld    = "musl 1.1.24-r0"
	opensslOld = "openssl 1.1.1d-r0"
)

// AllLinked are images of Alpine 3.11 with the same two packages, but for those that are refused
// and some of other kinds.
func AllLinked() []Linked {
	truth := alpine(muslOld, opensslOld)
	lie := alpine(harmlessly)
	system := put(osRelease, alpine311)
	with := func(entries ...entry) []byte { return stream(append([]entry{system}, entries...)...) }
	image := func(name string, layers ...[]byte) Linked {
		return Linked{Name: name, Layers: layers, Packages: []string{muslOld, opensslOld}, OS: "3.11.0"}
	}
	refused := func(name string, layers ...[]byte) Linked {
		return Linked{Name: name, Layers: layers, Refused: true}
	}
	all := []Linked{
		image("plain", with(put(apkDB, truth))),
		image("twice", with(put(apkDB, lie), put(apkDB, truth))),
		image("twice, by other names", with(put("./"+apkDB, lie), put("/"+apkDB, truth))),
		image("a hard link", with(put("ostree/bb.file", truth), hardlink(apkDB, "ostree/bb.file"))),
		image("a hard link by a path from the root", with(put("ostree/bb.file", truth),
			hardlink(apkDB, "/ostree/bb.file"))),
		image("a hard link over the lie", with(put("x", truth), put(apkDB, lie), hardlink(apkDB, "x"))),
		image("a hard link of a hard link", with(put("x", truth), hardlink("y", "x"),
			hardlink(apkDB, "y"))),
		image("a hard link whose first name is replaced",
			with(put("x", truth), hardlink(apkDB, "x"), put("x", lie))),
		image("a hard link whose first name a layer removes",
			with(put("x", truth), hardlink(apkDB, "x")), stream(without(".wh.x"))),
		image("a hard link through a link", with(put("d/x", truth), symlink("l", "d"),
			hardlink(apkDB, "l/x"))),
		image("a hard link to a symbolic link", with(put("x", truth), symlink("y", "/x"),
			hardlink(apkDB, "y"))),
		image("a hard link to a lower layer", with(put("x", truth)), stream(hardlink(apkDB, "x"))),
		image("a hard link to a lower layer, over the lie", with(put("x", truth), put(apkDB, lie)),
			stream(hardlink(apkDB, "x"))),
		image("a hard link to a lower layer that goes", with(put("x", truth)),
			stream(hardlink(apkDB, "x")), stream(without(".wh.x"))),
		image("a symbolic link", with(put("x", truth), symlink(apkDB, "../../../x"))),
		image("a symbolic link over the lie", with(put("x", truth), put(apkDB, lie)),
			stream(symlink(apkDB, "/x"))),
		image("a symbolic link beyond the root",
			with(put("x", truth), symlink(apkDB, "../../../../../x"))),
		image("a symbolic link to a later layer", with(symlink(apkDB, "/x")), stream(put("x", truth))),
		image("a linked directory", with(put("opt/db/installed", truth)),
			stream(symlink("lib/apk/db", "/opt/db"))),
		image("a linked directory over the lie", with(put("opt/db/installed", truth),
			put(apkDB, lie)), stream(symlink("lib/apk/db", "/opt/db"))),
		image("a linked directory higher up", with(put("opt/lib/apk/db/installed", truth)),
			stream(symlink("lib", "opt/lib"))),
		image("links over links", with(put("x", truth), symlink("opt/a", "b"),
			symlink("opt/b/installed", "/x")), stream(symlink("lib/apk/db", "/opt/a"))),
		image("a link that goes up on its way", with(put("p/x", truth), put("lib/apk/db/s/y", ""),
			symlink("lib/apk/db/l", "/p/q"), put("p/q/y", ""), symlink(apkDB, "l/../x"))),
		image("merged directories", with(symlink("lib", "usr/lib"), put("usr/lib/apk/db/installed",
			truth))),
		image("through a link of its layer", with(symlink("opt/apk", "../lib/apk"),
			put("opt/apk/db/installed", truth))),
		image("through a link of its layer, over the lie",
			with(put(apkDB, lie), symlink("opt/apk", "../lib/apk"), put("opt/apk/db/installed", truth))),
		image("the lie goes with its directory",
			with(put("x", truth), put("lib/apk/db/installed/installed", lie)),
			stream(symlink(apkDB, "/x"))),
		image("a link replaced by a directory",
			with(put("target/keep", lie), symlink("lib/apk/db", "/target")),
			stream(folder("lib/apk/db"), without("lib/apk/db/.wh..wh..opq"), put(apkDB, truth))),
		image("a lie that is removed through a link of its layer",
			with(put("usr/lib/apk/db/installed", lie), put(apkDB, truth)),
			stream(symlink("l", "usr/lib/apk/db"), without("l/.wh.installed"))),
		image("a release of a lower layer", stream(put(osRelease, alpine322)), with(put(apkDB, truth))),
		image("a release behind a link", stream(put("opt/release", alpine311),
			symlink(osRelease, "/opt/release"), put(apkDB, truth))),
		image("a release behind a hard link", stream(put("opt/release", alpine311),
			hardlink(osRelease, "opt/release"), put(apkDB, truth))),
		image("a release behind a linked directory", stream(put("opt/etc/os-release", alpine311),
			symlink("etc", "opt/etc"), put(apkDB, truth))),
		refused("a hard link to itself", with(put(apkDB, lie), hardlink(apkDB, apkDB))),
		refused("a hard link to nothing", with(hardlink(apkDB, "x"))),
		refused("a hard link to what comes later", with(hardlink(apkDB, "x"), put("x", truth))),
		refused("a circle of links", with(symlink(apkDB, "/x"), symlink("x", "/"+apkDB))),
		refused("removed after it was made",
			with(put(apkDB, truth), without("lib/apk/db/.wh.installed"))),
		refused("through a link of a lower layer", with(put(apkDB, lie), symlink("l", "lib/apk")),
			stream(put("l/db/installed", truth))),
		refused("removed through a link of a lower layer",
			with(put(apkDB, truth), symlink("l", "lib/apk")), stream(without("l/db/.wh.installed"))),
	}
	return append(all, otherLinked()...)
}

// otherLinked are packages of other kinds.
func otherLinked() []Linked {
	npm := func(version string) string {
		return fmt.Sprintf("{\"name\":\"lodash\",\"version\":%q}\n", version)
	}
	python := "Metadata-Version: 2.1\nName: PyYAML\nVersion: 5.3.1\n"
	debian := dpkgStatus([]Package{{"libssl3", "openssl", "3.0.9-1", opensslMaintainer, "libs", "SSL"}})
	debianRelease := "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n"
	node, pip, ssl := []string{"lodash 4.17.20"}, []string{"PyYAML 5.3.1"}, []string{"libssl3 3.0.9-1"}
	const info = "usr/lib/python3/site-packages/PyYAML-5.3.1.dist-info"
	return []Linked{
		{Name: "node: a hard link of a store", Packages: node,
			Layers: [][]byte{stream(put("pnpm/files/ab12", npm("4.17.20")),
				hardlink("srv/node_modules/lodash/package.json", "pnpm/files/ab12"))}},
		{Name: "node: a hard link to another layer", Packages: node,
			Layers: [][]byte{stream(put("pnpm/files/ab12", npm("4.17.20"))),
				stream(hardlink("srv/node_modules/lodash/package.json", "pnpm/files/ab12"))}},
		{Name: "node: a symbolic link", Packages: node,
			Layers: [][]byte{stream(put("opt/manifest", npm("4.17.20")),
				symlink("srv/node_modules/lodash/package.json", "/opt/manifest"))}},
		{Name: "node: a linked directory", Packages: node,
			Layers: [][]byte{stream(put("srv/node_modules/.pnpm/lodash/package.json", npm("4.17.20")),
				symlink("srv/node_modules/lodash", ".pnpm/lodash"))}},
		{Name: "node: twice", Packages: node,
			Layers: [][]byte{stream(put("srv/node_modules/lodash/package.json", npm("9.9.9")),
				put("srv/node_modules/lodash/package.json", npm("4.17.20")))}},
		{Name: "node: a replaced directory", Packages: node,
			Layers: [][]byte{stream(put("srv/node_modules/lodash/package.json", npm("9.9.9")),
				put("new/node_modules/lodash/package.json", npm("4.17.20"))),
				stream(symlink("srv", "new"))}},
		{Name: "python: a linked directory", Packages: pip,
			Layers: [][]byte{stream(put("opt/yaml/METADATA", python), put("opt/yaml/RECORD", ""),
				symlink(info, "/opt/yaml"))}},
		{Name: "python: a hard link", Packages: pip,
			Layers: [][]byte{stream(put("opt/yaml", python), put(info+"/RECORD", ""),
				hardlink(info+"/METADATA", "opt/yaml"))}},
		{Name: "dpkg: twice", Packages: ssl, OS: "12.5",
			Layers: [][]byte{stream(put(osRelease, debianRelease), put("etc/debian_version", "12.5\n"),
				put("var/lib/dpkg/status", ""), put("var/lib/dpkg/status", debian))}},
		{Name: "dpkg: a hard link", Packages: ssl, OS: "12.5",
			Layers: [][]byte{stream(put(osRelease, debianRelease), put("etc/debian_version", "12.5\n"),
				put("ostree/ab.file", debian), hardlink("var/lib/dpkg/status", "ostree/ab.file"))}},
		{Name: "dpkg: a linked directory", Packages: ssl, OS: "12.5",
			Layers: [][]byte{stream(put(osRelease, debianRelease),
				put("etc/debian_version", "12.5\n"), put("opt/dpkg/status", debian)),
				stream(symlink("var/lib/dpkg", "/opt/dpkg"))}},
		{Name: "dpkg: a list behind another name", Packages: ssl, OS: "12.5",
			Layers: [][]byte{stream(put(osRelease, debianRelease), put("etc/debian_version", "12.5\n"),
				put("var/lib/dpkg/available", debian), symlink("var/lib/dpkg/status", "available"))}},
		{Name: "dpkg: a linked directory of lists", Packages: ssl, OS: "12.5",
			Layers: [][]byte{stream(put(osRelease, debianRelease), put("etc/debian_version", "12.5\n"),
				put("opt/lists/libssl3", debian), symlink("var/lib/dpkg/status.d",
					"../../../opt/lists"))}},
	}
}

// LinkedRPM are images with a database of RPM, in the format of SQLite, to which only links lead.
func LinkedRPM(database string) []Linked {
	const place, release = "var/lib/rpm/rpmdb.sqlite", "Rocky Linux release 9.3 (Blue Onyx)\n"
	rocky := put("etc/rocky-release", release)
	return []Linked{
		{Name: "plain", Layers: [][]byte{stream(rocky, put(place, database))}},
		{Name: "twice", Layers: [][]byte{stream(rocky, put(place, ""), put(place, database))}},
		{Name: "ostree",
			Layers: [][]byte{stream(rocky, put("sysroot/ostree/repo/objects/ab.file", database),
				hardlink("usr/share/rpm/rpmdb.sqlite", "sysroot/ostree/repo/objects/ab.file"),
				symlink("var/lib/rpm", "../../usr/share/rpm"))}},
		{Name: "sysimage",
			Layers: [][]byte{stream(rocky, put("usr/lib/sysimage/rpm/rpmdb.sqlite", database),
				symlink("var/lib/rpm", "../../usr/lib/sysimage/rpm"))}},
		{Name: "a linked directory",
			Layers: [][]byte{stream(rocky, put("opt/rpm/rpmdb.sqlite", database)),
				stream(symlink("var/lib/rpm", "/opt/rpm"))}},
		{Name: "a linked file", Layers: [][]byte{stream(rocky, put("opt/db", database)),
			stream(symlink(place, "/opt/db"))}},
		{Name: "a hard link to a lower layer",
			Layers: [][]byte{stream(rocky, put("opt/db", database)), stream(hardlink(place, "opt/db"))}},
		{Name: "var is a link",
			Layers: [][]byte{stream(rocky, put("opt/v/lib/rpm/rpmdb.sqlite", database)),
				stream(symlink("var", "opt/v"))}},
	}
}
