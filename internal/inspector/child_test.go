package inspector

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/filetree"
	"github.com/pratique-dev/pratique/internal/layers"
	"github.com/pratique-dev/pratique/sbom"
	"github.com/pratique-dev/pratique/scanner"
)

const verb = "inspect-child"

// TestMain runs the tests, or is the child of one of them.
func TestMain(m *testing.M) {
	if len(os.Args) < 2 || os.Args[1] != verb {
		os.Exit(m.Run())
	}
	switch {
	case len(os.Args) > 2 && os.Args[2] == "stillborn":
		fmt.Fprintln(os.Stderr, "no such thing as a free start")
		os.Exit(3)
	case len(os.Args) > 2 && os.Args[2] == "stranger":
		fmt.Println("Usage: something else entirely, which is not what a pool expects to read")
		os.Exit(0)
	}
	if len(os.Args) > 2 && os.Args[2] == "unfiltered" {
		_ = os.Setenv("PRATIQUE_UNCONFINED", "1")
	}
	if len(os.Args) > 3 && os.Args[2] == "parent" {
		parent(os.Args[3])
	}
	f := fake{taken: new(bool)}
	c := Child{Analyzer: f, Matcher: f, Generator: f, Full: full{f}, Trees: new(filetree.Cache),
		Fingerprint: fingerprint}
	if len(os.Args) > 2 && os.Args[2] == "unchecked" {
		c.Full = nil
	}
	if err := Serve(context.Background(), os.Stdin, os.Stdout, c); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// parent keeps a child busy for ever, in dir.
func parent(dir string) {
	p, err := New(Config{Command: []string{os.Args[0], verb}, TempDir: dir})
	if err == nil {
		err = p.Start(context.Background())
	}
	if err == nil {
		_, err = p.Match(context.Background(),
			[]pratique.Inventory{{OS: pratique.OS{Family: "announce"}}}, scanner.DatabaseDir{Dir: "d"})
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// fake scans and makes SBOMs as it is told: for an image by its subject's path, for an inventory by
// the family of its operating system. Once an image of the project evil has taken it over, it lies
// about everything.
type fake struct{ taken *bool }

// deedOf is what an image has the fake do: its repository's path without the project.
func deedOf(img layers.Image) string {
	_, deed, within := strings.Cut(img.Subject.Repository.Path, "/")
	if !within {
		return img.Subject.Repository.Path
	}
	return deed
}

// lie is what it says then.
const lie = "nothing to see here"

func (fake) Tool() pratique.Tool { return pratique.Tool{Name: "fake", Version: "1"} }

func (f fake) Analyze(ctx context.Context, img layers.Image,
	cache scanner.Cache) (scanner.Analysis, error) {
	if err := act(ctx, deedOf(img)); err != nil {
		return scanner.Analysis{}, err
	}
	content, err := os.ReadFile(img.Layers[0].Path)
	if err != nil {
		return scanner.Analysis{}, pratique.Wrap(pratique.Unavailable, "analyze", "", err)
	}
	if *f.taken = *f.taken || strings.HasPrefix(img.Subject.Repository.Path, "evil/"); *f.taken {
		for _, l := range img.Layers {
			if err := cache.Store(l.DiffID, []byte(lie)); err != nil {
				return scanner.Analysis{}, err
			}
		}
		return scanner.Analysis{Inventory: pratique.Inventory{OS: pratique.OS{Family: lie}}}, nil
	}
	known, err := remember(img, cache)
	os := pratique.OS{Family: "fake", Name: pratique.DigestOf(content).String(), RepositoryRelease: known}
	return scanner.Analysis{Inventory: pratique.Inventory{OS: os}}, err
}

func (f fake) Match(ctx context.Context, inv pratique.Inventory,
	db scanner.DatabaseDir) (pratique.Report, error) {
	if err := act(ctx, inv.OS.Family); err != nil {
		return pratique.Report{}, err
	}
	digest, err := scanner.InventoryDigest(inv)
	if *f.taken {
		return pratique.Report{Inventory: digest, Database: db.Database,
			Coverage: &pratique.Coverage{}}, err
	}
	return pratique.Report{Inventory: digest, Database: db.Database, Coverage: &pratique.Coverage{},
		Findings: []pratique.Finding{{ID: "CVE-1", Path: db.Dir}}}, err
}

func (fake) Generate(_ context.Context, img layers.Image) (sbom.Documents, error) {
	docs := sbom.Documents{SPDX: []byte("spdx of " + img.Subject.String()), CycloneDX: []byte("{}"),
		Packages: 7}
	switch deedOf(img) {
	case "unwritable":
		return docs, os.Mkdir(filepath.Join(os.Getenv("TMPDIR"), fileSPDX), 0o700)
	case "link":
		return docs, os.Symlink("/dev/zero", filepath.Join(os.Getenv("TMPDIR"), fileSPDX))
	}
	return docs, nil
}

// full is the fake that makes SBOMs in full.
type full struct{ fake }

func (f full) Generate(ctx context.Context, img layers.Image) (sbom.Documents, error) {
	docs, err := f.fake.Generate(ctx, img)
	switch deedOf(img) {
	case "differ":
		docs.CycloneDX, docs.Packages = []byte(`{"all": true}`), 8
	case "fail in full":
		return docs, pratique.Errorf(pratique.Corrupt, "read all", "it is damaged")
	}
	return docs, err
}

// act does what a hostile image could make a parser do.
func act(ctx context.Context, what string) error {
	switch what {
	case "crash":
		go panic("index out of range in the parser")
		select {}
	case "hang":
		time.Sleep(time.Hour)
	case "spin":
		for {
			_ = time.Now()
		}
	case "eat":
		var eaten [][]byte
		for {
			block := make([]byte, 1<<20)
			for i := range block {
				block[i] = byte(i)
			}
			eaten = append(eaten, block)
			time.Sleep(time.Millisecond)
			if len(eaten) > 1<<12 {
				os.Exit(9)
			}
		}
	case "keep": // some of it stays for as long as the child lives
		kept := touched(80 << 20)
		go func() {
			for {
				time.Sleep(time.Hour)
				kept[0]++
			}
		}()
	case "need":
		needed := touched(200 << 20)
		time.Sleep(10 * watchInterval)
		if err := syscall.Munmap(needed); err != nil {
			panic(err)
		}
	case "exit":
		os.Exit(0)
	case "mute":
		return errors.Join(os.NewFile(1, "stdout").Close(), sleep(time.Hour))
	case "garbage":
		_, err := os.NewFile(1, "stdout").WriteString("panic: this is not a message at all")
		return errors.Join(err, sleep(time.Hour))
	case "print":
		fmt.Println("a library says hello")
	case "chatter":
		fmt.Fprint(os.Stderr, "it began like this", strings.Repeat("x", 1<<20), "and ended like that")
		os.Exit(4)
	case "family":
		// A grandchild that outlives its parent, as a helper program would.
		helper := exec.Command("/bin/sleep", "600")
		helper.Stderr = os.Stderr
		if err := helper.Start(); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(os.Getenv("HOME"), "..", "grandchild"),
			fmt.Append(nil, helper.Process.Pid), 0o600); err != nil {
			return err
		}
		os.Exit(5)
	case "refuse":
		return &pratique.Error{Op: "analyze image", Subject: "it", Kind: pratique.Exhausted,
			Err: errors.New("too deep " + strings.Repeat("y", 1<<16))}
	case "environment":
		return fmt.Errorf("environment: %s", strings.Join(os.Environ(), " "))
	case "announce":
		return errors.Join(os.WriteFile(filepath.Join(os.Getenv("HOME"), "announced"),
			fmt.Append(nil, os.Getpid()), 0o600), sleep(time.Hour))
	case "slow":
		return sleep(100 * time.Millisecond)
	}
	if err, known := attack(what); known {
		return err
	}
	return ctx.Err()
}

// touched are so many bytes of memory that is in use. They are the system's, so that the race
// detector's own memory for each byte does not come on top.
func touched(n int) []byte {
	block, err := syscall.Mmap(-1, 0, n, syscall.PROT_READ|syscall.PROT_WRITE,
		syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		panic(err)
	}
	for i := range block {
		block[i] = byte(i)
	}
	return block
}

func sleep(d time.Duration) error {
	time.Sleep(d)
	return nil
}
