package contextio_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique/internal/contextio"
)

func TestReader(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	r := contextio.NewReader(ctx, strings.NewReader("ab"))
	b := make([]byte, 1)
	if n, err := r.Read(b); n != 1 || err != nil || b[0] != 'a' {
		t.Errorf("%q, %d, %v", b, n, err)
	}
	why := errors.New("nobody waits")
	cancel(why)
	if got, err := io.ReadAll(r); len(got) != 0 || !errors.Is(err, why) {
		t.Errorf("%q, %v", got, err)
	}
}
