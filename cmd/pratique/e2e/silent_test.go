package e2e

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/internal/testenv/images"
)

// TestSilentConfigRepository: a Git server that takes connections and never answers keeps nobody's
// images waiting but its own.
func TestSilentConfigRepository(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	go func() {
		for {
			c, err := silent.Accept()
			if err != nil {
				return
			}
			defer c.Close()
		}
	}()
	text := strings.Replace(lineConfig.Tree.Root.String(), `images: ["{{.Registry}}/team/**"]`,
		`images: ["{{.Registry}}/team/app"]
    - name: silent
      repository: http://`+silent.Addr().String()+`/x.git
      images: ["{{.Registry}}/team/silent*"]`, 1)
	l := newLine(t, lineOptions{config: template.Must(template.New("").Parse(text))})
	l.serve()
	spec := func(text string) images.Spec {
		clean := images.Clean()
		clean.Text = text
		return clean
	}
	waits := map[string]pratique.Digest{}
	for i := range 8 {
		name := fmt.Sprintf("team/silent%d", i)
		waits[name] = l.push(name+":1", l.build(spec(name)))
	}
	for _, d := range waits {
		l.await(d, "the verdict", func(i api.Image) bool { return i.Outcome == pratique.Allow })
	}
	begin := time.Now()
	l.awaitState(l.push("team/app:1.0", l.build(spec("app"))), pratique.StateDeployed)
	if took := time.Since(begin); took > 40*time.Second {
		t.Errorf("it took %s", took)
	}
	for name, d := range waits {
		if i, err := l.client.Image(t.Context(), d.String()); err != nil ||
			i.State == pratique.StateFailed || i.State == pratique.StateDeployed {
			t.Errorf("%s: %+v, %v", name, i, err)
		}
	}
}
