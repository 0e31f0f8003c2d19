package pratique

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Excerpt returns at most so many bytes of text that somebody else wrote, and an ellipsis where it
// was cut. What is not UTF-8 in it is replaced, so that it can be shown and encoded. It is for
// texts that are shown, never for those that are compared.
func Excerpt(text string, most int) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= most {
		return text
	}
	const ellipsis = "…"
	end := max(most-len(ellipsis), 0)
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + ellipsis
}

// Clip returns what an error message quotes of text that somebody else wrote: one line of at most
// 200 bytes, cut as [Excerpt] does, with spaces in place of control characters. So hostile input
// neither floods nor forges logs and answers of the API.
func Clip(text string) string {
	const most = 200
	return Excerpt(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text), most)
}
