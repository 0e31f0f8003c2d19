package pratique

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Excerpt returns at most that many bytes of a text that somebody else wrote, with an ellipsis if it
// was shortened. Invalid UTF-8 is replaced. Use it for texts that are displayed, never for texts
// that are compared.
func Excerpt(text string, limit int) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= limit {
		return text
	}
	const ellipsis = "…"
	end := max(limit-len(ellipsis), 0)
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + ellipsis
}

// Clip shortens a text that somebody else wrote for an error message: one line of at most 200 bytes,
// with spaces in place of control characters. So hostile input neither floods nor forges logs and
// responses.
func Clip(text string) string {
	const limit = 200
	return Excerpt(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text), limit)
}
