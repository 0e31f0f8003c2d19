package scanner

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
)

func exampleList(t *testing.T) (pratique.Inventory, Document) {
	t.Helper()
	list := pratique.Inventory{Scanner: pratique.Tool{Name: "trivy"},
		OS: pratique.OS{Family: "debian"}, Lists: []pratique.PackageList{
			{Class: pratique.ClassOS, Type: "debian",
				Packages: []pratique.Package{{Name: "libc6", SrcName: "glibc", Version: "2"},
					{Name: "odd\nname \u2028"}}},
			{Class: pratique.ClassOS, Type: "third-party", Path: "p",
				Packages: []pratique.Package{{Name: "tool", UID: "x", Licenses: []string{"MIT"}}}},
		}}
	doc, err := encodeList(list)
	if err != nil {
		t.Fatal(err)
	}
	return list, doc
}

// TestListDocument: names are known at once, and everything else is what was stored.
func TestListDocument(t *testing.T) {
	docs := memory{}
	want, doc := exampleList(t)
	stored, err := LoadListDocument(t.Context(), docs, docs.put(doc.Content))
	if err != nil {
		t.Fatal(err)
	}
	if p := stored.Lists[0].Packages; p[0].Name != "libc6" || p[0].SrcName != "glibc" ||
		p[1].Name != "odd\nname \u2028" {
		t.Errorf("list %+v", stored.Inventory)
	}
	whole, err := stored.Decode()
	have, _ := json.Marshal(whole)
	if raw, _ := json.Marshal(want); err != nil || !bytes.Equal(have, raw) {
		t.Errorf("%s, %v\nwant %s", have, err, raw)
	}
	one, err := stored.DecodeOnly([]int{1})
	if err != nil || len(one.Lists) != 1 || len(one.Lists[0].Packages) != 1 ||
		one.Lists[0].Packages[0].Name != "odd\nname \u2028" || one.OS != want.OS {
		t.Errorf("one package: %+v, %v", one, err)
	}
	if stored.Lists[0].Packages[1].Arch != "" || len(stored.Lists) != 2 {
		t.Error("the document itself was changed")
	}
}

// TestDamagedList: a document whose names are not those of its packages is no list, nor is one of
// another version.
func TestDamagedList(t *testing.T) {
	list, doc := exampleList(t)
	old, err := json.Marshal(list)
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
		"swapped": strings.Replace(content, `"libc6","odd\nname \u2028"`,
			`"odd\nname \u2028","libc6"`, 1),
	} {
		docs := memory{}
		if damaged == content {
			t.Fatalf("%s: nothing is damaged", name)
		}
		if got, err := LoadList(t.Context(), docs,
			docs.put([]byte(damaged))); pratique.KindOf(err) != pratique.Corrupt {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}
