package expr

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/overloads"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/google/cel-go/interpreter"

	"github.com/pratique-dev/pratique"
)

const (
	// maxItems bounds a request's items, maxResult a string that an expression gives, in bytes.
	maxItems, maxResult = 1000, 4 << 10
	// maxCost bounds one expression and maxTotal all of a request, in CEL's units: a step is 1, and
	// so are 10 bytes of a string that a step goes through. A field of a usual payload costs less
	// than 20.
	maxCost, maxTotal = 500_000, 1_000_000
	// maxTime bounds all of a request where the cost is too low an estimate, as for comparing whole
	// documents.
	maxTime = 5 * time.Second
	// maxReplaced bounds the result of one replace, in bytes. Its size is the product of its
	// arguments' and is known too late for a bound on cost.
	maxReplaced = 1 << 20
)

func limits() []cel.ProgramOption {
	return []cel.ProgramOption{
		cel.CostTracking(estimator{}),
		cel.CostLimit(maxCost),
		// Every step, since a list in a list takes the end of the inner one for an answer and goes
		// on.
		cel.InterruptCheckFrequency(1),
		cel.CustomDecorator(boundCalls),
	}
}

// estimator charges every function by the bytes of its string arguments and results. CEL counts
// functions of libraries, and all functions on values of unknown types, as single steps.
type estimator struct{}

// CallCost implements [interpreter.ActualCostEstimator].
func (estimator) CallCost(function, _ string, args []ref.Val, result ref.Val) *uint64 {
	bytes := uint64(10)
	for _, v := range append([]ref.Val{result}, args...) {
		switch v := v.(type) {
		case types.String:
			bytes += uint64(len(v))
		case types.Bytes:
			bytes += uint64(len(v))
		}
	}
	cost := bytes / 10
	switch function {
	case "split":
		cost += length(result)
	case operators.In:
		cost += length(args[len(args)-1])
	case overloads.Matches:
		// The state machine of a regular expression grows with its length.
		if pattern, ok := args[len(args)-1].(types.String); ok {
			cost *= 1 + uint64(len(pattern))/4
		}
	}
	return &cost
}

func length(v ref.Val) uint64 {
	if list, ok := v.(traits.Lister); ok {
		if n, ok := list.Size().(types.Int); ok && n > 0 {
			return uint64(n)
		}
	}
	return 0
}

// boundedReplace is a call of replace that computes the length of its result first. It implements
// both ways in which the library evaluates, since the wrapped call has no bound.
type boundedReplace struct{ interpreter.InterpretableCall }

// boundCalls bounds the two functions whose results may be far longer than their arguments:
// replace, and join, which is refused, since reading a payload does not need it.
func boundCalls(i interpreter.Interpretable) (interpreter.Interpretable, error) {
	call, ok := i.(interpreter.InterpretableCall)
	switch {
	case ok && call.Function() == "replace":
		return boundedReplace{call}, nil
	case ok && call.Function() == "join":
		return nil, errors.New("join is not available here")
	}
	return i, nil
}

// Eval implements [interpreter.Interpretable].
func (r boundedReplace) Eval(variables interpreter.Activation) ref.Val {
	return r.replace(func(arg interpreter.InterpretableV2) ref.Val { return arg.Eval(variables) })
}

// Exec implements [interpreter.InterpretableV2].
func (r boundedReplace) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	return r.replace(func(arg interpreter.InterpretableV2) ref.Val { return arg.Exec(frame) })
}

func (r boundedReplace) replace(value func(interpreter.InterpretableV2) ref.Val) ref.Val {
	var texts []string
	times := -1
	for _, arg := range r.Args() {
		switch v := value(arg).(type) {
		case types.String:
			texts = append(texts, string(v))
		case types.Int:
			if v >= 0 && v < math.MaxInt32 {
				times = int(v)
			}
		case *types.Err:
			return v
		default:
			return types.MaybeNoSuchOverloadErr(v)
		}
	}
	if len(texts) != 3 {
		return types.NewErr("replace: want the strings to look in, to look for and to put in")
	}
	found := strings.Count(texts[0], texts[1])
	if times >= 0 {
		found = min(found, times)
	}
	if size := len(texts[0]) + found*(len(texts[2])-len(texts[1])); size > maxReplaced {
		return types.NewErr("replace: the result would have %d bytes, more than %d", size, maxReplaced)
	}
	return types.String(strings.Replace(texts[0], texts[1], texts[2], times))
}

// budget is the remaining budget for the expressions of one request.
type budget struct {
	ctx  context.Context
	left uint64
}

func newBudget() (*budget, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.Background(), maxTime)
	return &budget{ctx: ctx, left: maxTotal}, cancel
}

// eval returns the value of an expression; nil if it is null or an empty optional.
func (b *budget) eval(e *expression, variables map[string]any) (ref.Val, error) {
	if b.ctx.Err() != nil {
		return nil, pratique.Errorf(pratique.Exhausted, e.name,
			"the expressions of one request took more than %s", maxTime)
	}
	value, details, err := e.program.ContextEval(b.ctx, variables)
	cost := uint64(0)
	if details != nil && details.ActualCost() != nil {
		cost = *details.ActualCost()
	}
	var canceled interpreter.EvalCancelledError
	switch {
	case errors.As(err, &canceled), err != nil && b.ctx.Err() != nil:
		return nil, pratique.Errorf(pratique.Exhausted, e.name,
			"is too costly for this payload: %s", pratique.Clip(err.Error()))
	case cost > b.left:
		return nil, pratique.Errorf(pratique.Exhausted, e.name,
			"the expressions of one request are too costly for this payload")
	case err != nil:
		return nil, fmt.Errorf("%s: %s", e.name, pratique.Clip(err.Error()))
	}
	b.left -= cost
	if optional, ok := value.(*types.Optional); ok {
		if !optional.HasValue() {
			return nil, nil
		}
		value = optional.GetValue()
	}
	if value == types.NullValue {
		return nil, nil
	}
	return value, nil
}
