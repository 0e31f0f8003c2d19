// Package expr reads the events of a sender that has no format of its own here: the configuration
// says in CEL, the Common Expression Language, where a payload has its repository, tag and digest.
//
// The expressions come from the operator, the payload may come from anybody. So an evaluation is
// bounded in cost, time and results, and what it cannot read is an error and never an empty value.
package expr

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/ext"

	"github.com/pratique-dev/pratique"
)

// Config has one CEL expression for each field; an empty one is not set. Each may use:
//
//   - body, the decoded payload;
//   - header, the request's headers: names in lower case, the first value of each. Those that carry
//     credentials (authorization, proxy-authorization, cookie) are not among them;
//   - item, the element of Events that is read; in all expressions but Events itself.
//
// A field that a payload lacks is an error: write item.?tag.orValue("") or has(item.tag) ? item.tag
// : "" where that is expected. Besides CEL's own functions there are charAt, indexOf, lastIndexOf,
// lowerAscii, replace, split, substring, trim and upperAscii of strings.
type Config struct {
	// Events gives the list of items; default [body].
	Events string
	// When gives a bool: false means that the item is nothing to evaluate. Default true.
	When string
	// Repository gives the path without the host. Required, and so is one of Tag and Digest.
	Repository, Tag, Digest string
	// Host gives the registry's host as the payload has it, to be compared with the configured one.
	Host string
	// MediaType, Actor and ID give the manifest's media type, who pushed, and the sender's own id
	// of the report, which must be the same when it is sent again.
	MediaType, Actor, ID string
	// Time gives when it happened: an RFC 3339 string, a timestamp, or a number of seconds since
	// 1970.
	Time string
	// BodyOnly is for senders whose signature covers the body alone: whoever saw one request may
	// send it again with other headers. Then no expression but ID has header.
	BodyOnly bool
}

// Item is the result of the expressions for one element of Events.
type Item struct {
	// Wanted is the result of When. The other fields of an unwanted item are not read.
	Wanted bool
	// Repository is not empty in a wanted item, and one of Tag and Digest is not. Nothing else is
	// checked: they are foreign texts of at most 4 KiB.
	Host, Repository, Tag, Digest, MediaType, Actor, ID string
	// Time is UTC, and zero if there is none.
	Time time.Time
}

// maxSource bounds one expression, in characters.
const maxSource = 8 << 10

// Program is a compiled [Config]. It is safe for concurrent use.
type Program struct {
	events, when, time *expression
	// fields are the string-valued expressions that are set.
	fields []field
}

// field is an expression and where its string goes.
type field struct {
	*expression
	into func(*Item) *string
}

// expression is one compiled expression; name is its field of the configuration.
type expression struct {
	name    string
	program cel.Program
}

// Compile checks and compiles the expressions. Errors are Invalid and name the field and the
// position in it.
func Compile(c Config) (*Program, error) {
	p, err := compile(c)
	if err != nil && c.BodyOnly && strings.Contains(err.Error(), "undeclared reference to 'header'") {
		err = fmt.Errorf("%w\nthe sender's signature covers the body alone: only id may use header", err)
	}
	return p, pratique.Wrap(pratique.Invalid, "compile expressions", "", err)
}

func compile(c Config) (*Program, error) {
	switch {
	case c.Repository == "":
		return nil, fmt.Errorf("repository is required")
	case c.Tag == "" && c.Digest == "":
		return nil, fmt.Errorf("one of tag and digest is required")
	case c.Events == "":
		c.Events = "[body]"
	}
	signed, err := cel.NewEnv(
		cel.Variable("body", cel.DynType),
		cel.OptionalTypes(),
		// Version 0 of the library: the later ones add format, whose result has no bound.
		ext.Strings(ext.StringsVersion(0)),
		cel.ParserExpressionSizeLimit(maxSource),
	)
	if err != nil {
		return nil, err
	}
	whole, err := signed.Extend(cel.Variable("header", cel.MapType(cel.StringType, cel.StringType)))
	if err != nil {
		return nil, err
	}
	outer := whole
	if c.BodyOnly {
		outer = signed
	}
	inner, err := outer.Extend(cel.Variable("item", cel.DynType))
	if err != nil {
		return nil, err
	}
	forID, err := whole.Extend(cel.Variable("item", cel.DynType))
	if err != nil {
		return nil, err
	}
	p := &Program{}
	if p.events, err = newExpression(outer, "events", c.Events, types.ListKind); err != nil {
		return nil, err
	}
	if p.when, err = newExpression(inner, "when", c.When, types.BoolKind); err != nil {
		return nil, err
	}
	for _, f := range []struct {
		name, source string
		into         func(*Item) *string
	}{
		{"host", c.Host, func(i *Item) *string { return &i.Host }},
		{"repository", c.Repository, func(i *Item) *string { return &i.Repository }},
		{"tag", c.Tag, func(i *Item) *string { return &i.Tag }},
		{"digest", c.Digest, func(i *Item) *string { return &i.Digest }},
		{"mediaType", c.MediaType, func(i *Item) *string { return &i.MediaType }},
		{"actor", c.Actor, func(i *Item) *string { return &i.Actor }},
		{"id", c.ID, func(i *Item) *string { return &i.ID }},
	} {
		env := inner
		if f.name == "id" {
			env = forID
		}
		e, err := newExpression(env, f.name, f.source, types.StringKind)
		if err != nil {
			return nil, err
		}
		if e != nil {
			p.fields = append(p.fields, field{e, f.into})
		}
	}
	p.time, err = newExpression(inner, "time", c.Time,
		types.StringKind, types.TimestampKind, types.IntKind, types.UintKind, types.DoubleKind)
	return p, err
}

// newExpression compiles one expression whose result has one of the kinds, as far as that is known
// before there is a payload. It is nil if the source is empty.
func newExpression(env *cel.Env, name, source string, kinds ...types.Kind) (*expression, error) {
	if source == "" {
		return nil, nil
	}
	ast, issues := env.Compile(source)
	if err := issues.Err(); err != nil {
		return nil, fmt.Errorf("%s: %s", name, strings.TrimSpace(err.Error()))
	}
	kind := ast.OutputType().Kind()
	if kind == types.OpaqueKind {
		kind = types.DynKind // an optional: what is in it is seen when it is evaluated
	}
	if kind != types.DynKind && kind != types.NullTypeKind && !slices.Contains(kinds, kind) {
		return nil, fmt.Errorf("%s: gives a value of type %s", name, ast.OutputType())
	}
	program, err := env.Program(ast, limits()...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &expression{name, program}, nil
}

// Eval reads the items of a request. The body is decoded JSON: map[string]any, []any, string,
// float64, bool and nil. It has no other effect, and the same request gives the same items.
//
// The error is Invalid if the payload is not what the expressions expect, and Exhausted if a limit
// was reached: 1000 items, the cost and 5 seconds of all expressions together, and 4 KiB for each
// string. It names the field and the item. One item that cannot be read makes the whole request an
// error, since a part of it must not pass for all.
func (p *Program) Eval(header http.Header, body any) ([]Item, error) {
	b, cancel := newBudget()
	defer cancel()
	request := map[string]any{"body": body, "header": firsts(header)}
	elements, err := b.list(p.events, request)
	if err != nil {
		return nil, evalError(err)
	}
	items := make([]Item, 0, len(elements))
	for n, element := range elements {
		item, err := p.item(b, map[string]any{"body": body, "header": request["header"], "item": element})
		if err != nil {
			return nil, evalError(fmt.Errorf("item %d: %w", n, err))
		}
		items = append(items, item)
	}
	return items, nil
}

func (p *Program) item(b *budget, variables map[string]any) (Item, error) {
	item := Item{Wanted: true}
	var err error
	if p.when != nil {
		if item.Wanted, err = b.bool(p.when, variables); err != nil || !item.Wanted {
			return Item{}, err
		}
	}
	for _, f := range p.fields {
		if *f.into(&item), err = b.string(f.expression, variables); err != nil {
			return Item{}, err
		}
	}
	switch {
	case item.Repository == "":
		return Item{}, fmt.Errorf("repository: is empty")
	case item.Tag == "" && item.Digest == "":
		return Item{}, fmt.Errorf("tag and digest: both are empty")
	case p.time != nil:
		item.Time, err = b.time(p.time, variables)
	}
	return item, err
}

// evalError gives an error of an evaluation its kind: a limit was reached, or the payload is
// invalid.
func evalError(err error) error {
	kind := pratique.KindOf(err)
	if kind != pratique.Exhausted {
		kind = pratique.Invalid
	}
	return pratique.Wrap(kind, "evaluate expressions", "", err)
}

// firsts returns the headers for the expressions, without those that carry credentials, since an id
// or an actor is stored and shown.
func firsts(header http.Header) map[string]string {
	out := make(map[string]string, len(header))
	for name, values := range header {
		if len(values) > 0 {
			out[strings.ToLower(name)] = values[0]
		}
	}
	for _, secret := range []string{"authorization", "proxy-authorization", "cookie"} {
		delete(out, secret)
	}
	return out
}
