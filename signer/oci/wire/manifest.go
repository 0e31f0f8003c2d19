package wire

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pratique-dev/pratique"
)

// Manifest is what a tag holds.
type Manifest struct {
	// Exists says that the tag exists: to write it is to overwrite it.
	Exists bool
	// Odd says why this is no image manifest that can be read; then there are no layers. Anybody
	// who may push can put such a thing there.
	Odd string
	// TooLarge says that it is odd for its size, and may be somebody's good work all the same.
	TooLarge    bool
	Layers      []v1.Descriptor
	Annotations map[string]string
}

// Manifest reads a tag. One that does not exist is no error.
func (s *Session) Manifest(ctx context.Context, tag name.Tag) (Manifest, error) {
	desc, err := s.puller.Get(ctx, tag)
	var answer *transport.Error
	if errors.As(err, &answer) && kindOfAnswer(answer) == pratique.NotFound {
		return Manifest{}, nil
	}
	if err != nil {
		return Manifest{}, s.Fail("read attached manifest of", err)
	}
	odd := func(format string, args ...any) (Manifest, error) {
		return Manifest{Exists: true, Odd: fmt.Sprintf(format, args...)}, nil
	}
	over := func(n, limit int, what string) (Manifest, error) {
		return Manifest{Exists: true, TooLarge: true, Odd: fmt.Sprintf("it has %d %s, the limit is %d", n,
			what, limit)}, nil
	}
	if len(desc.Manifest) > s.limits.ManifestBytes {
		return over(len(desc.Manifest), s.limits.ManifestBytes, "bytes")
	}
	m, err := v1.ParseManifest(bytes.NewReader(desc.Manifest))
	if err != nil {
		return odd("it cannot be read: %.200s", err)
	}
	for _, said := range []types.MediaType{desc.MediaType, cmp.Or(m.MediaType, desc.MediaType)} {
		if said != types.OCIManifestSchema1 && said != types.DockerManifestSchema2 {
			return odd("it is a %.100q, not an image manifest", said)
		}
	}
	if len(m.Layers) > s.limits.Layers {
		return over(len(m.Layers), s.limits.Layers, "layers")
	}
	return Manifest{Exists: true, Layers: m.Layers, Annotations: m.Annotations}, nil
}
