package webhook

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/pratique-dev/pratique"
)

// reference is an image as senders write it: host/path, host/path:tag, host/path@digest or host/path:tag@digest. The
// parts are not checked against their grammars; that is done for all formats alike when the event is made.
type reference struct{ host, path, tag, digest string }

// splitReference takes the text apart at the one place where each mark can stand. Everything up to the first slash is
// the host, whether or not it looks like one: there is no default host, which two programs would read differently. A
// scheme, a second "@", a mark with nothing behind it, and spaces or control characters are refused.
func splitReference(text string) (reference, error) {
	fail := func(why string) (reference, error) {
		return reference{}, fmt.Errorf("reference %q: %s", pratique.Clip(text), why)
	}
	if strings.ContainsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
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
