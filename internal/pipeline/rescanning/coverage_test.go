package rescanning_test

import (
	"bytes"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/scanner"
)

func unmatched(reason pratique.UnmatchedReason) *pratique.Coverage {
	return &pratique.Coverage{Unmatched: []pratique.Unmatched{{Class: pratique.ClassLanguage,
		Type: "x", Packages: 6, Reason: reason}}}
}

// TestCoverageAfterARescan is that of a full match: it stays where a list is matched in pieces,
// since the delta would have said if it changed, and it is found out where the whole list is, also
// if what was found stays the same.
func TestCoverageAfterARescan(t *testing.T) {
	before, now := unmatched(pratique.UnmatchedUnsupported), unmatched(pratique.UnmatchedNoAdvisories)
	for name, test := range map[string]struct {
		whole, early bool
		want         *pratique.Coverage
	}{
		"in pieces":                         {want: before},
		"as a whole":                        {whole: true, want: now},
		"what an earlier version had found": {early: true, want: now},
	} {
		t.Run(name, func(t *testing.T) {
			c, lists := builds(t, 2)
			for i, list := range lists {
				docs, err := scanner.FindingsDocuments(pratique.Report{Findings: c.findIn(list),
					Coverage: before})
				if err != nil {
					t.Fatal(err)
				}
				last := docs[len(docs)-1]
				if test.early {
					content := bytes.Replace(last.Content, []byte("findings/4"), []byte("findings/3"), 1)
					last = scanner.Document{Digest: pratique.DigestOf(content), Content: content}
				}
				c.lists[i].Findings = c.store(last, nil)
			}
			c.whole = test.whole
			c.cover = func(pratique.Inventory) *pratique.Coverage { return now }
			c.run()
			for i, list := range lists {
				want, err := scanner.FindingsDocuments(pratique.Report{Findings: c.findIn(list),
					Coverage: test.want})
				if err != nil {
					t.Fatal(err)
				}
				if have := c.matched[i].Findings; have != want[len(want)-1].Digest {
					t.Errorf("list %d: %s\nwant %s", i, c.docs[have], want[len(want)-1].Content)
				}
			}
		})
	}
}
