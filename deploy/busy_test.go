package deploy_test

import (
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/deploy"
)

// occupied is a repository that is busy.
type occupied struct {
	deploy.Repository
	wait time.Duration
}

func (o occupied) Busy() time.Duration { return o.wait }

// TestBusy: a change waits only where none of its targets could be written, and then for the first of them.
func TestBusy(t *testing.T) {
	t.Parallel()
	target := func(name string, wait time.Duration, images ...pratique.Glob) deploy.Target {
		return deploy.Target{Name: name, Images: images, Repository: occupied{wait: wait}}
	}
	w := &world{}
	g, err := deploy.New(deploy.Config{Summaries: w, Tags: w, Profiles: []pratique.Profile{profile}, Now: time.Now, Targets: []deploy.Target{
		target("slow", time.Minute, "registry.example.com/a", "registry.example.com/b", "registry.example.com/c"),
		target("slower", time.Hour, "registry.example.com/a", "registry.example.com/b"),
		target("free", 0, "registry.example.com/b"),
		{Name: "tags", Images: []pratique.Glob{"registry.example.com/c"}, Tags: []pratique.Glob{"v*"}, Repository: &branch{}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		path, tag string
		want      time.Duration
	}{
		{"a", "1", time.Minute},
		{"b", "1", 0},
		{"c", "1", time.Minute},
		{"c", "v1", 0}, // one that says nothing of itself
		{"d", "1", 0},
		{"a", "", 0},
	} {
		if got := g.Busy(pratique.Repository{Registry: "registry.example.com", Path: test.path}, test.tag); got != test.want {
			t.Errorf("%s:%s: %s, want %s", test.path, test.tag, got, test.want)
		}
	}
}
