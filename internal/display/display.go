// Package display removes from text what terminals, or the logs of CI runners, would obey: escape
// sequences, and lines such as "::error::". Images, registries, senders, submitters and config
// repositories control such text.
package display

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Line returns s as part of one line. Everything that is not printable becomes a space: control
// characters (C0 and C1), line breaks, direction marks, bytes that are not UTF-8. The openings of
// workflow commands are broken up: "##" with anything after it (##[error], ##vso[task.complete],
// ##teamcity[message]), and "::" at the start.
func Line(s string) string {
	var b strings.Builder
	f := filter{out: &b, line: true}
	f.text([]byte(s))
	return b.String()
}

// Code returns s as inline code in Markdown. Backquotes, which would end the code, become quotation
// marks.
func Code(s string) string {
	return "`" + strings.ReplaceAll(Line(s), "`", "'") + "`"
}

// Text returns a writer that replaces what [Line] replaces, but keeps tabs and line breaks. A
// program wraps its output in it, so that a field that somebody forgot to escape is harmless.
func Text(w io.Writer) io.Writer { return &writer{w: w} }

// JSON returns a writer for JSON documents. What [Text] replaces becomes a JSON escape sequence,
// which means the same to a program and nothing to a terminal.
func JSON(w io.Writer) io.Writer { return &writer{w: w, filter: filter{json: true}} }

// Raw returns the writer under those of [Text] and [JSON], for the program's own control sequences:
// colors, progress lines.
func Raw(w io.Writer) io.Writer {
	for {
		above, ok := w.(*writer)
		if !ok {
			return w
		}
		w = above.w
	}
}

// writer passes text through a filter. It buffers an incomplete character.
type writer struct {
	w      io.Writer
	filter filter
	rest   []byte
}

// Write implements [io.Writer].
func (w *writer) Write(p []byte) (int, error) {
	var b strings.Builder
	b.Grow(len(p) + len(p)/16)
	w.filter.out = &b
	text := p
	if len(w.rest) > 0 {
		text = append(w.rest, p...)
	}
	whole := complete(text)
	w.filter.text(text[:whole])
	w.rest = bytes.Clone(text[whole:])
	if _, err := io.WriteString(w.w, b.String()); err != nil {
		return 0, err
	}
	return len(p), nil
}

// complete is the length of b without an incomplete character at its end.
func complete(b []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(b); n++ {
		if last := b[len(b)-n:]; utf8.RuneStart(last[0]) {
			if !utf8.FullRune(last) {
				return len(b) - n
			}
			break
		}
	}
	return len(b)
}

// filter is the state of the text so far.
type filter struct {
	out *strings.Builder
	// line says that line breaks and tabs are replaced, too; json that the text is JSON.
	line, json bool
	// hashes are those just written; begun says that the line has more than spaces and colons;
	// colon that the last character was the colon at its start.
	hashes       int
	begun, colon bool
}

func (f *filter) text(b []byte) {
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		f.rune(r, r == utf8.RuneError && size == 1)
		b = b[size:]
	}
}

func (f *filter) rune(r rune, broken bool) {
	switch {
	case r == '\n' && !f.line:
		f.hashes, f.begun, f.colon = 0, false, false
		f.out.WriteByte('\n')
		return
	case r == '\t' && !f.line:
		f.hashes, f.colon = 0, false
		f.out.WriteByte('\t')
		return
	case broken, !unicode.IsPrint(r):
		f.replace(r, broken)
		r = ' '
	case f.json && r == '#' && f.hashes > 0: // what follows may be JSON's own quote or backslash
		f.escape(r)
	// ##[, ##vso[, ##teamcity[
	case r == ':' && f.colon, !f.json && f.hashes >= 2 && r != '#' && r != ' ':
		f.separate(r)
	default:
		f.out.WriteRune(r)
	}
	if r == '#' {
		f.hashes++
	} else {
		f.hashes = 0
	}
	f.colon = r == ':' && !f.begun
	f.begun = f.begun || !unicode.IsSpace(r) && r != ':'
}

// replace writes the replacement of a character that is not printable.
func (f *filter) replace(r rune, broken bool) {
	switch {
	case !f.json:
		f.out.WriteByte(' ')
	case broken:
		f.out.WriteRune(utf8.RuneError)
	default:
		f.escape(r)
	}
}

// separate writes a character that would complete the opening of a command.
func (f *filter) separate(r rune) {
	if f.json {
		f.escape(r)
		return
	}
	f.out.WriteByte(' ')
	f.out.WriteRune(r)
}

// escape writes a character as a JSON escape sequence: one or two UTF-16 units.
func (f *filter) escape(r rune) {
	if r <= 0xffff {
		fmt.Fprintf(f.out, `\u%04x`, r)
		return
	}
	r -= 0x10000
	fmt.Fprintf(f.out, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
}
