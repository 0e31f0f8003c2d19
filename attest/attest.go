// Package attest builds the in-toto statements that Pratique signs, one function for each predicate, and
// reads the one that the gate relies on. It is pure: no I/O, no clock, no keys. The same facts always give
// the same statement, so a stage that is run again after a crash signs the same thing.
package attest

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/pratique-dev/pratique"
)

// StatementType is the in-toto statement version that Pratique writes. The command-line cosign 2.6 accepts
// it for every predicate, though it writes version 0.1 itself.
const StatementType = "https://in-toto.io/Statement/v1"

// newStatement states predicate about subject. The predicate must be one JSON object without duplicate names:
// two readers must not be able to see two different documents in it.
func newStatement(op string, subject pratique.Subject, predicateType string, predicate []byte) (pratique.Statement, error) {
	if err := subject.Repository.Validate(); err != nil {
		return pratique.Statement{}, &pratique.Error{Op: op, Kind: pratique.Invalid, Err: err}
	}
	if subject.Digest.IsZero() {
		return pratique.Statement{}, pratique.Errorf(pratique.Invalid, op, "subject %s has no digest", subject.Repository)
	}
	value := jsontext.Value(predicate)
	if value.Kind() != '{' {
		return pratique.Statement{}, pratique.Errorf(pratique.Invalid, op, "predicate of %s is not a JSON object", subject)
	}
	// IsValid also refuses duplicate names and invalid UTF-8.
	if !value.IsValid() {
		return pratique.Statement{}, pratique.Errorf(pratique.Invalid, op, "predicate of %s is not valid JSON", subject)
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

// marshalPredicate encodes a predicate that was built here. Maps are written in the order of their keys.
func marshalPredicate(op string, predicate any) ([]byte, error) {
	encoded, err := json.Marshal(predicate, json.Deterministic(true))
	if err != nil {
		return nil, &pratique.Error{Op: op, Kind: pratique.Internal, Err: err}
	}
	return encoded, nil
}
