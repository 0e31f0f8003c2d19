// Package toc compares the table of contents from which lazy runtimes read a layer with the tar from which everybody else
// reads it. eStargz (stargz-snapshotter, containers/storage) and zstd:chunked (containers/storage, stargz-snapshotter) have
// such tables. A node that goes by one never looks at the tar, so a table that says something else shows other files than
// those that were inspected.
package toc

import (
	"context"
	"io"
	"strings"

	"github.com/pratique-dev/pratique"
)

const (
	op = "read table of contents"
	// TailBytes is how many of the last bytes of a blob a footer can have.
	TailBytes = 64
	// MaxFrame bounds the compressed table of a zstd:chunked layer, and maxJSON a table in any form, as
	// containers/storage does.
	MaxFrame = 48 << 20
	maxJSON  = 150 << 20
)

// Start is where a member of a gzip stream or a frame of a zstd stream begins: in the blob, and in the tar.
type Start struct{ In, Out int64 }

// Frame is a skippable frame of a zstd stream: the place and length of its content, and the content itself where it may
// be a table or a footer.
type Frame struct {
	At, Size int64
	Content  []byte
}

// Blob is what one reading of a compressed layer found.
type Blob struct {
	// Size is the number of its bytes, and Tail the last of them, up to TailBytes.
	Size int64
	Tail []byte
	// Gzip and Zstd say how it is compressed, if it is.
	Gzip, Zstd bool
	// Starts are those of all members or frames with data, in order.
	Starts []Start
	// Skipped are the skippable frames behind them.
	Skipped []Frame
}

// Found is what a layer turned out to have. Its zero value is a layer without a table.
type Found struct {
	// Digest is that of the table as JSON.
	Digest pratique.Digest `json:"digest,omitzero"`
	// Checksum is the digest of the compressed table of a zstd:chunked layer, Position where that is, and Split where
	// the description of its tar is, as annotations say it, without its length when expanded.
	Checksum pratique.Digest `json:"checksum,omitzero"`
	Position string          `json:"position,omitempty"`
	Split    string          `json:"split,omitempty"`
}

func errTable(format string, args ...any) error {
	return pratique.Errorf(pratique.Corrupt, op, format, args...)
}

// Check finds the table of a layer, if it has one, and compares it with the tar of size bytes. A table that can be found,
// with or without annotations, and does not agree is Corrupt, and so is whatever could be taken for a table. A table too
// large to be read is Exhausted.
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

// Agree compares the annotations of a layer with what was found in it. A snapshotter does what they say, also where nobody
// could check it; those are Invalid.
func (f Found) Agree(annotations map[string]string) error {
	for key, value := range annotations {
		want, known := "", false
		switch suffix := strings.TrimPrefix(strings.TrimPrefix(key, chunked), chunkedOld); {
		case key == tocDigest:
			want, known = text(f.Digest), true
		case strings.HasPrefix(key, snapshots):
			return pratique.Errorf(pratique.Invalid, op, "the annotation %.200q tells a snapshotter what to mount, and nothing checks that", key)
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
			return pratique.Errorf(pratique.Invalid, op, "the annotation %.200q says %.200q, and the layer has %s", key, value, want)
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
