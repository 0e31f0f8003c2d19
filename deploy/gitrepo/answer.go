package gitrepo

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"

	"github.com/pratique-dev/pratique"
)

// moved are the words of Git, GitHub, GitLab and JGit for a tip that is not the one the push was built on.
var moved = regexp.MustCompile(`(?i)fetch first|non-fast-forward|stale info|incorrect old value|cannot lock ref|` +
	`failed to (update|lock|write) ref|lock_?failure|failed to lock|reference (already exists|is already locked)|but expected`)

// declined are the words for a push that a rule of the server refuses.
var declined = regexp.MustCompile(`(?i)hook|declined|protected|prohibited|denied|not allowed|permission|rule violation`)

// judge reads the server's answer to a push: nil only if it said that it took the commit.
func judge(report *packp.ReportStatus, err error, said string) error {
	if report == nil {
		if err != nil && refusedBefore(err) {
			return classify("push", err)
		}
		if err == nil {
			err = errors.New("empty answer") // the http transport of go-git says nothing at all
		}
		return pratique.Wrap(pratique.Unavailable, "push", "", fmt.Errorf("%w: %w", errUnknown, err))
	}
	if report.UnpackStatus != "ok" {
		return pratique.Errorf(pratique.Unavailable, "push", "the server could not store the commit: %s", words(report.UnpackStatus, said))
	}
	for _, s := range report.CommandStatuses {
		switch {
		case s.Status == "ok":
		// A hook that was run says no even if its words sound like a race.
		case declined.MatchString(s.Status):
			return pratique.Errorf(pratique.Denied, "push", "the server refused the commit: %s", words(s.Status, said))
		case moved.MatchString(s.Status):
			return pratique.Wrap(pratique.Conflict, "push", "", fmt.Errorf("%w: %s", errMoved, words(s.Status, said)))
		default:
			return pratique.Errorf(pratique.Denied, "push", "the server refused the commit: %s", words(s.Status, said))
		}
	}
	if len(report.CommandStatuses) == 0 {
		return pratique.Wrap(pratique.Unavailable, "push", "", errUnknown)
	}
	return nil
}

// refusedBefore reports whether the error shows that the server did not look at the commit at all.
func refusedBefore(err error) bool {
	switch classifyKind(err) {
	case pratique.Denied, pratique.RateLimited:
		return true
	}
	return noRepository(err)
}

// noRepository reports whether the server says that it has no such repository.
func noRepository(err error) bool { return errors.Is(err, transport.ErrRepositoryNotFound) }

// words joins the status with what hooks printed, on one line.
func words(status, said string) string {
	said = strings.Join(strings.FieldsFunc(said, func(r rune) bool { return r < ' ' || r == 0x7f }), "; ")
	if said == "" {
		return status
	}
	return status + ": " + strings.ToValidUTF8(said, "?")
}

// classify gives an error of the transport its kind.
func classify(op string, err error) error {
	switch {
	case err == nil:
		return nil
	case noRepository(err):
		err = fmt.Errorf("%w: check the URL, and that the login is valid and may write; hosts say the same to one that is not", err)
	case unknownHost(err):
		err = fmt.Errorf("%w: check the known hosts, and whether somebody stands between", err)
	}
	return pratique.Wrap(classifyKind(err), op, "", err)
}

func unknownHost(err error) bool {
	return knownhosts.IsHostKeyChanged(err) || knownhosts.IsHostUnknown(err) || strings.Contains(err.Error(), "knownhosts: ")
}

// classifyKind takes no answer of a Git host for the last word: people mend logins, hosts and branches, and then the
// commit has to be made. NotFound would be one, and the kinds of a refusal by the gate, Unverified and Stale, are
// not ours to give.
func classifyKind(err error) pratique.Kind {
	if k := pratique.KindOf(err); k != pratique.Unknown {
		return k
	}
	var status *githttp.Err
	// Some wrappers of the library do not unwrap.
	var unexpected *plumbing.UnexpectedError
	if errors.As(err, &unexpected) {
		if !errors.As(unexpected.Err, &status) && unexpected.Err != nil {
			err = unexpected.Err
		}
	}
	var authError *ssh.ServerAuthError
	switch {
	case status != nil:
		return statusKind(status.StatusCode())
	case errors.Is(err, transport.ErrAuthenticationRequired), errors.Is(err, transport.ErrAuthorizationFailed), errors.As(err, &authError):
		return pratique.Denied
	case strings.Contains(err.Error(), "ssh: unable to authenticate"):
		return pratique.Denied
	case unknownHost(err):
		return pratique.Denied
	case errors.Is(err, plumbing.ErrObjectNotFound):
		return pratique.Corrupt
	}
	return pratique.Unavailable
}

// statusKind is never one that ends the job: what a host or a proxy does not like today, such as a lock or a limit
// on size, people can change.
func statusKind(code int) pratique.Kind {
	switch {
	case code == http.StatusTooManyRequests:
		return pratique.RateLimited
	case code >= 500, code == http.StatusRequestTimeout, code == http.StatusNotFound, code == http.StatusGone:
		return pratique.Unavailable
	}
	return pratique.Denied
}
