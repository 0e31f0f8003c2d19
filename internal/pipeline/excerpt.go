package pipeline

import "github.com/pratique-dev/pratique"

// Bounds of what facts say in words, in bytes, and of what they list. Images, registries and config repositories
// choose the words; a fact that outgrows its limit would be refused.
const (
	mostText  = 2 << 10
	mostName  = 160
	mostPath  = 512 // also of a value in a file
	mostNotes = 20
	mostFiles = 100
)

// excerpts are texts as a fact carries them.
func excerpts(all []string) []string {
	var out []string
	for _, text := range all[:min(len(all), mostNotes)] {
		out = append(out, pratique.Excerpt(text, mostText))
	}
	return out
}

// excerptOfCommit is a commit as a fact carries it.
func excerptOfCommit(c pratique.Commit) pratique.Commit {
	files := c.Files[:min(len(c.Files), mostFiles)]
	c.MoreFiles += len(c.Files) - len(files)
	c.Files = nil
	for _, f := range files {
		f.Path, f.Old, f.New = pratique.Excerpt(f.Path, mostPath), pratique.Excerpt(f.Old, mostPath), pratique.Excerpt(f.New, mostPath)
		f.Field = pratique.Excerpt(f.Field, mostName)
		c.Files = append(c.Files, f)
	}
	return c
}
