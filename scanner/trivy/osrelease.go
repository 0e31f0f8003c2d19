//go:build goexperiment.jsonv2

package trivy

import (
	"errors"
	"io"
	"strings"
	"unicode"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/filetree"
)

// maxOSRelease bounds an os-release file, in bytes. Real ones have less than a kilobyte.
const maxOSRelease = 64 << 10

// osRelease is the content of the file of that name.
type osRelease struct {
	path    string // as a program opens it; empty if there is none
	id      string
	like    []string // distributions that it is derived from
	version string
	assigns bool // it has at least one assignment
}

// name is the name of the distribution; empty if there is no os-release. "linux" is the documented
// default, and "none" is not used: it stands for images without a distribution.
func (r osRelease) name() string {
	switch {
	case r.id != "" && r.id != familyNone:
		return r.id
	case r.assigns:
		return "linux"
	default:
		return ""
	}
}

// osReleasePaths are the paths that programs try, in order.
func osReleasePaths() []string { return []string{"etc/os-release", "usr/lib/os-release"} }

// osRelease reads the file that a program in the container would read, following links. A file with
// an ID takes precedence over one without.
func (s *Scanner) osRelease(img *filetree.Image) (found osRelease, err error) {
	for _, name := range osReleasePaths() {
		f, err := regular(img, name)
		if err != nil {
			return osRelease{}, err
		}
		if f == nil {
			continue
		}
		known := s.osReleases.Get(f.Layer, func(*filetree.Layer) map[*filetree.File]osRelease {
			return map[*filetree.File]osRelease{}
		})
		r, ok := known[f]
		if !ok {
			text, err := readSmall(img, name, f, maxOSRelease)
			if err != nil {
				return osRelease{}, err
			}
			r = parseOSRelease(text)
			known[f] = r
		}
		if r.path = name; found.path == "" || found.id == "" && r.id != "" {
			found = r
		}
	}
	return found, nil
}

// regular returns the regular file that a path leads to, nil if there is none.
func regular(img *filetree.Image, name string) (*filetree.File, error) {
	_, n, err := img.Resolve(name)
	switch {
	case errors.Is(err, filetree.ErrLoop):
		return nil, pratique.Errorf(pratique.Corrupt, "follow links",
			"the links at %s lead in a circle", name)
	case err != nil:
		return nil, err
	case n == nil || n.Kind != filetree.Regular:
		return nil, nil
	default:
		return n.File, nil
	}
}

func readSmall(img *filetree.Image, name string, f *filetree.File, most int64) (string, error) {
	const op = "read release"
	if size := f.Head().Size; size > most {
		return "", pratique.Errorf(pratique.Exhausted, op, "%s has %d bytes, the limit is %d", name,
			size, most)
	}
	content, err := img.OpenFile(f)
	if err != nil {
		return "", err
	}
	defer func() { _ = content.Close() }() // only read
	text, err := io.ReadAll(io.LimitReader(content, most))
	return string(text), pratique.Wrap(pratique.Unknown, op, name, err)
}

// parseOSRelease uses the last assignment to a name, as a shell does. It accepts the same spaces as
// Trivy.
func parseOSRelease(text string) (r osRelease) {
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok || strings.HasPrefix(key, "#") {
			continue
		}
		r.assigns = true
		switch value = shellWord(value); strings.TrimSpace(key) {
		case "ID":
			r.id = value
		case "ID_LIKE":
			r.like = strings.Fields(value)
		case "VERSION_ID":
			r.version = value
		}
	}
	return r
}

// shellWord returns the first word of a shell's command line, without quotes.
func shellWord(text string) string {
	var out strings.Builder
	var quote rune
	escaped := false
	for _, c := range strings.TrimSpace(text) {
		switch {
		case escaped:
			escaped = false
			out.WriteRune(c)
		case c == '\\' && quote != '\'':
			escaped = true
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote == 0 && unicode.IsSpace(c):
			return out.String()
		default:
			out.WriteRune(c)
		}
	}
	return out.String()
}
