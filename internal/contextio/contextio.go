// Package contextio has a reader that ends with its context. Work on the bytes of an image may take minutes, and stops when
// nobody waits for it any more.
package contextio

import (
	"context"
	"io"
)

// NewReader returns a reader of r. Once ctx has ended its error is the cause of that.
func NewReader(ctx context.Context, r io.Reader) io.Reader { return &reader{ctx, r} }

type reader struct {
	ctx context.Context
	r   io.Reader
}

// Read implements [io.Reader].
func (r *reader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.r.Read(p)
}
