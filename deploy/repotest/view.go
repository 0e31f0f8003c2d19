package repotest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/deploy"
)

// tree: folders are walked in Git's order, and no path leads out of the branch.
func tree(t *testing.T, b Branch) {
	_, err := b.Open(t).View(t.Context(), 0, func(ctx context.Context, tip deploy.Tip) error {
		for prefix, want := range map[string][]string{
			"": {"README.md", "apps/a.b/deploy.yaml", "apps/a/deploy.yaml",
				"apps/b/deploy.yaml"},
			"apps/a/":            {"apps/a/deploy.yaml"},
			"apps/a/deploy.yaml": {"apps/a/deploy.yaml"},
			"ap":                 nil,
			"none/at/all":        nil,
		} {
			var got []string
			if err := tip.Walk(ctx, prefix, func(f deploy.File) error {
				got = append(got, f.Path())
				return nil
			}); err != nil {
				t.Errorf("walk %q: %v", prefix, err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("walk %q (-want +got):\n%s", prefix, diff)
			}
		}
		for _, bad := range []string{"../x", "apps/../README.md", "/README.md",
			"apps//a/deploy.yaml", "", ".git/config", "apps/.GIT/x", `apps\a`} {
			if _, err := tip.Read(bad); pratique.KindOf(err) != pratique.Invalid {
				t.Errorf("read %q: %v", bad, err)
			}
		}
		for _, none := range []string{"none", "apps", "README.md/x"} {
			if _, err := tip.Read(none); pratique.KindOf(err) != pratique.NotFound {
				t.Errorf("read %q: %v", none, err)
			}
		}
		stop := errors.New("stop")
		if err := tip.Walk(ctx, "", func(deploy.File) error { return stop }); !errors.Is(err, stop) {
			t.Errorf("a walk that was stopped: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"../x", "/README.md", ".git/config", "apps", "README.md/x"} {
		if _, err := b.Open(t).Update(t.Context(),
			set(bad, "x")); pratique.KindOf(err) != pratique.Invalid {
			t.Errorf("write %q: %v", bad, err)
		}
	}
}

// view: the branch is shown as it is, or as it was within the age that is good enough.
func view(t *testing.T, b Branch) {
	r := b.Open(t)
	look := func(maxAge time.Duration, want string) {
		t.Helper()
		viewed, err := r.View(t.Context(), maxAge, func(_ context.Context, tip deploy.Tip) error {
			if tip.ID() != want {
				t.Errorf("%s is shown, want %s", tip.ID(), want)
			}
			return nil
		})
		if err != nil || viewed.Failed != nil || viewed.Remote == "" || viewed.Branch == "" ||
			viewed.At.IsZero() {
			t.Errorf("%+v, %v", viewed, err)
		}
	}
	first := b.Log(t)[0]
	look(0, first)
	second := advance(t, b, map[string]string{"README.md": "x"})
	look(time.Hour, first)
	look(0, second)
	mine := update(t, r, set("README.md", "y"))
	look(time.Hour, mine.Commit)
	stop := errors.New("stop")
	if _, err := r.View(t.Context(), 0, func(context.Context, deploy.Tip) error {
		return stop
	}); !errors.Is(err, stop) {
		t.Errorf("%v", err)
	}
}

// since: it is known from which commit on a file is as it is.
func since(t *testing.T, b Branch) {
	second := advance(t, b, map[string]string{"apps/a/deploy.yaml": "x"})
	advance(t, b, map[string]string{"README.md": "x"})
	_, err := b.Open(t).View(t.Context(), 0, func(ctx context.Context, tip deploy.Tip) error {
		id, at, err := tip.Since(ctx, "apps/a/deploy.yaml", func(f deploy.File) (bool, error) {
			content, err := f.Read()
			return string(content) == "x", err
		})
		if id != second || at.IsZero() {
			t.Errorf("since %s at %s, want %s", id, at, second)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// whatItDid: the history says which commits are ours and which files they changed.
func whatItDid(t *testing.T, b Branch) {
	mine := update(t, b.Open(t), set("apps/a/deploy.yaml", "x"))
	theirs := advance(t, b, map[string]string{"apps/b/deploy.yaml": "y"})
	seen := map[string]string{}
	var order []string
	u := set("README.md", "z")
	u.History = func(past iter.Seq[deploy.Past]) bool {
		clear(seen)
		order = nil
		for p := range past {
			order = append(order, p.ID)
			text := fmt.Sprint(p.Ours())
			known, err := p.Changed(t.Context(), "apps", func(f deploy.File) error {
				text += " " + f.Path()
				return nil
			})
			if !known || err != nil {
				text += fmt.Sprint(known, err)
			}
			seen[p.ID] = text
		}
		return true
	}
	first := b.Log(t)[2]
	update(t, b.Open(t), u)
	if diff := cmp.Diff([]string{theirs, mine.Commit, first}, order); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	if seen[mine.Commit] != "true apps/a/deploy.yaml" || seen[theirs] != "false apps/b/deploy.yaml" {
		t.Errorf("%q", seen)
	}
}
