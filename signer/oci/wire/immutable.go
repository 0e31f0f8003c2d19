package wire

import (
	"context"
	"errors"
	"net/http"
	"regexp"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/backoff"
)

// immutable is in the chain of the error about a tag that the registry does not let anybody
// overwrite. Trying again does not help before somebody changes that.
type immutable struct{ error }

func (i immutable) Unwrap() error { return i.error }

// IsImmutable reports whether the error says that the registry does not let anybody overwrite the
// tag.
func IsImmutable(err error) bool {
	var is immutable
	return errors.As(err, &is)
}

// saysImmutable is how registries name it: ECR, Harbor, Artifact Registry, Quay, Docker Hub, Nexus.
var saysImmutable = regexp.MustCompile(`(?i)immutab|already exist|overwrit|overrid|redeploy|updating asset`)

// put writes a manifest whose blobs are there. Where the tag existed before, a registry that took
// the blobs and refuses the manifest refuses to have the tag overwritten: the credentials may
// write, as was just seen. Statuses differ: 400 with TAG_INVALID, 405, 409, 412, 403 with DENIED.
func (s *Session) put(ctx context.Context, tag name.Tag, raw []byte, overwrites bool) error {
	const op = "attach to"
	for try := 1; ; try++ {
		// Put writes the manifest and nothing else; Push would first ask whether it is there.
		err := s.pusher.Put(ctx, tag, rawManifest(raw))
		if err == nil {
			return nil
		}
		var answer *transport.Error
		if !overwrites || !errors.As(err, &answer) || !refusesTag(answer) {
			return s.Fail(op, err)
		}
		// Two writers at the same moment are answered with 409, too.
		if answer.StatusCode == http.StatusConflict && try < sendTries &&
			!saysImmutable.MatchString(answer.Error()) {
			if err := backoff.Sleep(ctx, sendPause().Delay(try, backoff.Random())); err != nil {
				return s.Fail(op, err)
			}
			continue
		}
		return s.Errorf(pratique.Invalid, op, "%w", immutable{pratique.Errorf(pratique.Invalid,
			"overwrite "+tag.String(),
			"%w: leave tags that match sha256-* out of the tag immutability of this repository, and let these credentials overwrite them; then submit the image again",
			describeAnswer(answer))})
	}
}

// refusesTag says whether an answer is about the tag, and not about the manifest or the moment.
func refusesTag(e *transport.Error) bool {
	switch e.StatusCode {
	case http.StatusBadRequest:
		for _, d := range e.Errors {
			switch d.Code {
			case transport.ManifestInvalidErrorCode, transport.ManifestBlobUnknownErrorCode, transport.BlobUnknownErrorCode,
				transport.SizeInvalidErrorCode, transport.DigestInvalidErrorCode, transport.ManifestUnverifiedErrorCode:
				return saysImmutable.MatchString(d.Message)
			}
		}
		return true
	case http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusConflict, http.StatusPreconditionFailed:
		return true
	}
	return false
}
