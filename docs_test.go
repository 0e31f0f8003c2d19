package pratique_test

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// markdown returns the pages of the repository by their paths, without what is fenced off as code.
func markdown(t *testing.T) map[string]string {
	t.Helper()
	fences := regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	pages := map[string]string{}
	err := filepath.WalkDir(".", func(path string, d os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "bin" ||
			d.Name() == "testdata"):
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".md":
			return nil
		}
		content, err := os.ReadFile(path)
		pages[path] = fences.ReplaceAllString(string(content), "")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(pages) < 20 {
		t.Fatalf("found %d pages only", len(pages))
	}
	return pages
}

// TestLinks: each relative link of a Markdown page leads to a file, and to a heading in it where it
// names one.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^()\s]+)\)`)
	pages := markdown(t)
	for path, text := range pages {
		for _, match := range link.FindAllStringSubmatch(text, -1) {
			u, err := url.Parse(match[1])
			if err != nil {
				t.Errorf("%s: link %q: %v", path, match[1], err)
				continue
			}
			if u.IsAbs() {
				continue
			}
			file := path
			if u.Path != "" {
				file = filepath.Join(filepath.Dir(path), filepath.FromSlash(u.Path))
			}
			if _, err := os.Stat(file); err != nil {
				t.Errorf("%s: link %q: %v", path, match[1], err)
			} else if u.Fragment != "" && !slices.Contains(anchors(pages[file]), u.Fragment) {
				t.Errorf("%s: link %q: %s has no such heading", path, match[1], file)
			}
		}
	}
}

// anchors returns the names that headings of a page have in links.
func anchors(text string) []string {
	var all []string
	drop := regexp.MustCompile(`[^\p{L}\p{N}\- _]`)
	for line := range strings.SplitSeq(text, "\n") {
		if title := strings.TrimLeft(line, "#"); title != line && strings.HasPrefix(title, " ") {
			all = append(all,
				strings.ReplaceAll(drop.ReplaceAllString(strings.ToLower(strings.TrimSpace(title)),
					""), " ", "-"))
		}
	}
	return all
}

// TestDecisions: each page has a number of its own, a date, a status, and the three parts in their
// order; and the list of pages names it by its title.
func TestDecisions(t *testing.T) {
	const folder = "docs/decisions"
	list, err := os.ReadFile(folder + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(folder + "/[0-9]*.md")
	if err != nil || len(files) < 40 {
		t.Fatalf("%d pages, %v", len(files), err)
	}
	other := `\[\d{4}\]\(\d{4}-[a-z0-9-]+\.md\)`
	head := regexp.MustCompile(`^# (\d{4}) (.+)\n\n\*\*Date\*\* (\d{4}-\d\d-\d\d) · \*\*Status\*\* ` +
		`(accepted|accepted, amended by ` + other + `(, ` + other + `)*|superseded by ` + other + `)\n\n`)
	numbers := map[string]string{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		match := head.FindStringSubmatch(string(content))
		if match == nil {
			t.Errorf("%s: want \"# NNNN Title\", then \"**Date** YYYY-MM-DD · **Status** accepted\" or \"superseded by [NNNN](…)\"", file)
			continue
		}
		number, title, date := match[1], match[2], match[3]
		if !strings.HasPrefix(filepath.Base(file), number+"-") || numbers[number] != "" {
			t.Errorf("%s: its number %s is not that of the file, or %s has it", file, number,
				numbers[number])
		}
		numbers[number] = file
		if _, err := time.Parse(time.DateOnly, date); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		after := string(content)
		for _, part := range []string{"Context", "Choice", "Given up"} {
			var found bool
			if _, after, found = strings.Cut(after, "\n## "+part+"\n\n"); !found {
				t.Errorf("%s: want the parts Context, Choice, Given up, in this order; missing is %q", file, part)
				break
			}
		}
		if line := fmt.Sprintf("- [%s](%s) %s\n", number, filepath.Base(file),
			title); !strings.Contains(string(list), line) {
			t.Errorf("%s/README.md: want the line %q", folder, line)
		}
	}
}

// TestNamedFiles: CONTRIBUTING.md says where to put what, so each file and folder that it names is
// there.
func TestNamedFiles(t *testing.T) {
	page, err := os.ReadFile("CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	file := regexp.MustCompile("`([a-z_.]+/[A-Za-z0-9_./-]+)`")
	for _, match := range file.FindAllStringSubmatch(string(page), -1) {
		if strings.Contains(match[1], "NAME") {
			match[1] = filepath.Dir(match[1])
		}
		if _, err := os.Stat(match[1]); err != nil {
			t.Errorf("CONTRIBUTING.md names %s: %v", match[0], err)
		}
	}
}

// TestLayoutNamesAllPackages: the layout in docs/ARCHITECTURE.md has a place for each package.
func TestLayoutNamesAllPackages(t *testing.T) {
	page, err := os.ReadFile("docs/ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	_, layout, _ := strings.Cut(string(page), "```\n")
	layout, _, _ = strings.Cut(layout, "```")
	for _, p := range packages(t) {
		place := filepath.Base(p.ImportPath) + "/"
		if p.ImportPath == "cmd/pratique" {
			place = p.ImportPath + "/"
		}
		within := strings.HasPrefix(p.ImportPath, "internal/testenv/") ||
			strings.HasPrefix(p.ImportPath, "internal/inspector/")
		if p.ImportPath != "" && !within &&
			!regexp.MustCompile(`(?m)^ *(\S+/ )*`+regexp.QuoteMeta(place)+`( |$)`).MatchString(layout) {
			t.Errorf("docs/ARCHITECTURE.md: the layout does not name %s", p.ImportPath)
		}
	}
}

// TestReadmeIsAFrontDoor: what does not fit has a page of its own.
func TestReadmeIsAFrontDoor(t *testing.T) {
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(string(page), "\n"); lines > 150 {
		t.Errorf("README.md has %d lines, more than 150", lines)
	}
}

// TestNamedTests: a test that a page names exists; a name that ends with * stands for those that
// begin so.
func TestNamedTests(t *testing.T) {
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	var tests []string
	err := filepath.WalkDir(".", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		content, err := os.ReadFile(path)
		for _, match := range declared.FindAllSubmatch(content, -1) {
			tests = append(tests, string(match[1]))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w*)(\\*?)`")
	for path, text := range markdown(t) {
		for _, match := range named.FindAllStringSubmatch(text, -1) {
			is := func(test string) bool {
				return test == match[1] || match[2] != "" && strings.HasPrefix(test, match[1])
			}
			if !slices.ContainsFunc(tests, is) {
				t.Errorf("%s names %s, and there is no such test", path, match[0])
			}
		}
	}
}
