package deploy_test

import (
	"context"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/verify"
	"github.com/pratique-dev/pratique/deploy"
)

// branch is a config repository in memory with one file and no history. It counts the questions
// since when the file is as it is, and takes for ever for each walk after the first ones.
type branch struct {
	name, content string
	quick         int // walks
	asked         int
	unread        error // of reading the file
}

func (b *branch) Update(ctx context.Context, u deploy.Update) (deploy.Pushed, error) {
	u.History(func(func(deploy.Past) bool) {})
	_, err := u.Edit(ctx, b)
	return deploy.Pushed{Remote: "memory", Branch: "main"}, err
}

func (b *branch) View(ctx context.Context, _ time.Duration,
	see func(context.Context, deploy.Tip) error) (deploy.Viewed, error) {
	return deploy.Viewed{Remote: "memory", Branch: "main", At: now}, see(ctx, b)
}

func (b *branch) Walk(ctx context.Context, _ string, visit func(deploy.File) error) error {
	if b.quick--; b.quick < 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	return visit(memoryFile{b})
}

func (b *branch) Since(context.Context, string, func(deploy.File) (bool, error)) (string,
	time.Time, error) {
	b.asked++
	return strings.Repeat("c", 40), now, nil
}

func (b *branch) Read(string) ([]byte, error) { return []byte(b.content), nil }
func (b *branch) ID() string                  { return strings.Repeat("a", 40) }

type memoryFile struct{ b *branch }

func (f memoryFile) Path() string          { return f.b.name }
func (f memoryFile) Content() string       { return "1" }
func (f memoryFile) Read() ([]byte, error) { return []byte(f.b.content), f.b.unread }
func (f memoryFile) Open(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(f.b.content)), nil
}

var (
	_ deploy.Repository = (*branch)(nil)
	_ deploy.Tip        = (*branch)(nil)
)

// marked names the image as often as is wanted.
func marked(times int) string {
	return strings.Repeat("- registry.example.com/team/app:v2@"+two.String()+
		" # {\"$pratique\": \"registry.example.com/team/app\"}\n", times)
}

func memoryWorld(t *testing.T) *world {
	return &world{t: t, tags: map[string]pratique.Digest{"v1": one},
		vsas: map[pratique.Digest]verify.Summary{one: passed(one)}}
}

// TestSlowEnds: whatever is asked of the files after the edit is bounded in time as the edit is,
// and waits for people.
func TestSlowEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := memoryWorld(t)
		gate := w.gateOf(&branch{name: "prod/a.yaml", content: marked(1), quick: 1}, prod())
		c := change(one, "event-1")
		c.RefreshOnly = true // Git does not name the tag, so its places are looked for once more
		_, err := deployAll(t.Context(), gate, c)
		if pratique.KindOf(err) != pratique.Denied ||
			!strings.Contains(err.Error(), "took longer than 1m0s") {
			t.Errorf("%v", err)
		}
	})
}

// TestSinceIsAskedOnceForAFile: the answer holds for every place in the file, and costs a look at
// its history.
func TestSinceIsAskedOnceForAFile(t *testing.T) {
	t.Parallel()
	b := &branch{name: "prod/a.yaml", content: marked(15), quick: 1}
	all, err := memoryWorld(t).gateOf(b, prod()).Places(t.Context(), app)
	if err != nil || len(all) != 1 || len(all[0].Places) != 15 || all[0].Places[14].Since == "" {
		t.Fatalf("%+v, %v", all, err)
	}
	if b.asked != 1 {
		t.Errorf("asked %d times", b.asked)
	}
}
