// Package jsonname says which names of JSON objects Go takes for one.
package jsonname

import (
	"strings"
	"unicode"
)

// Fold maps the spellings that encoding/json takes for one name to one text: those that differ in case by Unicode's
// simple folding, in which ſ is an s and the Kelvin sign a k.
func Fold(name string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
			least = min(least, next)
		}
		return least
	}, name)
}
