package policy

import (
	"fmt"

	"github.com/open-policy-agent/opa/v1/ast"
)

// refuseTag refuses a module that looks up image.tag, which older releases had. The check against
// the schema finds only the plain spelling input.image.tag; object.get, an argument of a function
// or a key in a variable would read something undefined or empty, and a rule that does so no longer
// denies. A label of that name is written input.image.labels.tag.
func refuseTag(m *ast.Module) error {
	names := map[ast.Var]bool{} // those of imported packages
	for _, i := range m.Imports {
		names[i.Name()] = true
	}
	var at *ast.Location
	found := func(t *ast.Term) {
		if at == nil {
			at = t.Location
		}
	}
	ast.NewGenericVisitor(func(x any) bool {
		switch v := x.(type) {
		case ast.Ref:
			head, _ := v[0].Value.(ast.Var)
			if head == ast.DefaultRootDocument.Value || names[head] {
				return false
			}
			for i := 1; i < len(v); i++ {
				if is(v[i], "tag") && !is(v[i-1], "labels") {
					found(v[i])
				}
			}
		case *ast.Array:
			for i := 1; i < v.Len(); i++ {
				if is(v.Elem(i), "tag") && is(v.Elem(i-1), "image") {
					found(v.Elem(i))
				}
			}
		case ast.Call:
			lookup(v, found)
		case *ast.Expr:
			if v.IsCall() {
				lookup(v.Terms.([]*ast.Term), found) //nolint:forcetypeassert // IsCall says so
			}
		}
		return false
	}).Walk(m)
	if at == nil {
		return nil
	}
	return fmt.Errorf("%s: rules cannot read the tag of an image: a verdict is of a digest, and counts under every tag that names it. "+
		"Say in the key tags of a target which tags are deployed there; a label of this name is input.image.labels.tag", at)
}

// lookup reports the name where a call looks something up by it, or compares a variable with it.
func lookup(call []*ast.Term, found func(*ast.Term)) {
	if len(call) < 3 {
		return
	}
	switch call[0].String() {
	case ast.ObjectGet.Name:
		if of, ok := call[1].Value.(ast.Ref); is(call[2], "tag") && !(ok && is(of[len(of)-1], "labels")) {
			found(call[2])
		}
	case ast.Equal.Name, ast.Equality.Name, ast.Assign.Name:
		for i, other := range []*ast.Term{call[2], call[1]} {
			if _, variable := other.Value.(ast.Var); variable && is(call[i+1], "tag") {
				found(call[i+1])
			}
		}
	}
}

// is reports whether a term is this text or a variable of this name.
func is(t *ast.Term, name string) bool {
	switch v := t.Value.(type) {
	case ast.String:
		return string(v) == name
	case ast.Var:
		return string(v) == name && name != "tag"
	}
	return false
}
