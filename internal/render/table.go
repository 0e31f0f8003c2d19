package render

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/display"
)

// Style of a table.
type Style struct {
	// Width is the width of the terminal in columns. Zero shortens nothing, for files and pipes.
	Width int
	// Color colors severities.
	Color bool
	// Now is the time for ages.
	Now time.Time
}

// Table writes the findings of each image, grouped by list, the worst first.
func Table(w io.Writer, s Scan, style Style) error {
	var b strings.Builder
	for i, img := range s.Images {
		if i > 0 {
			b.WriteString("\n")
		}
		style.image(&b, s, img)
	}
	if len(s.NotInspected) > 0 {
		fmt.Fprintf(&b,
			"\nNot inspected, and not evaluated: %s. --platform all takes every platform.\n",
			platforms(s.NotInspected))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (st Style) image(b *strings.Builder, s Scan, img Image) {
	fmt.Fprintf(b, "%s (%s)\n", display.Line(s.Ref), display.Line(string(img.Config.Platform)))
	fmt.Fprintf(b, "  image     %s\n", img.Subject.Digest)
	db := img.Report.Database
	fmt.Fprintf(b, "  database  %s\n  built     %s\n", db.Digest, age(db.Age(st.Now)))
	if words := system(img); words != "" {
		fmt.Fprintf(b, "  system    %s\n", words)
	}
	groups := group(img.Report.Findings)
	for _, g := range groups {
		b.WriteString("\n")
		st.list(b, g)
	}
	for _, sec := range sectionsOf(img.Extras) {
		b.WriteString("\n")
		st.section(b, sec)
	}
	fmt.Fprintf(b, "\n%s, %s\n", count(img.Packages, "package"), summary(img.Report.Findings))
	for _, gap := range gaps(img) {
		fmt.Fprintf(b, "  %s\n", st.fit(gap, 2))
	}
	if v := img.Verdict; v != nil {
		fmt.Fprintf(b, "The policy %s it.\n", map[pratique.Outcome]string{pratique.Allow: "allows",
			pratique.Deny: "denies"}[v.Outcome])
		for _, r := range v.Reasons {
			fmt.Fprintf(b, "  %s: %s\n", display.Line(r.Rule), display.Line(r.Message))
		}
		for _, r := range v.Notes {
			fmt.Fprintf(b, "  note, %s: %s\n", display.Line(r.Rule), display.Line(r.Message))
		}
	}
}

func platforms(all []pratique.Platform) string {
	words := make([]string, len(all))
	for i, p := range all {
		words[i] = cmp.Or(display.Line(string(p)), "an image without a platform")
	}
	return strings.Join(words, ", ")
}

// fit shortens a line that is indented.
func (st Style) fit(line string, indented int) string {
	if st.Width == 0 {
		return line
	}
	return cut(line, max(st.Width-indented, 20))
}

// age says how long ago something was.
func age(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= 2*day:
		return fmt.Sprintf("%d days ago", d/day)
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d hours ago", d/time.Hour)
	default:
		return "recently"
	}
}

// list is the findings of one list of packages.
type list struct {
	name, kind string
	class      pratique.PackageClass
	findings   []pratique.Finding
}

func group(findings []pratique.Finding) []list {
	var all []list
	for _, f := range findings {
		name := place(f)
		at := slices.IndexFunc(all, func(l list) bool {
			return l.name == name && l.kind == f.Type && l.class == f.Class
		})
		if at < 0 {
			at = len(all)
			all = append(all, list{name: name, kind: f.Type, class: f.Class})
		}
		all[at].findings = append(all[at].findings, f)
	}
	slices.SortStableFunc(all, func(a, b list) int {
		if a.class != b.class {
			return -strings.Compare(string(a.class), string(b.class)) // os-pkgs before lang-pkgs
		}
		return strings.Compare(a.name, b.name)
	})
	return all
}

// summary counts findings by severity, and those with a fix.
func summary(findings []pratique.Finding) string {
	if len(findings) == 0 {
		return "no findings"
	}
	fixable := 0
	for _, f := range findings {
		if f.Fixed != "" {
			fixable++
		}
	}
	return fmt.Sprintf("%s: %s; %d can be fixed", count(len(findings), "finding"),
		severities(pratique.Report{Findings: findings}.Counts()), fixable)
}

// severities counts findings by severity, the worst first.
func severities(counts pratique.Counts) string {
	var parts []string
	for _, severity := range pratique.Severities() {
		if n := counts[severity]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, severity))
		}
	}
	return strings.Join(parts, ", ")
}

func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

var columns = [...]string{"SEVERITY", "ID", "PACKAGE", "INSTALLED", "FIXED IN", "TITLE"}

// maxWidths are the maximum widths of the columns if the width is limited. The last column gets the
// rest.
var maxWidths = [...]int{8, 20, 28, 24, 24}

func (st Style) list(b *strings.Builder, l list) {
	head := display.Line(l.name)
	if l.kind != l.name && l.class != pratique.ClassOS {
		head += " (" + display.Line(l.kind) + ")"
	}
	fmt.Fprintf(b, "%s: %s\n", head, summary(l.findings))
	rows := [][]string{columns[:]}
	for _, f := range l.findings {
		rows = append(rows, []string{
			f.Severity.String(), display.Line(f.ID), display.Line(f.Package),
			display.Line(f.Installed), fixed(f), display.Line(f.Title),
		})
	}
	st.table(b, rows)
}

// table writes rows. The first one has the titles, and the first cells of the others are severities.
func (st Style) table(b *strings.Builder, rows [][]string) {
	widths := st.widths(rows)
	for i, row := range rows {
		st.row(b, row, widths, i > 0)
	}
}

// fixed is the fixed version of a finding, or the vendor's status if there is none.
func fixed(f pratique.Finding) string {
	if f.Fixed == "" && f.Status != "affected" && f.Status != "unknown" {
		return display.Line(strings.ReplaceAll(f.Status, "_", " "))
	}
	return display.Line(f.Fixed)
}

func (st Style) widths(rows [][]string) []int {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	if st.Width == 0 {
		return widths
	}
	const minTitle = 20
	left := st.Width - 2
	for i := range widths[:len(widths)-1] {
		widths[i] = min(widths[i], maxWidths[i])
		left -= widths[i] + 2
	}
	if title := &widths[len(widths)-1]; *title > left {
		*title = left
		if left < minTitle {
			*title = 0 // a few letters are useless
		}
	}
	return widths
}

func (st Style) row(b *strings.Builder, row []string, widths []int, data bool) {
	var line strings.Builder
	for i, cell := range row {
		if widths[i] == 0 {
			continue
		}
		cell = cut(cell, widths[i])
		pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
		if i == 0 && data && st.Color {
			cell = color(row[0]) + cell + "\033[0m"
		}
		line.WriteString("  " + cell + pad)
	}
	b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
}

func color(severity string) string {
	switch severity {
	case "CRITICAL":
		return "\033[1;31m"
	case "HIGH":
		return "\033[31m"
	case "MEDIUM":
		return "\033[33m"
	case "LOW":
		return "\033[34m"
	default:
		return "\033[2m"
	}
}

func cut(s string, limit int) string {
	if utf8.RuneCountInString(s) <= limit {
		return s
	}
	return string([]rune(s)[:limit-1]) + "…"
}
