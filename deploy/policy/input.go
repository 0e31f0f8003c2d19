package policy

import (
	"slices"
	"time"

	"github.com/pratique-dev/pratique"
)

// Input is the document that rules read as "input"; input.schema.json describes it. Every field is
// always there, empty if it is not known: an absent field would be undefined in Rego, and a rule
// that reads something undefined does not deny.
type Input struct {
	Image ImageInput `json:"image"`
	Scan  ScanInput  `json:"scan"`
	SBOM  SBOMInput  `json:"sbom"`
	// Now is the time of the verdict, RFC 3339 in UTC. Rules have no other clock.
	Now string `json:"now"`
}

// ImageInput is one platform image. The tag is not in it: a tag moves, and one digest can have
// several, while verdict and signature are about the digest.
type ImageInput struct {
	// Repository is registry/path.
	Repository string            `json:"repository"`
	Digest     string            `json:"digest"`
	Platform   string            `json:"platform"`
	Labels     map[string]string `json:"labels"`
	// User is that of the image's configuration; empty means root.
	User string `json:"user"`
	// Created is RFC 3339, or empty.
	Created string `json:"created"`
}

// ScanInput is the report.
type ScanInput struct {
	Engine   EngineInput   `json:"engine"`
	Database DatabaseInput `json:"database"`
	// JavaDatabase is the one in which jars were looked up, empty if none was.
	JavaDatabase DatabaseInput  `json:"javaDatabase"`
	Findings     []FindingInput `json:"findings"`
	// OS and Unmatched say for what there were advisories: where there are none, nothing is found.
	OS            OSInput            `json:"os"`
	Unmatched     []UnmatchedInput   `json:"unmatched"`
	Disagreements DisagreementsInput `json:"disagreements"`
	// Scanned says what was looked for besides vulnerabilities. The list of what was not is empty,
	// and says nothing.
	Scanned           ScannedInput            `json:"scanned"`
	Secrets           []SecretInput           `json:"secrets"`
	Misconfigurations []MisconfigurationInput `json:"misconfigurations"`
	Licenses          []LicenseInput          `json:"licenses"`
}

// EngineInput is the scanner.
type EngineInput struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// DatabaseInput is the vulnerability database. AgeSeconds is its age at Now, not at the time of the
// scan.
type DatabaseInput struct {
	Digest     string `json:"digest"`
	UpdatedAt  string `json:"updatedAt"`
	AgeSeconds int64  `json:"ageSeconds"`
}

// FindingInput is one vulnerability in one package. Published and Modified are RFC 3339, or empty.
type FindingInput struct {
	ID             string   `json:"id"`
	Aliases        []string `json:"aliases"`
	Package        string   `json:"package"`
	PURL           string   `json:"purl"`
	Installed      string   `json:"installed"`
	Fixed          string   `json:"fixed"`
	Status         string   `json:"status"`
	Severity       string   `json:"severity"`
	SeveritySource string   `json:"severitySource"`
	// Score is the highest CVSS base score that any source gave, version 4 before 3 before 2; 0 if
	// none.
	Score     float64 `json:"score"`
	Class     string  `json:"class"`
	Type      string  `json:"type"`
	Path      string  `json:"path"`
	Title     string  `json:"title"`
	Published string  `json:"published"`
	Modified  string  `json:"modified"`
}

// SBOMInput says what the inventory holds. Formats lists the SBOM formats that were made: "spdx",
// "cyclonedx".
type SBOMInput struct {
	Packages int      `json:"packages"`
	Formats  []string `json:"formats"`
}

// NewInput builds the document about one platform image. Extras are nil if nothing was looked for
// besides packages. It fails with kind Corrupt if the evidence is not complete, or if the report is
// about another inventory than the one inspected: a verdict must not rest on incomplete evidence.
func NewInput(subject pratique.Subject, inspected pratique.Inspected, report pratique.Report,
	extras *pratique.Extras, now time.Time) (Input, error) {
	const op = "build policy input"
	incomplete := func(what string) error {
		return pratique.Wrap(pratique.Corrupt, op, subject.String(),
			pratique.Errorf(pratique.Corrupt, op, "%s", what))
	}
	switch {
	case subject.Repository.IsZero() || subject.Digest.IsZero():
		return Input{}, incomplete("the subject has no repository or no digest")
	case inspected.Inventory.IsZero():
		return Input{}, incomplete("there is no inventory")
	case report.Inventory != inspected.Inventory:
		return Input{}, incomplete("the report is about another inventory")
	case report.Coverage == nil:
		return Input{}, incomplete("the report does not say what there were advisories for")
	case report.Scanner.Name == "":
		return Input{}, incomplete("the report does not name its scanner")
	case report.Database.Digest.IsZero() || report.Database.UpdatedAt.IsZero():
		return Input{}, incomplete("the report does not say which vulnerability database it rests on")
	case !complete(inspected.ExtraKinds, extras):
		return Input{}, incomplete("the extras are not those that were looked for")
	case now.IsZero():
		return Input{}, incomplete("the time of the verdict is missing")
	}
	in := Input{
		Image: ImageInput{
			Repository: subject.Repository.String(), Digest: subject.Digest.String(),
			Platform: string(inspected.Image.Platform), Labels: inspected.Image.Labels,
			User: inspected.Image.User, Created: stamp(inspected.Image.Created),
		},
		Scan: ScanInput{
			Engine:   EngineInput(report.Scanner),
			Database: databaseInput(report.Database, now),
			JavaDatabase: databaseInput(pratique.Database{Digest: inspected.JavaDatabase,
				UpdatedAt: inspected.JavaUpdatedAt}, now),
			Findings: make([]FindingInput, 0, len(report.Findings)),
		},
		SBOM: SBOMInput{Packages: inspected.Packages, Formats: []string{}},
		Now:  stamp(now),
	}
	if in.Image.Labels == nil {
		in.Image.Labels = map[string]string{}
	}
	for _, f := range report.Findings {
		in.Scan.Findings = append(in.Scan.Findings, findingInput(f))
	}
	in.Scan.addCoverage(*report.Coverage, inspected.Compared, now)
	in.Scan.addExtras(extras)
	if !inspected.SPDX.IsZero() {
		in.SBOM.Formats = append(in.SBOM.Formats, "spdx")
	}
	if !inspected.CycloneDX.IsZero() {
		in.SBOM.Formats = append(in.SBOM.Formats, "cyclonedx")
	}
	return in, nil
}

func databaseInput(db pratique.Database, now time.Time) DatabaseInput {
	in := DatabaseInput{UpdatedAt: stamp(db.UpdatedAt)}
	if !db.Digest.IsZero() {
		in.Digest = db.Digest.String()
	}
	if !db.UpdatedAt.IsZero() {
		in.AgeSeconds = int64(db.Age(now) / time.Second)
	}
	return in
}

func findingInput(f pratique.Finding) FindingInput {
	return FindingInput{
		ID: f.ID, Aliases: append([]string{}, f.Aliases...), Package: f.Package, PURL: f.PURL,
		Installed: f.Installed,
		Fixed:     f.Fixed, Status: f.Status, Severity: f.Severity.String(),
		SeveritySource: f.SeveritySource,
		Score:          score(f.CVSS), Class: string(f.Class), Type: f.Type, Path: f.Path, Title: f.Title,
		Published: stamp(f.Published), Modified: stamp(f.Modified),
	}
}

func score(bySource map[string]pratique.CVSS) float64 {
	var v4, v3, v2 []float64
	for _, c := range bySource {
		v4, v3, v2 = append(v4, c.V40Score), append(v3, c.V3Score), append(v2, c.V2Score)
	}
	for _, scores := range [][]float64{v4, v3, v2} {
		if len(scores) > 0 && slices.Max(scores) > 0 {
			return slices.Max(scores)
		}
	}
	return 0
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
