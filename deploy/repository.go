package deploy

import (
	"context"
	"io"
	"iter"
	"strings"
	"time"
	"unicode"
)

// Viewer is one branch of a config repository that can be looked at. That takes no right to push.
type Viewer interface {
	// View calls see with the tip of the branch. It reuses a state that is at most maxAge old. If
	// the remote cannot be asked, see gets an older state, and Viewed.Failed is the reason. The
	// error is that there is no state at all, or that of see.
	View(ctx context.Context, maxAge time.Duration,
		see func(ctx context.Context, tip Tip) error) (Viewed, error)
}

// Repository is one branch of a config repository that commits can be pushed to. Package repotest
// says what an implementation has to do.
type Repository interface {
	Viewer
	// Update makes at most one commit on the newest state of the branch. Calls are made one after
	// another. One that would have to wait for long fails with kind Unavailable and has
	// RetryAfter() time.Duration in the chain of its error.
	Update(ctx context.Context, u Update) (Pushed, error)
}

// Busy is implemented by repositories that know when an update makes no sense now.
type Busy interface {
	// Busy returns for how long, 0 if one can be made. It does not wait.
	Busy() time.Duration
}

// Update is a wanted commit.
type Update struct {
	// History is shown the commits of the branch before each Edit, newest first and at most 2,000,
	// as far as they are at hand. If it returns false after the last one, more are fetched, once,
	// and it is called again. It may be nil. What it is shown may be used until Edit returns.
	History func(past iter.Seq[Past]) bool
	// Edit says what to change. It is called once for each new tip of the branch, holding the
	// writer's lock, and its errors are returned as they are. The tip must not be kept.
	Edit func(ctx context.Context, tip Tip) (Edit, error)
}

// Past is a commit of the branch. Its trailers count only if it is ours and did what they claim.
type Past struct {
	// ID is hexadecimal, At the committer's time.
	ID string
	At time.Time
	// Trailers are those of the last paragraph of the message, if that is not longer than ours are.
	Trailers []Trailer
	// Ours reports whether this service made it: by the signature where commits are signed,
	// otherwise by the committer, which proves little, since anybody can write any name there.
	Ours func() bool
	// Changed visits the files below prefix that are not as in the commit's first parent, as the
	// commit has them. It returns false if they are not known, because the parent is not at hand,
	// or because they are too many.
	Changed func(ctx context.Context, prefix string, visit func(File) error) (bool, error)
	// Tree is the content of the commit.
	Tree func() Tree
}

// Tip is the newest commit of the branch.
type Tip interface {
	Tree
	// ID is hexadecimal.
	ID() string
	// Since follows the first parents from the tip and returns the oldest commit from which on the
	// file is the same. The id is empty if the commits at hand do not show it.
	Since(ctx context.Context, path string, same func(File) (bool, error)) (id string, at time.Time,
		err error)
}

// Viewed is what [Viewer.View] has shown.
type Viewed struct {
	// Remote and Branch are without credentials.
	Remote, Branch string
	// At is when the branch was known to be so.
	At time.Time
	// Failed is why it could not be asked now; nil if it was.
	Failed error
}

// Edit is the content of a commit. Without files, or with the content they have already, no commit
// is made.
type Edit struct {
	// Files are whole new contents by slash-separated path.
	Files map[string][]byte
	// Message is subject and body; the trailers follow as its last paragraph.
	Message  string
	Trailers []Trailer
}

// Trailer is one "Key: value" line at the end of a commit message.
type Trailer struct {
	Key, Value string
}

// Tree is the content of one commit, read only.
type Tree interface {
	// Walk visits the regular files below prefix in Git's order; an empty prefix is the whole tree.
	// A prefix that does not exist has no files. Links and submodules are not visited. The error
	// has kind Exhausted, and names a folder, if there are more files than one walk may visit.
	Walk(ctx context.Context, prefix string, visit func(File) error) error
	// Read returns a regular file: kind NotFound if there is none, Exhausted if it is too large to
	// be edited.
	Read(path string) ([]byte, error)
}

// File is a regular file that [Tree.Walk] visits. It must not be kept longer than the tree.
type File interface {
	Path() string
	// Content identifies the bytes: two files with the same one have the same content.
	Content() string
	// Read returns the bytes; kind Exhausted if they are too many to be edited.
	Read() ([]byte, error)
	// Open reads a file of any size from its beginning to its end; kind Exhausted if its bytes are
	// not at hand.
	Open(ctx context.Context) (io.ReadCloser, error)
}

// Pushed is what came of an [Update].
type Pushed struct {
	// Remote and Branch are where the commit is, without credentials.
	Remote, Branch string
	// Commit is the hexadecimal id of the commit that this call made, empty if nothing had to
	// change.
	Commit string
	// At is the committer's time.
	At time.Time
}

// oneLine replaces line breaks and other control characters, so that a value cannot become a second
// trailer.
func oneLine(s string) string {
	const most = 512
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, s)
	if len(s) > most {
		s = s[:most]
	}
	return strings.TrimSpace(strings.ToValidUTF8(s, ""))
}
