package pratique

import (
	"slices"
	"strings"
)

// architectureAliases are spellings that runtimes treat as equal, as containerd normalizes them.
var architectureAliases = map[string]string{
	"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "armhf": "arm", "armel": "arm",
	"i386": "386", "i486": "386", "i586": "386", "i686": "386",
}

// knownArchitectures are those of Linux and Windows images. Others may be spellings that some
// runtime knows.
var knownArchitectures = []string{
	"386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64",
	"ppc64le", "riscv64", "s390x", "wasm",
}

// fallbacks are the architectures that a machine runs if an index has nothing better.
var fallbacks = map[string][]string{"amd64": {"386"}, "arm64": {"arm"}}

// hosts are the systems whose runtimes also run images of another one, as containerd does by
// default.
var hosts = map[string][]string{"freebsd": {"linux"}, "darwin": {"linux"}}

// MayRunOn reports whether a machine of the wanted platform might run an image of platform p. It is
// false only if that is certain: it is true for other spellings, for every variant, for fallback
// architectures, and for what is not known.
func (p Platform) MayRunOn(wanted Platform) bool {
	os, architecture := p.split()
	wantedOS, wantedArchitecture := wanted.split()
	if os != wantedOS && slices.Contains([]string{"linux", "windows", "darwin", "freebsd"}, os) &&
		!slices.Contains(hosts[wantedOS], os) {
		return false
	}
	return architecture == wantedArchitecture || !slices.Contains(knownArchitectures, architecture) ||
		slices.Contains(fallbacks[wantedArchitecture], architecture)
}

// Agrees reports whether p and other name the same operating system and architecture, in any
// spelling. An empty part agrees with everything.
func (p Platform) Agrees(other Platform) bool {
	os, architecture := p.split()
	otherOS, otherArchitecture := other.split()
	same := func(a, b string) bool { return a == b || a == "" || b == "" }
	return same(os, otherOS) && same(architecture, otherArchitecture)
}

// split returns operating system and architecture, normalized, without the variant.
func (p Platform) split() (os, architecture string) {
	os, rest, _ := strings.Cut(strings.ToLower(string(p)), "/")
	architecture, _, _ = strings.Cut(rest, "/")
	if name, ok := architectureAliases[architecture]; ok {
		architecture = name
	}
	if os == "macos" {
		os = "darwin"
	}
	return os, architecture
}
