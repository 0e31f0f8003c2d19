package pratique_test

import data.pratique

with_os(changes) := object.union(image, {"scan": {"os": changes}})

with_unmatched(unmatched) := object.union(image, {"scan": {"unmatched": unmatched}})

packages(class, type, path, reason) := {
	"class": class, "type": type, "path": path, "name": "", "version": "",
	"packages": 7, "reason": reason,
}

one(class, type, path, name, version, reason) := {
	"class": class, "type": type, "path": path, "name": name, "version": version,
	"packages": 1, "reason": reason,
}

messages(set) := {r.message | some r in set}

test_packages_of_an_unknown_os_deny if {
	found := with_os({"family": "none", "version": "", "known": false, "supported": false})
	denied := pratique.deny with input as found
	messages(denied) == {concat("", [
		"10 packages were not matched, since the image does not say of which operating system they are: ",
		"keep /etc/os-release in the image, or name the repository in policy.allowUnknownOS",
	])}
}

test_packages_of_an_unsupported_os_deny if {
	denied := pratique.deny with input as with_os({"family": "fedora", "version": "40", "supported": false})
	rules(denied) == {"unsupported_os"}
}

test_end_of_life_denies if {
	denied := pratique.deny with input as with_os({"version": "7", "endOfLife": true, "endOfLifeAt": "2018-05-31T23:59:59Z"})
	messages(denied) == {concat("", [
		"support of debian 7 ended on 2018-05-31, and it no longer gets all security advisories: ",
		"move to a release that is supported, or name the repository in policy.allowEndOfLife",
	])}
}

test_an_os_without_packages_denies if {
	denied := pratique.deny with input as with_os({"packages": 0})
	rules(denied) == {"no_os_packages"}
}

scratch := object.union(with_os({
	"family": "", "version": "", "packages": 0,
	"known": false, "supported": false, "endOfLifeAt": "",
}), {"sbom": {"packages": 4}})

test_a_program_without_an_os_passes if {
	pratique.deny == set() with input as scratch
	pratique.note == set() with input as scratch
}

test_an_image_without_packages_denies if {
	denied := pratique.deny with input as object.union(scratch, {"sbom": {"packages": 0}})
	rules(denied) == {"no_packages"}
}

test_an_image_of_which_nothing_was_matched_denies if {
	conda := {"scan": {"unmatched": [packages("lang-pkgs", "conda-pkg", "", "unsupported")]}}
	denied := pratique.deny with input as object.union(scratch, object.union(conda, {"sbom": {"packages": 7}}))
	rules(denied) == {"nothing_matched"}
	noted := pratique.note with input as object.union(scratch, object.union(conda, {"sbom": {"packages": 8}}))
	rules(noted) == {"unmatched_applications"}
	pratique.deny == set() with input as object.union(scratch, object.union(conda, {"sbom": {"packages": 8}}))
}

test_mixed_packages_deny[reason] if {
	some reason in {"foreign-manager", "other-root", "not-read"}
	denied := pratique.deny with input as with_unmatched([packages("os-pkgs", "deb", "var/lib/dpkg/status", reason)])
	rules(denied) == {"mixed_packages"}
}

# Packages in a database that nobody reads are packages, though the SBOM has none of them.
test_packages_that_nobody_reads_deny_once if {
	unread := {"scan": {"unmatched": [object.union(packages("os-pkgs", "alpm", "var/lib/pacman/local", "not-read"), {"packages": 1})]}, "sbom": {"packages": 0}}
	denied := pratique.deny with input as object.union(scratch, unread)
	rules(denied) == {"mixed_packages"}
	some message in messages(denied)
	startswith(message, "1 package of type alpm in var/lib/pacman/local was not matched, since ")
	contains(message, ": use a base image whose packages are apk, dpkg or rpm, or name the repository in policy.allowMixedPackages")
}

test_packages_from_nowhere_deny if {
	denied := pratique.deny with input as with_unmatched([packages("os-pkgs", "redhat", "", "no-advisories")])
	rules(denied) == {"unmatched_packages"}
}

test_odd_packages_deny if {
	found := with_unmatched([
		one("lang-pkgs", "node-pkg", "", "minimist", "v1.2.0", "version"),
		one("os-pkgs", "debian", "", "openssl", "", "version"),
		one("lang-pkgs", "python-pkg", "x", "seal-pyyaml", "5.3.1", "supplier"),
		packages("lang-pkgs", "node-pkg", "", "version"),
	])
	denied := pratique.deny with input as found
	rules(denied) == {"odd_packages"}
	version := "since there are advisories about it, and the scanner cannot compare its version with theirs: give it the version of a release, or name the repository in policy.allowOddPackages"
	messages(denied) == {
		sprintf("minimist v1.2.0: 1 package of type node-pkg was not matched, %s", [version]),
		sprintf("openssl: 1 package of type debian was not matched, %s", [version]),
		sprintf("7 packages of type node-pkg were not matched, %s", [version]),
		concat("", [
			"seal-pyyaml 5.3.1: 1 package of type python-pkg in x was not matched, since by its name somebody patched and renamed it, ",
			"and the advisories about the original do not name it: use the original in a version that is not affected, or name the repository in policy.allowOddPackages",
		]),
	}
	pratique.note == set() with input as found
}

test_applications_and_third_parties_are_noted if {
	found := with_unmatched([
		packages("os-pkgs", "third-party", "", "third-party"),
		packages("lang-pkgs", "conda-pkg", "opt/x", "unsupported"),
	])
	pratique.deny == set() with input as found
	noted := pratique.note with input as found
	messages(noted) == {
		"7 packages say that the vendor of debian 12.5 did not make them: its advisories seldom speak of such",
		"7 packages of type conda-pkg in opt/x were not matched, since there are no advisories for them",
	}
}

test_each_gap_is_excused_by_its_parameter_alone[rule] if {
	some rule, case in {
		"unknown_os": {"excuse": "allow_unknown_os", "input": with_os({"known": false, "supported": false})},
		"unsupported_os": {"excuse": "allow_unknown_os", "input": with_os({"supported": false})},
		"end_of_life": {"excuse": "allow_end_of_life", "input": with_os({"endOfLife": true})},
		"no_os_packages": {"excuse": "allow_no_packages", "input": with_os({"packages": 0})},
		"no_packages": {"excuse": "allow_no_packages", "input": object.union(scratch, {"sbom": {"packages": 0}})},
		"odd_packages": {"excuse": "allow_odd_packages", "input": with_unmatched([packages("lang-pkgs", "npm", "", "version")])},
		"mixed_packages": {"excuse": "allow_mixed_packages", "input": with_unmatched([packages("os-pkgs", "deb", "", "other-root")])},
	}
	excused := with_params({case.excuse: [`^registry\.example/team/[^/]*$`]})
	pratique.deny == set() with input as case.input with pratique.params as excused
	noted := pratique.note with input as case.input with pratique.params as excused
	rules(noted) == {rule}

	others := {parameter: [`^other\.example/team/[^/]*$`] | some parameter, _ in pratique.excuses}
	denied := pratique.deny with input as case.input with pratique.params as with_params(others)
	rules(denied) == {rule}
}

test_differences_are_noted if {
	noted := pratique.note with input as object.union(image, {"scan": {"disagreements": {"count": 3}}})
	messages(noted) == {"the scanner and the SBOM differ in 3 packages"}
}

test_what_was_not_compared_is_noted if {
	noted := pratique.note with input as object.union(image, {"scan": {"disagreements": {"compared": false}}})
	rules(noted) == {"not_compared"}
}

test_an_old_java_database_is_noted if {
	old := {"scan": {"javaDatabase": {"updatedAt": "2025-12-01T00:00:00Z", "ageSeconds": 2764800}}}
	noted := pratique.note with input as object.union(image, old)
	messages(noted) == {"jars were looked up in a Java database of 2025-12-01"}
	pratique.deny == set() with input as object.union(image, old)
}
