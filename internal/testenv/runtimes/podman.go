package main

import (
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/image"
	"go.podman.io/image/v5/types"
)

type chooser func(context.Context, oneCase, v1.Platform) (digest.Digest, error)

var errNotThere = errors.New("not in the registry")

// podman chooses as podman and CRI-O do. What it chooses is run if its configuration can be read as
// an image's, which is what storing it asks for.
func podman(ctx context.Context, c oneCase, p v1.Platform) (digest.Digest, error) {
	src := &source{oneCase: c, chosen: c.Top}
	sys := &types.SystemContext{OSChoice: p.OS, ArchitectureChoice: p.Architecture,
		VariantChoice: p.Variant}
	img, err := image.FromUnparsedImage(ctx, sys, image.UnparsedInstance(src, nil))
	if err != nil {
		return "", err
	}
	if _, err := img.OCIConfig(ctx); err != nil {
		return "", err
	}
	if len(img.LayerInfos()) == 0 {
		return "", errors.New("nothing to run")
	}
	return src.chosen, nil
}

// source is a registry in memory. It notes the last manifest that was asked for.
type source struct {
	oneCase
	chosen digest.Digest
}

func (s *source) Reference() types.ImageReference { return nowhere{} }

func (s *source) Close() error { return nil }

func (s *source) GetManifest(_ context.Context, instance *digest.Digest) ([]byte, string, error) {
	if instance != nil {
		s.chosen = *instance
	}
	b, ok := s.Blobs[s.chosen]
	if !ok {
		return nil, "", errNotThere
	}
	return b.Content, b.Type, nil
}

func (s *source) GetBlob(_ context.Context, info types.BlobInfo,
	_ types.BlobInfoCache) (io.ReadCloser, int64, error) {
	b, ok := s.Blobs[info.Digest]
	if !ok {
		return nil, 0, errNotThere
	}
	return io.NopCloser(bytes.NewReader(b.Content)), int64(len(b.Content)), nil
}

func (s *source) HasThreadSafeGetBlob() bool { return false }

func (s *source) GetSignatures(context.Context, *digest.Digest) ([][]byte, error) { return nil, nil }

func (s *source) LayerInfosForCopy(context.Context, *digest.Digest) ([]types.BlobInfo, error) {
	return nil, nil
}

// nowhere is the reference of a source that nobody names.
type nowhere struct{}

func (nowhere) Transport() types.ImageTransport         { return memory{} }
func (nowhere) StringWithinTransport() string           { return "" }
func (nowhere) DockerReference() reference.Named        { return nil }
func (nowhere) PolicyConfigurationIdentity() string     { return "" }
func (nowhere) PolicyConfigurationNamespaces() []string { return nil }

func (nowhere) NewImage(context.Context, *types.SystemContext) (types.ImageCloser, error) {
	return nil, errNotThere
}

func (nowhere) NewImageSource(context.Context, *types.SystemContext) (types.ImageSource, error) {
	return nil, errNotThere
}

func (nowhere) NewImageDestination(context.Context,
	*types.SystemContext) (types.ImageDestination, error) {
	return nil, errNotThere
}

func (nowhere) DeleteImage(context.Context, *types.SystemContext) error { return errNotThere }

// memory is the transport of such references.
type memory struct{}

func (memory) Name() string { return "memory" }

func (memory) ParseReference(string) (types.ImageReference, error) { return nil, errNotThere }

func (memory) ValidatePolicyConfigurationScope(string) error { return nil }
