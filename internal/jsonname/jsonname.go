// Package jsonname knows which names of JSON members Go treats as equal.
package jsonname

import (
	"strings"
	"unicode"
)

// Fold maps the names that encoding/json treats as equal to one text: those that differ in case by
// Unicode's simple folding, in which ſ is an s and the Kelvin sign a k.
func Fold(name string) string {
	return strings.Map(func(r rune) rune {
		smallest := r
		for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
			smallest = min(smallest, next)
		}
		return smallest
	}, name)
}
