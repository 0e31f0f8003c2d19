package rescanning_test

import (
	"slices"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/scanner"
	"github.com/pratique-dev/pratique/scanner/rescan"
)

// builds makes a rescan of lists of one application, each in a layer and with uids of its own, of
// which only the packages a, b and d are matched again. Before, there was something in a and c.
func builds(t *testing.T, n int) (*inventory, []pratique.Inventory) {
	c := newInventory(t)
	c.delta = rescan.Delta{Names: []string{"a", "b", "d"}}
	var lists []pratique.Inventory
	for i := range n {
		layer := pratique.LayerID{DiffID: pratique.DigestOf([]byte{byte(i)})}
		base := pratique.LayerID{DiffID: pratique.DigestOf([]byte("base"))}
		uid := func(name string) string { return string(rune('z'-i)) + name + string(rune('a'+i)) }
		list := pratique.Inventory{Lists: []pratique.PackageList{{Class: pratique.ClassLanguage,
			Packages: []pratique.Package{
				{Name: "a", Version: "1", UID: uid("a1"), Layer: layer},
				{Name: "a", Version: "2", UID: uid("a2"), Layer: base},
				{Name: "a", Version: "2", UID: uid(string(rune('9' - i))), Layer: layer},
				{Name: "b", Version: "1", UID: uid("b"), Layer: layer},
				{Name: "c", Version: "1", UID: uid("c"), Layer: base},
				{Name: "d", Version: "1", UID: uid("d"), Layer: base},
			}}}}
		lists = append(lists, list)
		_, parts, err := scanner.SplitInventory(list)
		if err != nil {
			t.Fatal(err)
		}
		c.find = func(p pratique.Package) []pratique.Finding {
			switch p.Name {
			case "a":
				return []pratique.Finding{{ID: "CVE-old", Title: "before",
					Severity: pratique.SeverityLow}}
			case "c":
				return []pratique.Finding{{ID: "CVE-c", Title: "stays"}}
			}
			return nil
		}
		c.lists = append(c.lists, rescan.List{ID: rescan.ListID(i + 1),
			Digest: c.store(parts[0], nil), Findings: c.found(c.findIn(list))})
	}
	return c, lists
}

// TestBuildsShareTheirChange: lists that share what was found, and what changed, are asked about
// once, and each gets the very document of a full match.
func TestBuildsShareTheirChange(t *testing.T) {
	for name, find := range map[string]func(p pratique.Package) []pratique.Finding{
		"more": func(p pratique.Package) []pratique.Finding {
			switch p.Name + p.Version {
			case "a1", "d1":
				return nil
			case "c1":
				return []pratique.Finding{{ID: "CVE-c", Title: "stays"}}
			}
			return []pratique.Finding{{ID: "CVE-new", Title: "grave",
				Severity: pratique.SeverityCritical}, {ID: "CVE-old", Title: "after"}}
		},
		"fewer": func(p pratique.Package) []pratique.Finding {
			if p.Name == "c" {
				return []pratique.Finding{{ID: "CVE-c", Title: "stays"}}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			const n = 3
			c, lists := builds(t, n)
			c.find = find
			c.matches = func(names []string) error { c.asked = append(c.asked, names...); return nil }
			c.run()
			if want := []string{"a", "b", "d"}; !slices.Equal(c.asked, want) {
				t.Errorf("asked about %v, want %v", c.asked, want)
			}
			for i, list := range lists {
				want, err := scanner.FindingsDocuments(pratique.Report{Findings: c.findIn(list),
					Coverage: c.covered(list)})
				if err != nil {
					t.Fatal(err)
				}
				if c.matched[i].Findings != want[len(want)-1].Digest ||
					c.docs[want[0].Digest] == nil || c.docs[c.matched[i].Findings] == nil {
					t.Errorf("list %d: %s\nwant %s", i, c.docs[c.matched[i].Findings],
						want[len(want)-1].Content)
				}
			}
		})
	}
}

// TestNoChangeIsNotWritten: the document stays the one from before.
func TestNoChangeIsNotWritten(t *testing.T) {
	c, _ := builds(t, 1)
	c.put = func(int) error { t.Error("something is written"); return nil }
	c.before = c.lists[0].Findings
	c.run()
	for i, m := range c.matched {
		if m.Findings != c.lists[i].Findings {
			t.Errorf("list %d has other findings", i)
		}
	}
}

// TestStoreFailsBetweenDocuments: nothing is matched that names a document which is not there, and
// it is tried again.
func TestStoreFailsBetweenDocuments(t *testing.T) {
	for fails := 1; fails <= 4; fails++ {
		c, lists := builds(t, 2)
		c.find = func(p pratique.Package) []pratique.Finding {
			return []pratique.Finding{{ID: "CVE-" + p.Name}}
		}
		c.put = func(n int) error {
			if n == fails {
				return errBusy
			}
			return nil
		}
		c.run()
		for i, list := range lists {
			found, _, err := scanner.LoadFindings(t.Context(), inventoryDocuments{c},
				c.matched[i].Findings)
			if err != nil || len(found) != len(list.Lists[0].Packages) {
				t.Errorf("put %d fails, list %d: %d findings, %v", fails, i, len(found), err)
			}
		}
	}
}
