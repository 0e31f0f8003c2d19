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
	// Exists reports whether the tag exists, so that writing it overwrites something.
	Exists bool
	// Unusable says why the tag holds no image manifest that can be read. Then Layers is empty.
	// Anybody who may push can put such a thing there.
	Unusable string
	// TooLarge says that it is unusable because of its size. It may be legitimate work of others.
	TooLarge    bool
	Layers      []v1.Descriptor
	Annotations map[string]string
}

// Manifest reads a tag. A tag that does not exist is not an error.
func (s *Session) Manifest(ctx context.Context, tag name.Tag) (Manifest, error) {
	desc, err := s.puller.Get(ctx, tag)
	var response *transport.Error
	if errors.As(err, &response) && kindOfResponse(response) == pratique.NotFound {
		return Manifest{}, nil
	}
	if err != nil {
		return Manifest{}, s.Fail("read attached manifest of", err)
	}
	unusable := func(format string, args ...any) (Manifest, error) {
		return Manifest{Exists: true, Unusable: fmt.Sprintf(format, args...)}, nil
	}
	tooLarge := func(n, limit int, what string) (Manifest, error) {
		return Manifest{Exists: true, TooLarge: true,
			Unusable: fmt.Sprintf("it has %d %s, the limit is %d", n,
				what, limit)}, nil
	}
	if len(desc.Manifest) > s.limits.ManifestBytes {
		return tooLarge(len(desc.Manifest), s.limits.ManifestBytes, "bytes")
	}
	m, err := v1.ParseManifest(bytes.NewReader(desc.Manifest))
	if err != nil {
		return unusable("it cannot be read: %.200s", err)
	}
	for _, mediaType := range []types.MediaType{desc.MediaType, cmp.Or(m.MediaType, desc.MediaType)} {
		if mediaType != types.OCIManifestSchema1 && mediaType != types.DockerManifestSchema2 {
			return unusable("it is a %.100q, not an image manifest", mediaType)
		}
	}
	if len(m.Layers) > s.limits.Layers {
		return tooLarge(len(m.Layers), s.limits.Layers, "layers")
	}
	return Manifest{Exists: true, Layers: m.Layers, Annotations: m.Annotations}, nil
}
