package scanner

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
)

func examplePart(t *testing.T) (pratique.Inventory, Document) {
	t.Helper()
	part := pratique.Inventory{Scanner: pratique.Tool{Name: "trivy"}, OS: pratique.OS{Family: "debian"}, Lists: []pratique.PackageList{
		{Class: pratique.ClassOS, Type: "debian", Packages: []pratique.Package{{Name: "libc6", SrcName: "glibc", Version: "2"}, {Name: "odd\nname \u2028"}}},
		{Class: pratique.ClassOS, Type: "third-party", Path: "p", Packages: []pratique.Package{{Name: "tool", UID: "x", Licenses: []string{"MIT"}}}},
	}}
	doc, err := encodePart(part)
	if err != nil {
		t.Fatal(err)
	}
	return part, doc
}

// TestOutline: names and versions are known at once, and everything else is what was stored.
func TestOutline(t *testing.T) {
	docs := memory{}
	want, doc := examplePart(t)
	outline, err := LoadOutline(t.Context(), docs, docs.put(doc.Content))
	if err != nil {
		t.Fatal(err)
	}
	if p := outline.Lists[0].Packages; p[0].Name != "libc6" || p[0].SrcName != "glibc" || p[0].Version != "2" || p[1].Name != "odd\nname \u2028" {
		t.Errorf("outline %+v", outline.Inventory)
	}
	whole, err := outline.Whole()
	have, _ := json.Marshal(whole)
	if raw, _ := json.Marshal(want); err != nil || !bytes.Equal(have, raw) {
		t.Errorf("%s, %v\nwant %s", have, err, raw)
	}
	one, err := outline.Only([]int{1})
	if err != nil || len(one.Lists) != 1 || len(one.Lists[0].Packages) != 1 || one.Lists[0].Packages[0].Name != "odd\nname \u2028" || one.OS != want.OS {
		t.Errorf("one package: %+v, %v", one, err)
	}
	if outline.Lists[0].Packages[1].Arch != "" || len(outline.Lists) != 2 {
		t.Error("the outline itself was changed")
	}
}

// TestDamagedPart: what does not say the same of its packages twice is no part, nor is one of another version.
func TestDamagedPart(t *testing.T) {
	part, doc := examplePart(t)
	old, err := json.Marshal(part)
	if err != nil {
		t.Fatal(err)
	}
	content := string(doc.Content)
	for name, damaged := range map[string]string{
		"other version":  string(old),
		"line missing":   content[:strings.LastIndexByte(content, '\n')],
		"line too many":  content + "\n{}",
		"another name":   strings.Replace(content, `["tool"]`, `["fool"]`, 1),
		"another source": strings.Replace(content, `["glibc",""]`, `["glibc","x"]`, 1),
		"sources short":  strings.Replace(content, `["glibc",""]`, `["glibc"]`, 1),
		"no package":     content[:len(content)-1],
		"swapped":        strings.Replace(content, `"libc6","odd\nname \u2028"`, `"odd\nname \u2028","libc6"`, 1),
	} {
		docs := memory{}
		if damaged == content {
			t.Fatalf("%s: nothing is damaged", name)
		}
		if got, err := LoadPart(t.Context(), docs, docs.put([]byte(damaged))); pratique.KindOf(err) != pratique.Corrupt {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// TestVersionsInOutlines: they are those that the package itself has, whatever its texts look like.
func TestVersionsInOutlines(t *testing.T) {
	docs := memory{}
	for _, p := range []pratique.Package{
		{Name: "a", Version: "1.2.3"},
		{Name: "a"},
		{Name: `"version":"9"`, Version: "1"},
		{Name: `\`, PURL: `,"version":"9"`},
		{ID: `x","version":"9`, Name: "a", SrcVersion: "8"},
		{Name: "a", Version: `"\`},
		{Name: "a", Version: "<\u2028\n\xff>"},
	} {
		doc, err := encodePart(pratique.Inventory{Lists: []pratique.PackageList{{Packages: []pratique.Package{p}}}})
		if err != nil {
			t.Fatal(err)
		}
		outline, err := LoadOutline(t.Context(), docs, docs.put(doc.Content))
		if err != nil {
			t.Fatal(err)
		}
		whole, err := outline.Whole()
		if err != nil || outline.Lists[0].Packages[0].Version != strings.ToValidUTF8(p.Version, "\ufffd") {
			t.Errorf("%+v: outline %+v, whole %+v, %v", p, outline.Lists, whole, err)
		}
	}
}
