package attest

import (
	"github.com/go-json-experiment/json"
	"strings"

	"github.com/pratique-dev/pratique"
)

// SPDX states that document, an SPDX 2 JSON document, is the bill of materials of subject. The predicate is
// the document itself, as cosign's "spdxjson" type expects. A document of another kind is Invalid.
func SPDX(subject pratique.Subject, document []byte) (pratique.Statement, error) {
	const op = "state SPDX"
	var head struct {
		Version string `json:"spdxVersion"`
		ID      string `json:"SPDXID"`
	}
	if err := json.Unmarshal(document, &head); err != nil {
		return pratique.Statement{}, &pratique.Error{Op: op, Subject: subject.String(), Kind: pratique.Invalid, Err: err}
	}
	if !strings.HasPrefix(head.Version, "SPDX-2.") || head.ID == "" {
		return pratique.Statement{}, pratique.Errorf(pratique.Invalid, op, "document of %s is not SPDX 2 JSON (spdxVersion %q)", subject, head.Version)
	}
	return newStatement(op, subject, pratique.PredicateSPDX, document)
}
