package attest

import (
	"github.com/go-json-experiment/json"

	"github.com/pratique-dev/pratique"
)

// CycloneDX states that document, a CycloneDX JSON document, is the bill of materials of subject. The
// predicate is the document itself, as cosign's "cyclonedx" type expects. A document of another kind is Invalid.
func CycloneDX(subject pratique.Subject, document []byte) (pratique.Statement, error) {
	const op = "state CycloneDX"
	var head struct {
		Format  string `json:"bomFormat"`
		Version string `json:"specVersion"`
	}
	if err := json.Unmarshal(document, &head); err != nil {
		return pratique.Statement{}, &pratique.Error{Op: op, Subject: subject.String(), Kind: pratique.Invalid, Err: err}
	}
	if head.Format != "CycloneDX" || head.Version == "" {
		return pratique.Statement{}, pratique.Errorf(pratique.Invalid, op, "document of %s is not CycloneDX JSON (bomFormat %q)", subject, head.Format)
	}
	return newStatement(op, subject, pratique.PredicateCycloneDX, document)
}
