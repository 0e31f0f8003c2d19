package pratique_test

import data.pratique

# A clean image with a fresh database. Tests change one thing of it.
image := {
	"image": {
		"repository": "registry.example/team/app",
		"digest": "sha256:0000000000000000000000000000000000000000000000000000000000000001",
		"platform": "linux/amd64",
		"labels": {},
		"user": "1000",
		"created": "2026-01-01T00:00:00Z",
	},
	"scan": {
		"engine": {"name": "trivy", "version": "0.72.0"},
		"database": {
			"digest": "sha256:0000000000000000000000000000000000000000000000000000000000000002",
			"updatedAt": "2026-01-02T00:00:00Z",
			"ageSeconds": 3600,
		},
		"javaDatabase": {"digest": "", "updatedAt": "", "ageSeconds": 0},
		"findings": [],
		"os": {
			"family": "debian", "version": "12.5", "packages": 10,
			"known": true, "supported": true, "endOfLife": false, "endOfLifeAt": "2028-06-10T23:59:59Z",
		},
		"unmatched": [],
		"disagreements": {"compared": true, "count": 0, "packages": []},
		"scanned": {"secrets": false, "misconfigurations": false, "licenses": false},
		"secrets": [],
		"misconfigurations": [],
		"licenses": [],
	},
	"sbom": {"packages": 12, "formats": ["spdx", "cyclonedx"]},
	"now": "2026-01-02T01:00:00Z",
}

with_findings(findings) := object.union(image, {"scan": object.union(image.scan, {"findings": findings})})

with_params(changes) := object.union(pratique.params, changes)

finding(id, severity, fixed) := {
	"id": id,
	"aliases": [],
	"package": "openssl",
	"purl": "pkg:deb/debian/openssl@3.0.8",
	"installed": "3.0.8",
	"fixed": fixed,
	"status": "affected",
	"severity": severity,
	"severitySource": "nvd",
	"score": 0,
	"class": "os-pkgs",
	"type": "debian",
	"path": "",
	"title": "",
	"published": "",
	"modified": "",
}

ids(set) := {r.finding | some r in set}

rules(set) := {r.rule | some r in set}

test_clean_image_is_allowed_without_notes if {
	pratique.deny == set() with input as image
	pratique.note == set() with input as image
}

test_high_and_critical_deny_by_default if {
	found := with_findings([
		finding("CVE-1", "CRITICAL", "3.0.9"),
		finding("CVE-2", "HIGH", ""),
		finding("CVE-3", "MEDIUM", "3.0.9"),
		finding("CVE-4", "LOW", "3.0.9"),
	])
	denied := pratique.deny with input as found
	ids(denied) == {"CVE-1", "CVE-2"}
	rules(denied) == {"severity"}
	pratique.note == set() with input as found
}

test_message_says_what_to_do if {
	denied := pratique.deny with input as with_findings([finding("CVE-1", "HIGH", "3.0.9"), finding("CVE-2", "HIGH", "")])
	{r.message | some r in denied} == {
		"HIGH CVE-1 in openssl 3.0.8, fixed in 3.0.9",
		"HIGH CVE-2 in openssl 3.0.8, no fixed version is known",
	}
}

test_block_at[at] if {
	some at, want in {
		"CRITICAL": {"C"},
		"HIGH": {"C", "H"},
		"MEDIUM": {"C", "H", "M"},
		"LOW": {"C", "H", "M", "L"},
	}
	found := with_findings([
		finding("C", "CRITICAL", ""),
		finding("H", "HIGH", ""),
		finding("M", "MEDIUM", ""),
		finding("L", "LOW", ""),
		finding("U", "UNKNOWN", ""),
	])
	denied := pratique.deny with input as found with pratique.params as with_params({"block_at": at})
	ids(denied) == want
}

test_only_fixable_passes_the_others_with_a_note if {
	found := with_findings([finding("CVE-1", "HIGH", "3.0.9"), finding("CVE-2", "HIGH", "")])
	params := with_params({"only_fixable": true})
	denied := pratique.deny with input as found with pratique.params as params
	ids(denied) == {"CVE-1"}
	noted := pratique.note with input as found with pratique.params as params
	ids(noted) == {"CVE-2"}
	rules(noted) == {"no_fix"}
}

test_unknown_severity_is_noted_by_default if {
	found := with_findings([finding("GO-1", "UNKNOWN", "1.2.3")])
	pratique.deny == set() with input as found
	noted := pratique.note with input as found
	rules(noted) == {"unknown_severity"}
}

test_unknown_severity_denies_when_asked_to if {
	found := with_findings([finding("GO-1", "UNKNOWN", "1.2.3"), finding("GO-2", "NEGLIGIBLE", "")])
	denied := pratique.deny with input as found with pratique.params as with_params({"unknown_severity": "deny"})
	ids(denied) == {"GO-1", "GO-2"}
	rules(denied) == {"unknown_severity"}
}

test_unknown_severity_without_a_fix_is_excused_and_noted if {
	found := with_findings([finding("GO-1", "UNKNOWN", "1.2.3"), finding("GO-2", "UNKNOWN", "")])
	params := with_params({"unknown_severity": "deny", "only_fixable": true})
	denied := pratique.deny with input as found with pratique.params as params
	ids(denied) == {"GO-1"}
	noted := pratique.note with input as found with pratique.params as params
	ids(noted) == {"GO-2"}
}

with_secrets(secrets) := object.union(image, {"scan": object.union(image.scan, {
	"scanned": {"secrets": true, "misconfigurations": false, "licenses": false},
	"secrets": secrets,
})})

secret(path) := {
	"rule": "aws-access-key-id",
	"category": "AWS",
	"title": "AWS Access Key ID",
	"severity": "CRITICAL",
	"path": path,
	"startLine": 3,
	"match": "key = ********************",
}

test_secrets_pass_unless_they_are_to_block if {
	pratique.deny == set() with input as with_secrets([secret("srv/env")])
}

test_secrets_deny_when_asked_to if {
	found := with_secrets([secret("srv/env"), secret("")])
	denied := pratique.deny with input as found with pratique.params as with_params({"block_secrets": true})
	rules(denied) == {"secret"}
	{r.message | some r in denied} == {
		"CRITICAL AWS Access Key ID in srv/env, line 3",
		"CRITICAL AWS Access Key ID in the image's configuration, line 3",
	}
}

test_an_image_without_secrets_passes if {
	pratique.deny == set() with input as with_secrets([]) with pratique.params as with_params({"block_secrets": true})
}

test_not_having_looked_for_secrets_denies if {
	denied := pratique.deny with input as image with pratique.params as with_params({"block_secrets": true})
	rules(denied) == {"secrets_not_scanned"}
}
