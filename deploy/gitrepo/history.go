package gitrepo

import (
	"bytes"
	"context"
	"iter"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/hiddeco/sshsig"

	"github.com/pratique-dev/pratique/deploy"
)

// newestFirst walks the local history. It sets cut if the branch has more history than that.
func (s *store) newestFirst(tip plumbing.Hash, cut *bool) iter.Seq[*object.Commit] {
	return func(yield func(*object.Commit) bool) {
		*cut = false
		seen := map[plumbing.Hash]bool{}
		var queue []*object.Commit
		add := func(h plumbing.Hash) {
			if seen[h] || len(seen) > 2*history {
				return
			}
			seen[h] = true
			if c, err := s.commit(h); err == nil {
				queue = append(queue, c)
			} else {
				*cut = true // behind the shallow boundary
			}
		}
		add(tip)
		for range history {
			if len(queue) == 0 {
				return
			}
			// A merge has several parents, and a commit a few steps away may be old.
			i := 0
			for k, c := range queue {
				if c.Committer.When.After(queue[i].Committer.When) {
					i = k
				}
			}
			c := queue[i]
			queue = slices.Delete(queue, i, i+1)
			if !yield(c) {
				return
			}
			for _, p := range c.ParentHashes {
				add(p)
			}
		}
		*cut = false // there is no more
	}
}

// among returns the one of the commits that is in the local history, nil if none is.
func (s *store) among(tip plumbing.Hash, wanted map[plumbing.Hash]bool) *object.Commit {
	if len(wanted) == 0 {
		return nil
	}
	var cut bool
	for c := range s.newestFirst(tip, &cut) {
		if wanted[c.Hash] {
			return c
		}
	}
	return nil
}

// show passes the history to a search, and fetches more if the search asks for it.
func (r *Repo) show(ctx context.Context, tip plumbing.Hash, to func(iter.Seq[deploy.Past]) bool) error {
	if to == nil {
		return nil
	}
	var cut bool
	past := func(yield func(deploy.Past) bool) {
		for c := range r.local.newestFirst(tip, &cut) {
			if !yield(r.past(c)) {
				return
			}
		}
	}
	if to(past) || !cut || r.local.deep {
		return nil
	}
	if err := r.deepen(ctx, tip); err != nil {
		return err
	}
	to(past)
	return nil
}

// past describes a commit. Its expensive parts are computed on demand.
func (r *Repo) past(c *object.Commit) deploy.Past {
	local := r.local
	return deploy.Past{
		ID: c.Hash.String(), At: c.Committer.When, Trailers: trailersOf(c.Message),
		Ours: func() bool {
			ours, known := local.ours[c.Hash]
			if !known {
				ours = r.made(c)
				local.ours[c.Hash] = ours
			}
			return ours
		},
		Tree: func() deploy.Tree { return &tree{store: local, root: c.TreeHash} },
		Changed: func(ctx context.Context, prefix string, visit func(deploy.File) error) (bool, error) {
			return local.changed(ctx, c, prefix, visit)
		},
	}
}

// maxSignature bounds the length of a signature that is verified.
const maxSignature = 16 << 10

// made reports whether a commit is by this service.
func (r *Repo) made(c *object.Commit) bool {
	if r.signer == nil {
		return c.Committer.Name == r.author.Name && c.Committer.Email == r.author.Email
	}
	if c.PGPSignature == "" || len(c.PGPSignature) > maxSignature {
		return false
	}
	sig, err := sshsig.Unarmor([]byte(c.PGPSignature))
	if err != nil || !bytes.Equal(sig.PublicKey.Marshal(), r.signer.PublicKey().Marshal()) {
		return false // of another key, and the commit may be long
	}
	var o plumbing.MemoryObject
	if err := c.EncodeWithoutSignature(&o); err != nil {
		return false
	}
	content, err := o.Reader()
	if err != nil {
		return false
	}
	return sshsig.Verify(content, sig, r.signer.PublicKey(), sshsig.HashSHA512, signatureNamespace) == nil
}

// maxParagraph is the length of the longest last paragraph in which trailers are looked for. Ours
// are much shorter.
const maxParagraph = 32 << 10

// trailersOf reads the "Key: value" lines of the last paragraph.
func trailersOf(message string) []deploy.Trailer {
	message = strings.TrimRight(message, "\n")
	last := message[strings.LastIndex(message, "\n\n")+1:]
	if len(last) > maxParagraph {
		return nil
	}
	var found []deploy.Trailer
	for line := range strings.Lines(last) {
		if key, value, ok := strings.Cut(line, ":"); ok && trailerKey.MatchString(key) {
			found = append(found, deploy.Trailer{Key: key, Value: strings.TrimSpace(value)})
		}
	}
	return found
}
