package gitrepo

import (
	"errors"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing/protocol/packp"

	"github.com/pratique-dev/pratique"
)

// TestPushAnswers: a rule of the host is its people's to change and never a race, whatever its
// words sound like; a race is tried again at once.
func TestPushAnswers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		status, said string
		kind         pratique.Kind
		text         string
	}{
		{"push declined due to repository rule violations",
			"error: GH013: Repository rule violations found for refs/heads/main.\n\n- Commits must have verified signatures.\n", pratique.Denied,
			"push declined due to repository rule violations: error: GH013: Repository rule violations found for refs/heads/main.; - Commits must have verified signatures."},
		{"push declined due to email privacy restrictions",
			"error: GH007: Your push would publish a private email address.", pratique.Denied, "GH007"},
		{"GH006: Protected branch update failed: fetch first", "", pratique.Denied, "GH006"},
		{"VS403702: The commit does not follow the policy on authors; the reference already exists",
			"", pratique.Denied, "VS403702"},
		{"TF402455: Pushes to this branch are not permitted; you must use a pull request to update this branch.", "", pratique.Denied, "pull request"},
		{"pre-receive hook declined",
			"GitLab: Commit message does not follow the pattern 'JIRA-\\d+'; failed to update ref",
			pratique.Denied, "JIRA"},
		{"GitLab: You are not allowed to push code to protected branches on this project.", "",
			pratique.Denied, "protected"},
		{"something nobody knows", "", pratique.Denied, "something nobody knows"},
		{"TF401028: The reference 'refs/heads/main' has already been updated by another client, so you cannot update it. Please try again.", "", pratique.Conflict, "moved on"},
		{"cannot lock ref 'refs/heads/main': is at 1 but expected 2", "", pratique.Conflict, "moved on"},
		{"failed to update ref", "", pratique.Conflict, "moved on"},
		{"non-fast-forward", "", pratique.Conflict, "moved on"},
		{"declined \x1b[2J\u009b31m\u202e::error::x\x00", strings.Repeat("long ", 10_000) + "\xff",
			pratique.Denied, "declined ?[2J?31m?::error::x?"},
	} {
		err := evaluate(&packp.ReportStatus{UnpackStatus: "ok",
			CommandStatuses: []*packp.CommandStatus{{ReferenceName: "refs/heads/main",
				Status: test.status}}}, nil, test.said)
		wantKind(t, err, test.kind, test.text)
		if errors.Is(err, errMoved) != (test.kind == pratique.Conflict) ||
			pratique.KindOf(err).Permanent() || len(err.Error()) > 2*maxPrinted+500 ||
			strings.ContainsAny(err.Error(), "\x1b\x00\u009b\u202e\n") {
			t.Errorf("%q: %q", test.status, err)
		}
	}
}

// TestWords: what goes wrong between us and a host is said with the setting to look at.
func TestWords(t *testing.T) {
	t.Parallel()
	s := start(t)
	url := create(t, s, "r", files)
	s.RequireAuth("gate", "secret")
	for want, c := range map[string]Config{
		"list branches: authentication required: log in first: the host does not take the login, or got none: set deploy.targets[].username and password": {URL: url},
		"list branches: repository not found: check the URL, and that the login is valid":                                                                 {URL: s.URL + "/none.git", Auth: Auth{Username: "gate", Password: "secret"}},
	} {
		err := open(t, c).Warm(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) ||
			strings.Contains(err.Error(), ": :") || strings.HasSuffix(err.Error(), ": ") {
			t.Errorf("error is %v, want %q", err, want)
		}
	}
}
