package e2e

import (
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
)

// TestShadow: where every image is checked, the documents of real children are equal and counted;
// where SBOMs are not incremental, there is nothing to check.
func TestShadow(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ inspect, counted string }{
		"all are checked": {"shadowSBOM: 1", "2"},
		"none is checked": {"shadowSBOM: 0", "0"},
		"all are full":    {"incrementalSBOM: false, shadowSBOM: 1", "0"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLine(t, lineOptions{inspect: test.inspect})
			l.serve()
			for _, text := range []string{"one", "two"} {
				l.awaitState(l.push("team/app:"+text, l.version(text)), pratique.StateDeployed)
			}
			for _, want := range []string{
				`pratique_sbom_shadow_total{result="equal"} ` + test.counted,
				`pratique_sbom_shadow_total{result="different"} 0`,
			} {
				if !strings.Contains(l.metrics(), want+"\n") {
					t.Errorf("the metrics lack %s", want)
				}
			}
		})
	}
}
