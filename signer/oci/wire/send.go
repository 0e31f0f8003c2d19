package wire

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/backoff"
)

// A blob is sent as containerd sends it: one request opens the upload, and one sends the content and
// ends it. The library makes a third request between them, and a registry syncs its disk for each.

// sendAttempts bounds the attempts of one write.
const sendAttempts = 3

// sendPause is the pause between attempts. The jitter keeps two writers apart that collided.
func sendPause() backoff.Backoff {
	return backoff.Backoff{Min: 300 * time.Millisecond, Max: 600 * time.Millisecond, Jitter: 0.5}
}

// send uploads a blob, and retries after a transient error.
func (s *Session) send(ctx context.Context, b *blob) error {
	for attempt := 1; ; attempt++ {
		err := s.sendOnce(ctx, b)
		var response *transport.Error
		if errors.As(err, &response) && kindOfResponse(response) == pratique.Invalid {
			// The registry may want the content in a request of its own.
			return s.pusher.Upload(ctx, s.repo, b)
		}
		if err == nil || attempt == sendAttempts || !isTransient(err) {
			return err
		}
		if err := backoff.Sleep(ctx, sendPause().Delay(attempt, backoff.Random())); err != nil {
			return err
		}
	}
}

func (s *Session) sendOnce(ctx context.Context, b *blob) error {
	opened, err := s.do(ctx, http.MethodPost, s.address("blobs/uploads/"), nil, http.StatusAccepted)
	if err != nil {
		return err
	}
	_ = opened.Body.Close() // the header has the location
	to, err := opened.Location()
	if err != nil {
		return s.Errorf(pratique.Unavailable, "begin upload to", "%w", err)
	}
	query := to.Query()
	query.Set("digest", b.digest.String())
	to.RawQuery = query.Encode()
	done, err := s.do(ctx, http.MethodPut, to, b.content, http.StatusCreated)
	if err != nil {
		return err
	}
	return done.Body.Close()
}

// do makes a request and expects one status; the caller closes the body.
func (s *Session) do(ctx context.Context, method string, to *url.URL, body []byte,
	want int) (*http.Response, error) {
	var content io.Reader
	if body != nil {
		content = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, to.String(), content)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/octet-stream")
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	if err := transport.CheckError(resp, want); err != nil {
		_ = resp.Body.Close() // the error has the text
		return nil, err
	}
	return resp, nil
}

// address is the URL of something in the repository.
func (s *Session) address(what string) *url.URL {
	return &url.URL{Scheme: s.repo.Scheme(), Host: s.repo.RegistryStr(),
		Path: "/v2/" + s.repo.RepositoryStr() + "/" + what}
}

// isTransient reports whether the same request may succeed in a moment. If a registry asks to wait,
// the queue does.
func isTransient(err error) bool {
	var response *transport.Error
	if errors.As(err, &response) {
		return response.Temporary() && kindOfResponse(response) != pratique.RateLimited
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}
