package scan

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
)

func TestFullName(t *testing.T) {
	t.Parallel()
	for short, want := range map[string]string{
		"alpine":                "docker.io/library/alpine",
		"alpine:3.20":           "docker.io/library/alpine:3.20",
		"team/app:1":            "docker.io/team/app:1",
		"docker.io/team/app":    "docker.io/team/app",
		"localhost/app":         "localhost/app",
		"127.0.0.1:5000/app:1":  "127.0.0.1:5000/app:1",
		"ghcr.io/team/app@sha:": "ghcr.io/team/app@sha:",
	} {
		if got := fullName(short); got != want {
			t.Errorf("%s is %s, want %s", short, got, want)
		}
	}
}

// TestChoose: of an index the very platform is taken before a variant of it, and that before what
// also runs there.
func TestChoose(t *testing.T) {
	t.Parallel()
	child := func(p pratique.Platform) pratique.Child {
		return pratique.Child{Platform: p, Digest: pratique.DigestOf([]byte(p))}
	}
	m := pratique.Manifest{Children: []pratique.Child{child("linux/386"), child("linux/amd64/v3"),
		child("linux/amd64"), child("linux/arm64/v8")}}
	for platform, want := range map[string][]pratique.Platform{
		"linux/amd64": {"linux/amd64"}, "linux/arm64": {"linux/arm64/v8"},
		"linux/amd64/v3": {"linux/amd64/v3"}, "linux/s390x": nil,
		"all": {"linux/386", "linux/amd64/v3", "linux/amd64", "linux/arm64/v8"},
	} {
		got, err := choose(m, platform, nil)
		var platforms []pratique.Platform
		for _, c := range got {
			platforms = append(platforms, c.Platform)
		}
		if fmt.Sprint(platforms) != fmt.Sprint(want) || (err != nil) != (want == nil) {
			t.Errorf("%s: %v, %v", platform, platforms, err)
		}
	}
	machine := pratique.Platform("linux/" + runtime.GOARCH)
	for name, c := range map[string]struct {
		platform   string
		configured []pratique.Platform
		want       []pratique.Platform
	}{
		"all that are configured": {"all", []pratique.Platform{"linux/arm64",
			"linux/s390x"}, []pratique.Platform{"linux/arm64/v8"}},
		"none that is configured is there": {"all", []pratique.Platform{"linux/s390x"}, nil},
		"what is asked for comes first": {"linux/386", []pratique.Platform{"linux/arm64"},
			[]pratique.Platform{"linux/386"}},
		"the first that is configured": {"", []pratique.Platform{"linux/386"},
			[]pratique.Platform{"linux/386"}},
		"the machine's if it is among them": {"", []pratique.Platform{"linux/386", machine},
			[]pratique.Platform{machine}},
	} {
		got, err := choose(m, c.platform, c.configured)
		if machine == "linux/arm64" && name == "the machine's if it is among them" {
			continue // it has a variant there
		}
		if fmt.Sprint(platformsOf(got)) != fmt.Sprint(c.want) || (err != nil) != (c.want == nil) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	m.Uninspected = []pratique.Uninspected{{Digest: "sha256:ee", Platform: "linux/arm64",
		Reason: "it is gone"}}
	for platform, refused := range map[string]bool{"linux/amd64": false, "linux/arm64": true,
		"all": true} {
		if _, err := choose(m, platform, nil); (err != nil) != refused || refused &&
			!strings.Contains(err.Error(), "it is gone") {
			t.Errorf("%s, which could not be inspected: %v", platform, err)
		}
	}
}

// TestErrorsNameTheFile: an image in a file has its own name in errors, and not that of the
// registry which serves it here.
func TestErrorsNameTheFile(t *testing.T) {
	t.Parallel()
	s := &localScan{
		named:  pratique.Repository{Registry: "localhost", Path: "app"},
		served: pratique.Repository{Registry: "127.0.0.1:4711", Path: "local/image"},
	}
	cause := pratique.Errorf(pratique.Corrupt, "fetch",
		"127.0.0.1:4711/local/image@sha256:ab: log in to registry 127.0.0.1:4711")
	if err := s.renamed(cause); err.Error() != "fetch: localhost/app@sha256:ab: log in to registry localhost" || pratique.KindOf(err) != pratique.Corrupt {
		t.Error(err)
	}
	if s.renamed(nil) != nil || !errors.Is((&localScan{}).renamed(cause), cause) {
		t.Error("other errors have changed")
	}
}
