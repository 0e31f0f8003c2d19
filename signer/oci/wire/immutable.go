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

// immutable marks the error about a tag that the registry lets nobody overwrite. Retrying does not
// help until somebody changes that.
type immutable struct{ error }

func (i immutable) Unwrap() error { return i.error }

// IsImmutable reports whether the registry lets nobody overwrite the tag.
func IsImmutable(err error) bool {
	var is immutable
	return errors.As(err, &is)
}

// immutableText matches what registries say about immutable tags: ECR, Harbor, Artifact Registry,
// Quay, Docker Hub, Nexus.
var immutableText = regexp.MustCompile(`(?i)immutab|already exist|overwrit|overrid|redeploy|updating asset`)

// put writes a manifest whose blobs are uploaded. If the tag existed and the registry accepted the
// blobs but refuses the manifest, it refuses to overwrite the tag, since the credentials may write.
// Statuses differ: 400 with TAG_INVALID, 405, 409, 412, 403 with DENIED.
func (s *Session) put(ctx context.Context, tag name.Tag, raw []byte, overwrites bool) error {
	const op = "attach to"
	for attempt := 1; ; attempt++ {
		// Put writes the manifest and nothing else. Push would first ask whether it exists.
		err := s.pusher.Put(ctx, tag, rawManifest(raw))
		if err == nil {
			return nil
		}
		var response *transport.Error
		if !overwrites || !errors.As(err, &response) || !refusesTag(response) {
			return s.Fail(op, err)
		}
		// Two writers at the same moment also get 409.
		if response.StatusCode == http.StatusConflict && attempt < sendAttempts &&
			!immutableText.MatchString(response.Error()) {
			if err := backoff.Sleep(ctx, sendPause().Delay(attempt, backoff.Random())); err != nil {
				return s.Fail(op, err)
			}
			continue
		}
		return s.Errorf(pratique.Invalid, op, "%w", immutable{pratique.Errorf(pratique.Invalid,
			"overwrite "+tag.String(),
			"%w: leave tags that match sha256-* out of the tag immutability of this repository, and let these credentials overwrite them; then submit the image again",
			describeResponse(response))})
	}
}

// refusesTag reports whether a response refuses the tag, and not the manifest.
func refusesTag(e *transport.Error) bool {
	switch e.StatusCode {
	case http.StatusBadRequest:
		for _, d := range e.Errors {
			switch d.Code {
			case transport.ManifestInvalidErrorCode, transport.ManifestBlobUnknownErrorCode, transport.BlobUnknownErrorCode,
				transport.SizeInvalidErrorCode, transport.DigestInvalidErrorCode, transport.ManifestUnverifiedErrorCode:
				return immutableText.MatchString(d.Message)
			}
		}
		return true
	case http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusConflict, http.StatusPreconditionFailed:
		return true
	}
	return false
}
