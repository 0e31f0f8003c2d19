package pkgdb

import (
	"io"
	"strings"

	"github.com/pratique-dev/pratique"
)

// checkApk checks apk's list of installed packages. Trivy takes the version of a source package
// from the last V: line, which is the previous package's if the origin comes first. apk never
// writes that.
func checkApk(name string, r io.Reader) error {
	var of string
	var seen map[string]bool
	return checkLines(r, func(n int, line string) error {
		const shortest = 2 // a shorter line ends the stanza
		if len(line) < shortest {
			of, seen = "", nil
			return nil
		}
		field := line[:shortest]
		if field != "P:" && field != "V:" && field != "o:" {
			return nil
		}
		if field == "P:" && of == "" {
			of = pratique.Excerpt(strings.TrimSpace(line[shortest:]), maxShown)
		}
		switch {
		case seen[field]:
			return corrupt("%s, line %d: %s occurs twice in the stanza of %s: have apk write the file", name, n, field, of)
		case field == "o:" && !(seen["P:"] && seen["V:"]):
			return corrupt("%s, line %d: o: comes before P: or V: in the stanza of %s: have apk write the file", name, n, of)
		case seen == nil:
			seen = map[string]bool{}
		}
		seen[field] = true
		return nil
	})
}
