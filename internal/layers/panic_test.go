package layers

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
)

// panics gives a few bytes and then panics, as a decoder might over bytes that somebody chose.
type panics struct{ io.Reader }

func (p panics) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	if err != nil {
		panic("what was that")
	}
	return n, nil
}

func (p panics) Write([]byte) (int, error) { panic("what was that") }

func (p panics) Close() error { return nil }

// TestPanics: a panic on each of the goroutines that read a layer fails that layer, and another one
// is read after it.
func TestPanics(t *testing.T) {
	t.Parallel()
	raw := tarOf(t, 1, 3<<20)
	all := func(int) error { return nil }
	s := openStore(t, t.TempDir(), 0)
	bad := describe(plainLayer, raw, raw)
	for what, fails := range map[string]func() error{
		"fetching": func() error {
			_, err := io.Copy(io.Discard, newReadAheadReader(panics{bytes.NewReader(raw)}))
			return err
		},
		"inflating": func() error { return pump(panics{bytes.NewReader(raw)}, all, io.Discard) },
		"admitting": func() error {
			return pump(bytes.NewReader(raw), func(int) error { panic("what was that") }, io.Discard)
		},
		"looking": func() error { return pump(bytes.NewReader(raw), all, panics{}) },
		"all of it": func() error {
			_, _, err := s.Get(t.Context(), bad.Descriptor, func(context.Context) (io.ReadCloser, error) {
				return panics{bytes.NewReader(raw)}, nil
			})
			return err
		},
		"its source": func() error {
			_, _, err := s.Image(t.Context(), source{bad}, pratique.Subject{})
			return err
		},
	} {
		err := fails()
		if pratique.KindOf(err) != pratique.Corrupt || !strings.Contains(err.Error(), "panic at") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, release := fetch(t, s, bad); release != nil {
		release()
	}
}

// source has an image whose layers nobody can open.
type source struct{ layer *remoteLayer }

func (s source) Image(_ context.Context, subject pratique.Subject) (Remote, error) {
	return Remote{Subject: subject, Layers: []Descriptor{s.layer.Descriptor}}, nil
}

func (s source) Layer(context.Context, pratique.Repository, Descriptor) (io.ReadCloser, error) {
	panic("what was that")
}

func (s source) Has(context.Context, pratique.Repository, Descriptor) error { return nil }
