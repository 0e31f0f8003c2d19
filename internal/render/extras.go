package render

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/display"
)

// section is a kind of extra findings with its title.
type section struct {
	id          pratique.ExtraKind
	title, rule string // for a table, for SARIF
	tags        []string
	security    bool // viewers sort it by a score
	columns     []string
	cells       func(item) []string
	items       []item
}

// item is one finding of a section. Credentials in it are masked.
type item struct {
	severity              pratique.Severity
	id, title, full, link string
	message               string
	path, name, kind      string // name is of a package, kind the category or type of file
	startLine, endLine    int
}

// where is the file and lines of an item, or the image's configuration.
func (i item) where() string {
	if i.path == "" {
		return "the image's configuration"
	}
	switch {
	case i.startLine <= 0:
		return i.path
	case i.endLine <= i.startLine:
		return fmt.Sprintf("%s:%d", i.path, i.startLine)
	}
	return fmt.Sprintf("%s:%d-%d", i.path, i.startLine, i.endLine)
}

// sectionsOf lists the kinds that were looked for, each with the worst findings first.
func sectionsOf(s *pratique.Extras) []section {
	if s == nil {
		return nil
	}
	var all []section
	for _, id := range s.Kinds {
		var sec section
		switch id {
		case pratique.ExtraSecrets:
			sec = secrets(s.Secrets)
		case pratique.ExtraMisconfigurations:
			sec = misconfigurations(s.Misconfigurations)
		case pratique.ExtraLicenses:
			sec = licenses(s.Licenses)
		default:
			continue
		}
		sec.id = id
		slices.SortStableFunc(sec.items, func(a, b item) int {
			return cmp.Compare(b.severity, a.severity)
		})
		all = append(all, sec)
	}
	return all
}

func secrets(found []pratique.Secret) section {
	sec := section{
		title: "secrets", rule: "Secret", tags: []string{"secret", "security"}, security: true,
		columns: []string{"SEVERITY", "RULE", "TITLE", "WHERE"},
		cells:   func(i item) []string { return []string{i.severity.String(), i.id, i.title, i.where()} },
	}
	for _, f := range found {
		sec.items = append(sec.items, item{
			severity: f.Severity, id: f.Rule, title: cmp.Or(f.Title, f.Rule), message: f.Match,
			full: "Something that looks like a credential: " + cmp.Or(f.Title, f.Rule) + ".",
			path: f.Path, startLine: f.StartLine, endLine: f.EndLine, kind: f.Category,
		})
	}
	return sec
}

func misconfigurations(found []pratique.Misconfiguration) section {
	sec := section{
		title: "misconfigurations", rule: "Misconfiguration", tags: []string{"misconfiguration",
			"security"}, security: true,
		columns: []string{"SEVERITY", "ID", "TITLE", "WHERE"},
		cells:   func(i item) []string { return []string{i.severity.String(), i.id, i.title, i.where()} },
	}
	for _, f := range found {
		full := cmp.Or(f.Description, f.Title, f.ID)
		if f.Resolution != "" {
			full += " " + f.Resolution + "."
		}
		sec.items = append(sec.items, item{
			severity: f.Severity, id: f.ID, title: cmp.Or(f.Title, f.ID), full: full, link: f.PrimaryURL,
			message: cmp.Or(f.Message, f.Title), path: f.Path, startLine: f.StartLine,
			endLine: f.EndLine, kind: f.Type,
		})
	}
	return sec
}

func licenses(found []pratique.License) section {
	sec := section{
		title: "licenses", rule: "License", tags: []string{"license"},
		columns: []string{"SEVERITY", "LICENSE", "PACKAGE", "CATEGORY", "WHERE"},
		cells: func(i item) []string {
			return []string{i.severity.String(), strings.TrimPrefix(i.id, licenseRule), i.name,
				i.kind, i.path}
		},
	}
	for _, f := range found {
		sec.items = append(sec.items, item{
			severity: f.Severity, id: licenseRule + f.Name, title: "License " + f.Name,
			full:    fmt.Sprintf("License %s, which is %s.", f.Name, f.Category),
			message: fmt.Sprintf("license %s (%s)", f.Name, f.Category), name: f.Package,
			path: f.Path, kind: f.Category,
		})
	}
	return sec
}

// licenseRule distinguishes names of licenses from the ids of other rules.
const licenseRule = "license/"

// summary counts the findings by severity.
func (sec section) summary() string {
	if len(sec.items) == 0 {
		return "none found"
	}
	counts := pratique.Counts{}
	for _, i := range sec.items {
		counts[i.severity]++
	}
	return count(len(sec.items), "finding") + ": " + severities(counts)
}

func (st Style) section(b *strings.Builder, sec section) {
	fmt.Fprintf(b, "%s: %s\n", sec.title, sec.summary())
	if len(sec.items) == 0 {
		return
	}
	rows := [][]string{sec.columns}
	for _, i := range sec.items {
		row := sec.cells(i)
		for n := range row {
			row[n] = display.Line(row[n])
		}
		rows = append(rows, row)
	}
	st.table(b, rows)
}

// sarifRules makes one rule of each id, with the severity of its worst finding, in no order.
func (sec section) sarifRules() []sarifRule {
	worst := map[string]item{}
	for _, i := range sec.items {
		if known, ok := worst[i.id]; !ok || i.severity > known.severity {
			worst[i.id] = i
		}
	}
	var rules []sarifRule
	for _, i := range worst {
		text := display.Line(i.full)
		link, help := display.Line(i.id), fmt.Sprintf("%s\nSeverity: %s\n%s", display.Line(i.title),
			i.severity, text)
		if i.link != "" {
			help += "\nLink: " + i.link
			link = fmt.Sprintf("[%s](%s)", link, i.link)
		}
		r := sarifRule{
			ID: i.id, Name: sec.rule, ShortDescription: sarifText{Text: display.Line(i.title)},
			FullDescription: sarifText{Text: text},
			HelpURI:         i.link, Help: sarifText{Text: help, Markdown: fmt.Sprintf("**%s** %s\n\n%s",
				i.severity, link, text)},
			DefaultConfiguration: sarifLevel{Level: level(i.severity)},
			Properties: sarifRuleProps{Precision: "high",
				Tags: append(slices.Clone(sec.tags), i.severity.String())},
		}
		if sec.security {
			r.Properties.SecuritySeverity = score(pratique.Finding{Severity: i.severity})
		}
		rules = append(rules, r)
	}
	return rules
}

func (sec section) sarifResult(img Image, i item, rule int, seen map[string]int) sarifResult {
	file, name := i.path, cmp.Or(i.name, i.path, "configuration")
	if file == "" {
		file = img.Subject.Repository.Path // there is no file, and viewers want one
	}
	parts := []string{img.Subject.Repository.Path, string(img.Config.Platform), string(sec.id),
		i.id, i.name, i.path}
	mark := fmt.Sprintf("%x", sha256.Sum256([]byte(strings.Join(parts, "\x00"))))[:32]
	message := fmt.Sprintf("%s: %s (%s): %s", display.Line(cmp.Or(i.name, i.where())),
		display.Line(i.title), i.severity, display.Line(i.message))
	start := max(1, i.startLine)
	return sarifResult{
		RuleID: i.id, RuleIndex: rule, Level: level(i.severity), Message: sarifText{Text: message},
		Locations: []sarifLocation{{
			PhysicalLocation: sarifPhysical{
				ArtifactLocation: sarifArtifact{URI: uri(file)},
				Region: sarifRegion{StartLine: start, StartColumn: 1,
					EndLine: max(start, i.endLine), EndColumn: 1},
			},
			LogicalLocations: []sarifLogical{{
				Name: display.Line(name), FullyQualifiedName: display.Line(img.Subject.String() +
					"#" + name), Kind: sec.kind(),
			}},
			Message: sarifText{Text: display.Line(i.where())},
		}},
		PartialFingerprints: map[string]string{fingerprint: numbered(mark, seen)},
		Properties:          sarifResultProps{Severity: i.severity.String()},
	}
}

// kind is the kind of the thing that a finding is about.
func (sec section) kind() string {
	if sec.id == pratique.ExtraLicenses {
		return "package"
	}
	return "resource"
}
