// Package imagename compares names of image repositories, and finds them in text. Docker Hub has
// several names for each repository; everything else has one.
package imagename

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"

	"github.com/pratique-dev/pratique"
)

// dockerHub are the hosts of Docker Hub. A name without a host is also one of Docker Hub.
var dockerHub = []string{"docker.io", "index.docker.io", "registry-1.docker.io"}

// library is the prefix that may be omitted on Docker Hub.
const library = "library/"

// Canonical returns the full name of a repository, such as docker.io/library/nginx for nginx.
func Canonical(name string) string {
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

// Same reports whether a name, in any spelling, is that of the repository.
func Same(name string, r pratique.Repository) bool {
	return name == r.String() || Canonical(name) == Canonical(r.String())
}

// Spellings are all names of the repository. Except on Docker Hub there is one.
func Spellings(r pratique.Repository) []string {
	rest, hub := strings.CutPrefix(Canonical(r.String()), dockerHub[0]+"/")
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

// Contains reports whether the content contains one of the names, and not only as a part of a longer
// name.
func Contains(content []byte, all []string) bool {
	return part{content, true, true}.names(all)
}

// part is a part of a file, and whether it is its first and its last.
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

// named finds a name that is not part of a longer one. A name at the end of a part may continue in
// the next part, which is searched for it then.
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

// inName reports whether a byte can be part of a repository name.
func inName(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' ||
		bytes.IndexByte([]byte("._-/"), b) >= 0
}

// Mentions reports whether a file names the repository. It holds only a small part of the file in
// memory.
func Mentions(ctx context.Context, r io.Reader, of pratique.Repository) (bool, error) {
	all := Spellings(of)
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
