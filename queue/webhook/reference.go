package webhook

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/pratique-dev/pratique"
)

// reference is an image as senders write it: host/path, host/path:tag, host/path@digest or
// host/path:tag@digest. Its parts are validated later, for all formats alike.
type reference struct{ host, path, tag, digest string }

// splitReference splits a reference. Everything up to the first slash is the host, whether or not
// it looks like one: there is no default host, on which programs disagree. It refuses a scheme, a
// second "@", empty parts, spaces and control characters.
func splitReference(text string) (reference, error) {
	fail := func(why string) (reference, error) {
		return reference{}, fmt.Errorf("reference %q: %s", pratique.Clip(text), why)
	}
	if strings.ContainsFunc(text, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r)
	}) {
		return fail("spaces or control characters in it")
	}
	if strings.Contains(text, "://") {
		return fail("a URL, want host/path without a scheme")
	}
	name, digest, digested := strings.Cut(text, "@")
	host, path, ok := strings.Cut(name, "/")
	switch {
	case !ok || host == "":
		return fail("no registry before the path")
	case digested && (digest == "" || strings.Contains(digest, "@")):
		return fail(`want one digest after one "@"`)
	}
	out := reference{host: host, path: path, digest: digest}
	if i := strings.LastIndexByte(path, ':'); i > strings.LastIndexByte(path, '/') {
		if out.path, out.tag = path[:i], path[i+1:]; out.tag == "" {
			return fail(`no tag after ":"`)
		}
	}
	if out.path == "" {
		return fail("no path after the registry")
	}
	return out, nil
}
