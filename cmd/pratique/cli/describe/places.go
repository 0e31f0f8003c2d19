package describe

import (
	"fmt"
	"strings"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/cmd/pratique/words"
	"github.com/pratique-dev/pratique/internal/display"
)

// maxPlaces bounds what is printed of one target; --json and the API have more.
const maxPlaces = 20

// places says of each target what it holds now.
func places(b *strings.Builder, git *api.ImagePlaces) {
	if git == nil || len(git.Targets) == 0 {
		return
	}
	b.WriteString("\nGit holds now\n")
	for _, t := range git.Targets {
		fmt.Fprintf(b, "  %s, %s of %s", display.Line(t.Target), display.Line(t.Branch),
			display.Line(t.Remote))
		if t.Tip != "" {
			fmt.Fprintf(b, ", at commit %s", display.Line(t.Tip))
		}
		b.WriteString("\n")
		if t.Failure != "" {
			fmt.Fprintf(b, "    %s\n", display.Line(t.Failure))
			if t.ObservedAt == nil {
				continue
			}
			fmt.Fprintf(b, "    last known, at %s:\n", words.Stamp(*t.ObservedAt))
		}
		for i, p := range t.Places {
			if i == maxPlaces {
				fmt.Fprintf(b, "    … and %d more places\n", t.Count-maxPlaces)
				break
			}
			writePlace(b, p)
		}
		if t.Count == 0 {
			b.WriteString("    no place asks for the image\n")
		}
		for _, p := range t.Hints {
			fmt.Fprintf(b, "    %s\n", display.Line(p.String()))
		}
		for _, p := range t.Broken {
			fmt.Fprintf(b, "    cannot be edited: %s\n", display.Line(p.String()))
		}
	}
}

func writePlace(b *strings.Builder, p api.HeldPlace) {
	what := "another image"
	if p.ThisImage {
		what = "this image"
	} else if p.Digest.IsZero() {
		what = "no digest"
	}
	fmt.Fprintf(b, "    %s:%d%s: %s", display.Line(p.Path), p.Line, objectOf(p.Object, p.Field), what)
	if p.Tag != "" {
		fmt.Fprintf(b, ", tag %s", display.Line(p.Tag))
	}
	if !p.Digest.IsZero() && !p.ThisImage {
		fmt.Fprintf(b, ", %s", p.Digest)
	}
	if p.Since != "" {
		fmt.Fprintf(b, ", since commit %s", display.Line(p.Since))
	}
	b.WriteString("\n")
}

// objectOf names what stands on a line, in parentheses; nothing if that is not known.
func objectOf(o pratique.Object, field string) string {
	if at := o.At(field); at != "" {
		return " (" + display.Line(at) + ")"
	}
	return ""
}
