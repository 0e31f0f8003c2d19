package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"reflect"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// containerd chooses as containerd does. What it chooses is run if it unpacks layers of it: as many
// as there are diff ids, of types that it knows.
func containerd(ctx context.Context, c oneCase, p v1.Platform) (digest.Digest, error) {
	top := c.Blobs[c.Top]
	store := provider{c}
	m, err := images.Manifest(ctx, store, store.descriptor(c.Top, top.Type), platforms.Only(p))
	if err != nil {
		return "", err
	}
	diffIDs, err := images.RootFS(ctx, store, m.Config)
	if err != nil {
		return "", err
	}
	unpacked := 0
	for _, layer := range m.Layers {
		if images.IsLayerType(layer.MediaType) {
			unpacked++
		}
	}
	if unpacked == 0 || unpacked != len(diffIDs) {
		return "", errors.New("nothing to unpack, or not what the configuration says")
	}
	for d, b := range c.Blobs {
		var other v1.Manifest
		if json.Unmarshal(b.Content, &other) == nil && reflect.DeepEqual(m, other) {
			return d, nil
		}
	}
	return "", errors.New("it chose what nobody has")
}

// provider is a content store that has the registry's content.
type provider struct{ oneCase }

func (p provider) descriptor(d digest.Digest, mediaType string) v1.Descriptor {
	return v1.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(p.Blobs[d].Content))}
}

func (p provider) ReaderAt(_ context.Context, d v1.Descriptor) (content.ReaderAt, error) {
	b, ok := p.Blobs[d.Digest]
	if !ok {
		return nil, errdefs.ErrNotFound
	}
	return reader{bytes.NewReader(b.Content)}, nil
}

type reader struct{ *bytes.Reader }

func (r reader) Close() error { return nil }
