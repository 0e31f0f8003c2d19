package deploy

import (
	"bytes"
	"context"
	"errors"
	"strings"

	"github.com/pratique-dev/pratique"
)

// maxHints bounds the hints of one answer.
const maxHints = 10

var errEnough = errors.New("enough")

// hints returns why a target has no place of a repository: its path is not on the branch, or files
// name the repository on lines that are not edited. No decision depends on it.
func hints(ctx context.Context, tip Tip, t Target, of pratique.Repository) ([]pratique.Problem, error) {
	var found []pratique.Problem
	files := 0
	search := eachFile(func(f File, content []byte) error {
		for _, line := range mentions(content, of.String()) {
			if len(found) == maxHints {
				return errEnough
			}
			found = append(found, pratique.Problem{Path: oneLine(f.Path()), Line: line,
				Reason: "names the image, and is not edited: mark the value, see docs/editing.md"})
		}
		return nil
	}, nil) // files that are too large are among the problems
	err := tip.Walk(ctx, t.Path, func(f File) error {
		files++
		return search(f)
	})
	switch {
	case err != nil && !errors.Is(err, errEnough):
		return nil, err
	case files == 0 && t.Path != "":
		found = append(found, pratique.Problem{Path: oneLine(t.Path),
			Reason: "the target's path is not on the branch, or has no files: check deploy.targets[].path"})
	}
	return found, nil
}

// mentions returns the lines of a file that hold a name as a whole, and are neither comments nor
// marked.
func mentions(content []byte, name string) (lines []int) {
	number := 0
	for line := range bytes.Lines(content) {
		number++
		if trimmed := bytes.TrimSpace(line); bytes.HasPrefix(trimmed, []byte("#")) ||
			bytes.Contains(trimmed, []byte(`"$pratique"`)) {
			continue
		}
		if holdsName(string(line), name) {
			lines = append(lines, number)
		}
	}
	return lines
}

func holdsName(line, name string) bool {
	part := func(b byte) bool {
		return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' ||
			strings.IndexByte("._/-", b) >= 0
	}
	for from := 0; ; {
		at := strings.Index(line[from:], name)
		if at < 0 {
			return false
		}
		at += from
		end := at + len(name)
		if (at == 0 || !part(line[at-1])) && (end == len(line) || !part(line[end])) {
			return true
		}
		from = at + 1
	}
}
