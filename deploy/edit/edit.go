// Package edit changes image references in YAML files and nothing else: a value is replaced byte for byte in
// place, and the result is parsed again and compared before it is returned. Comments, blank lines, line
// endings, order and indentation stay as they are. What cannot be edited safely is refused, never rewritten.
package edit

import (
	"bytes"
	"fmt"
	"path"

	"github.com/pratique-dev/pratique"
)

// Refusal says that a value was found but cannot be edited byte for byte, or that a marker is wrong.
type Refusal struct {
	Path   string
	Line   int
	Reason string
}

// Error returns "path:line: reason".
func (r *Refusal) Error() string { return fmt.Sprintf("%s:%d: %s", r.Path, r.Line, r.Reason) }

// Relevant reports whether a file of this name can hold image references that Apply knows.
func Relevant(name string) bool {
	switch path.Ext(name) {
	case ".yaml", ".yml":
		return true
	}
	return isKustomization(name)
}

// Apply writes the change's digest at every place of the file that asks for its image, and returns the new
// content with one entry for each such place. Where the value was right already, Old equals New; if all were,
// out is content itself. No entries means that the file does not name the image.
//
// An error has kind Invalid and wraps a [Refusal] that names the line.
func Apply(name string, content []byte, c pratique.Change) (out []byte, changes []pratique.FileChange, err error) {
	if !screen(name, content, c) {
		return content, nil, nil
	}
	f := &file{path: name, content: content, change: c}
	if err := f.apply(); err != nil {
		return nil, nil, pratique.Wrap(pratique.Invalid, "edit", "", err)
	}
	return f.out, f.changes, nil
}

// screen looks at bytes only, so that most files are never parsed.
func screen(name string, content []byte, c pratique.Change) bool {
	if !Relevant(name) {
		return false
	}
	if isKustomization(name) && names(content, c.Subject.Repository.String()) {
		return true
	}
	return bytes.Contains(content, []byte(markerKey)) && len(suspects(content, c)) > 0
}

// names reports whether the content holds the repository's name, and not only as a part of a longer one.
func names(content []byte, repository string) bool {
	for from := 0; ; {
		at := bytes.Index(content[from:], []byte(repository))
		if at < 0 {
			return false
		}
		at += from
		end := at + len(repository)
		if (at == 0 || !inName(content[at-1])) && (end == len(content) || !inName(content[end])) {
			return true
		}
		from = at + 1
	}
}

// inName reports whether a byte can stand in a repository's name.
func inName(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || bytes.IndexByte([]byte("._-/"), b) >= 0
}

func isKustomization(name string) bool {
	switch path.Base(name) {
	case "kustomization.yaml", "kustomization.yml", "Kustomization":
		return true
	}
	return false
}
