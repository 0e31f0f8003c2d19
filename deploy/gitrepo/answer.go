package gitrepo

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/outbound"
)

// moved matches what Git, GitHub, GitLab, Azure DevOps and JGit answer if the tip is not the one
// the push was built on.
var moved = regexp.MustCompile(`(?i)fetch first|non-fast-forward|stale info|incorrect old value|cannot lock ref|` +
	`failed to (update|lock|write) ref|lock_?failure|failed to lock|reference (already exists|is already locked)|already been updated|but expected`)

// declined matches the answers to a push that a rule of the server refuses; GitHub and Azure DevOps
// have codes.
var declined = regexp.MustCompile(`(?i)hook|declined|protected|prohibited|denied|not (allowed|permitted)|permission|rule violation|\bGH0\d\d\b|\bVS4\d{5}\b|\bTF402455\b`)

// evaluate reads the server's answer to a push. It returns nil only if the server accepted the
// commit.
func evaluate(report *packp.ReportStatus, err error, said string) error {
	if report == nil {
		if err != nil && refusedBefore(err) {
			return classify("push", toWrite, err)
		}
		if err == nil {
			err = errors.New("empty answer") // go-git's http transport returns neither
		}
		return pratique.Wrap(pratique.Unavailable, "push", "", fmt.Errorf("%w: %w", errUnknown, err))
	}
	if report.UnpackStatus != "ok" {
		return pratique.Errorf(pratique.Unavailable, "push",
			"the server could not store the commit: %s", joinOutput(report.UnpackStatus, said))
	}
	for _, s := range report.CommandStatuses {
		switch {
		case s.Status == "ok":
		// A hook has refused the push, even if its text resembles that of a race.
		case declined.MatchString(s.Status):
			return pratique.Errorf(pratique.Denied, "push", "the server refused the commit: %s",
				joinOutput(s.Status, said))
		case moved.MatchString(s.Status):
			return pratique.Wrap(pratique.Conflict, "push", "", fmt.Errorf("%w: %s", errMoved,
				joinOutput(s.Status, said)))
		default:
			return pratique.Errorf(pratique.Denied, "push", "the server refused the commit: %s",
				joinOutput(s.Status, said))
		}
	}
	if len(report.CommandStatuses) == 0 {
		return pratique.Wrap(pratique.Unavailable, "push", "", errUnknown)
	}
	return nil
}

// refusedBefore reports whether the server refused before it looked at the commit.
func refusedBefore(err error) bool {
	switch classifyKind(err) {
	case pratique.Denied, pratique.RateLimited:
		return true
	}
	return noRepository(err)
}

// httpStatus is the status of an HTTP server that refused, and 0 if none did.
func httpStatus(err error) int {
	var unexpected *plumbing.UnexpectedError
	if errors.As(err, &unexpected) && unexpected.Err != nil {
		err = unexpected.Err // the library's wrapper does not unwrap
	}
	var answer *githttp.Err
	if !errors.As(err, &answer) {
		return 0
	}
	return answer.StatusCode()
}

// noRepository reports whether the server says that it has no such repository.
func noRepository(err error) bool { return errors.Is(err, transport.ErrRepositoryNotFound) }

// maxPrinted bounds how much of a server's text is passed on, in bytes.
const maxPrinted = 2 << 10

// printable makes a server's text fit for logs, terminals and facts: one line, bounded, without
// control characters.
func printable(s string) string {
	lines := strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' })
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) ||
			r == utf8.RuneError {
			return '?'
		}
		return r
	}, strings.Join(slices.DeleteFunc(lines, func(l string) bool { return l == "" }), "; "))
	return pratique.Excerpt(s, maxPrinted)
}

// joinOutput joins a status with the output of hooks on one line.
func joinOutput(status, said string) string {
	if status, said = printable(status), printable(said); said == "" {
		return status
	}
	return status + ": " + said
}

// adviceError is an error with a text of ours, which names the setting to look at. It wraps the
// original error.
type adviceError struct {
	text string
	err  error
}

func (w *adviceError) Error() string { return w.text }
func (w *adviceError) Unwrap() error { return w.err }

// What a login has to be allowed to do.
const (
	toRead  = "read"
	toWrite = "write"
)

// classify gives an error of the transport its kind, and names the setting to look at.
func classify(op, right string, err error) error {
	if err == nil {
		return nil
	}
	err = outbound.Explain(err, "deploy.targets[].ca")
	kind, said, advice := classifyKind(err), strings.TrimRight(printable(err.Error()), ": "), ""
	switch {
	case noRepository(err):
		advice = "check the URL, and that the login is valid and may " + right +
			" (deploy.targets[].username and password, or sshKey): hosts give the same answer to a wrong login"
	case errors.Is(err, transport.ErrAuthenticationRequired):
		advice = "the host does not take the login, or got none: set deploy.targets[].username and password, a token that may " + right + " in the repository"
	case errors.Is(err, transport.ErrAuthorizationFailed):
		advice = "the login is valid and may not " + right +
			": give that right to the one in deploy.targets[].username and password"
	case badKey(err):
		advice = "the host refused the key: check deploy.targets[].sshKey, and that the host knows its public key as one that may " + right
	case unknownHost(err):
		advice = "check the known hosts (deploy.targets[].sshKnownHosts), and whether somebody intercepts the connection"
	}
	if advice != "" {
		said += ": " + advice
	}
	return pratique.Wrap(kind, op, "", &adviceError{said, err})
}

func badKey(err error) bool {
	var authError *ssh.ServerAuthError
	return errors.As(err, &authError) || strings.Contains(err.Error(), "ssh: unable to authenticate")
}

func unknownHost(err error) bool {
	return knownhosts.IsHostKeyChanged(err) || knownhosts.IsHostUnknown(err) ||
		strings.Contains(err.Error(), "knownhosts: ")
}

// classifyKind returns no kind that ends the job, such as NotFound: people fix logins, hosts and
// branches, and then the commit has to be made. Unverified and Stale are reserved for the gate.
func classifyKind(err error) pratique.Kind {
	if k := pratique.KindOf(err); k != pratique.Unknown {
		return k
	}
	if status := httpStatus(err); status != 0 {
		return statusKind(status)
	}
	var unexpected *plumbing.UnexpectedError
	if errors.As(err, &unexpected) && unexpected.Err != nil {
		err = unexpected.Err
	}
	switch {
	case errors.Is(err, transport.ErrAuthenticationRequired), errors.Is(err,
		transport.ErrAuthorizationFailed), badKey(err), unknownHost(err):
		return pratique.Denied
	}
	return pratique.Unavailable
}

// statusKind returns no kind that ends the job: people can change what a host or proxy refuses
// today, such as a size limit.
func statusKind(code int) pratique.Kind {
	switch {
	case code == http.StatusTooManyRequests:
		return pratique.RateLimited
	case code >= 500, code == http.StatusRequestTimeout, code == http.StatusNotFound, code == http.StatusGone:
		return pratique.Unavailable
	}
	return pratique.Denied
}
