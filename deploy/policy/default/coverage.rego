# What the shipped policy says of packages that were not matched: "no findings" is no good news of a package for which
# nobody looked, or of one that is not there. Each of these denies, unless the image's repository is named by a parameter;
# then it is a note.
#
# params.allow_unknown_os          packages of an operating system that is not known, or without advisories
# params.allow_end_of_life         a release whose vendor's support has ended
# params.allow_no_packages         no packages, an operating system without packages, or none that could be matched
# params.allow_mixed_packages      packages of another package manager or another root directory
# params.allow_odd_packages        packages whose version cannot be compared, or that somebody patched and renamed
#
# These parameters are lists of regular expressions, made from the patterns in the configuration.
package pratique

deny contains {"rule": gap.rule, "message": message} if {
	some gap in gaps
	not named(gap.excuse)
	message := sprintf("%s: %s, or name the repository in policy.%s", [gap.message, gap.advice, parameter[gap.excuse]])
}

note contains {"rule": gap.rule, "message": gap.message} if {
	some gap in gaps
	named(gap.excuse)
}

parameter := {
	"allow_unknown_os": "allowUnknownOS",
	"allow_end_of_life": "allowEndOfLife",
	"allow_no_packages": "allowNoPackages",
	"allow_mixed_packages": "allowMixedPackages",
	"allow_odd_packages": "allowOddPackages",
}

excuses := {
	"allow_unknown_os": params.allow_unknown_os,
	"allow_end_of_life": params.allow_end_of_life,
	"allow_no_packages": params.allow_no_packages,
	"allow_mixed_packages": params.allow_mixed_packages,
	"allow_odd_packages": params.allow_odd_packages,
}

named(excuse) if {
	some pattern in excuses[excuse]
	regex.match(pattern, input.image.repository)
}

system := trim_space(sprintf("%s %s", [input.scan.os.family, input.scan.os.version]))

gaps contains {
	"rule": "unknown_os", "excuse": "allow_unknown_os", "message": message,
	"advice": "keep /etc/os-release in the image",
} if {
	input.scan.os.packages > 0
	not input.scan.os.known
	message := sprintf("%s %s not matched, since the image does not say of which operating system they are", [counted(input.scan.os.packages), were(input.scan.os.packages)])
}

gaps contains {
	"rule": "unsupported_os", "excuse": "allow_unknown_os", "message": message,
	"advice": "use a release for which there are some",
} if {
	input.scan.os.packages > 0
	input.scan.os.known
	not input.scan.os.supported
	message := sprintf("%s of %s %s not matched, since there are no advisories for it", [counted(input.scan.os.packages), system, were(input.scan.os.packages)])
}

gaps contains {
	"rule": "end_of_life", "excuse": "allow_end_of_life", "message": message,
	"advice": "move to a release that is supported",
} if {
	input.scan.os.known
	input.scan.os.endOfLife
	message := sprintf("support of %s ended on %s, and it no longer gets all security advisories", [system, substring(input.scan.os.endOfLifeAt, 0, 10)])
}

gaps contains {
	"rule": "no_os_packages", "excuse": "allow_no_packages", "message": message,
	"advice": "keep its package database in the image",
} if {
	input.scan.os.known
	input.scan.os.packages == 0
	message := sprintf("the image is %s and has no package of it, so nothing of it could be matched", [system])
}

gaps contains {
	"rule": "no_packages", "excuse": "allow_no_packages", "message": message,
	"advice": "keep the metadata of packages in the image",
} if {
	not input.scan.os.known
	input.sbom.packages == 0
	not unread # mixed_packages says more
	message := "no packages were found in the image, so nothing could be matched"
}

unread if {
	some unmatched in input.scan.unmatched
	unmatched.class == "os-pkgs"
	unmatched.reason == "not-read"
}

gaps contains {
	"rule": "nothing_matched", "excuse": "allow_no_packages", "message": message,
	"advice": "have the image scanned by somebody who knows its packages",
} if {
	input.scan.os.packages == 0
	input.sbom.packages > 0
	applications := [unmatched.packages | some unmatched in input.scan.unmatched; unmatched.class == "lang-pkgs"]
	sum(applications) >= input.sbom.packages
	message := sprintf("none of the %d packages in the image could be matched", [input.sbom.packages])
}

# Packages of another package manager, of another root directory, or in a database that the scanner does not read.
apart := {
	"foreign-manager": "another package manager than that of the operating system installed them",
	"other-root": "their package database does not lie where the operating system has it",
	"not-read": "the scanner does not read package databases of this kind",
}

gaps contains {
	"rule": "mixed_packages", "excuse": "allow_mixed_packages", "message": message,
	"advice": advice,
} if {
	some unmatched in input.scan.unmatched
	advice := object.get(
		{"not-read": "use a base image whose packages are apk, dpkg or rpm"},
		unmatched.reason, "keep them out of the image",
	)
	unmatched.class == "os-pkgs"
	message := sprintf("%s %s not matched, since %s", [listed(unmatched), were(unmatched.packages), apart[unmatched.reason]])
}

# Packages that are not matched by themselves, though others of their list are.
odd := {
	"version": {
		"because": "there are advisories about it, and the scanner cannot compare its version with theirs",
		"advice": "give it the version of a release",
	},
	"supplier": {
		"because": "by its name somebody patched and renamed it, and the advisories about the original do not name it",
		"advice": "use the original in a version that is not affected",
	},
}

gaps contains {
	"rule": "odd_packages", "excuse": "allow_odd_packages", "message": message,
	"advice": odd[unmatched.reason].advice,
} if {
	some unmatched in input.scan.unmatched
	message := sprintf("%s %s not matched, since %s", [told(unmatched), were(unmatched.packages), odd[unmatched.reason].because])
}

told(unmatched) := listed(unmatched) if unmatched.name == ""

told(unmatched) := sprintf("%s: %s", [trim_space(sprintf("%s %s", [unmatched.name, unmatched.version])), listed(unmatched)]) if unmatched.name != ""

# Some packages of an operating system that is matched otherwise.
gaps contains {
	"rule": "unmatched_packages", "excuse": "allow_unknown_os", "message": message,
	"advice": "install them from a repository of the operating system",
} if {
	input.scan.os.supported
	some unmatched in input.scan.unmatched
	unmatched.class == "os-pkgs"
	not apart[unmatched.reason]
	not odd[unmatched.reason]
	not unmatched.reason in {"third-party", "failed"} # "failed" denies whatever the rules say
	message := sprintf("%s %s not matched, since there are no advisories for where they are from", [listed(unmatched), were(unmatched.packages)])
}

note contains {"rule": "third_party", "message": message} if {
	some unmatched in input.scan.unmatched
	unmatched.reason == "third-party"
	message := sprintf("%d packages say that the vendor of %s did not make them: its advisories seldom speak of such", [unmatched.packages, system])
}

note contains {"rule": "unmatched_applications", "message": message} if {
	some unmatched in input.scan.unmatched
	unmatched.class == "lang-pkgs"
	unmatched.reason != "failed"
	not odd[unmatched.reason]
	message := sprintf("%s %s not matched, since there are no advisories for them", [listed(unmatched), were(unmatched.packages)])
}

listed(unmatched) := sprintf("%s of type %s", [counted(unmatched.packages), unmatched.type]) if unmatched.path == ""

listed(unmatched) := sprintf("%s of type %s in %s", [counted(unmatched.packages), unmatched.type, unmatched.path]) if unmatched.path != ""

counted(n) := "1 package" if n == 1

counted(n) := sprintf("%d packages", [n]) if n != 1

were(n) := "was" if n == 1

were(n) := "were" if n != 1

note contains {"rule": "disagreement", "message": message} if {
	input.scan.disagreements.count > 0
	message := sprintf("the scanner and the SBOM differ in %s", [counted(input.scan.disagreements.count)])
}

note contains {"rule": "not_compared", "message": message} if {
	not input.scan.disagreements.compared
	message := "what the scanner found was not compared with the SBOM: push or submit the image again"
}

# A jar that is newer than the Java database is known by what it says of itself only.
old_java_database := 14 * 24 * 3600

note contains {"rule": "java_database", "message": message} if {
	input.scan.javaDatabase.ageSeconds > old_java_database
	message := sprintf("jars were looked up in a Java database of %s", [substring(input.scan.javaDatabase.updatedAt, 0, 10)])
}
