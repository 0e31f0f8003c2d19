package gitrepo

import (
	"context"
	"io"
	"net/http"

	"github.com/pratique-dev/pratique"
)

// limits bound what a repository and its server may cost, in bytes. Anybody who can push to the
// branch decides what is in it, so none of it is trusted.
type limits struct {
	refs     int64 // the list of branches
	answer   int64 // what comes before a pack, and the answer to a push
	pack     int64 // a pack as it is sent
	inflated int64 // the sum of all objects of a pack
	// one object; larger files are dropped while they are read, and the rest of the branch can be
	// used
	object int64
	file   int64 // a file that is edited
	commit int64 // a commit whose message is read
	kept   int64 // what is held in memory of one branch
}

func defaults() limits {
	return limits{refs: 32 << 20, answer: 8 << 20, pack: 512 << 20, inflated: 8 << 30,
		object: 64 << 20, file: 16 << 20, commit: 1 << 20, kept: 512 << 20}
}

// tooMuch returns an error that does not end the job, since people can make the repository smaller.
func tooMuch(op, format string, args ...any) error {
	return pratique.Errorf(pratique.Denied, op, format, args...)
}

// allowance is how many bytes a server may still send in one exchange.
type allowance struct {
	left, all int64
	what      string
}

// allow sets how much may come from here on.
func (a *allowance) allow(n int64, what string) { a.left, a.all, a.what = n, n, what }

// bound returns a reader that fails, instead of ending, when more than the allowance comes.
func (a *allowance) bound(r io.Reader) io.Reader { return &bounded{r, a} }

type bounded struct {
	r io.Reader
	a *allowance
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.a.left -= int64(n); b.a.left < 0 {
		return 0, tooMuch("read the answer of the Git server", "%s has more than %d MiB", b.a.what,
			b.a.all>>20)
	}
	return n, err
}

type allowanceKey struct{}

// allowing returns a context whose exchange may bring n bytes.
func allowing(ctx context.Context, n int64, what string) (context.Context, *allowance) {
	a := &allowance{}
	a.allow(n, what)
	return context.WithValue(ctx, allowanceKey{}, a), a
}

// allowed returns the allowance of the exchange.
func allowed(ctx context.Context) *allowance {
	if a, ok := ctx.Value(allowanceKey{}).(*allowance); ok {
		return a
	}
	a := &allowance{}
	a.allow(defaults().answer, "an answer of the server")
	return a
}

// boundedHTTP reads no more of an answer than the request's context allows.
type boundedHTTP struct{ next http.RoundTripper }

func (t boundedHTTP) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := t.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body := res.Body
	res.Body = struct {
		io.Reader
		io.Closer
	}{allowed(r.Context()).bound(body), body}
	return res, nil
}

// watched fails once ended returns an error, so that a long read ends with its context.
type watched struct {
	r     io.Reader
	ended func() error
}

func (w *watched) Read(p []byte) (int, error) {
	if err := w.ended(); err != nil {
		return 0, err
	}
	return w.r.Read(p)
}
