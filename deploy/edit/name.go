package edit

import (
	"bytes"
	"context"
	"errors"
	"io"
	"regexp"
	"strings"

	"github.com/pratique-dev/pratique"
)

// dockerHub are the hosts that lead to Docker Hub. A name without a host means it, too.
var dockerHub = []string{"docker.io", "index.docker.io", "registry-1.docker.io"}

// library is the folder of Docker Hub that may be left out of a name.
const library = "library/"

// canonical writes the name of a repository in full, as docker.io/library/nginx for nginx.
func canonical(name string) string {
	host, rest, ok := strings.Cut(name, "/")
	if !ok || host != "localhost" && !strings.ContainsAny(host, ".:") {
		host, rest = dockerHub[0], name
	}
	for _, hub := range dockerHub {
		if host == hub {
			if !strings.Contains(rest, "/") {
				rest = library + rest
			}
			return dockerHub[0] + "/" + rest
		}
	}
	return name
}

// same reports whether a name, in whatever spelling, is that of the repository.
func same(name string, r pratique.Repository) bool {
	return name == r.String() || canonical(name) == canonical(r.String())
}

// spellings are all forms in which files may name the repository. Except on Docker Hub there is one.
func spellings(r pratique.Repository) []string {
	rest, hub := strings.CutPrefix(canonical(r.String()), dockerHub[0]+"/")
	if !hub {
		return []string{r.String()}
	}
	var all []string
	paths := []string{rest}
	if short, ok := strings.CutPrefix(rest, library); ok && !strings.Contains(short, "/") {
		paths = append(paths, short)
	}
	for _, p := range paths {
		all = append(all, p)
		for _, host := range dockerHub {
			all = append(all, host+"/"+p)
		}
	}
	return all
}

// names reports whether the content holds one of the names, and not only as a part of a longer one.
func names(content []byte, all []string) bool {
	return part{content, true, true}.names(all)
}

// part is some bytes of a file, and whether they are its first and its last.
type part struct {
	content     []byte
	first, last bool
}

func (p part) names(all []string) bool {
	for _, name := range all {
		if p.named(name) {
			return true
		}
	}
	return false
}

// named finds a name with the bytes around it. Where a part ends, it may go on, and is left to the next part.
func (p part) named(name string) bool {
	for from := 0; ; {
		at := bytes.Index(p.content[from:], []byte(name))
		if at < 0 {
			return false
		}
		at += from
		end := at + len(name)
		begins, ends := p.first, p.last
		if at > 0 {
			begins = !inName(p.content[at-1])
		}
		if end < len(p.content) {
			ends = !inName(p.content[end])
		}
		if begins && ends {
			return true
		}
		from = at + 1
	}
}

// inName reports whether a byte can stand in a repository's name.
func inName(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || bytes.IndexByte([]byte("._-/"), b) >= 0
}

// Mentions reports whether a file that is too large for [Apply] names the change's image. It never holds more than a
// small part of it.
func Mentions(ctx context.Context, r io.Reader, c pratique.Change) (bool, error) {
	all := spellings(c.Subject.Repository)
	longest := 0
	for _, name := range all {
		longest = max(longest, len(name))
	}
	const chunk = 256 << 10
	keep := longest + 1 // what a part leaves to the next: a name, and the byte in front of it
	buf := make([]byte, 0, chunk+keep)
	for first := true; ; first = false {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		n, err := io.ReadFull(r, buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return false, err
		}
		if (part{buf, first, last}).names(all) {
			return true, nil
		}
		if last {
			return false, nil
		}
		buf = append(buf[:0], buf[len(buf)-keep:]...)
	}
}

// The parts of a reference: what kustomize takes for "name=" in front of it, the name, the tag and the digest.
var reference = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9._/:-]{0,255}=)?([A-Za-z0-9][A-Za-z0-9._/:-]{0,511}?)(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(@[a-z0-9]+:[0-9a-f]{32,128})?$`)

var (
	tagForm    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)
	digestForm = regexp.MustCompile(`^[a-z0-9]+:[0-9a-f]{32,128}$`)
)

// rename writes tag and digest of the change into a reference of its image, and leaves the rest as it is spelled. It
// returns nothing if the value is no reference of that image.
func rename(value string, c pratique.Change) (string, bool) {
	parts := reference.FindStringSubmatch(value)
	if parts == nil {
		return "", false
	}
	prefix, name := parts[1], parts[2]
	if !same(name, c.Subject.Repository) {
		return "", false
	}
	out := prefix + name
	if c.Tag != "" {
		out += ":" + c.Tag
	}
	return out + "@" + c.Subject.Digest.String(), true
}
