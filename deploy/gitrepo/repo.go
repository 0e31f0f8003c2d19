// Package gitrepo pushes commits to one branch of a remote Git repository. It keeps the branch's
// objects in memory, builds trees itself and has no worktree and no git binary, except for file://
// remotes, where git runs without our environment. A push names the tip it was built on, so the
// server accepts it only if nobody else was faster; otherwise the edit is made again on the new
// tip. Nothing is ever merged, rebased or forced.
package gitrepo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/transport"
	"golang.org/x/crypto/ssh"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/deploy"
	"github.com/pratique-dev/pratique/internal/backoff"
)

// Config says where to push and as whom.
type Config struct {
	// URL is an http, https, ssh or file URL, without credentials: it is recorded and shown. Only
	// over ssh it may name a user.
	URL string
	// Branch is the branch to commit to, "main" if empty. It has to exist.
	Branch string
	Auth   Auth
	// CA are certificates, in PEM, of authorities that are trusted for an https remote, besides
	// those of the system.
	CA []byte
	// Author is the author and committer; "Pratique <pratique@localhost>" if empty.
	Author Signature
	// SigningKey is an OpenSSH private key in PEM that commits are signed with; none means unsigned.
	SigningKey []byte
	// Timeout bounds each exchange with the server, 60 seconds if zero.
	Timeout time.Duration
	// Tries is how often an edit is made again when the branch moved on, 10 if zero.
	Tries int
}

// Auth is how to log in. Over http a password without a user name is sent as a bearer token. Over
// ssh both the private key and the host's key are needed.
type Auth struct {
	Username, Password string
	// SSHKey is an OpenSSH private key in PEM, SSHKnownHosts the text of a known_hosts file.
	SSHKey, SSHKnownHosts []byte
}

// Signature names a person or service in a commit.
type Signature struct{ Name, Email string }

// Repo is one branch of one remote. It is safe for concurrent use; updates are made one at a time.
type Repo struct {
	remote   string // without credentials
	branch   string
	author   Signature
	signer   ssh.Signer
	timeout  time.Duration
	tries    int
	now      func() time.Time
	endpoint func() (*transport.Endpoint, error) // a new one each time: sessions write to it
	client   transport.Transport
	auth     transport.AuthMethod
	http     *http.Transport
	limits   limits

	access *access
	local  *store    // nil until the first update, and after errors; guarded by the lock in access
	known  time.Time // when local was known to be what the remote has
	// clones is set if the server requires multi_ack, as Azure DevOps does. go-git cannot read what
	// such a server answers to a client that already has objects, so each fetch is a shallow clone.
	clones bool
}

var _ deploy.Repository = (*Repo)(nil)

// Open checks the configuration and returns the branch without talking to the remote.
func Open(c Config, now func() time.Time) (*Repo, error) {
	r := &Repo{branch: c.Branch, author: c.Author, timeout: c.Timeout, tries: c.Tries, now: now,
		limits: defaults()}
	if r.branch == "" {
		r.branch = "main"
	}
	if err := plumbing.NewBranchReferenceName(r.branch).Validate(); err != nil {
		return nil, pratique.Errorf(pratique.Invalid, "open config repository", "branch %q: %w",
			r.branch, err)
	}
	if r.author == (Signature{}) {
		r.author = Signature{Name: "Pratique", Email: "pratique@localhost"}
	}
	if strings.ContainsAny(r.author.Name+r.author.Email, "<>\n\r\x00") {
		return nil, pratique.Errorf(pratique.Invalid, "open config repository",
			"author name and email must be free of angle brackets and line breaks")
	}
	if r.timeout <= 0 {
		r.timeout = time.Minute
	}
	if r.tries <= 0 {
		r.tries = 10
	}
	if len(c.SigningKey) > 0 {
		signer, err := parseKey(c.SigningKey)
		if err != nil {
			return nil, pratique.Wrap(pratique.Invalid, "read commit signing key", "", err)
		}
		r.signer = signer
	}
	if err := r.connect(c); err != nil {
		return nil, pratique.Wrap(pratique.Invalid, "open config repository", "", err)
	}
	r.access = newAccess(r.remote)
	return r, nil
}

// Close drops idle connections. The repository can still be used afterwards.
func (r *Repo) Close() {
	if r.http != nil {
		r.http.CloseIdleConnections()
	}
}

func (r *Repo) ref() plumbing.ReferenceName { return plumbing.NewBranchReferenceName(r.branch) }

// Update implements [deploy.Repository]. If an answer of the server was lost, it looks at the
// branch before it pushes again, so a commit is made once. The error is Denied if the server
// refused the login, the push (with its text) or the request, or has another host key; Conflict if
// others were faster too often; and Unavailable for network errors and if there is no such
// repository or branch, since hosts give that answer to a wrong login, too. Errors of u.Edit are
// returned as they are. It is also Unavailable, with the time of the next attempt, if others hold
// the branch for more than a few seconds, and during the pause after a timeout of the server.
func (r *Repo) Update(ctx context.Context, u deploy.Update) (_ deploy.Pushed, err error) {
	if err := r.acquire(ctx, true); err != nil {
		return deploy.Pushed{}, err
	}
	defer r.release(&err)
	defer pratique.Caught(pratique.Internal, "update config repository", &err)
	w := &work{repo: r, update: u}
	for try := range r.tries {
		if try > 0 {
			if waitErr := backoff.Sleep(ctx, betweenTries.Delay(try, backoff.Random())); waitErr != nil {
				return deploy.Pushed{}, pratique.Wrap(pratique.Unavailable,
					"update config repository", r.remote, fmt.Errorf("%w: %w", waitErr, err))
			}
		}
		var pushed deploy.Pushed
		pushed, err = w.attempt(ctx)
		if err == nil {
			return pushed, nil
		}
		if !w.again(err) {
			break
		}
	}
	var ours *editError
	if errors.As(err, &ours) {
		return deploy.Pushed{}, ours.error
	}
	return deploy.Pushed{}, pratique.Wrap(pratique.Unknown, "update config repository", r.remote+
		" "+r.branch, err)
}

// Warm fetches the branch, so that the first update need not wait for a clone. Its errors can be
// ignored: an update would meet them again.
func (r *Repo) Warm(ctx context.Context) error {
	_, err := r.View(ctx, 0, func(context.Context, deploy.Tip) error { return nil })
	return err
}

// viewTime bounds a view of the local copy.
const viewTime = 10 * time.Second

// View implements [deploy.Viewer]. It asks upload-pack alone, so a login that may read is enough,
// and none is needed where everybody may.
func (r *Repo) View(ctx context.Context, maxAge time.Duration,
	see func(context.Context, deploy.Tip) error) (_ deploy.Viewed, err error) {
	const op = "read config repository"
	viewed := deploy.Viewed{Remote: r.remote, Branch: r.branch}
	if err := r.acquire(ctx, false); err != nil {
		return viewed, err
	}
	defer r.release(&err)
	defer pratique.Caught(pratique.Internal, op, &err)
	if r.local == nil || maxAge <= 0 || r.now().Sub(r.known) > maxAge {
		before := r.local
		if viewed.Failed = r.refresh(ctx); viewed.Failed != nil {
			if r.local = before; before == nil {
				return viewed, viewed.Failed
			}
		}
	}
	base, err := r.local.commit(r.local.tip)
	if err != nil {
		return viewed, pratique.Wrap(pratique.Corrupt, op, r.remote+" "+r.branch, err)
	}
	viewed.At = r.known.UTC()
	// A remote that does not answer must not use up the time for looking at the local copy.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), viewTime)
	defer cancel()
	return viewed, see(ctx, r.local.at(base))
}

// refresh fetches what the remote has now.
func (r *Repo) refresh(ctx context.Context) error {
	if err := r.access.paused(); err != nil {
		return err
	}
	err := func() error {
		listing, end := r.exchange(ctx)
		s, tip, err := r.openFetch(listing)
		end()
		if err != nil {
			return classify("list branches", toRead, err)
		}
		defer s.close()
		return r.sync(ctx, tip, s)
	}()
	return pratique.Wrap(pratique.Unknown, "read config repository", r.remote+" "+r.branch, err)
}

// betweenTries keeps writers that collided from colliding again.
var betweenTries = backoff.Backoff{Min: 50 * time.Millisecond, Max: 5 * time.Second, Jitter: 0.5}
