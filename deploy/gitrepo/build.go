package gitrepo

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"sort"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/deploy"
)

// made is a commit that is in the store and not yet pushed, with every object that is new.
type made struct {
	commit  *object.Commit
	objects []plumbing.Hash
}

// trailerKey is what "git interpret-trailers" takes for a key.
var trailerKey = regexp.MustCompile(`^[A-Za-z0-9-]+$`)

// build makes the commit that the edit asks for; nil if it changes nothing.
func (r *Repo) build(base *object.Commit, e deploy.Edit) (*made, error) {
	b := &builder{store: r.local}
	root, err := b.update("", base.TreeHash, e.Files)
	if err != nil {
		return nil, err
	}
	if root == base.TreeHash {
		return nil, nil
	}
	message, err := compose(e)
	if err != nil {
		return nil, err
	}
	by := object.Signature{Name: r.author.Name, Email: r.author.Email, When: r.now().UTC()}
	c := &object.Commit{Author: by, Committer: by, Message: message, TreeHash: root,
		ParentHashes: []plumbing.Hash{base.Hash}}
	if r.signer != nil {
		if c.PGPSignature, err = sign(c, r.signer); err != nil {
			return nil, pratique.Wrap(pratique.Internal, "sign commit", "", err)
		}
	}
	h, err := b.save(c.Encode)
	if err != nil {
		return nil, err
	}
	c, err = r.local.commit(h) // as a reader sees it
	if err != nil {
		return nil, err
	}
	return &made{commit: c, objects: b.fresh}, nil
}

// compose joins message and trailers.
func compose(e deploy.Edit) (string, error) {
	var b strings.Builder
	b.WriteString(strings.TrimRight(e.Message, "\n"))
	b.WriteString("\n")
	for i, t := range e.Trailers {
		if !trailerKey.MatchString(t.Key) || strings.ContainsAny(t.Value, "\n\r\x00") ||
			strings.TrimSpace(t.Value) != t.Value || t.Value == "" {
			return "", pratique.Errorf(pratique.Invalid, "write trailer",
				"%q: %q is not a trailer of one line", t.Key, t.Value)
		}
		if i == 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "%s: %s\n", t.Key, t.Value)
	}
	if strings.TrimSpace(e.Message) == "" || strings.ContainsRune(e.Message, 0) {
		return "", pratique.Errorf(pratique.Invalid, "write commit message",
			"the message is empty or holds a zero byte")
	}
	return b.String(), nil
}

// signatureNamespace keeps signatures of commits apart from others of the same key.
const signatureNamespace = "git"

// sign returns an armoured SSH signature over the commit, as "git commit -S" makes with
// gpg.format=ssh.
func sign(c *object.Commit, signer ssh.Signer) (string, error) {
	var o plumbing.MemoryObject
	if err := c.EncodeWithoutSignature(&o); err != nil {
		return "", err
	}
	reader, err := o.Reader()
	if err != nil {
		return "", err
	}
	sig, err := sshsig.SignWithRand(reader, rand.Reader, signer, sshsig.HashSHA512, signatureNamespace)
	if err != nil {
		return "", err
	}
	return string(sshsig.Armor(sig)), nil
}

// parseKey reads an OpenSSH private key without a passphrase.
func parseKey(pem []byte) (ssh.Signer, error) {
	signer, err := ssh.ParsePrivateKey(bytes.TrimSpace(pem))
	var locked *ssh.PassphraseMissingError
	if errors.As(err, &locked) {
		return nil, fmt.Errorf("the key has a passphrase: give one without, made with ssh-keygen -t ed25519 -N ''")
	}
	return signer, err
}

// builder writes new objects and remembers which they are.
type builder struct {
	store *store
	fresh []plumbing.Hash
}

// update returns the folder with the files in place of what was there. Only trees on the way are
// written again.
func (b *builder) update(folder string, root plumbing.Hash,
	files map[string][]byte) (plumbing.Hash, error) {
	here := map[string][]byte{}
	below := map[string]map[string][]byte{}
	for name, content := range files {
		if err := checkPath(name); err != nil {
			return root, err
		}
		dir, rest, nested := strings.Cut(name, "/")
		if !nested {
			here[dir] = content
			continue
		}
		if below[dir] == nil {
			below[dir] = map[string][]byte{}
		}
		below[dir][rest] = content
	}
	var t object.Tree
	if !root.IsZero() {
		old, err := b.store.tree(folder, root)
		if err != nil {
			return root, err
		}
		t.Entries = slices.Clone(old.Entries)
	}
	if err := b.blobs(&t, here); err != nil {
		return root, err
	}
	if err := b.subtrees(folder, &t, below); err != nil {
		return root, err
	}
	sort.Sort(object.TreeEntrySorter(t.Entries))
	return b.save(t.Encode)
}

func (b *builder) blobs(t *object.Tree, files map[string][]byte) error {
	for name, content := range files {
		e := entryOf(t, name, filemode.Regular)
		if !isFile(e.Mode) {
			return pratique.Errorf(pratique.Invalid, "write file", "%s is not a regular file", name)
		}
		h, err := b.save(func(o plumbing.EncodedObject) error {
			o.SetType(plumbing.BlobObject)
			w, err := o.Writer()
			if err != nil {
				return err
			}
			_, err = w.Write(content)
			return err
		})
		if err != nil {
			return err
		}
		e.Hash = h
	}
	return nil
}

func (b *builder) subtrees(folder string, t *object.Tree, dirs map[string]map[string][]byte) error {
	for name, files := range dirs {
		e := entryOf(t, name, filemode.Dir)
		if e.Mode != filemode.Dir {
			return pratique.Errorf(pratique.Invalid, "write file", "%s is not a folder", name)
		}
		h, err := b.update(path.Join(folder, name), e.Hash, files)
		if err != nil {
			return err
		}
		e.Hash = h
	}
	return nil
}

// entryOf returns the entry of that name, a new one with the given mode if there is none.
func entryOf(t *object.Tree, name string, mode filemode.FileMode) *object.TreeEntry {
	for i := range t.Entries {
		if t.Entries[i].Name == name {
			return &t.Entries[i]
		}
	}
	t.Entries = append(t.Entries, object.TreeEntry{Name: name, Mode: mode})
	return &t.Entries[len(t.Entries)-1]
}

func isFile(m filemode.FileMode) bool {
	return m == filemode.Regular || m == filemode.Executable || m == filemode.Deprecated
}

// save stores an object and marks it to be sent.
func (b *builder) save(encode func(plumbing.EncodedObject) error) (plumbing.Hash, error) {
	o := b.store.objects.NewEncodedObject()
	if err := encode(o); err != nil {
		return plumbing.ZeroHash, err
	}
	// What the store has already is sent too: it may come from a push that was refused.
	if h := o.Hash(); !slices.Contains(b.fresh, h) {
		b.fresh = append(b.fresh, h)
	}
	return b.store.objects.SetEncodedObject(o)
}

// checkPath keeps paths inside the tree and away from Git's own folder.
func checkPath(name string) error {
	if name == "" || name != path.Clean(name) || strings.HasPrefix(name, "/") ||
		strings.ContainsAny(name, "\x00\\") {
		return pratique.Errorf(pratique.Invalid, "check path",
			"%q is not a clean path relative to the repository", name)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." || part == "." || dotGit(part) {
			return pratique.Errorf(pratique.Invalid, "check path",
				"%q leaves the tree or names Git's own folder", name)
		}
	}
	return nil
}

func readAll(o plumbing.EncodedObject) ([]byte, error) {
	r, err := o.Reader()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}
