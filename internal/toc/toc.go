// Package toc compares the table of contents that lazy runtimes read with the tar that all others
// read. eStargz (stargz-snapshotter, containers/storage) and zstd:chunked (containers/storage,
// stargz-snapshotter) have such tables. A node that uses one never reads the tar, so a different
// table would show other files than those that were inspected.
package toc

import (
	"context"
	"io"
	"strings"

	"github.com/pratique-dev/pratique"
)

const (
	op = "read table of contents"
	// TailBytes is the largest size of a footer at the end of a blob.
	TailBytes = 64
	// MaxFrame bounds the compressed table of a zstd:chunked layer, and maxJSON a table in any
	// form, as in containers/storage.
	MaxFrame = 48 << 20
	maxJSON  = 150 << 20
)

// Start is the beginning of a gzip member or a zstd frame: its offsets in the blob and in the tar.
type Start struct{ In, Out int64 }

// Frame is a skippable frame of a zstd stream: offset and size of its content, and the content
// itself if that may be a table or a footer.
type Frame struct {
	At, Size int64
	Content  []byte
}

// Blob is what was recorded while a compressed layer was read.
type Blob struct {
	// Size is its size, and Tail its last bytes, up to TailBytes.
	Size int64
	Tail []byte
	// Gzip and Zstd are set by its compression.
	Gzip, Zstd bool
	// Starts are the beginnings of all members or frames with data, in order.
	Starts []Start
	// Skipped are the skippable frames after them.
	Skipped []Frame
}

// Found is the table of a layer. The zero value is a layer without one.
type Found struct {
	// Digest is that of the table as JSON.
	Digest pratique.Digest `json:"digest,omitzero"`
	// Checksum is the digest of the compressed table of a zstd:chunked layer, Position its
	// position, and Split the position of the tar's description, in the form of the annotations,
	// without the expanded size.
	Checksum pratique.Digest `json:"checksum,omitzero"`
	Position string          `json:"position,omitempty"`
	Split    string          `json:"split,omitempty"`
}

func errTable(format string, args ...any) error {
	return pratique.Errorf(pratique.Corrupt, op, format, args...)
}

// Check finds the table of a layer, if there is one, and compares it with the tar of size bytes. A
// table that differs is Corrupt, with or without annotations, and so is anything that could be
// mistaken for a table. A table that is too large is Exhausted.
func Check(ctx context.Context, b Blob, tar io.ReaderAt, size int64) (Found, error) {
	at, footer, err := findFooter(b)
	switch {
	case err != nil:
		return Found{}, err
	case len(b.Skipped) > 0:
		return checkChunked(ctx, b, tar, size)
	case footer == 0:
		return Found{}, nil
	}
	return checkStargz(ctx, b, at, footer, tar, size)
}

// The annotations of layers by which lazy runtimes find tables and check them.
const (
	snapshots  = "containerd.io/snapshot/"
	tocDigest  = snapshots + "stargz/toc.digest"
	chunked    = "io.github.containers.zstd-chunked."
	chunkedOld = "io.containers.zstd-chunked."
)

// Agree compares the annotations of a layer with its table. A snapshotter follows them even if
// nobody could check them, so those are Invalid.
func (f Found) Agree(annotations map[string]string) error {
	for key, value := range annotations {
		want, known := "", false
		switch suffix := strings.TrimPrefix(strings.TrimPrefix(key, chunked), chunkedOld); {
		case key == tocDigest:
			want, known = text(f.Digest), true
		case strings.HasPrefix(key, snapshots):
			return pratique.Errorf(pratique.Invalid, op,
				"the annotation %.200q tells a snapshotter what to mount, and nothing checks that", key)
		case suffix == key:
		case suffix == "manifest-checksum":
			want, known = text(f.Checksum), true
		case suffix == "manifest-position":
			want, known = f.Position, true
		case suffix == "tarsplit-position":
			want, known = f.Split, true
			if want != "" && strings.HasPrefix(value, want) {
				continue
			}
		}
		switch {
		case !known || value == want && want != "":
		case want == "":
			return pratique.Errorf(pratique.Invalid, op,
				"the annotation %.200q names a table of contents for lazy runtimes, and the layer has none: convert the image again", key)
		default:
			return pratique.Errorf(pratique.Invalid, op,
				"the annotation %.200q says %.200q, and the layer has %s", key, value, want)
		}
	}
	return nil
}

func text(d pratique.Digest) string {
	if d.IsZero() {
		return ""
	}
	return d.String()
}
