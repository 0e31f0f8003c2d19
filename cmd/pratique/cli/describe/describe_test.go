package describe

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/attest/index"
	"github.com/pratique-dev/pratique/cmd/pratique/cli/clitest"
	"github.com/pratique-dev/pratique/cmd/pratique/words"
)

func TestDescribeSubmission(t *testing.T) {
	denied := "DENIED: " + clitest.AppImage + "\n"
	for _, r := range clitest.Reasons(20) {
		denied += "  severity: " + r.Message + "\n"
	}
	want := map[string]string{
		"deployed": "ALLOWED: " + clitest.AppImage + `
  committed to production: c0ffee on main of https://git.test/config.git
    a/kustomization.yaml:3
  in place in staging: an earlier commit on main of https://git.test/config.git
`,
		"allowed": "ALLOWED: " + clitest.AppImage +
			"\n  why: no target asks for it\n",
		"superseded": "ALLOWED, AND SUPERSEDED: " + clitest.AppImage +
			"\n  why: the tag has moved on\n",
		"reverted": "ALLOWED, AND REVERTED: " + clitest.AppImage +
			"\n  why: Git holds 1.1\n",
		"denied": denied +
			"  … and 5 more reasons; pratique why --all prints them\n",
		"denied platform": "DENIED: " + clitest.AppImage +
			"\n  severity: CRITICAL CVE-2026-0000 in openssl 1.0, fixed in 2.0 (linux/arm64)\n",
		"failed": "FAILED: registry.test/team/app:1.0\n  could not find out, in stage inspect: no such tag\n",
		"failed after the verdict": "FAILED: " + clitest.AppImage +
			"\n  could not find out, in stage deploy: main is protected\n",
		"deployed after a failed attempt": "ALLOWED: " + clitest.AppImage + "\n",
		"ignored": "IGNORED: " + clitest.AppImage +
			"\n  why: it is a Helm chart\n",
	}
	for name, s := range clitest.Submissions() {
		if diff := cmp.Diff(want[name], Submission(s)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestDescribeImage(t *testing.T) {
	policy := pratique.Profile{Name: "default", Digest: pratique.DigestOf([]byte("policy"))}
	vsa, spdx := pratique.DigestOf([]byte("vsa")), pratique.DigestOf([]byte("spdx"))
	got := Image(api.Image{
		Image: clitest.AppImage, Digest: clitest.AppDigest, State: "deployed",
		Outcome: pratique.Allow, Packages: 6, Fixable: 1,
		Tags: []index.TagName{{Tag: "1.0"}, {Tag: "latest"}},
		Verdict: &pratique.Verdict{
			Outcome: pratique.Allow, Profile: policy, EvaluatedAt: clitest.DescribedAt,
			Notes: []pratique.Reason{{Rule: "unknown_severity", Message: "CVE-2026-1 has none"}},
		},
		Counts:   pratique.Counts{pratique.SeverityLow: 2, pratique.SeverityUnknown: 1},
		Database: &api.DatabaseAge{Database: pratique.Database{Digest: pratique.DigestOf([]byte("db")), UpdatedAt: clitest.DescribedAt.Add(-90 * time.Minute)}, AgeSeconds: 2*24*60*60 - 1},
		Extras: &api.ExtrasView{
			Kinds:       []pratique.ExtraKind{pratique.ExtraSecrets, pratique.ExtraLicenses},
			ExtraCounts: pratique.ExtraCounts{Licenses: 12},
		},
		Attestations: []pratique.Attestation{
			{Digest: clitest.AppDigest}, {PredicateType: pratique.PredicateSPDX, Digest: spdx},
			{PredicateType: pratique.PredicateVSA, Digest: vsa},
		},
		Deployments: []pratique.Commit{{Target: "production", ID: "c0ffee", Created: true,
			Branch: "main", Remote: "https://git.test/config.git"}},
		// An attempt that failed before is no news once the work has ended well.
		Failure: &pratique.Failed{Stage: "inspect", Message: "down"},
		Facts: []pratique.FactRef{{Seq: 1, Kind: pratique.FactResolved, At: clitest.DescribedAt,
			By: "inspect@host"}, {Seq: 2, Kind: pratique.FactInspected, At: clitest.DescribedAt,
			By: "inspect@host"}},
	}, nil, false)
	want := "ALLOWED: " + clitest.AppImage + `
  tag 1.0
  tag latest

Verdict of 2026-03-01 11:00:00Z, profile default ` + policy.Digest.String() + `
  note, unknown_severity: CVE-2026-1 has none

Findings in 6 packages, 2 LOW, 1 UNKNOWN (1 fixable)
  database ` + pratique.DigestOf([]byte("db")).String() + ` of 2026-03-01 09:30:00Z, 47 hours old

Looked for, too
  0 secrets
  12 licenses

In the registry, verified
  image signature                                      ` + clitest.AppDigest.String() + `
  https://spdx.dev/Document                            ` + spdx.String() + `
  https://slsa.dev/verification_summary/v1             ` + vsa.String() + `

Deployments
  committed to production: c0ffee on main of https://git.test/config.git

Facts
  2026-03-01 11:00:00Z  resolved   inspect@host
  2026-03-01 11:00:00Z  inspected  inspect@host
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDescribeImageIndex(t *testing.T) {
	arm, amd := pratique.DigestOf([]byte("arm")), pratique.DigestOf([]byte("amd"))
	reasons := clitest.Reasons(25)
	for i := range reasons {
		reasons[i].Platform = "linux/arm64"
	}
	got := Image(api.Image{
		Image: clitest.AppImage, Digest: clitest.AppDigest, State: "denied", Outcome: pratique.Deny,
		Detail: reasons[0].Message,
		Verdict: &pratique.Verdict{Outcome: pratique.Deny, Reasons: reasons,
			Profile: pratique.Profile{Name: "default"}, EvaluatedAt: clitest.DescribedAt},
		Children: []api.ImageChild{
			{Digest: amd, Platform: "linux/amd64", Outcome: pratique.Allow, Packages: 7,
				Counts: pratique.Counts{pratique.SeverityLow: 2}, Fixable: 1},
			{Digest: arm, Platform: "linux/arm64", Outcome: pratique.Deny, Packages: 5,
				Counts:  pratique.Counts{pratique.SeverityLow: 1, pratique.SeverityUnknown: 1},
				Fixable: 1}, {Digest: arm, Platform: "linux/riscv64"},
		},
	}, nil, false)
	for _, want := range []string{
		"DENIED: " + clitest.AppImage + "\n\nVerdict of ",
		"CVE-2026-0019 in openssl 1.0, fixed in 2.0 (linux/arm64)\n  … and 5 more reasons; pratique why --all prints them\n",
		"\nFindings in 3 platforms: 12 packages, 3 LOW, 1 UNKNOWN (2 fixable)\n  linux/amd64      allow, 7 packages, 2 LOW (1 fixable)  " + amd.String() +
			"\n  linux/arm64      deny, 5 packages, 1 LOW, 1 UNKNOWN (1 fixable)  " + arm.String() +
			"\n  linux/riscv64    not known, 0 packages",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("want %q in:\n%s", want, got)
		}
	}
	if strings.Count(got, reasons[0].Message) != 1 ||
		strings.Contains(got, "Findings in 0 packages") || strings.Contains(got, "Deployments") {
		t.Errorf("the index is described as\n%s", got)
	}
}

func TestDescribeAge(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0 hours", 90 * time.Minute: "1 hours",
		48 * time.Hour: "2 days", 100*24*time.Hour - 1: "99 days"} {
		if got := words.Age(d); got != want {
			t.Errorf("%s is %q, want %q", d, got, want)
		}
	}
}

// TestDescribePrintsNothingHostile: what comes from an image or a server makes no lines of its own,
// for a runner takes some as commands, and does not speak to the terminal.
func TestDescribePrintsNothingHostile(t *testing.T) {
	evil := "x\n::add-path::/evil\r\x1b[2J\u009b31m\u202e"
	reasons := []pratique.Reason{{Rule: evil, Message: evil}}
	failure := &pratique.Failed{Stage: "inspect", Message: evil}
	problem := pratique.Problem{Path: evil, Reason: evil}
	evilCommit := pratique.Commit{Target: evil, Remote: evil, Branch: evil, ID: evil,
		Files: []pratique.FileChange{{Path: evil, Line: 1}}}
	evilPlaces := &api.ImagePlaces{Targets: []api.TargetPlaces{{
		Target: evil, Remote: evil, Branch: evil, Tip: evil, Failure: evil,
		ObservedAt: &clitest.DescribedAt, Broken: []pratique.Problem{problem}, Count: 1,
		Places: []api.HeldPlace{{Place: pratique.Place{Path: evil, Tag: evil, Since: evil}}},
	}}}
	for name, text := range map[string]string{
		"denied": Submission(api.Submission{State: "denied", Outcome: pratique.Deny,
			Reasons: reasons}),
		"failed":  Submission(api.Submission{State: "failed", Failure: failure}),
		"ignored": Submission(api.Submission{State: "ignored", Detail: evil}),
		"image": Image(api.Image{State: "denied", Outcome: pratique.Deny,
			Verdict: &pratique.Verdict{Reasons: reasons, Notes: reasons}}, nil, false),
		"failed image": Image(api.Image{State: "failed", Detail: evil, Failure: failure},
			evilPlaces, true),
		"commit": Submission(api.Submission{State: "deployed", Outcome: pratique.Allow,
			Ref: evil, Commits: []pratique.Commit{evilCommit}}),
		"drifted": Image(api.Image{State: "reverted",
			Deployments: []pratique.Commit{evilCommit},
			Drifted: []pratique.Drifted{{Target: evil, Detail: evil,
				State: pratique.State(evil)}},
			Problems: []pratique.PlaceProblem{{Target: evil, Problem: problem}}}, evilPlaces, false),
	} {
		if strings.ContainsAny(text, "\r\x1b\u009b\u202e") || strings.Contains(text, "\n::") {
			t.Errorf("%s: %q", name, text)
		}
	}
}

func TestDescribeImageWithoutVerdict(t *testing.T) {
	tests := map[string]struct {
		image api.Image
		want  string
	}{
		"failed": {
			api.Image{Image: clitest.AppImage, State: "failed",
				Failure: &pratique.Failed{Stage: "inspect", Message: "layer is corrupt"}},
			"FAILED: " + clitest.AppImage +
				"\n  could not find out, in stage inspect: layer is corrupt\n\nFacts\n",
		},
		"ignored": {api.Image{Image: clitest.AppImage, State: "ignored", Detail: "it is a chart"},
			"IGNORED: " + clitest.AppImage + "\n  why: it is a chart\n\nFacts\n"},
		"under way": {api.Image{Image: clitest.AppImage, State: "inspected"}, "INSPECTED: " +
			clitest.AppImage + "\n\nFacts\n"},
		"trying again": {
			api.Image{
				Image: clitest.AppImage, State: "inspected",
				Failure: &pratique.Failed{Stage: "inspect", Message: "no database", Attempts: 3},
				Facts: []pratique.FactRef{{Kind: pratique.FactInspected, At: clitest.DescribedAt,
					By: "a@b"}, {Kind: pratique.FactFailed, At: clitest.DescribedAt, By: "a@b"}},
			},
			"INSPECTED: " + clitest.AppImage +
				"\n  trying again after attempt 3 in stage inspect: no database\n\nFacts\n" +
				"  2026-03-01 11:00:00Z  inspected  a@b\n  2026-03-01 11:00:00Z  failed     a@b\n",
		},
		"a place is broken": {
			api.Image{
				Image: clitest.AppImage, State: "deployed", Outcome: pratique.Allow,
				Problems: []pratique.PlaceProblem{{Target: "argocd",
					Problem: pratique.Problem{Path: "argocd/api.yaml", Line: 15,
						Reason: "a marker in a flow mapping"}}},
			},
			"ALLOWED: " + clitest.AppImage +
				"\n  target argocd has a place that cannot be edited: argocd/api.yaml:15: a marker in a flow mapping\n\nFacts\n",
		},
	}
	for name, tt := range tests {
		if diff := cmp.Diff(tt.want, Image(tt.image, nil, false)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestDescribePlaces: what Git holds now, and whether it is this image.
func TestDescribePlaces(t *testing.T) {
	other := pratique.DigestOf([]byte("other"))
	git := &api.ImagePlaces{Targets: []api.TargetPlaces{
		{Target: "prod", Branch: "main", Remote: "https://git.test/config.git", Tip: "c0ffee",
			ObservedAt: &clitest.DescribedAt, Count: 3, Places: []api.HeldPlace{
				{Place: pratique.Place{Path: "a.yaml", Line: 2, Tag: "1.0", Digest: clitest.AppDigest,
					Since: "beef"}, ThisImage: true},
				{Place: pratique.Place{Path: "b.yaml", Line: 3,
					Object: pratique.Object{Kind: "Deployment", Namespace: "shop", Name: "web"},
					Field:  "spec.image", Tag: "1.1", Digest: other}},
				{Place: pratique.Place{Path: "c.yaml", Line: 4}},
			}},
		{Target: "test", Branch: "main", Remote: "https://git.test/other.git",
			Failure: "could not look: timeout"},
		{Target: "old", Branch: "main", Remote: "https://git.test/other.git", Tip: "ba5e",
			ObservedAt: &clitest.DescribedAt, Failure: "could not look: timeout",
			Hints: []pratique.Problem{{Path: "values.yaml", Line: 2,
				Reason: "names the image, and is not edited"}}},
	}}
	want := "DEPLOYED: " + clitest.AppImage + `

Git holds now
  prod, main of https://git.test/config.git, at commit c0ffee
    a.yaml:2: this image, tag 1.0, since commit beef
    b.yaml:3 (Deployment shop/web spec.image): another image, tag 1.1, ` + other.String() + `
    c.yaml:4: no digest
  test, main of https://git.test/other.git
    could not look: timeout
  old, main of https://git.test/other.git, at commit ba5e
    could not look: timeout
    last known, at 2026-03-01 11:00:00Z:
    no place asks for the image
    values.yaml:2: names the image, and is not edited

Facts
`
	if diff := cmp.Diff(want, Image(api.Image{Image: clitest.AppImage, State: "deployed"}, git,
		false)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	reasons := clitest.Reasons(25)
	image := api.Image{State: "denied", Verdict: &pratique.Verdict{Reasons: reasons, Notes: reasons}}
	if n := strings.Count(Image(image, nil, true), "CVE-2026-"); n != 50 {
		t.Errorf("%d reasons and notes of 50 with --all", n)
	}
	if text := Image(image, nil, false); strings.Count(text, "CVE-2026-") != 40 ||
		!strings.Contains(text, "… and 5 more notes") {
		t.Errorf("without --all: %s", text)
	}
}
