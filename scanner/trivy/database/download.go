package database

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/pratique-dev/pratique"
)

const (
	partialPrefix = "partial-"
	// partialAge is how long an interrupted download is kept; by then there is a newer database.
	partialAge = 7 * 24 * time.Hour
	// maxAttempts bounds how often one update resumes a download that keeps breaking off.
	maxAttempts = 10
)

// fetch downloads the layer into a file that is named by its digest, and returns the path once the
// file is complete and has that digest. It resumes an interrupted download from any source.
func (s *Store) fetch(ctx context.Context, a artifact, d v1.Descriptor) (string, error) {
	op := s.cfg.Kind.op("download")
	path := filepath.Join(s.cfg.Dir, partialPrefix+d.Digest.Hex)
	if err := s.removePartials(path); err != nil {
		return "", pratique.Wrap(pratique.Unavailable, op, "", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return "", pratique.Wrap(pratique.Unavailable, op, "", err)
	}
	defer func() { _ = f.Close() }() // the content is hashed
	for attempt := 1; ; attempt++ {
		before, err := f.Seek(0, io.SeekEnd)
		if err == nil && before > d.Size {
			before, err = 0, f.Truncate(0)
		}
		if err != nil {
			return "", pratique.Wrap(pratique.Unavailable, op, "", err)
		}
		if before == d.Size {
			break
		}
		if err = s.downloadFrom(ctx, a, d, f, before); err == nil {
			break
		}
		after, seekErr := f.Seek(0, io.SeekEnd)
		if pratique.KindOf(err) == pratique.Corrupt {
			_ = f.Truncate(0) // the next attempt starts over
			return "", err
		}
		if seekErr != nil || after <= before || attempt == maxAttempts || ctx.Err() != nil {
			return "", err
		}
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(f, 0, d.Size)); err != nil {
		return "", pratique.Wrap(pratique.Unavailable, op, "", err)
	}
	if got := fmt.Sprintf("%x", sum.Sum(nil)); got != d.Digest.Hex {
		_ = os.Remove(path) // the next download starts over
		return "", pratique.Errorf(pratique.Corrupt, op,
			"got %d bytes with digest sha256:%s, want %s", d.Size, got, d.Digest)
	}
	return path, nil
}

// downloadFrom requests the layer's bytes from an offset and appends them. If a source does not
// support ranges and sends all bytes, the file is overwritten.
func (s *Store) downloadFrom(ctx context.Context, a artifact, d v1.Descriptor, f *os.File,
	offset int64) error {
	op := s.cfg.Kind.op("download")
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stalled := time.AfterFunc(stallAfter, func() { cancel(fmt.Errorf("no bytes for %s", stallAfter)) })
	defer stalled.Stop()
	repo := a.ref.Context()
	blob := url.URL{Scheme: repo.Scheme(), Host: repo.RegistryStr(),
		Path: fmt.Sprintf("/v2/%s/blobs/%s", repo.RepositoryStr(), d.Digest)}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, blob.String(), nil)
	if err != nil {
		return pratique.Wrap(pratique.Invalid, op, "", err)
	}
	if offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return registryError(op, causeOf(ctx, err))
	}
	defer func() { _ = resp.Body.Close() }() // what was read is checked by its digest
	if resp.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		return pratique.Errorf(pratique.Corrupt, op, "the source has no byte %d of %d", offset, d.Size)
	}
	if err := transport.CheckError(resp, http.StatusOK, http.StatusPartialContent); err != nil {
		return registryError(op, err)
	}
	if resp.StatusCode == http.StatusOK || !strings.HasPrefix(resp.Header.Get("Content-Range"),
		fmt.Sprintf("bytes %d-", offset)) {
		if resp.StatusCode == http.StatusPartialContent {
			return pratique.Errorf(pratique.Corrupt, op,
				"the source sent another range than requested: %.80q", resp.Header.Get("Content-Range"))
		}
		if offset, err = 0, f.Truncate(0); err != nil {
			return pratique.Wrap(pratique.Unavailable, op, "", err)
		}
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return pratique.Wrap(pratique.Unavailable, op, "", err)
	}
	disk := &errWriter{w: f}
	total := offset
	body := readerFunc(func(p []byte) (int, error) {
		n, err := resp.Body.Read(p)
		stalled.Reset(stallAfter)
		total += int64(n)
		if s.cfg.Progress != nil {
			s.cfg.Progress(min(total, d.Size), d.Size)
		}
		return n, err
	})
	// One byte too many suffices to detect a longer body.
	_, err = io.Copy(disk, io.LimitReader(body, d.Size-offset+1))
	switch {
	case disk.err != nil:
		return pratique.Wrap(pratique.Unavailable, op, "", disk.err)
	case err != nil:
		return registryError(op, causeOf(ctx, err))
	case total > d.Size:
		return pratique.Errorf(pratique.Corrupt, op, "got more than the %d bytes of %s", d.Size, d.Digest)
	case total < d.Size:
		return pratique.Errorf(pratique.Unavailable, op,
			"the connection ended after %d of %d bytes", total, d.Size)
	}
	return nil
}

// causeOf returns the cause if the context has ended, otherwise err.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// removePartials removes all interrupted downloads but one.
func (s *Store) removePartials(but string) error {
	paths, err := filepath.Glob(filepath.Join(s.cfg.Dir, partialPrefix+"*"))
	for _, path := range paths {
		if path != but {
			err = errors.Join(err, os.Remove(path))
		}
	}
	return err
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
