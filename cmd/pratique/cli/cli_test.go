package cli

import (
	"testing"

	"github.com/pratique-dev/pratique/cmd/pratique/settings"
)

// TestDefaultServer: verbs that are not told where the service is ask where it listens if it was
// not told either.
func TestDefaultServer(t *testing.T) {
	t.Setenv("PRATIQUE_URL", "")
	for _, verb := range []string{"submit", "why", "jobs", "cancel", "requeue", "reconcile"} {
		found, _, err := New().Find([]string{verb})
		if err != nil {
			t.Fatal(err)
		}
		if asked := found.Flag("server").DefValue; asked != "http://"+settings.DefaultListen {
			t.Errorf("%s asks %s", verb, asked)
		}
	}
}
