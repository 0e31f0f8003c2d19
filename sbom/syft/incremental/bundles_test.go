package incremental

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/anchore/syft/syft/pkg"

	"github.com/pratique-dev/pratique/internal/inspector/imagetest"
	plain "github.com/pratique-dev/pratique/sbom/syft"
)

func TestContains(t *testing.T) {
	mark, buffer := []byte("mark"), make([]byte, 16)
	for size := range 70 {
		plain := bytes.Repeat([]byte("mar-"), 20)[:size]
		if found, err := contains(bytes.NewReader(plain), mark, buffer); found || err != nil {
			t.Errorf("found in %q, error %v", plain, err)
		}
		for at := 0; at+len(mark) <= size; at++ {
			with := bytes.Clone(plain)
			copy(with[at:], mark)
			if found, err := contains(iotest.OneByteReader(bytes.NewReader(with)), mark,
				buffer); !found || err != nil {
				t.Fatalf("not found at %d of %d, error %v", at, size, err)
			}
		}
	}
	for size := range 100 {
		for at := 0; at+len(bundleMark()) <= size; at++ {
			with := bytes.Repeat([]byte{0xae, 0x8b}, 50)[:size]
			if holds(with, bundleMark()) {
				t.Fatalf("found in %x", with)
			}
			copy(with[at:], bundleMark())
			if !holds(with, bundleMark()) {
				t.Fatalf("not found at %d of %d", at, size)
			}
		}
	}
	broken := errors.New("broken")
	if _, err := contains(iotest.ErrReader(broken), mark, buffer); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	if _, err := contains(io.LimitReader(zeros{}, maxSearched+1), mark,
		make([]byte, 1<<20)); !errors.Is(err, errNotSearched) {
		t.Errorf("error %v", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

const bundledDeps = `{"runtimeTarget":{"name":".NETCoreApp,Version=v8.0"},"targets":{".NETCoreApp,Version=v8.0":{
  "app/1.0.0":{"dependencies":{"Newtonsoft.Json":"13.0.3"},"runtime":{"app.dll":{}}},
  "Newtonsoft.Json/13.0.3":{"runtime":{"lib/net6.0/Newtonsoft.Json.dll":{"assemblyVersion":"13.0.0.0","fileVersion":"13.0.3.27908"}}}}},
  "libraries":{"app/1.0.0":{"type":"project","serviceable":false,"sha512":""},
  "Newtonsoft.Json/13.0.3":{"type":"package","serviceable":true,"sha512":"sha512-x","path":"newtonsoft.json/13.0.3"}}}`

// program is an ELF file of .NET that carries its libraries' names if bundled is set.
func program(t *testing.T, bundled bool) string {
	t.Helper()
	const markAt, headerAt, depsAt = searchBuffer - 7, searchBuffer + 200, searchBuffer + 400
	file := make([]byte, depsAt+len(bundledDeps))
	var head bytes.Buffer
	ident := [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB),
		byte(elf.EV_CURRENT)}
	for _, part := range []any{
		elf.Header64{
			Ident: ident, Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: 1,
			Phoff: 64, Ehsize: 64,
			Phentsize: 56, Phnum: 1, Shentsize: 64,
		},
		elf.Prog64{Type: uint32(elf.PT_LOAD), Filesz: uint64(len(file)), Memsz: uint64(len(file))},
	} {
		if err := binary.Write(&head, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	copy(file, head.Bytes())
	if !bundled {
		return string(file)
	}
	binary.LittleEndian.PutUint64(file[markAt-8:], headerAt)
	copy(file[markAt:], bundleMark())
	var bundle bytes.Buffer
	for _, part := range []any{
		uint32(6), uint32(0), int32(1), byte(2), []byte("id"), int64(depsAt),
		int64(len(bundledDeps)), int64(0), int64(0), uint64(0),
	} {
		if err := binary.Write(&bundle, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	copy(file[headerAt:], bundle.Bytes())
	copy(file[depsAt:], bundledDeps)
	return string(file)
}

// What Syft's own cataloguer finds in programs of .NET is found, with and without libraries in them.
func TestBundles(t *testing.T) {
	for bundled, want := range map[bool]int{true: 2, false: 0} {
		img := imagetest.Build(t, imagetest.Files{"app/app": program(t, bundled)})
		read, cleanup, err := plain.Open(t.Context(), img)
		if err != nil {
			t.Fatal(err)
		}
		whole, err := full.Catalog(t.Context(), plain.Source(img, read), full.Config())
		if err != nil {
			t.Fatal(err)
		}
		ours, err := forgetful().all(t.Context(), img, newTrace())
		if err != nil {
			t.Fatal(err)
		}
		if err := cleanup(); err != nil {
			t.Error(err)
		}
		theirs, found := whole.Artifacts.Packages.Sorted(), ours.whole.Artifacts.Packages.Sorted()
		same := slices.EqualFunc(theirs, found, func(a, b pkg.Package) bool { return a.ID() == b.ID() })
		if !same || len(found) < want {
			t.Errorf("bundled %v: Syft finds %v, ours %v", bundled, theirs, found)
		}
	}
}
