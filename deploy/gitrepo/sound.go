package gitrepo

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/pratique-dev/pratique"
)

// sound refuses a folder that git fsck calls broken: readers differ on what it holds. Of a name
// that stands in it twice, one takes the first and a checkout the last; and a checkout ends at a
// name that leads out of the folder or into Git's own.
func sound(dir string, t *object.Tree) error {
	at, why := flaw(t.Entries)
	if why == "" {
		return nil
	}
	return unsound(dir, "%.200q %s", at, why)
}

// errUnsound is in every error about a folder that is broken.
var errUnsound = errors.New("nobody can say what a checkout of it holds; git fsck names it too; take the folder away, and add its files again")

// unsound is the error for a folder that programs read differently. It does not end the job: people
// can fix the folder.
func unsound(dir, format string, args ...any) error {
	return pratique.Errorf(pratique.Denied, "read tree", "the folder %.500q is broken: %s: %w", dir+
		"/", fmt.Sprintf(format, args...), errUnsound)
}

// flaw returns the name of the first entry that is not as git writes it, and what is wrong with it.
func flaw(entries []object.TreeEntry) (name, why string) {
	for i, e := range entries {
		switch {
		case e.Name == "" || e.Name == "." || e.Name == ".." || strings.Contains(e.Name, "/") ||
			dotGit(e.Name):
			return e.Name, "is no name that a checkout takes"
		case e.Hash.IsZero():
			return e.Name, "stands for nothing"
		case i > 0 && e.Name == entries[i-1].Name:
			return e.Name, "stands in it twice"
		case i > 0 && sortName(entries[i-1]) >= sortName(e):
			return e.Name, "is not where it belongs in the order of names"
		case e.Mode == filemode.Dir && isThere(entries[:i], e.Name):
			// Git orders a folder as if its name ended in a slash, so others may come between
			return e.Name, "stands in it twice"
		}
	}
	return "", ""
}

// isThere finds a name that is none of a folder, among entries that are in order.
func isThere(entries []object.TreeEntry, name string) bool {
	_, found := slices.BinarySearchFunc(entries, name, func(e object.TreeEntry, name string) int {
		return strings.Compare(sortName(e), name)
	})
	return found
}

// sortName is what Git orders an entry by.
func sortName(e object.TreeEntry) string {
	if e.Mode == filemode.Dir {
		return e.Name + "/"
	}
	return e.Name
}

// dotGit reports whether some file system takes a name for that of Git's own folder. Git refuses
// these everywhere: Windows drops spaces and dots at the end, takes what is behind a colon for a
// stream and "git~1" for a short name, and macOS does not see some characters.
func dotGit(name string) bool {
	seen := strings.Map(func(r rune) rune {
		if unicode.In(r, unseen) {
			return -1
		}
		return r
	}, name)
	if strings.EqualFold(seen, ".git") {
		return true
	}
	for part := range strings.SplitSeq(name, `\`) {
		part, _, _ = strings.Cut(part, ":")
		if part = strings.TrimRight(part, " ."); strings.EqualFold(part, ".git") ||
			strings.EqualFold(part, "git~1") {
			return true
		}
	}
	return false
}

// unseen are the characters that macOS ignores in names.
var unseen = &unicode.RangeTable{R16: []unicode.Range16{{0x200c, 0x200f, 1}, {0x202a, 0x202e, 1},
	{0x206a, 0x206f, 1}, {0xfeff, 0xfeff, 1}}}
