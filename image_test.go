package pratique

import (
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
)

const someDigest = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"

func TestParseDigest(t *testing.T) {
	d, err := ParseDigest(someDigest)
	if err != nil || d.String() != someDigest || d != DigestOf([]byte("foo")) {
		t.Fatalf("%v, %v", d, err)
	}
	for _, bad := range []string{"", "sha256:", "sha256:2c26", strings.ToUpper(someDigest),
		"sha512:" + someDigest[7:], someDigest[7:], someDigest + "0", "sha256:" +
			strings.Repeat("g", 64), "sha256:" + strings.Repeat("0", 64)} {
		if _, err := ParseDigest(bad); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
}

func TestDigestJSON(t *testing.T) {
	type doc struct {
		A Digest `json:"a"`
		B Digest `json:"b,omitzero"`
	}
	encoded, err := json.Marshal(doc{A: DigestOf([]byte("foo"))})
	if err != nil || string(encoded) != `{"a":"`+someDigest+`"}` {
		t.Fatalf("%s, %v", encoded, err)
	}
	var back doc
	if err := json.Unmarshal([]byte(`{"a":"`+someDigest+`","b":""}`), &back); err != nil ||
		back.A.String() != someDigest || !back.B.IsZero() {
		t.Fatalf("%+v, %v", back, err)
	}
	if _, err := ParseImageRef("registry.example.com/app:v1@sha256:" +
		strings.Repeat("0", 64)); err == nil {
		t.Error("a ref with a digest that means none was read: its tag would be resolved instead")
	}
	if err := json.Unmarshal([]byte(`{"a":"sha256:x"}`), &back); err == nil {
		t.Error("a bad digest was decoded")
	}
}

func TestParseImageRef(t *testing.T) {
	good := map[string]string{ // input: canonical form
		"registry.example.com/team/app":         "registry.example.com/team/app:latest",
		"registry.example.com:5000/team/app:v1": "registry.example.com:5000/team/app:v1",
		"localhost/app@" + someDigest:           "localhost/app@" + someDigest,
		"r.example.com/a/b__c/d-e.f:V1.2_x@" +
			someDigest: "r.example.com/a/b__c/d-e.f:V1.2_x@" + someDigest,
		"[::1]:5000/app:1": "[::1]:5000/app:1",
		"registry.example.com/app:" + strings.Repeat("a", 128): "registry.example.com/app:" +
			strings.Repeat("a", 128),
	}
	for in, want := range good {
		ref, err := ParseImageRef(in)
		if err != nil || ref.String() != want {
			t.Errorf("%q: %q, %v; want %q", in, ref, err, want)
		}
		if err := ref.Validate(); err != nil {
			t.Errorf("%q: %v", in, err)
		}
	}
	bad := []string{
		"", "alpine", "library/alpine", "docker.io/", "docker.io/UPPER", "docker.io/a:",
		"docker.io/a:.x", "docker.io/a:x y", "docker.io/a//b",
		"docker.io/../etc", "docker.io/a@sha256:1", "http://docker.io/a", "docker.io/a:" +
			strings.Repeat("a", 129), "docker.io/a\nb", "user:pw@docker.io/a",
		"docker.io/" + strings.Repeat("a", 256), "docker.io:99999999/a", "-x.io/a", "docker.io/--help",
	}
	for _, in := range bad {
		if ref, err := ParseImageRef(in); err == nil {
			t.Errorf("%q accepted as %q", in, ref)
		}
	}
}

func FuzzParseImageRef(f *testing.F) {
	f.Add("registry.example.com:5000/team/app:v1@" + someDigest)
	f.Add("localhost/app")
	f.Fuzz(func(t *testing.T, in string) {
		ref, err := ParseImageRef(in)
		if err != nil {
			return
		}
		again, err := ParseImageRef(ref.String())
		if err != nil || again != ref {
			t.Errorf("%q → %q → %q, %v", in, ref, again, err)
		}
	})
}

func TestSubject(t *testing.T) {
	s, err := ParseSubject("registry.example.com/team/app@" + someDigest)
	if err != nil || s.String() != "registry.example.com/team/app@"+someDigest {
		t.Fatalf("%v, %v", s, err)
	}
	for _, bad := range []string{"registry.example.com/team/app",
		"registry.example.com/team/app:1@" + someDigest, "registry.example.com/team/app:1"} {
		if _, err := ParseSubject(bad); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
}

func TestEventID(t *testing.T) {
	a, _ := ParseImageRef("r.example.com/app:1@" + someDigest)
	b, _ := ParseImageRef("r.example.com/app:2@" + someDigest)
	base := EventID("main", a, "1")
	if base != EventID("main", a, "1") {
		t.Error("not deterministic")
	}
	for _, other := range []string{EventID("main", b, "1"), EventID("main", a, "2"),
		EventID("main1", a, ""), EventID("mai", a, "n1")} {
		if other == base {
			t.Error("two events share an id")
		}
	}
}

func TestGlob(t *testing.T) {
	tests := []struct {
		glob  Glob
		match []string
		not   []string
	}{
		{"team/app", []string{"team/app"}, []string{"team", "team/app/x", "team/app2", "xteam/app"}},
		{"team/*", []string{"team/app"}, []string{"team", "team/a/b", "team-evil/app"}},
		{"team/**", []string{"team/app", "team/a/b", "team"},
			[]string{"team-evil/app", "other/team/app"}},
		{"**/app", []string{"app", "a/app", "a/b/app"}, []string{"a/app2"}},
		{"a/**/z", []string{"a/z", "a/b/c/z"}, []string{"a/b", "z"}},
		{"**", []string{"a", "a/b"}, nil},
		{"v*", []string{"v1.2"}, []string{"1.2", "x/v1"}},
	}
	for _, tt := range tests {
		if err := tt.glob.Validate(); err != nil {
			t.Errorf("%q: %v", tt.glob, err)
		}
		for _, name := range tt.match {
			if !tt.glob.Match(name) {
				t.Errorf("%q does not match %q", tt.glob, name)
			}
		}
		for _, name := range tt.not {
			if tt.glob.Match(name) {
				t.Errorf("%q matches %q", tt.glob, name)
			}
		}
	}
	for _, bad := range []Glob{"", "a/[", "a**", "team/**x", "a//b", "a/", "**/a/**/b/**", "a/\x80",
		"büro/*", "a b", "r/[z-a]"} {
		if bad.Validate() == nil {
			t.Errorf("%q accepted", bad)
		}
	}
}

func TestIsSignatureTag(t *testing.T) {
	t.Parallel()
	hex64, hex128 := strings.Repeat("0a", 32), strings.Repeat("0a", 64)
	for _, tag := range []string{"sha256-" + hex64, "sha256-" + hex64 + ".sig", "sha256-" + hex64 +
		".att", "sha256-" + hex64 + ".sbom", "sha512-" + hex128 + ".sig"} {
		if !IsSignatureTag(tag) {
			t.Errorf("%s is taken for an image", tag)
		}
	}
	for _, tag := range []string{"", "latest", "sha256-" + hex64[1:], "app-sha256-" + hex64,
		"sha256-" + hex64 + ".txt", "sha256-" + hex64 + ".sig.sig",
		"sha256-" + strings.ToUpper(hex64), "sha512-" + hex64, "sha256-" + hex128, "sha256-" +
			hex64 + "\n"} {
		if IsSignatureTag(tag) {
			t.Errorf("%q is taken for a signature", tag)
		}
	}
}

func TestContentID(t *testing.T) {
	content := []byte("some content")
	sum := sha512.Sum512(content)
	long := "sha512:" + hex.EncodeToString(sum[:])
	for _, text := range []string{DigestOf(content).String(), long} {
		id, err := ParseContentID(text)
		if err != nil || id.String() != text || !id.Of(content) || id.Of([]byte("other content")) {
			t.Errorf("%s: %v, %v", text, id, err)
		}
		d, ok := id.Digest()
		if ok != (text != long) || ok && d != DigestOf(content) {
			t.Errorf("%s: the digest is %v, %v", text, d, ok)
		}
		ref, err := ParseImageRef("registry.test/team/app:1@" + text)
		if err != nil || ref.ContentID() != id || ref.Digest.IsZero() == ok ||
			ref.String() != "registry.test/team/app:1@"+text || ref.Validate() != nil {
			t.Errorf("%+v, %v", ref, err)
		}
	}
	for _, text := range []string{
		"", "sha512:", "sha512:" + strings.Repeat("a", 64), "sha512:" + strings.Repeat("A", 128),
		"sha512:" + strings.Repeat("g", 128), "sha384:" + strings.Repeat("a", 96),
		"blake3:" + strings.Repeat("a", 64), "sha256:" + strings.Repeat("a", 128),
		strings.Repeat("a", 64),
	} {
		if id, err := ParseContentID(text); err == nil {
			t.Errorf("%q is taken as %v", text, id)
		}
	}
	if _, err := ParseContentID("blake3:00"); err == nil ||
		!strings.Contains(err.Error(), `"blake3" cannot be verified`) {
		t.Error(err)
	}
	if (ContentID{}).Of(nil) {
		t.Error("no name is the name of nothing")
	}
	two := ImageRef{Repository: Repository{Registry: "registry.test", Path: "a"}, Digest: DigestOf(nil)}
	two.Other, _ = ParseContentID(long)
	if two.Validate() == nil {
		t.Error("a ref has two digests")
	}
}
