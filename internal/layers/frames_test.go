package layers

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"

	"github.com/pratique-dev/pratique/internal/toc"
)

// encodings are streams of one frame in all its forms: with and without sums, sizes and windows, in
// one piece and in blocks, of noise, runs and nothing.
func encodings(t testing.TB) [][]byte {
	t.Helper()
	noise := make([]byte, 300_000)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(noise)
	var all [][]byte
	for _, content := range [][]byte{{}, []byte("x"), noise[:200], noise,
		bytes.Repeat([]byte("run"), 200_000), make([]byte, 400_000)} {
		for _, options := range [][]zstd.EOption{
			{zstd.WithZeroFrames(true)}, {zstd.WithEncoderCRC(false), zstd.WithZeroFrames(true)},
			{zstd.WithSingleSegment(true), zstd.WithZeroFrames(true)},
		} {
			z, err := zstd.NewWriter(nil, options...)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, z.EncodeAll(content, nil))
			var out bytes.Buffer
			z.Reset(&out)
			if _, err := z.Write(content); err != nil {
				t.Fatal(err)
			}
			if err := z.Close(); err != nil {
				t.Fatal(err)
			}
			all = append(all, out.Bytes())
		}
	}
	return all
}

func unframe(r io.Reader) ([]byte, toc.Blob, error) {
	var blob toc.Blob
	f, err := newFrames(bufio.NewReader(r), &blob)
	if err != nil {
		return nil, blob, err
	}
	defer f.close()
	out, err := io.ReadAll(f)
	return out, blob, err
}

// TestFrames: frames are decompressed as by the library, and are where they are.
func TestFrames(t *testing.T) {
	t.Parallel()
	var stream []byte
	var want toc.Blob
	var content []byte
	library, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, frame := range encodings(t) {
		want.Starts = append(want.Starts, toc.Start{In: int64(len(stream)), Out: int64(len(content))})
		stream = append(stream, frame...)
		if content, err = library.DecodeAll(frame, content); err != nil {
			t.Fatal(err)
		}
		for cut := range min(len(frame), 40) { // every header, and the last bytes
			for _, at := range []int{cut, len(frame) - 1 - cut} {
				if _, _, err := unframe(bytes.NewReader(frame[:max(0, at)])); at > 0 && err == nil {
					t.Errorf("a frame of %d bytes cut at %d passes", len(frame), at)
				}
			}
		}
	}
	skipped := []byte{0x5f, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 'a', 'b', 'c'}
	stream = append(stream, skipped...)
	for _, r := range []io.Reader{bytes.NewReader(stream),
		iotest.OneByteReader(bytes.NewReader(stream))} {
		got, blob, err := unframe(r)
		if err != nil || !bytes.Equal(got, content) {
			t.Fatalf("%d bytes of %d, error %v", len(got), len(content), err)
		}
		if !slices.Equal(blob.Starts, want.Starts) {
			t.Errorf("frames at %v, want %v", blob.Starts, want.Starts)
		}
		if len(blob.Skipped) != 1 || string(blob.Skipped[0].Content) != "abc" ||
			blob.Skipped[0].At != int64(len(stream)-3) {
			t.Errorf("skipped %+v", blob.Skipped)
		}
	}
	for what, behind := range map[string][]byte{"junk": []byte("no frame at all"),
		"a short end": {0x28, 0xb5}, "data": encodings(t)[2]} {
		if _, _, err := unframe(bytes.NewReader(append(bytes.Clone(stream), behind...))); err == nil {
			t.Errorf("%s behind a skippable frame passes", what)
		}
	}
}

// FuzzFrames: what passes is what the library makes of it.
func FuzzFrames(f *testing.F) {
	for _, frame := range encodings(f) {
		if len(frame) < 4096 {
			f.Add(frame)
		}
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		got, _, err := unframe(bytes.NewReader(stream))
		library, newErr := zstd.NewReader(bytes.NewReader(stream), zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderMaxWindow(maxWindow))
		if newErr != nil {
			t.Skip()
		}
		defer library.Close()
		want, wantErr := io.ReadAll(io.LimitReader(library, 64<<20))
		if err == nil && (wantErr != nil || !bytes.Equal(got, want)) {
			t.Fatalf("%d bytes, the library has %d and %v", len(got), len(want), wantErr)
		}
		if errors.Is(err, io.EOF) {
			t.Fatal("the end is no error")
		}
	})
}
