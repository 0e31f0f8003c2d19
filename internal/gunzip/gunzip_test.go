package gunzip

import (
	"bytes"
	stdgzip "compress/gzip"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/gzip"
)

func compress(t testing.TB, level int, members ...[]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, m := range members {
		w, err := stdgzip.NewWriterLevel(&out, level)
		if err != nil {
			t.Fatal(err)
		}
		w.Name, w.Comment, w.Extra = "name", "comment", []byte("extra")
		if _, err := w.Write(m); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

func gunzip(r io.Reader) ([]byte, error) {
	z, err := NewReader(r)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

// TestMember: members are found where they start, however the stream comes.
func TestMember(t *testing.T) {
	t.Parallel()
	var all []byte
	var want [][2]int64
	out := int64(0)
	for _, member := range [][]byte{[]byte("first"), {}, bytes.Repeat([]byte("long"), 300_000),
		[]byte("x"), {}} {
		want = append(want, [2]int64{int64(len(all)), out})
		all = append(all, compress(t, 6, member)...)
		out += int64(len(member))
	}
	for name, r := range map[string]io.Reader{"whole": bytes.NewReader(all),
		"in bytes": iotest.OneByteReader(bytes.NewReader(all))} {
		z, err := NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		got := [][2]int64{{0, 0}}
		z.Member = func(in, out int64) error { got = append(got, [2]int64{in, out}); return nil }
		if _, err := io.Copy(io.Discard, z); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v, error %v", name, got, want, err)
		}
	}
	z, err := NewReader(bytes.NewReader(all))
	if err != nil {
		t.Fatal(err)
	}
	enough := errors.New("enough")
	z.Member = func(int64, int64) error { return enough }
	if _, err := io.Copy(io.Discard, z); !errors.Is(err, enough) {
		t.Errorf("the error is %v", err)
	}
}

func standard(r io.Reader) ([]byte, error) {
	z, err := stdgzip.NewReader(r)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

// contents are kinds of data that make different blocks: none, stored ones, runs, text, noise,
// matches as far and as long as they can be.
func contents() map[string][]byte {
	noise := make([]byte, 300_000)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(noise)
	few := make([]byte, 400_000)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range few {
		few[i] = byte(r.ExpFloat64() * 20)
	}
	far := append(bytes.Clone(noise[:32<<10]), noise[:32<<10]...)
	all := map[string][]byte{
		"nothing": {}, "a byte": {7}, "zeros": make([]byte, 1<<20), "noise": noise, "few": few,
		"far":   far,
		"text":  []byte(strings.Repeat("the quick brown fox jumps over the lazy dog. ", 20_000)),
		"pairs": bytes.Repeat([]byte("ab"), 100_000), "sevens": bytes.Repeat([]byte("abcdefg"),
			50_000), "eights": bytes.Repeat([]byte("abcdefgh"), 50_000),
	}
	if program, err := os.Executable(); err == nil {
		if raw, err := os.ReadFile(program); err == nil {
			all["program"] = raw[:min(len(raw), 4<<20)]
		}
	}
	return all
}

func TestSameAsTheStandardLibrary(t *testing.T) {
	for name, raw := range contents() {
		for _, level := range []int{stdgzip.HuffmanOnly, stdgzip.NoCompression, 1, 5, 9} {
			z := compress(t, level, raw)
			got, err := gunzip(bytes.NewReader(z))
			if err != nil || !bytes.Equal(got, raw) {
				t.Errorf("%s at level %d: %d bytes, %v, want %d", name, level, len(got), err, len(raw))
			}
			got, err = gunzip(iotest.OneByteReader(bytes.NewReader(z[:min(len(z), 50_000)])))
			if want, _ := standard(bytes.NewReader(z[:min(len(z), 50_000)])); !bytes.HasPrefix(raw,
				got) || len(got) < len(want) {
				t.Errorf("%s at level %d byte by byte: %d bytes, %v, want %d", name, level,
					len(got), err, len(want))
			}
		}
	}
}

func TestMembers(t *testing.T) {
	a, b := []byte(strings.Repeat("one ", 50_000)), []byte(strings.Repeat("two ", 3))
	z := compress(t, 6, a, nil, b)
	got, err := gunzip(bytes.NewReader(z))
	if want := append(bytes.Clone(a), b...); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v, want %d", len(got), err, len(want))
	}
	if _, err := gunzip(bytes.NewReader(append(z, 0, 0, 0))); err == nil {
		t.Error("no error for what follows the last member")
	}
}

func TestErrorsOfTheSource(t *testing.T) {
	z := compress(t, 6, []byte(strings.Repeat("text ", 100_000)))
	lost := errors.New("the line was cut")
	for _, n := range []int{0, 5, 30, len(z) / 2, len(z) - 3} {
		_, err := gunzip(io.MultiReader(bytes.NewReader(z[:n]), iotest.ErrReader(lost)))
		if !errors.Is(err, lost) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
	for n := range len(z) {
		if _, err := gunzip(bytes.NewReader(z[:n])); err == nil || n > 0 &&
			!errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut after %d bytes: %v", n, err)
		}
	}
}

func TestEveryDamagedBit(t *testing.T) {
	z := compress(t, 6, []byte("some text, some more text, and some text again: it is text"))
	for bit := range len(z) * 8 {
		damaged := bytes.Clone(z)
		damaged[bit/8] ^= 1 << (bit % 8)
		compare(t, damaged)
	}
}

// compare wants the same bytes and the same verdict as the standard library's.
func compare(t *testing.T, z []byte) {
	t.Helper()
	want, wantErr := standard(bytes.NewReader(z))
	got, err := gunzip(bytes.NewReader(z))
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%x: error %v, the standard library says %v", z, err, wantErr)
	}
	if wantErr == nil && !bytes.Equal(got, want) {
		t.Fatalf("%x: other bytes than the standard library's", z)
	}
	slow, slowErr := gunzip(iotest.OneByteReader(bytes.NewReader(z)))
	if (slowErr == nil) != (err == nil) || err == nil && !bytes.Equal(slow, got) {
		t.Fatalf("%x: byte by byte %v, at once %v", z, slowErr, err)
	}
}

func FuzzGunzip(f *testing.F) {
	for _, raw := range contents() {
		for _, level := range []int{stdgzip.HuffmanOnly, 0, 1, 9} {
			f.Add(compress(f, level, raw[:min(len(raw), 2000)]))
		}
	}
	f.Fuzz(func(t *testing.T, z []byte) { compare(t, z) })
}

// FuzzBlocks wraps what may be blocks into a stream whose sums are right where the blocks are.
func FuzzBlocks(f *testing.F) {
	for _, raw := range contents() {
		z := compress(f, 9, raw[:min(len(raw), 2000)])
		f.Add(z[len(z)/2:])
	}
	f.Add([]byte{3, 0})
	f.Fuzz(func(t *testing.T, blocks []byte) {
		z := append([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255}, blocks...)
		want, _ := standard(bytes.NewReader(z))
		got, _ := gunzip(bytes.NewReader(z))
		if n := min(len(want), len(got)); !bytes.Equal(want[:n], got[:n]) {
			t.Fatalf("%x: other bytes than the standard library's", z)
		}
		compare(t, z)
	})
}

func BenchmarkGunzip(b *testing.B) {
	program := contents()["program"]
	z := compress(b, 6, program)
	for name, open := range map[string]func(io.Reader) (io.Reader, error){
		"pratique":  func(r io.Reader) (io.Reader, error) { return NewReader(r) },
		"klauspost": func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) },
		"standard":  func(r io.Reader) (io.Reader, error) { return stdgzip.NewReader(r) },
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(program)))
			buffer := make([]byte, 256<<10)
			for b.Loop() {
				r, err := open(bytes.NewReader(z))
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r},
					buffer); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
