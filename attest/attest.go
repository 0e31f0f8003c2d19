// Package attest builds the in-toto statements that Pratique signs, one function for each predicate.
// It is pure: no I/O, no clock, no keys. The same facts always give the same statement, so a stage
// that runs again after a crash signs the same thing. Package verify reads the summary that the gate
// relies on.
package attest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/pratique-dev/pratique"
)

// StatementType is the version of in-toto statements that Pratique writes. cosign 2.6 accepts it for
// every predicate, though it writes version 0.1 itself.
const StatementType = "https://in-toto.io/Statement/v1"

// newStatement returns a statement about the subject. The predicate must be a JSON object. Whoever
// signs it checks the rest of the JSON, because it has to be read for that anyway.
func newStatement(op string, subject pratique.Subject, predicateType string,
	predicate []byte) (pratique.Statement, error) {
	if err := subject.Repository.Validate(); err != nil {
		return pratique.Statement{}, &pratique.Error{Op: op, Kind: pratique.Invalid, Err: err}
	}
	if subject.Digest.IsZero() {
		return pratique.Statement{}, pratique.Errorf(pratique.Invalid, op,
			"subject %s has no digest", subject.Repository)
	}
	if jsontext.Value(predicate).Kind() != '{' {
		return pratique.Statement{}, pratique.Errorf(pratique.Invalid, op,
			"predicate of %s is not a JSON object", subject)
	}
	return pratique.Statement{
		Type: StatementType,
		Subject: []pratique.StatementSubject{{
			Name:   subject.Repository.String(),
			Digest: map[string]string{"sha256": subject.Digest.Hex()},
		}},
		PredicateType: predicateType,
		Predicate:     predicate,
	}, nil
}

// marshalPredicate encodes a predicate with sorted map keys.
func marshalPredicate(op string, predicate any) ([]byte, error) {
	encoded, err := json.Marshal(predicate, json.Deterministic(true))
	if err != nil {
		return nil, &pratique.Error{Op: op, Kind: pratique.Internal, Err: err}
	}
	return encoded, nil
}

// stringMembers returns the wanted members of a JSON object, which must be strings. It stops after
// the last of them: they are at the beginning of a document, and megabytes may follow.
func stringMembers(document []byte, wanted ...string) (map[string]string, error) {
	found := map[string]string{}
	decoder := jsontext.NewDecoder(bytes.NewReader(document))
	if begin, err := decoder.ReadToken(); err != nil || begin.Kind() != '{' {
		return nil, errors.Join(errors.New("it is not a JSON object"), err)
	}
	for len(found) < len(wanted) && decoder.PeekKind() != '}' {
		name, err := decoder.ReadToken()
		if err != nil {
			return nil, err
		}
		member := name.String()
		if !slices.Contains(wanted, member) {
			if err := decoder.SkipValue(); err != nil {
				return nil, err
			}
			continue
		}
		value, err := decoder.ReadToken()
		if err != nil || value.Kind() != '"' {
			return nil, errors.Join(fmt.Errorf("its %s is not a string", member), err)
		}
		found[member] = value.String()
	}
	return found, nil
}
