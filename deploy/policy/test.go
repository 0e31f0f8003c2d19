package policy

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/tester"

	"github.com/pratique-dev/pratique"
)

// Test runs the rules test_… of the *_test.rego files in dir (empty: the shipped default policy)
// with the default parameters, and writes one line per test and one with the coverage of the policy
// to w. A failure names file and line. The error is of kind Invalid if the policy does not compile,
// NotFound if there is no test. A test that was skipped (todo_test_…) counts as neither passed nor
// failed.
func Test(ctx context.Context, dir string, w io.Writer) (passed, failed int, err error) {
	const op = "test policy"
	files, err := readFiles(dir)
	if err != nil {
		return 0, 0, err
	}
	compiler, modules, err := newCompiler(files, Params{})
	if err != nil {
		return 0, 0, err
	}
	coverage := cover.New()
	results, err := tester.NewRunner().
		SetCompiler(compiler.WithEnablePrintStatements(true)).
		SetModules(modules).
		SetTimeout(defaultTimeout).
		SetParallel(1).
		RaiseBuiltinErrors(true).
		EnableTracing(true). // before the coverage, which it would switch off
		SetCoverageQueryTracer(coverage).
		RunTests(ctx, nil)
	if err != nil {
		return 0, 0, pratique.Wrap(pratique.Invalid, op, dir, err)
	}
	var all []*tester.Result
	for r := range results {
		all = append(all, r)
	}
	if err := ctx.Err(); err != nil {
		return 0, 0, pratique.Wrap(pratique.Unavailable, op, dir, err)
	}
	if len(all) == 0 {
		return 0, 0, pratique.Errorf(pratique.NotFound, op,
			"no tests in %s: name files *_test.rego and rules test_…", cmp.Or(dir, "the default policy"))
	}
	slices.SortFunc(all, func(a, b *tester.Result) int {
		return cmp.Or(cmp.Compare(a.Location.File, b.Location.File),
			cmp.Compare(a.Location.Row, b.Location.Row))
	})
	for _, r := range all {
		line, verdict := describeResult(r)
		switch verdict {
		case "PASS":
			passed++
		case "SKIP":
		default:
			failed++
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return passed, failed, pratique.Wrap(pratique.Unavailable, op, "", err)
		}
	}
	_, err = fmt.Fprintf(w, "%d passed, %d failed; %.0f%% of the policy's lines were evaluated\n",
		passed, failed, covered(coverage, modules))
	return passed, failed, pratique.Wrap(pratique.Unavailable, op, "", err)
}

func describeResult(r *tester.Result) (line, verdict string) {
	where := fmt.Sprintf("%s:%d", r.Location.File, r.Location.Row)
	switch {
	case r.Skip:
		verdict = "SKIP"
	case r.Error != nil:
		verdict = "ERROR"
		where += ": " + r.Error.Error()
	case r.Fail:
		verdict = "FAIL"
		if loc := failedAt(r); loc != nil {
			where = fmt.Sprintf("%s:%d: %s", loc.File, loc.Row, strings.TrimSpace(string(loc.Text)))
		}
	default:
		verdict = "PASS"
	}
	line = fmt.Sprintf("%-5s %s  %s", verdict, r.Name, where)
	if out := strings.TrimSpace(string(r.Output)); out != "" {
		line += "\n      " + strings.ReplaceAll(out, "\n", "\n      ")
	}
	return line, verdict
}

// failedAt is the expression of the test's own file that failed last.
func failedAt(r *tester.Result) *ast.Location {
	for _, e := range slices.Backward(r.Trace) {
		if e.Op == "Fail" && e.Location != nil && e.Location.File == r.Location.File {
			return e.Location
		}
	}
	return nil
}

// covered is the share of the policy's own files, without tests and generated parameters.
func covered(c *cover.Cover, modules map[string]*ast.Module) float64 {
	own := map[string]*ast.Module{}
	for name, m := range modules {
		if name != paramsFile && !strings.HasSuffix(name, testSuffix) {
			own[name] = m
		}
	}
	return c.Report(own).Coverage
}
