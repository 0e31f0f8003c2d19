// Package contextio has a reader that ends with its context, for work on image content that may
// take minutes.
package contextio

import (
	"context"
	"io"
)

// NewReader returns a reader of r. When ctx has ended, its error is the context's cause.
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
