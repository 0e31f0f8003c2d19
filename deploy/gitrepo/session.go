package gitrepo

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
	"github.com/go-git/go-git/v5/plumbing/transport"

	"github.com/pratique-dev/pratique"
)

// Limits on the text of a remote, in bytes, and on the history that is fetched, in commits.
const (
	maxText = 4 << 10
	// depth is how much history a new clone has, and history how much is fetched if a search for
	// our earlier commits needs more.
	depth   = 20
	history = 2000
)

// pushSession is an open exchange with the remote's receive-pack.
type pushSession struct {
	repo    *Repo
	session transport.ReceivePackSession
	offer   *packp.AdvRefs
}

// openPush asks the remote where the branch is. The question goes to receive-pack, so one exchange
// serves reading and pushing, and missing rights to push are known before anything is done.
func (r *Repo) openPush(ctx context.Context) (*pushSession, plumbing.Hash, error) {
	ctx, end := r.exchange(ctx)
	defer end()
	ep, err := r.endpoint()
	if err != nil {
		return nil, plumbing.ZeroHash, err
	}
	session, err := r.client.NewReceivePackSession(ep, r.auth)
	if err != nil {
		return nil, plumbing.ZeroHash, classify("connect", toWrite, err)
	}
	offer, tip, err := r.list(ctx, session)
	if err != nil {
		_ = session.Close()
		return nil, tip, classify("list branches", toWrite, err)
	}
	return &pushSession{repo: r, session: session, offer: offer}, tip, nil
}

func (s *pushSession) close() { _ = s.session.Close() } // nothing was asked, or the answer was read

// fetchSession is an open exchange with the remote's upload-pack, which needs no right to push.
type fetchSession struct {
	session transport.UploadPackSession
	offer   *packp.AdvRefs
}

// openFetch asks the remote where the branch is, to read it.
func (r *Repo) openFetch(ctx context.Context) (*fetchSession, plumbing.Hash, error) {
	ep, err := r.endpoint()
	if err != nil {
		return nil, plumbing.ZeroHash, err
	}
	session, err := r.client.NewUploadPackSession(ep, r.auth)
	if err != nil {
		return nil, plumbing.ZeroHash, err
	}
	offer, tip, err := r.list(ctx, session)
	if err != nil {
		_ = session.Close()
		return nil, tip, err
	}
	return &fetchSession{session, offer}, tip, nil
}

func (s *fetchSession) close() { _ = s.session.Close() } // nothing was asked, or the answer was read

// list reads what a service offers, and where the branch is.
func (r *Repo) list(ctx context.Context, session transport.Session) (*packp.AdvRefs,
	plumbing.Hash, error) {
	ctx, _ = allowing(ctx, r.limits.refs, "the list of branches")
	offer, err := session.AdvertisedReferencesContext(ctx)
	if err != nil && !errors.Is(err, transport.ErrEmptyRemoteRepository) {
		return nil, plumbing.ZeroHash, err
	}
	var tip plumbing.Hash
	if offer != nil {
		tip = offer.References[r.ref().String()]
		offer.References = nil // there may be very many
	}
	if tip.IsZero() {
		return nil, tip, pratique.Errorf(pratique.Unavailable, "find branch",
			"the repository has no branch %q: push a first commit to it, or name another branch",
			r.branch)
	}
	return offer, tip, nil
}

// sync fetches the tip: first as a shallow clone, later only what is new. It opens a session of its
// own if s is nil.
func (r *Repo) sync(ctx context.Context, tip plumbing.Hash, s *fetchSession) error {
	if r.local != nil && r.local.full() {
		r.local = nil
	}
	if r.local != nil && r.local.tip == tip {
		r.known = r.now()
		return nil
	}
	if r.clones {
		r.local = nil
	}
	ctx, end := r.exchange(ctx)
	defer end()
	local, deepen := r.local, 0
	if local == nil {
		local, deepen = newStore(r.limits), depth
	}
	if err := r.fetch(ctx, s, local, tip, deepen); err != nil {
		if errors.Is(err, errMoved) {
			return pratique.Wrap(pratique.Conflict, "fetch", "", err)
		}
		if httpStatus(err) == http.StatusBadRequest && !r.clones {
			r.clones = true
			return r.sync(ctx, tip, nil)
		}
		r.local = nil // it may hold an incomplete commit
		return classify("fetch", toRead, err)
	}
	if r.local == nil {
		local.cloned, local.first = len(local.objects.Objects), local.kept
	}
	local.tip = tip
	r.local, r.known = local, r.now()
	return nil
}

// deepen fetches more history, once for each clone. If that is too large, the search ends with what
// is here.
func (r *Repo) deepen(ctx context.Context, tip plumbing.Hash) error {
	ctx, end := r.exchange(ctx)
	defer end()
	err := r.fetch(ctx, nil, r.local, tip, history)
	switch {
	case errors.Is(err, errMoved):
		return pratique.Wrap(pratique.Conflict, "fetch history", "", err)
	case err != nil && pratique.KindOf(err) != pratique.Exhausted:
		r.local = nil
		return classify("fetch history", toRead, err)
	}
	r.local.deep, r.local.cloned = true, len(r.local.objects.Objects)
	return nil
}

// fetch fetches what is new of the tip, and that many commits if deepen is not zero.
func (r *Repo) fetch(ctx context.Context, s *fetchSession, local *store, tip plumbing.Hash,
	deepen int) (err error) {
	if s == nil {
		var now plumbing.Hash
		if s, now, err = r.openFetch(ctx); err != nil {
			return err
		}
		defer s.close()
		if now != tip {
			return errMoved // meanwhile; servers send tips only
		}
	}
	ctx, allowance := allowing(ctx, r.limits.answer, "what comes before the pack")
	offer := s.offer
	req := packp.NewUploadPackRequestFromCapabilities(offer.Capabilities)
	req.Wants = []plumbing.Hash{tip}
	if offer.Capabilities.Supports(capability.NoProgress) {
		_ = req.Capabilities.Set(capability.NoProgress)
	}
	if offer.Capabilities.Supports(capability.Shallow) {
		_ = req.Capabilities.Set(capability.Shallow)
		req.Shallows, _ = local.objects.Shallow()
		req.Depth = packp.DepthCommits(deepen)
	}
	// not every server supports it; larger blobs are dropped here, too
	if offer.Capabilities.Supports(capability.Filter) {
		_ = req.Capabilities.Set(capability.Filter)
		req.Filter = packp.FilterBlobLimit(uint64(local.limits.object)+1, packp.BlobLimitPrefixNone) //nolint:gosec // a limit of ours, above 0
		local.partial = true
	}
	switch {
	case r.clones:
		_ = req.Capabilities.Set(capability.MultiACK)
	case !local.tip.IsZero():
		req.Haves = []plumbing.Hash{local.tip}
	}
	answer, err := s.session.UploadPack(ctx, req)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Close() }()
	if !req.Depth.IsZero() {
		unshallow := map[plumbing.Hash]bool{}
		for _, h := range answer.Unshallows {
			unshallow[h] = true
		}
		ends := slices.DeleteFunc(slices.Concat(req.Shallows, answer.Shallows),
			func(h plumbing.Hash) bool {
				return unshallow[h]
			})
		if err := local.objects.SetShallow(ends); err != nil {
			return err
		}
	}
	allowance.allow(r.limits.pack, "the pack of the branch")
	return local.unpack(ctx, demux(req.Capabilities, answer, nil))
}

// push sends the commit with the tip it was built on, so that the server takes it only if that is
// still the tip. It returns errMoved if it is not, and errUnknown if the answer was lost.
func (s *pushSession) push(ctx context.Context, base plumbing.Hash, m *made) error {
	r := s.repo
	ctx, end := r.exchange(ctx)
	defer end()
	ctx, _ = allowing(ctx, r.limits.answer, "the answer to a push")
	var pack bytes.Buffer
	if _, err := packfile.NewEncoder(&pack, r.local.objects, false).Encode(m.objects, 0); err != nil {
		return err
	}
	said := &tail{}
	req := packp.NewReferenceUpdateRequestFromCapabilities(s.offer.Capabilities)
	if !s.offer.Capabilities.Supports(capability.ReportStatus) {
		return pratique.Errorf(pratique.Invalid, "push",
			"the server does not report the status of pushes, so no push can be confirmed")
	}
	if s.offer.Capabilities.Supports(capability.Sideband64k) {
		_ = req.Capabilities.Set(capability.Sideband64k)
		req.Progress = said
	}
	req.Commands = []*packp.Command{{Name: r.ref(), Old: base, New: m.commit.Hash}}
	req.Packfile = io.NopCloser(&pack)
	report, err := s.session.ReceivePack(ctx, req)
	return evaluate(report, err, said.String())
}

// demux returns the pack of an answer without the messages around it.
func demux(caps *capability.List, r io.Reader, progress sideband.Progress) io.Reader {
	kind := sideband.Sideband64k
	switch {
	case caps.Supports(capability.Sideband64k):
	case caps.Supports(capability.Sideband):
		kind = sideband.Sideband
	default:
		return r
	}
	d := sideband.NewDemuxer(kind, r)
	d.Progress = progress
	return d
}

// tail keeps the end of the server's progress output.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if over := len(t.b) - maxText; over > 0 {
		t.b = t.b[over:]
	}
	return len(p), nil
}

func (t *tail) String() string { return string(bytes.TrimSpace(t.b)) }
