//go:build goexperiment.jsonv2

package trivy

import (
	"bufio"
	"io"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/pratique-dev/pratique"
)

// trivyImage is a v1.Image with the names that Trivy needs; none of them reaches an inventory.
type trivyImage struct {
	v1.Image
	name string
	tree *tree
}

func (i trivyImage) Name() string          { return i.name }
func (i trivyImage) RepoTags() []string    { return nil }
func (i trivyImage) RepoDigests() []string { return nil }

func (i trivyImage) ID() (string, error) {
	h, err := i.ConfigName()
	return h.String(), err
}

// LayerByDiffID returns the layer as Trivy should read it.
func (i trivyImage) LayerByDiffID(h v1.Hash) (v1.Layer, error) {
	l, err := i.Image.LayerByDiffID(h)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(i.tree.layers, func(n *normalLayer) bool {
		return n.layer.DiffID.String() == h.String()
	})
	if at < 0 {
		return nil, pratique.Errorf(pratique.Internal, "open layer", "%s has no tree", h)
	}
	return &readLayer{l, func() (io.ReadCloser, error) {
		return i.tree.layers[at].open(i.tree.image)
	}}, nil
}

// readLayer has to be a pointer to a struct, see [layers.Image.V1]. It buffers, since the tar
// reader makes a system call for each header.
type readLayer struct {
	v1.Layer
	open func() (io.ReadCloser, error)
}

const layerBuffer = 256 << 10

func (l *readLayer) Uncompressed() (io.ReadCloser, error) {
	r, err := l.open()
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{bufio.NewReaderSize(r, layerBuffer), r}, nil
}

// withoutHistory is an image without a base image.
type withoutHistory struct{ trivyImage }

func (i withoutHistory) ConfigFile() (*v1.ConfigFile, error) {
	config, err := i.trivyImage.ConfigFile()
	if err == nil {
		config.History = nil
	}
	return config, err
}

// linkedImage has one layer: those files of a layer that can only be reached by links.
type linkedImage struct {
	trivyImage
	linked linked
}

// id identifies the files of the layer and their names.
func (i linkedImage) id() v1.Hash {
	var all strings.Builder
	all.WriteString(i.linked.layer.layer.DiffID.String())
	for _, item := range i.linked.items {
		all.WriteString("\x00" + item.Path)
	}
	return v1.Hash{Algorithm: "sha256", Hex: pratique.DigestOf([]byte(all.String())).Hex()}
}

// ConfigFile implements [v1.Image].
func (i linkedImage) ConfigFile() (*v1.ConfigFile, error) {
	return &v1.ConfigFile{RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{i.id()}}}, nil
}

// LayerByDiffID implements [v1.Image].
func (i linkedImage) LayerByDiffID(v1.Hash) (v1.Layer, error) {
	l, err := i.Image.LayerByDiffID(v1.Hash{Algorithm: "sha256", Hex: i.linked.layer.layer.DiffID.Hex()})
	return &readLayer{l, i.open}, err
}

func (i linkedImage) open() (io.ReadCloser, error) {
	return i.tree.image.Open(i.linked.layer.layer, i.linked.items)
}
