# The policy that Pratique ships. It reads nothing but `input` (see input.schema.json) and `params`.
#
# params.block_at                  the mildest severity that denies: CRITICAL, HIGH (default), MEDIUM, LOW
# params.only_fixable              true: findings without a fixed version pass, with a note
# params.unknown_severity          deny, or allow (default): findings without a severity pass, with a note
# params.block_secrets             true: whatever looks like a credential denies, and so does not having looked
#
# What becomes of an image that could not be matched wholly is in coverage.rego, with its parameters.
#
# How old the vulnerability database may be, and which repositories are allowed, is checked beside every
# policy, also one of your own.
#
# Each element of `deny` and `note` is {rule, message} and, where there is one, {finding, package}. An image
# with an empty `deny` is allowed.
package pratique

severity_rank := {"LOW": 1, "MEDIUM": 2, "HIGH": 3, "CRITICAL": 4}

deny contains reason("severity", finding, message) if {
	some finding in input.scan.findings
	blocking(finding)
	not excused(finding)
	message := describe(finding)
}

deny contains reason("unknown_severity", finding, message) if {
	params.unknown_severity != "allow"
	some finding in input.scan.findings
	unknown(finding)
	not excused(finding)
	message := describe(finding)
}

note contains reason("unknown_severity", finding, message) if {
	params.unknown_severity == "allow"
	some finding in input.scan.findings
	unknown(finding)
	message := describe(finding)
}

note contains reason("no_fix", finding, message) if {
	some finding in input.scan.findings
	blocking(finding)
	excused(finding)
	message := describe(finding)
}

note contains reason("no_fix", finding, message) if {
	params.unknown_severity != "allow"
	some finding in input.scan.findings
	unknown(finding)
	excused(finding)
	message := describe(finding)
}

deny contains {"rule": "secret", "message": message} if {
	params.block_secrets
	some secret in input.scan.secrets
	message := sprintf("%s %s in %s, line %d", [secret.severity, secret.title, place(secret.path), secret.startLine])
}

deny contains {"rule": "secrets_not_scanned", "message": message} if {
	params.block_secrets
	not input.scan.scanned.secrets
	message := "nobody looked for secrets in the image: add secrets to inspect.scanners"
}

place(path) := path if path != ""

place("") := "the image's configuration"

blocking(finding) if severity_rank[finding.severity] >= severity_rank[params.block_at]

# Whatever is not one of the four known severities counts as unknown, so no finding falls between the rules.
unknown(finding) if not severity_rank[finding.severity]

excused(finding) if {
	params.only_fixable
	finding.fixed == ""
}

reason(rule, finding, message) := {
	"rule": rule,
	"message": message,
	"finding": finding.id,
	"package": finding.package,
}

describe(finding) := sprintf("%s %s in %s %s, fixed in %s", [
	finding.severity,
	finding.id,
	finding.package,
	finding.installed,
	finding.fixed,
]) if {
	finding.fixed != ""
}

describe(finding) := sprintf("%s %s in %s %s, no fixed version is known", [
	finding.severity,
	finding.id,
	finding.package,
	finding.installed,
]) if {
	finding.fixed == ""
}
