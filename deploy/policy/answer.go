package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/pratique-dev/pratique"
)

// decode reads the answer of the rules. An unknown key is an error, since a misspelled one would be
// ignored. Its errors are for authors of rules, so they use the terms of Rego.
func decode(answer any) (deny, note []pratique.Reason, err error) {
	sets, ok := answer.(map[string]any)
	if !ok {
		return nil, nil, errors.New("the policy gives no answer")
	}
	if deny, err = convert("deny", sets["deny"]); err != nil {
		return nil, nil, err
	}
	note, err = convert("note", sets["note"])
	return deny, note, err
}

func convert(set string, value any) ([]pratique.Reason, error) {
	all, ok := value.([]any)
	if !ok {
		return nil, fmt.Errorf("the policy fails: %s is %s, want a set of {rule, message}", set,
			kindOf(value))
	}
	out := make([]pratique.Reason, 0, len(all))
	for _, element := range all {
		spoken, ok := element.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("the policy fails: %s holds %s, want {rule, message}", set,
				kindOf(element))
		}
		r, err := reason(set, spoken)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

func reason(set string, spoken map[string]any) (r pratique.Reason, err error) {
	for _, key := range slices.Sorted(maps.Keys(spoken)) {
		text, ok := spoken[key].(string)
		if !ok && spoken[key] != nil { // null is as good as nothing
			return r, fmt.Errorf("the policy fails: in %s, %s is %s, want a text", set,
				pratique.Excerpt(key, maxName), kindOf(spoken[key]))
		}
		switch key {
		case "rule":
			r.Rule = pratique.Excerpt(text, maxName)
		case "message":
			r.Message = pratique.Excerpt(text, maxMessage)
		case "finding":
			r.Finding = pratique.Excerpt(text, maxName)
		case "package":
			r.Package = pratique.Excerpt(text, maxName)
		default:
			return r, fmt.Errorf("the policy fails: %s holds an object with the key %q, want rule, message, finding and package", set, pratique.Excerpt(key, maxName))
		}
	}
	if r.Rule == "" || r.Message == "" {
		return r, fmt.Errorf("the policy fails: an element of %s has no rule or no message", set)
	}
	return r, nil
}

// kindOf names the type of a Rego value in errors.
func kindOf(value any) string {
	switch value.(type) {
	case nil:
		return "null"
	case string:
		return "a text"
	case bool:
		return "true or false"
	case json.Number, int, int64, float64:
		return "a number"
	case []any:
		return "a list"
	case map[string]any:
		return "an object"
	}
	return "something else"
}
