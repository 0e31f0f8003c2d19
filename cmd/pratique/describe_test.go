package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/attest/index"
)

var (
	describedAt = time.Date(2026, 3, 1, 12, 0, 0, 0, time.FixedZone("somewhere", 3600))
	appDigest   = pratique.DigestOf([]byte("app"))
	appImage    = "registry.test/team/app@" + appDigest.String()
)

func manyReasons(n int) []pratique.Reason {
	var all []pratique.Reason
	for i := range n {
		all = append(all, pratique.Reason{Rule: "severity", Message: fmt.Sprintf("CRITICAL CVE-2026-%04d in openssl 1.0, fixed in 2.0", i)})
	}
	return all
}

// submissions are the ends that a submission can have; the text for each is in the tests.
func submissions() map[string]api.Submission {
	base := api.Submission{ID: "e1", Ref: "registry.test/team/app:1.0", Image: appImage, Digest: appDigest, Done: true}
	with := func(change func(*api.Submission)) api.Submission {
		s := base
		change(&s)
		return s
	}
	return map[string]api.Submission{
		"deployed": with(func(s *api.Submission) {
			s.State, s.Outcome = "deployed", pratique.Allow
			s.Commits = []pratique.Commit{
				{Target: "production", ID: "c0ffee", Created: true, Branch: "main", Remote: "https://git.test/config.git", Files: []pratique.FileChange{{Path: "a/kustomization.yaml", Line: 3}}},
				{Target: "staging", Branch: "main", Remote: "https://git.test/config.git"},
			}
		}),
		"allowed": with(func(s *api.Submission) {
			s.State, s.Outcome, s.Detail = "allowed", pratique.Allow, "no target asks for it"
		}),
		"superseded": with(func(s *api.Submission) {
			s.State, s.Outcome, s.Detail = "superseded", pratique.Allow, "the tag has moved on"
		}),
		"reverted": with(func(s *api.Submission) {
			s.State, s.Outcome, s.Detail = "reverted", pratique.Allow, "Git holds 1.1"
		}),
		"denied": with(func(s *api.Submission) {
			s.State, s.Outcome, s.Detail, s.Reasons = "denied", pratique.Deny, manyReasons(1)[0].Message, manyReasons(25)
		}),
		"denied platform": with(func(s *api.Submission) {
			s.State, s.Outcome, s.Reasons = "denied", pratique.Deny, manyReasons(1)
			s.Reasons[0].Platform = "linux/arm64"
		}),
		"failed": with(func(s *api.Submission) {
			s.State, s.Image, s.Digest, s.Detail = "failed", "", pratique.Digest{}, "inspect: no such tag"
			s.Failure = &pratique.Failed{Stage: "inspect", Kind: pratique.NotFound, Message: "no such tag", Final: true}
		}),
		// Evaluated, and then the gate could not find out: that is no verdict for whoever waits.
		"failed after the verdict": with(func(s *api.Submission) {
			s.State, s.Outcome = "failed", pratique.Allow
			s.Failure = &pratique.Failed{Stage: "deploy", Kind: pratique.Denied, Message: "main is protected", Final: true}
		}),
		"deployed after a failed attempt": with(func(s *api.Submission) {
			s.State, s.Outcome = "deployed", pratique.Allow
			s.Failure = &pratique.Failed{Stage: "inspect", Kind: pratique.Unavailable, Message: "down"}
		}),
		"ignored": with(func(s *api.Submission) {
			s.State, s.Detail = "ignored", "it is a Helm chart"
		}),
	}
}

func TestDescribeSubmission(t *testing.T) {
	denied := "DENIED: " + appImage + "\n"
	for _, r := range manyReasons(20) {
		denied += "  severity: " + r.Message + "\n"
	}
	want := map[string]string{
		"deployed": "ALLOWED: " + appImage + `
  committed to production: c0ffee on main of https://git.test/config.git
    a/kustomization.yaml:3
  in place in staging: an earlier commit on main of https://git.test/config.git
`,
		"allowed":                         "ALLOWED: " + appImage + "\n  why: no target asks for it\n",
		"superseded":                      "ALLOWED, AND SUPERSEDED: " + appImage + "\n  why: the tag has moved on\n",
		"reverted":                        "ALLOWED, AND REVERTED: " + appImage + "\n  why: Git holds 1.1\n",
		"denied":                          denied + "  … and 5 more reasons; pratique why --all prints them\n",
		"denied platform":                 "DENIED: " + appImage + "\n  severity: CRITICAL CVE-2026-0000 in openssl 1.0, fixed in 2.0 (linux/arm64)\n",
		"failed":                          "FAILED: registry.test/team/app:1.0\n  could not find out, in stage inspect: no such tag\n",
		"failed after the verdict":        "FAILED: " + appImage + "\n  could not find out, in stage deploy: main is protected\n",
		"deployed after a failed attempt": "ALLOWED: " + appImage + "\n",
		"ignored":                         "IGNORED: " + appImage + "\n  why: it is a Helm chart\n",
	}
	for name, s := range submissions() {
		if diff := cmp.Diff(want[name], describeSubmission(s)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestExitStatus: only a verdict of this submission is 0 or 1.
func TestExitStatus(t *testing.T) {
	want := map[string]int{
		"deployed": 0, "allowed": 0, "superseded": 1, "reverted": 1, "deployed after a failed attempt": 0,
		"denied": 1, "denied platform": 1, "failed": 2, "failed after the verdict": 2, "ignored": 2,
	}
	for name, s := range submissions() {
		if got := report(statusOf(s)); got != want[name] {
			t.Errorf("%s: exit status %d, want %d", name, got, want[name])
		}
	}
	if got := report(statusOf(api.Submission{State: "evaluated"})); got != exitUnknown {
		t.Errorf("without an end: exit status %d", got)
	}
}

func TestDescribeImage(t *testing.T) {
	policy := pratique.Profile{Name: "default", Digest: pratique.DigestOf([]byte("policy"))}
	vsa, spdx := pratique.DigestOf([]byte("vsa")), pratique.DigestOf([]byte("spdx"))
	got := describeImage(api.Image{
		Image: appImage, Digest: appDigest, State: "deployed", Outcome: pratique.Allow, Packages: 6, Fixable: 1,
		Tags: []index.TagName{{Tag: "1.0"}, {Tag: "latest"}},
		Verdict: &pratique.Verdict{
			Outcome: pratique.Allow, Profile: policy, EvaluatedAt: describedAt,
			Notes: []pratique.Reason{{Rule: "unknown_severity", Message: "CVE-2026-1 has none"}},
		},
		Counts:   pratique.Counts{pratique.SeverityLow: 2, pratique.SeverityUnknown: 1},
		Database: &api.DatabaseAge{Database: pratique.Database{Digest: pratique.DigestOf([]byte("db")), UpdatedAt: describedAt.Add(-90 * time.Minute)}, AgeSeconds: 2*24*60*60 - 1},
		Extras: &api.ExtrasView{
			Kinds:       []pratique.ExtraKind{pratique.ExtraSecrets, pratique.ExtraLicenses},
			ExtraCounts: pratique.ExtraCounts{Licenses: 12},
		},
		Attestations: []pratique.Attestation{
			{Digest: appDigest}, {PredicateType: pratique.PredicateSPDX, Digest: spdx}, {PredicateType: pratique.PredicateVSA, Digest: vsa},
		},
		Deployments: []pratique.Commit{{Target: "production", ID: "c0ffee", Created: true, Branch: "main", Remote: "https://git.test/config.git"}},
		// An attempt that failed before is no news once the work has ended well.
		Failure: &pratique.Failed{Stage: "inspect", Message: "down"},
		Facts:   []pratique.FactRef{{Seq: 1, Kind: pratique.FactResolved, At: describedAt, By: "inspect@host"}, {Seq: 2, Kind: pratique.FactInspected, At: describedAt, By: "inspect@host"}},
	}, nil, false)
	want := "ALLOWED: " + appImage + `
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
  image signature                                      ` + appDigest.String() + `
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
	reasons := manyReasons(25)
	for i := range reasons {
		reasons[i].Platform = "linux/arm64"
	}
	got := describeImage(api.Image{
		Image: appImage, Digest: appDigest, State: "denied", Outcome: pratique.Deny, Detail: reasons[0].Message,
		Verdict: &pratique.Verdict{Outcome: pratique.Deny, Reasons: reasons, Profile: pratique.Profile{Name: "default"}, EvaluatedAt: describedAt},
		Children: []api.ImageChild{
			{Digest: amd, Platform: "linux/amd64", Outcome: pratique.Allow, Packages: 7, Counts: pratique.Counts{pratique.SeverityLow: 2}, Fixable: 1},
			{Digest: arm, Platform: "linux/arm64", Outcome: pratique.Deny, Packages: 5, Counts: pratique.Counts{pratique.SeverityLow: 1, pratique.SeverityUnknown: 1}, Fixable: 1}, {Digest: arm, Platform: "linux/riscv64"},
		},
	}, nil, false)
	for _, want := range []string{
		"DENIED: " + appImage + "\n\nVerdict of ", "CVE-2026-0019 in openssl 1.0, fixed in 2.0 (linux/arm64)\n  … and 5 more reasons; pratique why --all prints them\n",
		"\nFindings in 3 platforms: 12 packages, 3 LOW, 1 UNKNOWN (2 fixable)\n  linux/amd64      allow, 7 packages, 2 LOW (1 fixable)  " + amd.String() +
			"\n  linux/arm64      deny, 5 packages, 1 LOW, 1 UNKNOWN (1 fixable)  " + arm.String() + "\n  linux/riscv64    not known, 0 packages",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("want %q in:\n%s", want, got)
		}
	}
	if strings.Count(got, reasons[0].Message) != 1 || strings.Contains(got, "Findings in 0 packages") || strings.Contains(got, "Deployments") {
		t.Errorf("the index is described as\n%s", got)
	}
}

func TestDescribeAge(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0 hours", 90 * time.Minute: "1 hours", 48 * time.Hour: "2 days", 100*24*time.Hour - 1: "99 days"} {
		if got := age(d); got != want {
			t.Errorf("%s is %q, want %q", d, got, want)
		}
	}
}

// TestDescribePrintsNothingHostile: what comes from an image or a server makes no lines of its own, for a runner
// takes some as commands, and does not speak to the terminal.
func TestDescribePrintsNothingHostile(t *testing.T) {
	evil := "x\n::add-path::/evil\r\x1b[2J\u009b31m\u202e"
	reasons := []pratique.Reason{{Rule: evil, Message: evil}}
	failure := &pratique.Failed{Stage: "inspect", Message: evil}
	problem := pratique.Problem{Path: evil, Reason: evil}
	evilCommit := pratique.Commit{Target: evil, Remote: evil, Branch: evil, ID: evil, Files: []pratique.FileChange{{Path: evil, Line: 1}}}
	evilPlaces := &api.ImagePlaces{Targets: []api.TargetPlaces{{
		Target: evil, Remote: evil, Branch: evil, Tip: evil, Failure: evil, ObservedAt: &describedAt, Broken: []pratique.Problem{problem}, Count: 1,
		Places: []api.HeldPlace{{Place: pratique.Place{Path: evil, Tag: evil, Since: evil}}},
	}}}
	for name, text := range map[string]string{
		"denied":       describeSubmission(api.Submission{State: "denied", Outcome: pratique.Deny, Reasons: reasons}),
		"failed":       describeSubmission(api.Submission{State: "failed", Failure: failure}),
		"ignored":      describeSubmission(api.Submission{State: "ignored", Detail: evil}),
		"image":        describeImage(api.Image{State: "denied", Outcome: pratique.Deny, Verdict: &pratique.Verdict{Reasons: reasons, Notes: reasons}}, nil, false),
		"failed image": describeImage(api.Image{State: "failed", Detail: evil, Failure: failure}, evilPlaces, true),
		"commit":       describeSubmission(api.Submission{State: "deployed", Outcome: pratique.Allow, Ref: evil, Commits: []pratique.Commit{evilCommit}}),
		"drifted":      describeImage(api.Image{State: "reverted", Deployments: []pratique.Commit{evilCommit}, Drifted: []pratique.Drifted{{Target: evil, Detail: evil, State: pratique.State(evil)}}, Problems: []pratique.PlaceProblem{{Target: evil, Problem: problem}}}, evilPlaces, false),
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
			api.Image{Image: appImage, State: "failed", Failure: &pratique.Failed{Stage: "inspect", Message: "layer is corrupt"}},
			"FAILED: " + appImage + "\n  could not find out, in stage inspect: layer is corrupt\n\nFacts\n",
		},
		"ignored":   {api.Image{Image: appImage, State: "ignored", Detail: "it is a chart"}, "IGNORED: " + appImage + "\n  why: it is a chart\n\nFacts\n"},
		"under way": {api.Image{Image: appImage, State: "inspected"}, "INSPECTED: " + appImage + "\n\nFacts\n"},
		"trying again": {
			api.Image{
				Image: appImage, State: "inspected", Failure: &pratique.Failed{Stage: "inspect", Message: "no database", Attempts: 3},
				Facts: []pratique.FactRef{{Kind: pratique.FactInspected, At: describedAt, By: "a@b"}, {Kind: pratique.FactFailed, At: describedAt, By: "a@b"}},
			},
			"INSPECTED: " + appImage + "\n  trying again after attempt 3 in stage inspect: no database\n\nFacts\n" +
				"  2026-03-01 11:00:00Z  inspected  a@b\n  2026-03-01 11:00:00Z  failed     a@b\n",
		},
		"a place is broken": {
			api.Image{
				Image: appImage, State: "deployed", Outcome: pratique.Allow,
				Problems: []pratique.PlaceProblem{{Target: "argocd", Problem: pratique.Problem{Path: "argocd/api.yaml", Line: 15, Reason: "a marker in a flow mapping"}}},
			},
			"ALLOWED: " + appImage + "\n  target argocd has a place that cannot be edited: argocd/api.yaml:15: a marker in a flow mapping\n\nFacts\n",
		},
	}
	for name, tt := range tests {
		if diff := cmp.Diff(tt.want, describeImage(tt.image, nil, false)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestDescribePlaces: what Git holds now, and whether it is this image.
func TestDescribePlaces(t *testing.T) {
	other := pratique.DigestOf([]byte("other"))
	git := &api.ImagePlaces{Targets: []api.TargetPlaces{
		{Target: "prod", Branch: "main", Remote: "https://git.test/config.git", Tip: "c0ffee", ObservedAt: &describedAt, Count: 3, Places: []api.HeldPlace{
			{Place: pratique.Place{Path: "a.yaml", Line: 2, Tag: "1.0", Digest: appDigest, Since: "beef"}, ThisImage: true},
			{Place: pratique.Place{Path: "b.yaml", Line: 3, Object: pratique.Object{Kind: "Deployment", Namespace: "shop", Name: "web"}, Field: "spec.image", Tag: "1.1", Digest: other}},
			{Place: pratique.Place{Path: "c.yaml", Line: 4}},
		}},
		{Target: "test", Branch: "main", Remote: "https://git.test/other.git", Failure: "could not look: timeout"},
		{Target: "old", Branch: "main", Remote: "https://git.test/other.git", Tip: "ba5e", ObservedAt: &describedAt, Failure: "could not look: timeout",
			Hints: []pratique.Problem{{Path: "values.yaml", Line: 2, Reason: "names the image, and is not edited"}}},
	}}
	want := "DEPLOYED: " + appImage + `

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
	if diff := cmp.Diff(want, describeImage(api.Image{Image: appImage, State: "deployed"}, git, false)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	reasons := manyReasons(25)
	image := api.Image{State: "denied", Verdict: &pratique.Verdict{Reasons: reasons, Notes: reasons}}
	if n := strings.Count(describeImage(image, nil, true), "CVE-2026-"); n != 50 {
		t.Errorf("%d reasons and notes of 50 with --all", n)
	}
	if text := describeImage(image, nil, false); strings.Count(text, "CVE-2026-") != 40 || !strings.Contains(text, "… and 5 more notes") {
		t.Errorf("without --all: %s", text)
	}
}
