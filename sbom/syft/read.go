package syft

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	stereofile "github.com/anchore/stereoscope/pkg/file"
	"github.com/anchore/stereoscope/pkg/image"
	"github.com/anchore/syft/syft/source"
	"github.com/anchore/syft/syft/source/stereoscopesource"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/layers"
)

// Open reads the headers of an image's layers without changes. cleanup closes the files and deletes
// temporary ones. Call [Generator.ReadsCorrectly] first.
func Open(ctx context.Context, img layers.Image) (read *image.Image, cleanup func() error, err error) {
	return open(ctx, img, nil)
}

// Source returns an image for Syft.
func Source(img layers.Image, read *image.Image) source.Source {
	return stereoscopesource.New(read, stereoscopesource.ImageConfig{Reference: img.Subject.String()})
}

// rewriter writes some layers of an image to files, whose names depend on the index, and returns
// the indexes of these.
type rewriter func(ctx context.Context, img layers.Image, name func(i int) string) (map[int]bool, error)

// open reads the layers, except those that rewrite has written to files.
func open(ctx context.Context, img layers.Image, rewrite rewriter) (_ *image.Image,
	cleanup func() error, err error) {
	disk, err := img.V1()
	if err != nil {
		return nil, nil, err
	}
	temp := stereofile.NewTempDirGenerator("pratique-syft")
	dir, err := layerDir(ctx, temp, img, rewrite)
	if err != nil {
		return nil, nil, errors.Join(err, temp.Cleanup())
	}
	read := image.New(disk, temp, dir, image.WithManifest(img.Manifest),
		image.WithRepoDigests(img.Subject.String()))
	// Cleanup closes the layer files, also after a read that failed.
	cleanup = func() error { return errors.Join(read.Cleanup(), temp.Cleanup()) }
	if err := read.Read(ctx); err != nil {
		return nil, nil, errors.Join(err, cleanup())
	}
	return read, cleanup, nil
}

// layerDir makes the directory in which stereoscope expects the decompressed layers, with links to
// our files, so that it does not copy them.
func layerDir(ctx context.Context, temp *stereofile.TempDirGenerator, img layers.Image,
	rewrite rewriter) (string, error) {
	dir, err := temp.NewDirectory("layers")
	if err != nil {
		return "", err
	}
	name := func(i int) string {
		return filepath.Join(dir,
			fmt.Sprintf("%d-%s", i, strings.ReplaceAll(img.Layers[i].DiffID.String(), ":", "-")))
	}
	var done map[int]bool
	if rewrite != nil {
		if done, err = rewrite(ctx, img, name); err != nil {
			return "", err
		}
	}
	for i, l := range img.Layers {
		if done[i] {
			continue
		}
		path, err := filepath.Abs(l.Path)
		if err != nil {
			return "", err
		}
		if _, err := os.Stat(path); err != nil {
			return "", pratique.Wrap(pratique.Unavailable, "open layer", l.DiffID.String(), err)
		}
		if err := os.Symlink(path, name(i)); err != nil {
			return "", err
		}
	}
	return dir, nil
}
