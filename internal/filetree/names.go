package filetree

import (
	"slices"
	"strings"
)

// clean returns the elements of a path from the root, without empty ones and dots; ".." is resolved
// lexically.
func clean(name string) []string {
	var parts []string
	for _, part := range split(name) {
		if part != ".." {
			parts = append(parts, part)
		} else if len(parts) > 0 {
			parts = parts[:len(parts)-1]
		}
	}
	return parts
}

// split returns the elements of a path, without empty ones and dots.
func split(name string) []string {
	parts := strings.Split(name, "/")
	return slices.DeleteFunc(parts, func(part string) bool { return part == "" || part == "." })
}
