package wire

import (
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/pratique-dev/pratique"
)

func TestKindOfResponse(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]pratique.Kind{
		400: pratique.Invalid, 401: pratique.Denied, 403: pratique.Denied, 404: pratique.NotFound,
		405: pratique.Invalid,
		406: pratique.Invalid, 408: pratique.Unavailable, 409: pratique.Conflict,
		410: pratique.NotFound, 412: pratique.Conflict,
		413: pratique.Unavailable, 415: pratique.Invalid, 429: pratique.RateLimited,
		451: pratique.Unavailable,
		500: pratique.Unavailable, 503: pratique.Unavailable,
	} {
		if got := kindOfResponse(&transport.Error{StatusCode: status}); got != want {
			t.Errorf("%d is %s, want %s", status, got, want)
		}
		limited := &transport.Error{StatusCode: status,
			Errors: []transport.Diagnostic{{Code: transport.TooManyRequestsErrorCode}}}
		if got := kindOfResponse(limited); got != pratique.RateLimited {
			t.Errorf("%d with TOOMANYREQUESTS is %s", status, got)
		}
	}
}
