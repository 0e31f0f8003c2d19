package pkgdb

import (
	"io"
	"strings"

	"github.com/pratique-dev/pratique"
)

// checkApk is of apk's list of what is installed. Trivy takes the version of a source package from the line V: that it saw
// last, which is the package before if the origin comes first. apk never writes that.
func checkApk(name string, r io.Reader) error {
	var of string
	var seen map[string]bool
	return checkLines(r, func(n int, line string) error {
		const shortest = 2 // apk takes whatever is shorter for the end of a stanza
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
			return corrupt("%s, line %d: %s stands twice in the stanza of %s: have apk write the file", name, n, field, of)
		case field == "o:" && !(seen["P:"] && seen["V:"]):
			return corrupt("%s, line %d: o: comes before P: or V: in the stanza of %s: have apk write the file", name, n, of)
		case seen == nil:
			seen = map[string]bool{}
		}
		seen[field] = true
		return nil
	})
}
