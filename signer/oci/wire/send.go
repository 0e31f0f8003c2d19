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

// A blob is sent as containerd does it: one request opens the upload, one brings the content and
// ends it. The library has a third between them, and a registry syncs to its disk for each.

// sendTries bounds the tries of one write.
const sendTries = 3

// sendPause is the wait before another. Writers that met come back apart.
func sendPause() backoff.Backoff {
	return backoff.Backoff{Min: 300 * time.Millisecond, Max: 600 * time.Millisecond, Jitter: 0.5}
}

// send uploads a blob, and tries again what the next moment may mend.
func (s *Session) send(ctx context.Context, b *blob) error {
	for try := 1; ; try++ {
		err := s.sendOnce(ctx, b)
		var answer *transport.Error
		if errors.As(err, &answer) && kindOfAnswer(answer) == pratique.Invalid {
			// It may want the content in a request of its own.
			return s.pusher.Upload(ctx, s.repo, b)
		}
		if err == nil || try == sendTries || !mayPass(err) {
			return err
		}
		if err := backoff.Sleep(ctx, sendPause().Delay(try, backoff.Random())); err != nil {
			return err
		}
	}
}

func (s *Session) sendOnce(ctx context.Context, b *blob) error {
	begun, err := s.do(ctx, http.MethodPost, s.address("blobs/uploads/"), nil, http.StatusAccepted)
	if err != nil {
		return err
	}
	_ = begun.Body.Close() // what matters is in the header
	to, err := begun.Location()
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
		_ = resp.Body.Close() // the error has what it says
		return nil, err
	}
	return resp, nil
}

// address is where something of the repository is.
func (s *Session) address(what string) *url.URL {
	return &url.URL{Scheme: s.repo.Scheme(), Host: s.repo.RegistryStr(),
		Path: "/v2/" + s.repo.RepositoryStr() + "/" + what}
}

// mayPass says whether the same request may be answered otherwise in a moment. A registry that asks
// for patience gets it from the queue.
func mayPass(err error) bool {
	var answer *transport.Error
	if errors.As(err, &answer) {
		return answer.Temporary() && kindOfAnswer(answer) != pratique.RateLimited
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}
