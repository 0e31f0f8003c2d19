package deploy

import (
	"context"
	"strings"
	"time"
	"unicode"
)

// Repository is one branch of a config repository that commits can be pushed to.
type Repository interface {
	// Update makes at most one commit on the newest state of the branch. Calls are made one after another.
	Update(ctx context.Context, u Update) (Pushed, error)
}

// Update is a commit wanted.
type Update struct {
	// Done is asked about each of the last 2,000 commits, newest first, until it does not say Go on; it may be asked
	// about the same one again. If it says Found, the update was made by that commit and Edit is not called. Nil
	// means that Edit decides.
	Done Search
	// Earlier finds the commit to name when Edit has nothing to change, among those at hand; it may be nil.
	Earlier Search
	// Edit says what to change. It is called once for each new tip of the branch, holding the writer's lock,
	// and its errors are returned as they are. The tree must not be kept.
	Edit func(ctx context.Context, tree Tree) (Edit, error)
}

// Search looks for a commit by its trailers. The id is hexadecimal.
type Search func(id string, trailers []Trailer) Step

// Step is what a [Search] says about one commit.
type Step int

// The steps.
const (
	GoOn  Step = iota // look at older commits
	Found             // this is the one
	Stop              // there is none
)

// Edit is the content of a commit. Without files, or with the content they have already, no commit is made.
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
	// Walk visits the regular files below prefix in Git's order; an empty prefix is the whole tree. A prefix
	// that does not exist has no files. Links and submodules are not visited.
	Walk(ctx context.Context, prefix string, visit func(path string) error) error
	// Read returns a regular file: kind NotFound if there is none, Exhausted if it is too large to be edited.
	Read(path string) ([]byte, error)
}

// Pushed is what came of an [Update].
type Pushed struct {
	// Remote and Branch are where the commit is, without credentials.
	Remote, Branch string
	// Commit is the hexadecimal id, empty if nothing had to change and no earlier commit was found.
	Commit string
	// Created is true if this call made the commit.
	Created bool
	// At is the committer's time.
	At time.Time
}

// oneLine replaces line breaks and other control characters, so that a value cannot become a second trailer.
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
