// Package policy evaluates one platform image with rules written in Rego. It loads and compiles the
// rules, builds the document they read, evaluates them without network, clock or randomness, and
// combines the decisions about the platforms of an index. Anything but a clear answer is an error,
// and an error never allows.
package policy

import (
	"cmp"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"

	"github.com/pratique-dev/pratique"
)

//go:embed default/*.rego
var shipped embed.FS

//go:embed input.schema.json
var inputSchema []byte

const (
	opLoad         = "load policy"
	paramsFile     = "params (generated)"
	testSuffix     = "_test.rego"
	maxFileBytes   = 1 << 20
	maxFiles       = 256
	defaultTimeout = 10 * time.Second
)

// Config says which rules to load. The zero value is the shipped default policy with its default
// parameters.
type Config struct {
	// Name is that of the profile; empty means [pratique.DefaultProfile].
	Name string
	// Dir is a directory with *.rego files of package pratique (or packages below it);
	// subdirectories are not read, *_test.rego files are not loaded. Empty means the shipped
	// default policy.
	Dir    string
	Params Params
	// Timeout bounds one evaluation; zero means 10 seconds.
	Timeout time.Duration
}

// Policy is a compiled set of rules with its parameters. It may be used by several goroutines.
type Policy struct {
	id      pratique.Profile
	query   rego.PreparedEvalQuery
	guards  guards
	timeout time.Duration
}

// Load reads, compiles and prepares the rules. Its errors are of kind Invalid (compile errors name
// file and line) or, if the directory is not there or empty, NotFound.
func Load(ctx context.Context, cfg Config) (*Policy, error) {
	files, err := readFiles(cfg.Dir)
	if err != nil {
		return nil, err
	}
	for name := range files {
		if strings.HasSuffix(name, testSuffix) {
			delete(files, name)
		}
	}
	if len(files) == 0 {
		return nil, pratique.Errorf(pratique.NotFound, opLoad,
			"%s holds no *.rego file besides tests", cfg.Dir)
	}
	compiler, err := compile(files, cfg.Params)
	if err != nil {
		return nil, err
	}
	hasNote, err := checkRules(compiler)
	if err != nil {
		return nil, err
	}
	query := `{"deny": data.pratique.deny, "note": set()}`
	if hasNote {
		query = `{"deny": data.pratique.deny, "note": data.pratique.note}`
	}
	prepared, err := rego.New(
		rego.Query("answer := "+query),
		rego.Compiler(compiler),
		rego.Capabilities(capabilities()),
		rego.StrictBuiltinErrors(true),
	).PrepareForEval(ctx)
	if err != nil {
		return nil, pratique.Wrap(pratique.Invalid, opLoad, cfg.Dir, err)
	}
	id, err := identify(cfg, files)
	if err != nil {
		return nil, err
	}
	timeout := cfg.Timeout
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	return &Policy{id: id, query: prepared, guards: newGuards(cfg.Params), timeout: timeout}, nil
}

// ID names the policy, and pins every file (tests aside) and the parameters with a digest.
func (p *Policy) ID() pratique.Profile { return p.id }

// readFiles returns the *.rego files of dir, tests included, or the shipped ones, by name.
func readFiles(dir string) (map[string]string, error) {
	fsys, prefix := fs.FS(shipped), "default"
	if dir != "" {
		fsys, prefix = os.DirFS(dir), "."
	}
	entries, err := fs.ReadDir(fsys, prefix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, pratique.Wrap(pratique.NotFound, opLoad, dir,
			errors.New("there is no such directory"))
	}
	if err != nil {
		return nil, pratique.Wrap(pratique.NotFound, opLoad, dir, err)
	}
	files := map[string]string{}
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".rego" {
			continue
		}
		name := filepath.Join(dir, e.Name())
		if dir == "" {
			name = "default/" + e.Name()
		}
		content, err := readFile(fsys, prefix, e.Name())
		if err != nil {
			return nil, pratique.Wrap(pratique.Invalid, opLoad, name, err)
		}
		if files[name] = content; len(files) > maxFiles {
			return nil, pratique.Errorf(pratique.Exhausted, opLoad,
				"%s holds more than %d *.rego files", dir, maxFiles)
		}
	}
	return files, nil
}

func readFile(fsys fs.FS, prefix, name string) (content string, err error) {
	f, err := fsys.Open(strings.TrimPrefix(prefix+"/"+name, "./"))
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // read only: nothing can be lost
	b, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err == nil && len(b) > maxFileBytes {
		err = fmt.Errorf("larger than %d bytes", maxFileBytes)
	}
	return string(b), err
}

// compile parses and type-checks the files together with the parameters. The input schema makes a
// misspelt input field a compile error instead of an undefined value.
func compile(files map[string]string, params Params) (*ast.Compiler, error) {
	compiler, modules, err := newCompiler(files, params)
	if err != nil {
		return nil, err
	}
	if compiler.Compile(modules); compiler.Failed() {
		return nil, pratique.Wrap(pratique.Invalid, opLoad, "", compiler.Errors)
	}
	return compiler, nil
}

func newCompiler(files map[string]string, params Params) (*ast.Compiler, map[string]*ast.Module, error) {
	if err := params.Validate(); err != nil {
		return nil, nil, pratique.Wrap(pratique.Invalid, opLoad, "", err)
	}
	generated, err := params.module()
	if err != nil {
		return nil, nil, pratique.Wrap(pratique.Internal, opLoad, "", err)
	}
	modules := map[string]*ast.Module{}
	parse := func(name, content string) error {
		m, err := ast.ParseModuleWithOpts(name, content, ast.ParserOptions{RegoVersion: ast.RegoV1,
			Capabilities: capabilities()})
		if err != nil {
			return err
		}
		if m == nil {
			return fmt.Errorf("%s: holds no rules", name)
		}
		if path := m.Package.Path.String(); path != "data.pratique" &&
			!strings.HasPrefix(path, "data.pratique.") &&
			!strings.HasSuffix(name, testSuffix) {
			return fmt.Errorf("%s: package %s would never be evaluated: use package pratique",
				m.Package.Location, strings.TrimPrefix(path, "data."))
		}
		modules[name] = m
		if strings.HasSuffix(name, testSuffix) {
			return nil
		}
		return refuseTag(m)
	}
	for name, content := range files {
		if err := parse(name, content); err != nil {
			return nil, nil, pratique.Wrap(pratique.Invalid, opLoad, "", err)
		}
	}
	if err := parse(paramsFile, generated); err != nil {
		return nil, nil, pratique.Wrap(pratique.Internal, opLoad, "", err)
	}
	var schema any
	if err := json.Unmarshal(inputSchema, &schema); err != nil {
		return nil, nil, pratique.Wrap(pratique.Internal, opLoad, "input.schema.json", err)
	}
	schemas := ast.NewSchemaSet()
	schemas.Put(ast.SchemaRootRef, schema)
	return ast.NewCompiler().WithCapabilities(capabilities()).WithSchemas(schemas).WithUseTypeCheckAnnotations(true), modules, nil
}

// capabilities leaves out everything that could make two evaluations of one input differ, or use
// the network: clock, random numbers, the environment, DNS, HTTP, and remote schemas.
func capabilities() *ast.Capabilities {
	c := ast.CapabilitiesForThisVersion()
	c.AllowNet = []string{}
	c.Builtins = slices.DeleteFunc(c.Builtins, func(b *ast.Builtin) bool {
		return b.Nondeterministic || strings.HasPrefix(b.Name, "json.match_schema") ||
			strings.HasPrefix(b.Name, "json.verify_schema")
	})
	return c
}

// checkRules requires that deny exists, and that deny and note are sets: a policy without deny
// would allow everything.
func checkRules(compiler *ast.Compiler) (hasNote bool, err error) {
	hasDeny := false
	for _, m := range compiler.Modules {
		if m.Package.Path.String() != "data.pratique" {
			continue
		}
		for _, r := range m.Rules {
			name := r.Head.Ref().GroundPrefix().String()
			if name != "deny" && name != "note" {
				continue
			}
			if r.Head.RuleKind() != ast.MultiValue {
				return false, pratique.Errorf(pratique.Invalid, opLoad,
					"%s: rule %s must be a set: write %s contains {…} if {…}", r.Location, name, name)
			}
			hasDeny, hasNote = hasDeny || name == "deny", hasNote || name == "note"
		}
	}
	if !hasDeny {
		return false, pratique.Errorf(pratique.Invalid, opLoad,
			"package pratique has no rule deny, so it would allow everything")
	}
	return hasNote, nil
}

func identify(cfg Config, files map[string]string) (pratique.Profile, error) {
	params, err := json.Marshal(cfg.Params.document()) // the keys of a map are sorted
	if err != nil {
		return pratique.Profile{}, pratique.Wrap(pratique.Internal, opLoad, "", err)
	}
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	h := sha256.New()
	part := func(s string) {
		// The length before each part keeps ("ab","c") and ("a","bc") apart. A hash never fails to
		// write.
		fmt.Fprintf(h, "%d:%s", len(s), s)
	}
	for _, name := range names {
		// Only the base name: the same policy has the same digest wherever it is mounted.
		part(filepath.Base(name))
		part(files[name])
	}
	part(string(params))
	if e := cfg.Params.Extension; !e.IsZero() {
		part(fmt.Sprintf("%s until %s: %s", e.Age, e.Until.UTC().Format(time.RFC3339), e.Reason))
	}
	return pratique.Profile{Name: cmp.Or(cfg.Name, pratique.DefaultProfile),
		Digest: pratique.DigestFromSum([sha256.Size]byte(h.Sum(nil)))}, nil
}
