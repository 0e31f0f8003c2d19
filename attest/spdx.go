package attest

import (
	"strings"

	"github.com/pratique-dev/pratique"
)

// SPDX states that an SPDX 2 JSON document is the bill of materials of the subject. The predicate is
// the document itself, as in cosign's "spdxjson" type. A document of another kind is Invalid.
func SPDX(subject pratique.Subject, document []byte) (pratique.Statement, error) {
	const op = "state SPDX"
	members, err := stringMembers(document, "spdxVersion", "SPDXID")
	if err != nil {
		return pratique.Statement{}, &pratique.Error{Op: op, Subject: subject.String(),
			Kind: pratique.Invalid, Err: err}
	}
	version := members["spdxVersion"]
	if !strings.HasPrefix(version, "SPDX-2.") || members["SPDXID"] == "" {
		return pratique.Statement{}, pratique.Errorf(pratique.Invalid, op,
			"document of %s is not SPDX 2 JSON (spdxVersion %q)", subject, version)
	}
	return newStatement(op, subject, pratique.PredicateSPDX, document)
}
