package display_test

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/pratique-dev/pratique/internal/display"
)

func TestLine(t *testing.T) {
	for in, want := range map[string]string{
		"clusters/prod/app.yaml":           "clusters/prod/app.yaml",
		"größe 日本 ✓":                       "größe 日本 ✓",
		"a\x1b]0;pwned\a\x1b[2Jb":          "a ]0;pwned  [2Jb",
		"a\u009b32mb":                      "a 32mb",
		"a\xffb":                           "a b",
		"a\r\n::error::b":                  "a  ::error::b",
		"::error::b":                       ": :error::b",
		"  ::error::b":                     "  : :error::b",
		"x ##[stop-commands]y":             "x ## [stop-commands]y",
		"###[group]":                       "### [group]",
		"a ##vso[task.complete]b":          "a ## vso[task.complete]b",
		"##teamcity[buildStatus]":          "## teamcity[buildStatus]",
		"## a heading, # one, C##":         "## a heading, # one, C##",
		"user\u202egnp.exe":                "user gnp.exe",
		"a\tb":                             "a b",
		"std::string":                      "std::string",
		"tag[1] #[x] # [y]":                "tag[1] #[x] # [y]",
		":::add-mask::":                    ": : :add-mask::",
		"zero\u200bwidth \u2028 separator": "zero width   separator",
	} {
		if got := display.Line(in); got != want {
			t.Errorf("Line(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestCodeCannotBeLeft(t *testing.T) {
	if got, want := display.Code("x`\n\n# Pratique: allowed"), "`x'  # Pratique: allowed`"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTextKeepsLinesAndTabs(t *testing.T) {
	var out bytes.Buffer
	w := display.Text(&out)
	// Cut within a character, within an opening, and at the start of a line.
	for _, part := range []string{"a\tb\n :", ":error::c\n##", "[group]\n\xe2\x9c",
		"\x93 \x1b[31m\xc2", "\x9b1m\n", "::debug::x\n"} {
		if n, err := w.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
	}
	if got, want := out.String(),
		"a\tb\n : :error::c\n## [group]\n✓  [31m 1m\n: :debug::x\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestJSONMeansTheSame(t *testing.T) {
	value := map[string]string{"a": "##[x] \u009b \u202e é \U000e0001 ✓", "::b": "::c\n\x1b",
		"C##": "C##", "#": "##\n", "\\": "##\\d", "\"": "##\"###"}
	raw, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := display.JSON(&out).Write(raw); err != nil {
		t.Fatal(err)
	}
	if s := out.String(); strings.ContainsAny(s, "\u009b\u202e\x1b\U000e0001") ||
		strings.Contains(s, "##") || !strings.Contains(s, "✓") {
		t.Errorf("written as %s", s)
	}
	var back map[string]string
	if err := json.Unmarshal(out.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	for k, v := range value {
		if back[k] != v {
			t.Errorf("%q: got %q, want %q", k, back[k], v)
		}
	}
}

func FuzzText(f *testing.F) {
	// anywhere in a line: ##[group], ##vso[task.complete], ##teamcity[message]
	command := regexp.MustCompile(`##[^# \t]`)
	f.Add([]byte("a ::b\n##[c]\x1b"), 3)
	f.Add([]byte("##vso[task.complete]"), 2)
	f.Fuzz(func(t *testing.T, in []byte, cut int) {
		var whole, parts bytes.Buffer
		_, _ = display.Text(&whole).Write(in)
		if cut < 0 || cut > len(in) {
			cut = len(in)
		}
		w := display.Text(&parts)
		_, _ = w.Write(in[:cut])
		_, _ = w.Write(in[cut:])
		if whole.String() != parts.String() {
			t.Errorf("in one piece %q, in two %q", whole.String(), parts.String())
		}
		for line := range strings.SplitSeq(whole.String(), "\n") {
			if strings.HasPrefix(strings.TrimSpace(line), "::") || command.MatchString(line) {
				t.Errorf("%q starts a command", line)
			}
		}
		for _, r := range whole.String() {
			if r != '\n' && r != '\t' && !unicode.IsPrint(r) {
				t.Errorf("%q is not printable", r)
			}
		}
		if !utf8.Valid(whole.Bytes()) {
			t.Error("not UTF-8")
		}
	})
}

// FuzzJSON: whatever a text is, its JSON is read as the same text, and has no opening of a command.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{"C##", "##\n", `##\d`, `##"`, "###[x]", "::a", "\u009b##\U000e0001"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		s = strings.ToValidUTF8(s, "?")
		raw, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if _, err := display.JSON(&out).Write(raw); err != nil {
			t.Fatal(err)
		}
		var back string
		if err := json.Unmarshal(out.Bytes(), &back); err != nil || back != s {
			t.Errorf("%q was written as %s and read as %q, %v", s, out.Bytes(), back, err)
		}
		if strings.Contains(out.String(), "##") {
			t.Errorf("%s", out.Bytes())
		}
	})
}
