package render

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/display"
)

// The parts of SARIF 2.1.0 that are written.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool              sarifTool         `json:"tool"`
		AutomationDetails sarifID           `json:"automationDetails"`
		Invocations       []sarifInvocation `json:"invocations"`
		ColumnKind        string            `json:"columnKind"`
		Results           []sarifResult     `json:"results"`
		Properties        map[string]string `json:"properties"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name           string      `json:"name"`
		Version        string      `json:"version"`
		InformationURI string      `json:"informationUri"`
		Rules          []sarifRule `json:"rules"`
	}
	sarifID struct {
		ID string `json:"id"`
	}
	sarifInvocation struct {
		ExecutionSuccessful bool                `json:"executionSuccessful"`
		Notifications       []sarifNotification `json:"toolExecutionNotifications,omitempty"`
	}
	sarifNotification struct {
		Level   string    `json:"level"`
		Message sarifText `json:"message"`
	}
	sarifText struct {
		Text     string `json:"text"`
		Markdown string `json:"markdown,omitempty"`
	}
	sarifRule struct {
		ID                   string         `json:"id"`
		Name                 string         `json:"name"`
		ShortDescription     sarifText      `json:"shortDescription"`
		FullDescription      sarifText      `json:"fullDescription"`
		HelpURI              string         `json:"helpUri,omitempty"`
		Help                 sarifText      `json:"help"`
		DefaultConfiguration sarifLevel     `json:"defaultConfiguration"`
		Properties           sarifRuleProps `json:"properties"`
	}
	sarifLevel struct {
		Level string `json:"level"`
	}
	sarifRuleProps struct {
		Precision        string   `json:"precision"`
		SecuritySeverity string   `json:"security-severity,omitempty"`
		Tags             []string `json:"tags"`
	}
	sarifResult struct {
		RuleID              string            `json:"ruleId"`
		RuleIndex           int               `json:"ruleIndex"`
		Level               string            `json:"level"`
		Message             sarifText         `json:"message"`
		Locations           []sarifLocation   `json:"locations"`
		PartialFingerprints map[string]string `json:"partialFingerprints"`
		Properties          sarifResultProps  `json:"properties"`
	}
	sarifLocation struct {
		PhysicalLocation sarifPhysical  `json:"physicalLocation"`
		LogicalLocations []sarifLogical `json:"logicalLocations"`
		Message          sarifText      `json:"message"`
	}
	sarifPhysical struct {
		ArtifactLocation sarifArtifact `json:"artifactLocation"`
		Region           sarifRegion   `json:"region"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifRegion struct {
		StartLine   int `json:"startLine"`
		StartColumn int `json:"startColumn"`
		EndLine     int `json:"endLine"`
		EndColumn   int `json:"endColumn"`
	}
	sarifLogical struct {
		Name               string `json:"name"`
		FullyQualifiedName string `json:"fullyQualifiedName"`
		Kind               string `json:"kind"`
	}
	sarifResultProps struct {
		Severity  string `json:"severity"`
		PURL      string `json:"purl,omitempty"`
		Installed string `json:"installed,omitempty"`
		Fixed     string `json:"fixed,omitempty"`
	}
)

const (
	sarifSchema    = "https://json.schemastore.org/sarif-2.1.0.json"
	sarifVersion   = "2.1.0"
	informationURI = "https://github.com/pratique-dev/pratique"
	fingerprint    = "pratiqueFinding/v1"
)

// SARIF writes the scan as SARIF 2.1.0, one run for each platform image. A run's automation id
// names the repository and the platform, so that the results of several images stand beside each
// other. A finding has the same fingerprint in the next build of the image, as long as the package
// is in the same place.
func SARIF(w io.Writer, s Scan) error {
	log := sarifLog{Schema: sarifSchema, Version: sarifVersion, Runs: []sarifRun{}}
	for _, img := range s.Images {
		log.Runs = append(log.Runs, run(s, img))
	}
	encoder := json.NewEncoder(display.JSON(w))
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(log)
}

func run(s Scan, img Image) sarifRun {
	rules, sections := rulesOf(img.Report.Findings), sectionsOf(img.Extras)
	for _, sec := range sections {
		rules = append(rules, sec.sarifRules()...)
	}
	slices.SortFunc(rules, func(a, b sarifRule) int { return strings.Compare(a.ID, b.ID) })
	number := func(id string) int {
		at, _ := slices.BinarySearchFunc(rules, id, func(r sarifRule, id string) int {
			return strings.Compare(r.ID, id)
		})
		return at
	}
	r := sarifRun{
		Tool: sarifTool{Driver: sarifDriver{
			Name: "Pratique", Version: s.Tool.Version, InformationURI: informationURI, Rules: rules,
		}},
		AutomationDetails: sarifID{ID: fmt.Sprintf("pratique/%s/%s/", img.Subject.Repository.Path,
			img.Config.Platform)},
		Invocations: []sarifInvocation{{ExecutionSuccessful: true,
			Notifications: notifications(s, img)}},
		ColumnKind: "utf16CodeUnits",
		Results:    []sarifResult{},
		Properties: map[string]string{
			"image": img.Subject.String(), "inventory": img.Report.Inventory.String(),
			"database": img.Report.Database.Digest.String(),
			"scanner":  img.Report.Scanner.Name + " " + img.Report.Scanner.Version,
		},
	}
	seen := map[string]int{}
	for _, f := range img.Report.Findings {
		r.Results = append(r.Results, result(img, f, number(f.ID), seen))
	}
	for _, sec := range sections {
		for _, i := range sec.items {
			r.Results = append(r.Results, sec.sarifResult(img, i, number(i.id), seen))
		}
	}
	return r
}

// notifications are what was not matched, and the platforms that were left out: they are no
// results, since nothing was found there.
func notifications(s Scan, img Image) []sarifNotification {
	var all []sarifNotification
	if len(s.NotInspected) > 0 {
		all = append(all, sarifNotification{Level: "note",
			Message: sarifText{Text: "not inspected: " + platforms(s.NotInspected)}})
	}
	for _, gap := range gaps(img) {
		all = append(all, sarifNotification{Level: "warning", Message: sarifText{Text: gap}})
	}
	return all
}

func result(img Image, f pratique.Finding, rule int, seen map[string]int) sarifResult {
	where := f.Path
	if where == "" {
		where = img.Subject.Repository.Path // there is no file, and viewers want one
	}
	message := fmt.Sprintf("%s %s has %s (%s)", display.Line(f.Package), display.Line(f.Installed),
		f.ID, f.Severity)
	if f.Fixed != "" {
		message += ", fixed in " + display.Line(f.Fixed)
	}
	if f.Title != "" {
		message += ": " + display.Line(f.Title)
	}
	return sarifResult{
		RuleID: f.ID, RuleIndex: rule, Level: level(f.Severity), Message: sarifText{Text: message},
		Locations: []sarifLocation{{
			PhysicalLocation: sarifPhysical{
				ArtifactLocation: sarifArtifact{URI: uri(where)},
				Region:           sarifRegion{StartLine: 1, StartColumn: 1, EndLine: 1, EndColumn: 1},
			},
			LogicalLocations: []sarifLogical{{
				Name: display.Line(f.Package),
				FullyQualifiedName: display.Line(img.Subject.String() + "#" + place(f) + "/" +
					f.Package), Kind: "package",
			}},
			Message: sarifText{Text: fmt.Sprintf("%s: %s %s", display.Line(place(f)),
				display.Line(f.Package), display.Line(f.Installed))},
		}},
		PartialFingerprints: map[string]string{fingerprint: numbered(markOf(img, f), seen)},
		Properties: sarifResultProps{Severity: f.Severity.String(), PURL: f.PURL,
			Installed: f.Installed, Fixed: f.Fixed},
	}
}

// numbered keeps apart what has the same fingerprint, for example two versions of a package in one
// place.
func numbered(mark string, seen map[string]int) string {
	seen[mark]++
	if n := seen[mark]; n > 1 {
		return fmt.Sprintf("%s:%d", mark, n)
	}
	return mark
}

// markOf is the fingerprint of a finding: what it is and where, but not the digest of the image nor
// the version of the package, which change from build to build.
func markOf(img Image, f pratique.Finding) string {
	target := f.Target
	if f.Class == pratique.ClassOS {
		target = "" // it names the release of the distribution
	}
	parts := []string{img.Subject.Repository.Path, string(img.Config.Platform), f.ID,
		string(f.Class), f.Type, f.Package, f.Path, target}
	return fmt.Sprintf("%x", sha256.Sum256([]byte(strings.Join(parts, "\x00"))))[:32]
}

// uri is a path in an image as a relative reference.
func uri(path string) string {
	return (&url.URL{Path: strings.TrimLeft(path, "/")}).String()
}

func level(s pratique.Severity) string {
	switch s {
	case pratique.SeverityCritical, pratique.SeverityHigh:
		return "error"
	case pratique.SeverityMedium:
		return "warning"
	default:
		return "note"
	}
}

// rulesOf makes one rule of each vulnerability, as grave as the worst of its findings, in no order.
func rulesOf(findings []pratique.Finding) []sarifRule {
	worst := map[string]pratique.Finding{}
	for _, f := range findings {
		if known, ok := worst[f.ID]; !ok || f.Severity > known.Severity {
			worst[f.ID] = f
		}
	}
	rules := make([]sarifRule, 0, len(worst))
	for _, f := range worst {
		rules = append(rules, rule(f))
	}
	return rules
}

func rule(f pratique.Finding) sarifRule {
	name := "LanguagePackageVulnerability"
	if f.Class == pratique.ClassOS {
		name = "OSPackageVulnerability"
	}
	title := display.Line(f.Title)
	if title == "" {
		title = f.ID
	}
	full := display.Line(f.Description)
	if full == "" {
		full = title
	}
	help := fmt.Sprintf("Vulnerability %s\nSeverity: %s\n%s", f.ID, f.Severity, full)
	link := f.ID
	if f.PrimaryURL != "" {
		help += "\nLink: " + f.PrimaryURL
		link = fmt.Sprintf("[%s](%s)", f.ID, f.PrimaryURL)
	}
	tags := []string{"vulnerability", "security", f.Severity.String()}
	for _, cwe := range f.CWEs {
		tags = append(tags, "external/cwe/"+strings.ToLower(cwe))
	}
	return sarifRule{
		ID: f.ID, Name: name, ShortDescription: sarifText{Text: title},
		FullDescription: sarifText{Text: full},
		HelpURI:         f.PrimaryURL,
		Help: sarifText{Text: help, Markdown: fmt.Sprintf("**%s** %s\n\n%s",
			f.Severity, link, full)},
		DefaultConfiguration: sarifLevel{Level: level(f.Severity)},
		Properties: sarifRuleProps{Precision: "very-high", SecuritySeverity: score(f),
			Tags: tags},
	}
}

// score is the number by which GitHub sorts: that of CVSS where it says the same as the severity,
// which policies go by, and else the middle of the severity's band.
func score(f pratique.Finding) string {
	bands := map[pratique.Severity][3]float64{
		pratique.SeverityCritical: {9.1, 9.5, 10}, pratique.SeverityHigh: {7, 8, 9},
		pratique.SeverityMedium: {4, 5.5, 6.9},
		pratique.SeverityLow:    {0.1, 2, 3.9},
	}
	band := bands[f.Severity]
	if f.Severity == pratique.SeverityUnknown {
		return "" // viewers then go by the level
	}
	for _, source := range []string{f.SeveritySource, "nvd", "ghsa"} {
		c := f.CVSS[source]
		for _, n := range []float64{c.V40Score, c.V3Score} {
			if n > 0 && n >= band[0] && n <= band[2] {
				return fmt.Sprintf("%.1f", n)
			}
		}
	}
	return fmt.Sprintf("%.1f", band[1])
}
