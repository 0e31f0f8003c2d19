package attest

import "github.com/pratique-dev/pratique"

// CycloneDX states that a CycloneDX JSON document is the bill of materials of the subject. The
// predicate is the document itself, as in cosign's "cyclonedx" type. A document of another kind is
// Invalid.
func CycloneDX(subject pratique.Subject, document []byte) (pratique.Statement, error) {
	const op = "state CycloneDX"
	members, err := stringMembers(document, "bomFormat", "specVersion")
	if err != nil {
		return pratique.Statement{}, &pratique.Error{Op: op, Subject: subject.String(),
			Kind: pratique.Invalid, Err: err}
	}
	format := members["bomFormat"]
	if format != "CycloneDX" || members["specVersion"] == "" {
		return pratique.Statement{}, pratique.Errorf(pratique.Invalid, op,
			"document of %s is not CycloneDX JSON (bomFormat %q)", subject, format)
	}
	return newStatement(op, subject, pratique.PredicateCycloneDX, document)
}
