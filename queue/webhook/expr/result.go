package expr

import (
	"fmt"
	"math"
	"time"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"

	"github.com/pratique-dev/pratique"
)

func (b *budget) list(e *expression, variables map[string]any) ([]ref.Val, error) {
	value, err := b.eval(e, variables)
	if err != nil {
		return nil, err
	}
	list, ok := value.(traits.Lister)
	if !ok {
		return nil, wrongType(e, value, "a list")
	}
	size, ok := list.Size().(types.Int)
	if !ok || size > maxItems {
		return nil, pratique.Errorf(pratique.Exhausted, e.name, "%v items, more than %d",
			list.Size(), maxItems)
	}
	elements := make([]ref.Val, 0, int(size))
	for n := range size {
		elements = append(elements, list.Get(n))
	}
	return elements, nil
}

func (b *budget) bool(e *expression, variables map[string]any) (bool, error) {
	value, err := b.eval(e, variables)
	if err != nil {
		return false, err
	}
	answer, ok := value.(types.Bool)
	if !ok {
		return false, wrongType(e, value, "true or false")
	}
	return bool(answer), nil
}

// string returns the empty string for null and for an empty optional.
func (b *budget) string(e *expression, variables map[string]any) (string, error) {
	value, err := b.eval(e, variables)
	if err != nil || value == nil {
		return "", err
	}
	text, ok := value.(types.String)
	switch {
	case !ok:
		return "", wrongType(e, value, "a string")
	case len(text) > maxResult:
		return "", pratique.Errorf(pratique.Exhausted, e.name, "%d bytes, more than %d", len(text),
			maxResult)
	}
	return string(text), nil
}

// time returns the zero time for null, the empty string and an empty optional.
func (b *budget) time(e *expression, variables map[string]any) (time.Time, error) {
	value, err := b.eval(e, variables)
	if err != nil || value == nil {
		return time.Time{}, err
	}
	switch v := value.(type) {
	case types.Timestamp:
		return v.UTC(), nil
	case types.Int:
		return seconds(e, float64(v))
	case types.Uint:
		return seconds(e, float64(v))
	case types.Double:
		return seconds(e, float64(v))
	case types.String:
		if v == "" {
			return time.Time{}, nil
		}
		t, err := time.Parse(time.RFC3339Nano, string(v))
		if err != nil {
			return time.Time{}, fmt.Errorf("%s: %q is not an RFC 3339 time", e.name,
				pratique.Clip(string(v)))
		}
		return t.UTC(), nil
	default:
		return time.Time{}, wrongType(e, value, "a time")
	}
}

// seconds refuses times before 1970 or after the year 9999, for example milliseconds. It keeps a
// fraction to the microsecond, the precision of a float64.
func seconds(e *expression, s float64) (time.Time, error) {
	const end = 253402300800
	if !(s >= 0 && s < end) {
		return time.Time{}, fmt.Errorf("%s: %g is not a number of seconds from 1970 to 9999", e.name, s)
	}
	return time.UnixMicro(int64(math.Round(s * 1e6))).UTC(), nil
}

func wrongType(e *expression, value ref.Val, want string) error {
	if value == nil {
		return fmt.Errorf("%s: gives nothing, want %s", e.name, want)
	}
	return fmt.Errorf("%s: gives a value of type %s, want %s", e.name, value.Type().TypeName(), want)
}
