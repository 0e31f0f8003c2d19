// Package localimage serves an image in a file as a registry on this machine, so that it is
// processed like any other image, with the same checks and limits. It reads OCI layouts, as
// directories and tar files, and the output of docker save, compressed or not.
package localimage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/pratique-dev/pratique"
)

const (
	op = "open image file"
	// route is the repository of the image.
	route = "local/image"
	// maxDocument bounds documents in memory: the registry client refuses larger manifests anyway.
	maxDocument = 4 << 20
	refName     = "org.opencontainers.image.ref.name"
)

// Server is a registry with one image.
type Server struct {
	store  *store
	top    descriptor
	path   string
	server *http.Server
	host   string
	done   chan struct{}
}

// descriptor is an entry of an index.
type descriptor struct {
	MediaType   string             `json:"mediaType"`
	Digest      pratique.ContentID `json:"digest"`
	Size        int64              `json:"size"`
	Annotations map[string]string  `json:"annotations,omitempty"`
}

// Serve serves the image in a file or directory until [Server.Close]. The path may end with :NAME
// or @DIGEST, to choose one of several images. A compressed file is unpacked below tempDir, within
// limits. The error is Exhausted beyond these, Unavailable when ctx ends, and Invalid if there is
// no such image.
func Serve(ctx context.Context, image, tempDir string, limits Limits) (*Server, error) {
	path, name := split(image)
	opened, err := openStore(ctx, path, tempDir, limits)
	if err != nil {
		kind := pratique.Invalid
		switch {
		case ctx.Err() != nil:
			kind = pratique.Unavailable
		case pratique.KindOf(err) == pratique.Exhausted:
			kind = pratique.Exhausted
		}
		return nil, pratique.Wrap(kind, op, path, err)
	}
	s := &Server{store: opened, path: path, done: make(chan struct{})}
	if s.top, err = opened.choose(name); err != nil {
		return nil, errors.Join(pratique.Wrap(pratique.Invalid, op, path, err), opened.close())
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(pratique.Wrap(pratique.Unavailable, op, path, err), opened.close())
	}
	s.host = listener.Addr().String()
	s.server = &http.Server{Handler: http.HandlerFunc(s.serve), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(s.done)
		_ = s.server.Serve(listener) // always ErrServerClosed or the listener's end
	}()
	return s, nil
}

// Ref is the reference of the image.
func (s *Server) Ref() pratique.ImageRef {
	return pratique.ImageRef{Repository: pratique.Repository{Registry: s.host,
		Path: route}}.WithContentID(s.top.Digest)
}

var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

// Repository is a reproducible name for the image: localhost, and the name of the file.
func (s *Server) Repository() pratique.Repository {
	name, _, _ := strings.Cut(strings.ToLower(filepath.Base(s.path)), ".")
	if name = strings.Trim(notInNames.ReplaceAllString(name, "-"), "-"); name == "" {
		name = "image"
	}
	return pratique.Repository{Registry: "localhost", Path: name}
}

// Close stops the server and deletes what it unpacked.
func (s *Server) Close() error {
	err := s.server.Close()
	<-s.done
	return errors.Join(err, s.store.close())
}

// split separates the choice from a path, unless there is a file of the whole name.
func split(image string) (path, name string) {
	if _, err := os.Stat(image); err == nil {
		return image, ""
	}
	if path, name, ok := strings.Cut(image, "@"); ok {
		return path, "@" + name
	}
	for at := len(image) - 1; at > 0; at-- {
		if image[at] != ':' {
			continue
		}
		if _, err := os.Stat(image[:at]); err == nil {
			return image[:at], image[at+1:]
		}
	}
	return image, ""
}

// choose finds the manifest that is wanted.
func (s *store) choose(name string) (descriptor, error) {
	var names []string
	var found []descriptor
	for _, d := range s.manifests {
		own := d.Annotations[refName]
		if own == "" {
			names = append(names, "@"+d.Digest.String())
		} else {
			names = append(names, ":"+own)
		}
		if name == "" || own == name || name == "@"+d.Digest.String() {
			found = append(found, d)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(names) == 0:
		return descriptor{}, errors.New("there is no image in it")
	default:
		return descriptor{}, fmt.Errorf("choose one of its %d images with one of these behind the path: %s", len(names), strings.Join(names, " "))
	}
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	path, ok := strings.CutPrefix(r.URL.Path, "/v2/")
	if ok && path == "" {
		return // yes, this is a registry
	}
	kind, text, _ := strings.Cut(strings.TrimPrefix(path, route+"/"), "/")
	digest, err := pratique.ParseContentID(text)
	if err != nil || (kind != "manifests" && kind != "blobs") || (r.Method != http.MethodGet &&
		r.Method != http.MethodHead) {
		http.NotFound(w, r)
		return
	}
	body, size, err := s.store.open(digest)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	defer func() { _ = body.Close() }() // only read
	w.Header().Set("Content-Length", fmt.Sprint(size))
	if kind == "manifests" {
		w.Header().Set("Content-Type", s.mediaType(digest))
		w.Header().Set("Docker-Content-Digest", digest.String())
	}
	if r.Method == http.MethodGet {
		_, _ = io.Copy(w, body) // the client checks the content
	}
}

// mediaType returns the media type in the index or in the manifest itself.
func (s *Server) mediaType(digest pratique.ContentID) string {
	if digest == s.top.Digest && s.top.MediaType != "" {
		return s.top.MediaType
	}
	var m struct {
		MediaType string            `json:"mediaType"`
		Manifests []json.RawMessage `json:"manifests"`
	}
	raw, err := s.store.read(digest)
	if err != nil || json.Unmarshal(raw, &m) != nil {
		return "application/octet-stream"
	}
	switch {
	case m.MediaType != "":
		return m.MediaType
	case m.Manifests != nil:
		return pratique.TypeOCIIndex
	default:
		return pratique.TypeOCIManifest
	}
}

// readAll reads a small document.
func readAll(r io.Reader) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxDocument+1))
	if err == nil && len(raw) > maxDocument {
		err = fmt.Errorf("a document of more than %d bytes", maxDocument)
	}
	return raw, err
}
