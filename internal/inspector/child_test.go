package inspector

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
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
	f := fake{}
	if err := Serve(context.Background(), os.Stdin, os.Stdout, Child{Analyzer: f, Matcher: f, Generator: f, Maker: maker}); err != nil {
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
		_, err = p.Match(context.Background(), []pratique.Inventory{{OS: pratique.OS{Family: "announce"}}}, scanner.DatabaseDir{Dir: "d"})
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// fake scans and makes SBOMs as it is told: for an image by its subject's path, for an inventory by the family
// of its operating system.
type fake struct{}

func (fake) Tool() pratique.Tool { return pratique.Tool{Name: "fake", Version: "1"} }

func (fake) Analyze(ctx context.Context, img layers.Image, kept scanner.Kept) (scanner.Analysis, error) {
	if err := act(ctx, img.Subject.Repository.Path); err != nil {
		return scanner.Analysis{}, err
	}
	content, err := os.ReadFile(img.Layers[0].Path)
	if err != nil {
		return scanner.Analysis{}, pratique.Wrap(pratique.Unavailable, "analyse", "", err)
	}
	known, err := remember(img, kept)
	os := pratique.OS{Family: "fake", Name: pratique.DigestOf(content).String(), RepositoryRelease: known}
	return scanner.Analysis{Inventory: pratique.Inventory{OS: os}}, err
}

func (fake) Match(ctx context.Context, inv pratique.Inventory, db scanner.DatabaseDir) (pratique.Report, error) {
	if err := act(ctx, inv.OS.Family); err != nil {
		return pratique.Report{}, err
	}
	digest, err := scanner.InventoryDigest(inv)
	return pratique.Report{Inventory: digest, Database: db.Database, Findings: []pratique.Finding{{ID: "CVE-1", Path: db.Dir}}}, err
}

func (fake) Generate(_ context.Context, img layers.Image) (sbom.Documents, error) {
	docs := sbom.Documents{SPDX: []byte("spdx of " + img.Subject.String()), CycloneDX: []byte("{}"), Packages: 7}
	switch img.Subject.Repository.Path {
	case "unwritable":
		return docs, os.Mkdir(filepath.Join(os.Getenv("TMPDIR"), fileSPDX), 0o700)
	case "link":
		return docs, os.Symlink("/dev/zero", filepath.Join(os.Getenv("TMPDIR"), fileSPDX))
	}
	return docs, nil
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
		if err := os.WriteFile(filepath.Join(os.Getenv("HOME"), "..", "grandchild"), fmt.Append(nil, helper.Process.Pid), 0o600); err != nil {
			return err
		}
		os.Exit(5)
	case "refuse":
		return &pratique.Error{Op: "analyse image", Subject: "it", Kind: pratique.Exhausted, Err: errors.New("too deep " + strings.Repeat("y", 1<<16))}
	case "environment":
		return fmt.Errorf("environment: %s", strings.Join(os.Environ(), " "))
	case "announce":
		return errors.Join(os.WriteFile(filepath.Join(os.Getenv("HOME"), "announced"), fmt.Append(nil, os.Getpid()), 0o600), sleep(time.Hour))
	case "slow":
		return sleep(100 * time.Millisecond)
	}
	if err, known := attack(what); known {
		return err
	}
	return ctx.Err()
}

func sleep(d time.Duration) error {
	time.Sleep(d)
	return nil
}
