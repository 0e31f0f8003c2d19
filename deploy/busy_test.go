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

// TestBusy: a change waits for its own target, and for no other.
func TestBusy(t *testing.T) {
	t.Parallel()
	target := func(name string, r deploy.Repository) deploy.Target {
		return deploy.Target{Name: name, Images: []pratique.Glob{"registry.example.com/**"},
			Repository: r}
	}
	w := &world{}
	g, err := deploy.New(deploy.Config{Summaries: w, Tags: w, Profiles: []pratique.Profile{profile},
		Now: time.Now, Targets: []deploy.Target{
			target("slow", occupied{wait: time.Minute}), target("free", occupied{}),
			target("odd", occupied{wait: -1}), target("silent", &branch{}),
		}})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]time.Duration{"slow": time.Minute, "free": 0, "odd": 0,
		"silent": 0, "nosuch": 0, "": 0} {
		if got := g.Busy(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}
