package pkgdb

import (
	"io"
	"slices"
	"strings"

	"github.com/pratique-dev/pratique"
)

// knownFields are the fields that an engine reads, as dpkg writes them.
func knownFields() []string {
	return []string{
		"Package", "Status", "Source", "Version", "Architecture", "Maintainer", "Installed-Size",
		"Description", "Provides",
		"Depends", "Pre-Depends", "Conffiles",
	}
}

// dpkgStanza is the relevant part of a stanza.
type dpkgStanza struct {
	name, status string
	statusAt     int
	seen         []string
	last         string // the field that a line with a leading space continues
}

// checkDpkg checks dpkg's status file. dpkg ignores the case of field names, and uses the last word
// of Status as the state.
func checkDpkg(name string, r io.Reader) error {
	fields := knownFields()
	var s dpkgStanza
	err := checkLines(r, func(n int, line string) error {
		if line == "" {
			defer func() { s = dpkgStanza{} }()
			return s.check(name)
		}
		if strings.ContainsRune(" \t\v\f\r", rune(line[0])) {
			if s.last == "Status" && len(s.status) < maxLine {
				s.status += " " + line
			}
			return nil
		}
		field, value, ok := strings.Cut(line, ":")
		if s.last = ""; !ok {
			return nil // Trivy reports it
		}
		at := slices.IndexFunc(fields, func(f string) bool {
			return strings.EqualFold(foldField(f), foldField(field))
		})
		switch {
		case at < 0:
			return nil
		case field != fields[at]:
			return corrupt("%s, line %d: dpkg writes %s, and readers differ in what this field is: have dpkg write the file", name, n, fields[at])
		case slices.Contains(s.seen, field):
			return corrupt("%s, line %d: the field %s occurs twice in a stanza: have dpkg write the file", name, n, field)
		}
		s.seen, s.last = append(s.seen, field), field
		switch field {
		case "Package":
			s.name = pratique.Excerpt(strings.TrimSpace(value), maxShown)
		case "Status":
			s.status, s.statusAt = value, n
			if len(line) >= maxLine {
				return s.errStatus(name)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.check(name)
}

// foldField normalizes the name of a field as the most tolerant reader does, except for its case.
func foldField(field string) string { return strings.ReplaceAll(strings.TrimSpace(field), "-", "") }

// check refuses a package that is installed according to dpkg, and that an engine leaves out: both
// use the wanted state, Trivy by words and Syft by substrings.
func (s dpkgStanza) check(name string) error {
	if len(s.status) >= maxLine {
		return s.errStatus(name)
	}
	words := strings.Fields(s.status)
	if !slices.Contains(words, "purge") && !strings.Contains(s.status, "deinstall") {
		return nil
	}
	if len(words) != 3 {
		return s.errStatus(name)
	}
	for _, gone := range []string{"not-installed", "config-files"} {
		if strings.EqualFold(words[2], gone) {
			return nil
		}
	}
	return corrupt("%s, line %d: dpkg is asked to remove %s and has not done it: finish with apt-get purge, or keep it with dpkg --set-selections",
		name, s.statusAt, s.name)
}

func (s dpkgStanza) errStatus(name string) error {
	return corrupt("%s, line %d: dpkg never writes this status of %s: have dpkg write the file",
		name, s.statusAt, s.name)
}
