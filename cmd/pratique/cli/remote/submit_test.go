package remote

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/cmd/pratique/cli/clitest"
	"github.com/pratique-dev/pratique/cmd/pratique/cli/verb"
)

// TestExitStatus: only a verdict of this submission is 0 or 1.
func TestExitStatus(t *testing.T) {
	want := map[string]int{
		"deployed": 0, "allowed": 0, "superseded": 1, "reverted": 1, "deployed after a failed attempt": 0,
		"denied": 1, "denied platform": 1, "failed": 2, "failed after the verdict": 2, "ignored": 2,
	}
	for name, s := range clitest.Submissions() {
		if got := verb.Report(statusOf(s)); got != want[name] {
			t.Errorf("%s: exit status %d, want %d", name, got, want[name])
		}
	}
	if got := verb.Report(statusOf(api.Submission{State: "evaluated"})); got != verb.Unknown {
		t.Errorf("without an end: exit status %d", got)
	}
}

// TestSubmitThatStopsWaiting: who stops waiting hears that the service does not, and how to ask.
func TestSubmitThatStopsWaiting(t *testing.T) {
	t.Parallel()
	reason := "the registry " + strings.Repeat("is away ", 100)
	s := api.Submission{ID: "e1", Ref: "registry.test/team/app:1", State: "accepted"}
	var asked int
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := s
		if r.Method == http.MethodGet {
			asked++
			answer.Failure = &pratique.Failed{Stage: "inspect", Message: reason, Attempts: min(asked, 3)}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(server.Close)
	f := submitFlags{serverFlags: serverFlags{url: server.URL}, wait: true,
		timeout: 500 * time.Millisecond}
	var out, progress bytes.Buffer
	err := f.run(t.Context(), s.Ref, &out, &progress)
	if err == nil ||
		!strings.HasSuffix(err.Error(),
			"\nthe service goes on with it: pratique why registry.test/team/app:1 says how far it has come, pratique cancel e1 stops it") {
		t.Error(err)
	}
	if said := progress.String(); strings.Count(said, reason[:50]) != 1 ||
		strings.Count(said, ", trying again after attempt ") != 3 ||
		!strings.Contains(said, "after attempt 3 in stage inspect: the same again\n") {
		t.Error(said)
	}
}
