package deploying

import (
	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/deploy"
	"github.com/pratique-dev/pratique/internal/pipeline"
)

// Bounds of a commit in a fact.
const (
	maxFiles = 100
	maxField = 160 // bytes
)

// excerptOfCommit shortens a commit to what a fact has room for.
func excerptOfCommit(c pratique.Commit) pratique.Commit {
	files := c.Files[:min(len(c.Files), maxFiles)]
	c.MoreFiles += len(c.Files) - len(files)
	c.Files = nil
	for _, f := range files {
		f.Path, f.Old, f.New = pipeline.ExcerptPath(f.Path), pipeline.ExcerptPath(f.Old),
			pipeline.ExcerptPath(f.New)
		f.Field = pratique.Excerpt(f.Field, maxField)
		c.Files = append(c.Files, f)
	}
	return c
}

// excerptOfProblems returns the problems that a fact has room for. Those that keep the change from
// being made come first.
func excerptOfProblems(problems []deploy.TargetProblem) []pratique.PlaceProblem {
	var all []pratique.PlaceProblem
	for _, waits := range []bool{true, false} {
		for _, p := range problems {
			if p.Waits == waits && len(all) < pratique.MaxProblems {
				all = append(all, pratique.PlaceProblem{Target: p.Target, Problem: pratique.Problem{
					Path: pipeline.ExcerptPath(p.Path), Line: p.Line,
					Reason: pipeline.ExcerptPath(p.Reason),
				}})
			}
		}
	}
	return all
}
