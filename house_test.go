package pratique_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/pratique-dev/pratique"

// layers says for each package which packages of this module it may import besides the nouns. Arrows point
// downwards only: nouns ← contracts and pure functions ← adapters ← pipeline ← cmd. A package that is not
// listed may import the nouns alone; cmd and the test environment may import everything.
var layers = map[string][]string{
	// Contracts and pure functions.
	"scanner": {"internal/layers"},
	"sbom":    {"internal/layers"},
	// Adapters: one foreign library each, behind the contract of their own stage.
	"scanner/trivy":          {"scanner", "internal/layers", "internal/filetree"},
	"scanner/trivy/database": {"scanner", "internal/backoff", "internal/dirlock", "internal/durable", "internal/outbound"},
	"scanner/inventory":      {"scanner", "internal/boltfile", "internal/projection"},
	"sbom/syft":              {"sbom", "internal/layers", "internal/filetree", "internal/contextio"},
	"internal/filetree":      {"internal/layers"},
	"signer/signertest":      {"signer"},
	"signer/key":             {"signer"},
	"signer/oci":             {"signer"},
	"signer/oci/wire":        {"internal/backoff"},
	"signer/oci/tags":        {"signer", "signer/oci", "signer/oci/wire", "internal/keyed"},
	"signer/oci/storetest":   {"signer", "signer/oci", "signer/signertest"},
	"attest/verify":          {"attest", "signer", "signer/oci"},
	"deploy/gitrepo":         {"deploy", "internal/backoff", "internal/outbound"},
	"internal/render":        {"internal/display"},
	"attest/api":             {"attest/index", "internal/display"},
	"attest/api/client":      {"attest/api"},
	"attest/index":           {"internal/boltfile", "internal/projection"},
	"attest/ledger":          {"internal/durable", "internal/natsinternals"},
	"internal/layers":        {"internal/gunzip", "internal/dirlock", "internal/toc", "internal/contextio"},
	"internal/toc":           {"internal/contextio"},
	"internal/localimage":    {"internal/contextio"},
	"internal/derived":       {"internal/dirlock"},
	"queue":                  {"internal/backoff", "internal/dirlock", "internal/natsinternals"},
	"internal/boltfile":      {"internal/durable"},
	"internal/projection":    {"internal/boltfile"},
	"queue/feed":             {"internal/backoff"},
	"queue/reconcile":        {"internal/backoff"},
	"queue/outbox":           {"internal/backoff", "internal/boltfile"},
	"queue/webhook/oidc":     {"internal/outbound"},
	"internal/inspector":     {"scanner", "sbom", "internal/layers", "internal/agreement", "internal/filetree", "internal/pkgdb"},
	"internal/agreement":     {"sbom"},
	"internal/pkgdb":         {"internal/filetree"},
	"internal/registry":      {"internal/backoff", "internal/jsonname", "internal/layers", "internal/outbound"},
	"deploy/edit":            {"internal/imagename"},
	"deploy/edit/locate":     {"deploy/edit", "internal/imagename", "internal/jsonname", "internal/yamltext"},
	"deploy/edit/edittest":   {"deploy/edit", "internal/imagename"},
	"deploy/repotest":        {"deploy"},
	// The gate is the only contract that uses editors, and the only one that is told which summary counts.
	"deploy": {"deploy/edit", "deploy/edit/locate", "internal/imagename", "attest/verify"},
	// What a configuration may say of a receiver is in the table of formats.
	"internal/config": {"queue/webhook"},
	// The order of the stages: contracts only.
	"internal/pipeline": {"scanner", "attest", "signer", "signer/oci", "deploy", "internal/backoff", "internal/keyed", "internal/layers"},
}

// unlimited may import any package of this module: they are where everything meets, or they are for tests.
var unlimited = []string{"cmd/", "internal/testenv", "internal/demo", "internal/inspector/imagetest"}

// mayLog may import log/slog: scanner/trivy only to silence Trivy, which logs to the default logger.
var mayLog = []string{"cmd/", "internal/pipeline", "scanner/trivy"}

type goPackage struct {
	ImportPath, Dir, Doc, Name    string
	Imports, GoFiles, TestGoFiles []string
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Dir,Doc,Name,Imports,GoFiles,TestGoFiles", "./...")
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var all []goPackage
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		p.ImportPath = strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		all = append(all, p)
	}
	if len(all) < 10 {
		t.Fatalf("go list found %d packages only", len(all))
	}
	return all
}

func TestLayers(t *testing.T) {
	for _, p := range packages(t) {
		if hasAnyPrefix(p.ImportPath, unlimited) {
			continue
		}
		for _, path := range p.Imports {
			if path == module {
				continue
			}
			path, ours := strings.CutPrefix(path, module+"/")
			if !ours {
				if first, _, _ := strings.Cut(path, "/"); p.ImportPath == "" && strings.Contains(first, ".") {
					t.Errorf("the nouns import %s: they use the standard library only", path)
				}
				continue
			}
			if !contains(layers[p.ImportPath], path) {
				t.Errorf("%s imports %s: the layering does not allow it", p.ImportPath, path)
			}
			if strings.HasPrefix(path, p.ImportPath+"/") && p.ImportPath != "deploy" {
				t.Errorf("%s imports its own adapter %s", p.ImportPath, path)
			}
		}
	}
}

// TestNothingBuiltIsKept: a program of hundreds of megabytes is committed in a moment, and every clone has it for ever.
func TestNothingBuiltIsKept(t *testing.T) {
	const most = 1 << 20
	out, err := exec.Command("git", "ls-files", "-z").Output()
	if err != nil {
		t.Skip("this is no clone: ", err)
	}
	for file := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		if info, err := os.Lstat(file); err == nil && info.Size() > most {
			t.Errorf("%s has %d bytes, more than %d: is it built from something?", file, info.Size(), most)
		}
	}
}

// TestHouseRules checks what keeps packages readable: a comment that says the one job, files of a bounded
// length, small interfaces, no init and no log below cmd.
func TestHouseRules(t *testing.T) {
	const mostLines, mostMethods = 400, 4
	for _, p := range packages(t) {
		want := "Package " + p.Name
		if p.Name == "main" {
			want = "Command "
		}
		if !strings.HasPrefix(p.Doc, want) {
			t.Errorf("%s: want a package comment that starts with %q", p.ImportPath, want)
		}
		for _, file := range p.GoFiles {
			set := token.NewFileSet()
			parsed, err := parser.ParseFile(set, filepath.Join(p.Dir, file), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			where := p.ImportPath + "/" + file
			if lines := set.File(parsed.FileStart).LineCount(); lines > mostLines {
				t.Errorf("%s has %d lines, more than %d: is it two things?", where, lines, mostLines)
			}
			for _, spec := range parsed.Imports {
				if path := strings.Trim(spec.Path.Value, `"`); path == "log/slog" && !hasAnyPrefix(p.ImportPath, mayLog) {
					t.Errorf("%s logs: only cmd and the pipeline do", where)
				}
			}
			ast.Inspect(parsed, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.FuncDecl:
					if n.Name.Name == "init" && n.Recv == nil {
						t.Errorf("%s has an init function", where)
					}
				case *ast.InterfaceType:
					if n.Methods.NumFields() > mostMethods {
						t.Errorf("%s:%d: an interface of %d methods, more than %d", where, set.Position(n.Pos()).Line, n.Methods.NumFields(), mostMethods)
					}
				}
				return true
			})
		}
	}
}

func hasAnyPrefix(s string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}

func contains(all []string, s string) bool {
	for _, a := range all {
		if a == s {
			return true
		}
	}
	return false
}
