package database

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pratique-dev/pratique"
)

// A process that does not own the directory puts a request into a subdirectory, and finds the
// response beside it.
const (
	requestDir     = "requests"
	requestPrefix  = "ask-"
	responsePrefix = "answer-"
	requestFile    = "request.json"
	// requestAge is how long a response is kept that nobody collects.
	requestAge = 24 * time.Hour
)

// storedRequest is a request on disk: an import, with the files beside it, or an update.
type storedRequest struct {
	Import    bool              `json:"import,omitempty"`
	Force     bool              `json:"force,omitempty"`
	Source    string            `json:"source,omitempty"`
	Manifests []pratique.Digest `json:"manifests,omitempty"`
}

// Response is the result of a request.
type Response struct {
	// Changed reports whether another database is in use than before; Due is when the sources may
	// be asked again.
	Changed  bool              `json:"changed"`
	Database pratique.Database `json:"database,omitzero"`
	Due      time.Time         `json:"due,omitzero"`
	Kind     pratique.Kind     `json:"kind,omitempty"`
	Error    string            `json:"error,omitempty"`
}

// Do executes a request: it imports the file, if there is one, or updates from the sources; with
// Force, also before that is due.
func (s *Store) Do(ctx context.Context, w Request) (Response, error) {
	var changed bool
	var err error
	switch {
	case w.File != "":
		changed, err = s.importFile(w)
	case w.Force:
		changed, err = s.Update(ctx)
	default:
		changed, err = s.UpdateIfDue(ctx)
	}
	return s.response(changed), err
}

func (s *Store) response(changed bool) Response {
	a := Response{Changed: changed, Due: s.Due()}
	if g, err := s.Current(); err == nil {
		a.Database = g.Database
	}
	return a
}

// Request is an operator's request.
type Request struct {
	// File is imported, see [Send]. Ref chooses one of several artifacts in an OCI layout by its
	// name.
	File, Ref string
	// Force imports an older database than the current one, or updates before that is due.
	Force bool
}

// Send makes the process that owns cfg.Dir execute a request, and waits for the response until ctx
// ends. A file is checked here as a download is, and again by the owner. It may be a layer as it
// was downloaded (.tar.gz), an OCI layout as a directory or tar file, or a directory with the
// database file and metadata.json.
func Send(ctx context.Context, cfg Config, w Request, now func() time.Time) (Response, error) {
	cfg = cfg.withDefaults()
	op := cfg.Kind.op("ask the service for the")
	wrap := func(err error) error { return pratique.Wrap(pratique.Unavailable, op, cfg.Dir, err) }
	base := filepath.Join(cfg.Dir, requestDir)
	if err := os.MkdirAll(base, 0o700); err != nil {
		return Response{}, wrap(err)
	}
	tmp, err := os.MkdirTemp(base, tempPrefix)
	if err != nil {
		return Response{}, wrap(err)
	}
	defer func() { _ = os.RemoveAll(tmp) }() // unless it was renamed
	r := storedRequest{Force: w.Force}
	if w.File != "" {
		s, err := cfg.Kind.stage(w.File, w.Ref, tmp, cfg.MaxBytes, now())
		if err != nil {
			return Response{}, err
		}
		r.Import, r.Source, r.Manifests = true, w.File, s.manifests
	}
	if err := writeJSON(filepath.Join(tmp, requestFile), r); err != nil {
		return Response{}, wrap(err)
	}
	id := strings.TrimPrefix(filepath.Base(tmp), tempPrefix)
	asked := filepath.Join(base, requestPrefix+id)
	if err := os.Rename(tmp, asked); err != nil {
		return Response{}, wrap(err)
	}
	a, err := awaitResponse(ctx, filepath.Join(base, responsePrefix+id))
	if err != nil {
		return Response{}, wrap(errors.Join(err, os.RemoveAll(asked)))
	}
	if a.Error != "" {
		return a, &pratique.Error{Op: op, Kind: a.Kind, Err: errors.New(a.Error)}
	}
	return a, nil
}

func awaitResponse(ctx context.Context, path string) (Response, error) {
	for {
		raw, err := os.ReadFile(path)
		if err == nil {
			var a Response
			return a, errors.Join(json.Unmarshal(raw, &a), os.Remove(path))
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return Response{}, err
		}
		select {
		case <-ctx.Done():
			return Response{}, fmt.Errorf("no answer: %w", context.Cause(ctx))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// serveRequests executes the requests of other processes. asked reports whether there were any.
func (s *Store) serveRequests(ctx context.Context) (asked bool, err error) {
	if s.cfg.StaticDir != "" {
		return false, nil
	}
	base := filepath.Join(s.cfg.Dir, requestDir)
	items, readErr := os.ReadDir(base)
	if errors.Is(readErr, fs.ErrNotExist) {
		return false, nil
	}
	err = readErr
	for _, item := range items {
		path := filepath.Join(base, item.Name())
		if id, ok := strings.CutPrefix(item.Name(), requestPrefix); ok && ctx.Err() == nil {
			asked = true
			err = errors.Join(err, s.serveRequest(ctx, path, filepath.Join(base, responsePrefix+id)))
		} else if info, statErr := item.Info(); statErr == nil &&
			time.Since(info.ModTime()) > requestAge {
			err = errors.Join(err, os.RemoveAll(path))
		}
	}
	return asked || err != nil, err
}

func (s *Store) serveRequest(ctx context.Context, dir, answer string) error {
	changed, err := s.execute(ctx, dir)
	if err != nil && ctx.Err() != nil {
		return nil // it is executed after the next start
	}
	a := s.response(changed)
	if err != nil {
		a.Kind, a.Error = pratique.KindOf(err), pratique.Excerpt(err.Error(), maxError)
	}
	// The requester gets the error; the service fails only if it cannot respond.
	return errors.Join(s.replaceJSON(answer, a), os.RemoveAll(dir))
}

func (s *Store) execute(ctx context.Context, dir string) (changed bool, err error) {
	var r storedRequest
	raw, err := os.ReadFile(filepath.Join(dir, requestFile))
	if err == nil {
		err = json.Unmarshal(raw, &r)
	}
	switch {
	case err != nil:
		return false, pratique.Wrap(pratique.Invalid, s.cfg.Kind.op("read the request for the"), "", err)
	case r.Import:
		// the directory becomes the generation's
		if err := os.Remove(filepath.Join(dir, requestFile)); err != nil {
			return false, pratique.Wrap(pratique.Unavailable, s.cfg.Kind.op("import"), "", err)
		}
		return s.installStaged(dir, staged{source: r.Source, manifests: r.Manifests}, r.Force)
	case r.Force:
		return s.Update(ctx)
	default:
		return s.UpdateIfDue(ctx)
	}
}
