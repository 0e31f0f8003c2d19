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

// layers says for each package which packages of this module it may import besides the nouns.
// Arrows point downwards only: nouns ← contracts and pure functions ← adapters ← pipeline ← cmd. A
// package that is not listed may import the nouns alone; cmd and the test environment may import
// everything.
var layers = map[string][]string{
	// Contracts and pure functions.
	"scanner":        {"internal/layers"},
	"scanner/rescan": {"scanner"},
	"sbom":           {"internal/layers"},
	// Adapters: one foreign library each, behind the contract of their own stage.
	"scanner/trivy": {"scanner", "internal/layers", "internal/filetree"},
	"scanner/trivy/database": {"internal/backoff", "internal/dirlock", "internal/durable",
		"internal/outbound"},
	"scanner/trivy/delta": {"scanner/rescan"},
	"scanner/inventory":   {"scanner", "scanner/rescan", "internal/boltfile", "internal/projection"},
	"sbom/syft":           {"sbom", "internal/layers", "internal/filetree", "internal/contextio"},
	// reads less, and has to give the same
	"sbom/syft/incremental":  {"sbom", "sbom/syft", "internal/layers"},
	"internal/filetree":      {"internal/layers"},
	"signer/signertest":      {"signer"},
	"signer/key":             {"signer"},
	"signer/oci":             {"signer"},
	"signer/oci/wire":        {"internal/backoff"},
	"signer/oci/tags":        {"signer", "signer/oci", "signer/oci/wire", "internal/keyed"},
	"signer/oci/storetest":   {"signer", "signer/oci", "signer/signertest"},
	"attest/attesttest":      {"attest"},
	"attest/verify":          {"attest", "signer", "signer/oci"},
	"deploy/gitrepo":         {"deploy", "internal/backoff", "internal/outbound"},
	"queue/webhook/oidc":     {"internal/outbound"},
	"internal/render":        {"internal/display"},
	"attest/api":             {"attest/index", "internal/display"},
	"attest/api/client":      {"attest/api"},
	"attest/index":           {"internal/boltfile", "internal/projection"},
	"attest/ledger":          {"internal/durable", "internal/natsinternals"},
	"attest/ledger/blobtest": {"attest/ledger"},
	"internal/layers": {"internal/gunzip", "internal/dircache", "internal/keyed",
		"internal/toc", "internal/contextio"},
	"internal/toc":           {"internal/contextio"},
	"internal/localimage":    {"internal/contextio"},
	"internal/analysiscache": {"internal/dircache"},
	"internal/dircache":      {"internal/dirlock"},
	"queue":                  {"internal/backoff", "internal/dirlock", "internal/natsinternals"},
	"internal/boltfile":      {"internal/durable"},
	"internal/projection":    {"internal/boltfile"},
	"queue/feed":             {"internal/backoff"},
	"queue/reconcile":        {"internal/backoff"},
	"queue/outbox":           {"internal/backoff", "internal/boltfile"},
	"internal/inspector": {"scanner", "sbom", "internal/layers", "internal/agreement",
		"internal/atrest", "internal/filetree", "internal/confine", "internal/pkgdb"},
	"internal/agreement": {"sbom"},
	"internal/pkgdb":     {"internal/filetree"},
	"internal/registry": {"internal/backoff", "internal/jsonname", "internal/layers",
		"internal/outbound"},
	"deploy/edit": {"internal/imagename"},
	"deploy/edit/locate": {"deploy/edit", "internal/imagename", "internal/jsonname",
		"internal/yamltext"},
	"deploy/edit/edittest": {"deploy/edit", "internal/imagename"},
	"deploy/repotest":      {"deploy"},
	// The gate is the only contract that uses editors, and the only one that is told which summary
	// counts.
	"deploy": {"deploy/edit", "deploy/edit/locate", "internal/imagename", "attest/verify"},
	// What a configuration may say of a receiver is in the table of formats.
	"internal/config": {"queue/webhook"},
	// The stages: contracts only.
	"internal/pipeline":            {"scanner"},
	"internal/pipeline/inspecting": {"internal/pipeline", "scanner", "internal/keyed", "internal/layers"},
	"internal/pipeline/attesting": {"internal/pipeline", "attest", "signer", "signer/oci",
		"internal/keyed"},
	"internal/pipeline/deploying": {"internal/pipeline", "deploy"},
	"internal/pipeline/rescanning": {"internal/pipeline", "scanner", "scanner/rescan",
		"internal/backoff"},
	// Verbs that ask a service know the API and no engine.
	"cmd/pratique/cli/remote": {"attest/api", "attest/api/client", "cmd/pratique/cli/describe",
		"cmd/pratique/cli/verb", "cmd/pratique/words", "internal/display", "queue/reconcile"},
	"cmd/pratique/cli/describe": {"attest/api", "cmd/pratique/words", "internal/display"},
	"cmd/pratique/cli/verb":     {"cmd/pratique/words", "internal/display"},
	"cmd/pratique/cli/clitest":  {"attest/api"},
	"cmd/pratique/keyfile":      {"signer/key"},
	"cmd/pratique/words":        {},
}

// unlimited may import any package of this module: they are where everything meets, or they are for
// tests. A row in layers comes before that.
var unlimited = []string{"cmd/", "internal/testenv", "internal/demo", "internal/inspector/imagetest"}

// mayLog may import log/slog: scanner/trivy only to silence Trivy, which logs to the default logger.
var mayLog = []string{"cmd/", "internal/pipeline", "scanner/trivy"}

type goPackage struct {
	ImportPath, Dir, Doc, Name    string
	Imports, GoFiles, TestGoFiles []string
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "list",
		"-json=ImportPath,Dir,Doc,Name,Imports,GoFiles,TestGoFiles", "./...")
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
		if _, row := layers[p.ImportPath]; !row && hasAnyPrefix(p.ImportPath, unlimited) {
			continue
		}
		for _, path := range p.Imports {
			if path == module {
				continue
			}
			path, ours := strings.CutPrefix(path, module+"/")
			if !ours {
				if first, _, _ := strings.Cut(path, "/"); p.ImportPath == "" &&
					strings.Contains(first, ".") {
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

// TestRemoteVerbsLinkNoEngine: the verbs that ask a service are to fit into a client of a few
// megabytes.
func TestRemoteVerbsLinkNoEngine(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps",
		"./cmd/pratique/cli/remote").Output()
	if err != nil {
		t.Fatal(err)
	}
	for path := range strings.Lines(string(out)) {
		for _, engine := range []string{"trivy", "syft", "sigstore", "open-policy-agent", "nats-io",
			"go-git", "google/cel-go", "go-containerregistry"} {
			if strings.Contains(path, engine) {
				t.Errorf("cmd/pratique/cli/remote links %s", strings.TrimSpace(path))
			}
		}
	}
}

// parts are packages that hold something which only some roles of the service may: see the table in
// docs/ARCHITECTURE.md. With each stand the files of cmd/pratique/service that may import it.
var parts = map[string][]string{
	"signer/key":             {"attest.go"},
	"deploy/policy":          {"attest.go"},
	"deploy/gitrepo":         {"deploy.go", "wake.go"},
	"signer/oci/tags":        {"attest.go", "deploy.go"},
	"queue/webhook":          {"receive.go"},
	"queue/feed":             {"receive.go"},
	"internal/layers":        {"inspect.go"},
	"internal/inspector":     {"inspect.go", "rescan.go", "shadow.go"},
	"scanner/trivy/database": {"inspect.go", "databases.go", "rescan.go"},
	"attest/index":           {"query.go"},
	"internal/registry":      {"service.go", "receive.go", "inspect.go", "attest.go", "deploy.go"},
}

// TestRolesHoldTheirParts: the parts of a role are opened and held in its own files.
func TestRolesHoldTheirParts(t *testing.T) {
	for _, p := range packages(t) {
		if p.ImportPath != "cmd/pratique/service" {
			continue
		}
		for _, f := range parse(t, p).files {
			for _, spec := range f.Imports {
				part := strings.TrimPrefix(strings.Trim(spec.Path.Value, `"`), module+"/")
				if files, held := parts[part]; held && !contains(files, f.name) {
					t.Errorf("%s/%s imports %s, which only %s may", p.ImportPath, f.name, part,
						strings.Join(files, " and "))
				}
			}
		}
		return
	}
	t.Error("there is no cmd/pratique/service")
}

// TestNothingBuiltIsKept: a program of hundreds of megabytes is committed in a moment, and every
// clone has it for ever.
func TestNothingBuiltIsKept(t *testing.T) {
	const most = 1 << 20
	out, err := exec.Command("git", "ls-files", "-z").Output()
	if err != nil {
		t.Skip("this is no clone: ", err)
	}
	for file := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		if info, err := os.Lstat(file); err == nil && info.Size() > most {
			t.Errorf("%s has %d bytes, more than %d: is it built from something?", file,
				info.Size(), most)
		}
	}
}

// large are the packages of more than 1,000 lines, tests not counted, with what keeps each
// together. The bound is there so that none of them grows on without a thought.
var large = map[string]struct {
	lines  int
	reason string
}{
	"":             {3400, "the nouns: types and their small methods, one file for each"},
	"attest/api":   {2600, "one file for each resource of the API"},
	"attest/index": {1700, "one projection: its buckets are written in one transaction"},
	"cmd/pratique/service": {1900,
		"one file for each role, and what they share; a package for each would export that"},
	"deploy": {2100,
		"the gate: all that decides whether something is written stands in one place"},
	"deploy/gitrepo": {3200,
		"a Git client: sessions, packs and history share what they know of hostile servers"},
	"deploy/policy":          {1700, "one engine, and the input that it is given"},
	"internal/config":        {1600, "the schema of one file and its validation"},
	"internal/filetree":      {1500, "one model of what a runtime unpacks"},
	"internal/inspector":     {2100, "a pool of processes and both ends of their wire"},
	"internal/layers":        {2400, "one store of layers; every way to read one is bounded in it"},
	"internal/registry":      {2800, "one client: every answer of a registry is bounded in it"},
	"queue":                  {2100, "streams, and the pool that works on them"},
	"queue/outbox":           {2100, "one file on disk with one writer"},
	"queue/reconcile":        {1300, "sweeps, their budget and their schedule"},
	"queue/webhook":          {4100, "one file for each sender"},
	"sbom/syft/incremental":  {1900, "one proof, whose steps are its files"},
	"scanner":                {1100, "the contract, and the documents that go with it"},
	"scanner/inventory":      {1300, "one projection: its buckets are written in one transaction"},
	"scanner/trivy":          {3800, "one adapter"},
	"scanner/trivy/database": {2500, "download and check one database"},
}

// keepContexts are structs that hold a context, with the reason. Others pass it as the first
// argument.
var keepContexts = map[string]string{
	"internal/contextio.reader":       "io.Reader has no context, and this one ends with it",
	"internal/toc.boundedReader":      "io.Reader has no context, and this one ends with it",
	"internal/layers.verifyingReader": "io.Reader has no context, and this one ends with it",
	"internal/layers.reservingWriter": "io.Writer has no context, and this one waits for room",
	"internal/registry.stream":        "the body of an answer outlives the call that asked for it",
	"internal/inspector.Pool":         "the life of the pool: its children end with it",
	"queue/webhook/expr.budget":       "what CEL calls back gets no context",
	"scanner/trivy/delta.comparison":  "one walk over a database, which lives as long as the call",
	"sbom/syft.valuesContext":         "it is a context",
	"sbom/syft.Generator":             "Syft asks for its plug-ins with the values of the context that made them",
}

// TestHouseRules checks what keeps packages readable: a comment that says the one job, files and
// packages of a bounded length, small interfaces, no init, no context in structs, and no log below
// cmd.
func TestHouseRules(t *testing.T) {
	const mostLines, mostMethods, mostInPackage = 400, 4, 1000
	for _, p := range packages(t) {
		want := "Package " + p.Name
		if p.Name == "main" {
			want = "Command "
		}
		if !strings.HasPrefix(p.Doc, want) {
			t.Errorf("%s: want a package comment that starts with %q", p.ImportPath, want)
		}
		code, total := parse(t, p), 0
		for _, f := range code.files {
			where, lines := p.ImportPath+"/"+f.name, code.set.File(f.FileStart).LineCount()
			if total += lines; lines > mostLines {
				t.Errorf("%s has %d lines, more than %d: is it two things?", where, lines, mostLines)
			}
			for _, spec := range f.Imports {
				if path := strings.Trim(spec.Path.Value, `"`); path == "log/slog" &&
					!hasAnyPrefix(p.ImportPath, mayLog) {
					t.Errorf("%s logs: only cmd and the pipeline do", where)
				}
			}
			ast.Inspect(f.File, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.FuncDecl:
					if n.Name.Name == "init" && n.Recv == nil {
						t.Errorf("%s has an init function", where)
					}
				case *ast.InterfaceType:
					if count := code.methods(n); count > mostMethods {
						t.Errorf("%s:%d: an interface of %d methods, more than %d", where,
							code.line(n), count, mostMethods)
					}
				case *ast.TypeSpec:
					if s, ok := n.Type.(*ast.StructType); ok && holdsContext(s) &&
						keepContexts[p.ImportPath+"."+n.Name.Name] == "" {
						t.Errorf("%s:%d: %s holds a context: pass it as the first argument", where,
							code.line(n), n.Name.Name)
					}
				case *ast.CompositeLit:
					if from := copied(n); from != "" && !hasAnyPrefix(p.ImportPath, unlimitedTests) {
						t.Errorf("%s:%d: %s is copied field by field: let both sides use one type",
							where, code.line(n), from)
					}
				}
				return true
			})
		}
		if exception, ok := large[p.ImportPath]; ok &&
			(total > exception.lines || exception.reason == "") {
			t.Errorf("%s has %d lines, more than its own bound of %d", p.ImportPath, total,
				exception.lines)
		} else if !ok && total > mostInPackage && !strings.HasPrefix(p.ImportPath, "internal/testenv") {
			t.Errorf("%s has %d lines, more than %d: is it two things?", p.ImportPath, total,
				mostInPackage)
		}
	}
}

// unlimitedTests are packages for tests.
var unlimitedTests = []string{"internal/testenv", "internal/inspector/imagetest"}

// code is the syntax of one package without its tests.
type code struct {
	set   *token.FileSet
	files []file
}

type file struct {
	*ast.File
	name string
}

func parse(t *testing.T, p goPackage) code {
	t.Helper()
	c := code{set: token.NewFileSet()}
	for _, name := range p.GoFiles {
		parsed, err := parser.ParseFile(c.set, filepath.Join(p.Dir, name), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		c.files = append(c.files, file{parsed, name})
	}
	return c
}

func (c code) line(n ast.Node) int { return c.set.Position(n.Pos()).Line }

// methods counts the methods of an interface with those of the interfaces that it embeds. One of
// another package counts as one.
func (c code) methods(i *ast.InterfaceType) int {
	count := 0
	for _, field := range i.Methods.List {
		name, embedded := field.Type.(*ast.Ident)
		switch {
		case len(field.Names) > 0:
			count += len(field.Names)
		case embedded && c.iface(name.Name) != nil:
			count += c.methods(c.iface(name.Name))
		default:
			count++
		}
	}
	return count
}

func (c code) iface(name string) *ast.InterfaceType {
	for _, f := range c.files {
		for _, d := range f.Decls {
			group, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range group.Specs {
				if s, ok := spec.(*ast.TypeSpec); ok && s.Name.Name == name {
					found, _ := s.Type.(*ast.InterfaceType)
					return found
				}
			}
		}
	}
	return nil
}

func holdsContext(s *ast.StructType) bool {
	for _, field := range s.Fields.List {
		if sel, ok := field.Type.(*ast.SelectorExpr); ok && sel.Sel.Name == "Context" {
			if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name == "context" {
				return true
			}
		}
	}
	return false
}

// copied returns the value whose fields make up a literal, each under its own name: the same type
// under two names. Fewer than five fields are no finding.
func copied(lit *ast.CompositeLit) string {
	const least = 5
	if len(lit.Elts) < least {
		return ""
	}
	from := ""
	for _, e := range lit.Elts {
		pair, ok := e.(*ast.KeyValueExpr)
		if !ok {
			return ""
		}
		key, ok := pair.Key.(*ast.Ident)
		value, ok2 := pair.Value.(*ast.SelectorExpr)
		if !ok || !ok2 || value.Sel.Name != key.Name {
			return ""
		}
		x, ok := value.X.(*ast.Ident)
		if !ok || from != "" && from != x.Name {
			return ""
		}
		from = x.Name
	}
	return from
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
