// Package remote has the verbs that ask a running service over HTTP. It knows the API and nothing
// of the engines behind it, so that a client without them can have the same verbs.
package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/attest/api/client"
	"github.com/pratique-dev/pratique/cmd/pratique/cli/describe"
	"github.com/pratique-dev/pratique/cmd/pratique/cli/verb"
	"github.com/pratique-dev/pratique/internal/display"
)

// defaultServer is where a service listens that was not told otherwise.
const defaultServer = "http://127.0.0.1:8080"

// serverFlags are shared by the verbs that ask a running service.
type serverFlags struct {
	url string
}

func (f *serverFlags) add(cmd *cobra.Command) {
	address := os.Getenv("PRATIQUE_URL")
	if address == "" {
		address = defaultServer
	}
	cmd.Flags().StringVar(&f.url, "server", address, "base URL of the service (environment PRATIQUE_URL)")
}

// client takes the token from the environment only: a flag would show in the list of processes.
func (f *serverFlags) client() (*client.Client, error) {
	return client.New(client.Config{URL: f.url, Token: os.Getenv("PRATIQUE_TOKEN")})
}

type submitFlags struct {
	serverFlags
	wait, json, github bool
	timeout            time.Duration
	key                string
}

// NewSubmit is the verb submit.
func NewSubmit() *cobra.Command {
	var f submitFlags
	cmd := &cobra.Command{
		Use:   "submit IMAGE",
		Short: "Ask the service for a verdict about an image",
		Long: `Submits an image to the service, as a registry's notification would: if it is allowed, its digest is committed to
the config repository. With --wait, shows how far the work has come, then the verdict with its reasons. An image that is
older than what stands there is committed only if the token has rollback: true.

The token is taken from the environment variable PRATIQUE_TOKEN. It needs submit: true, and the image's repository among
its repositories.

Exit status, with --wait:
  0  allowed
  1  denied, or allowed and not in Git: something newer stands there, or somebody took it away; the reasons are printed
  2  could not find out: no answer, no such image, a failed stage, time over`,
		Example: `  export PRATIQUE_URL=https://pratique.example.com PRATIQUE_TOKEN=…
  pratique submit registry.example.com/team/app:1.1 --wait
  pratique submit registry.example.com/team/app@sha256:… --wait --json`,
		Args: verb.OneArg("IMAGE: registry/path:tag or registry/path@digest"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(cmd.Context(), args[0], cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVarP(&f.wait, "wait", "w", false, "wait for the verdict")
	cmd.Flags().BoolVar(&f.json, "json", false, "print the submission as JSON")
	cmd.Flags().DurationVar(&f.timeout, "timeout", 30*time.Minute, "how long to wait at most")
	cmd.Flags().StringVar(&f.key, "idempotency-key", "", "the same key and image is the same submission")
	cmd.Flags().BoolVar(&f.github, "github", false,
		"also write the outputs and the step summary of a GitHub Actions step")
	return cmd
}

func (f *submitFlags) run(ctx context.Context, image string, out, progress io.Writer) error {
	if f.github && !f.wait {
		return errors.New("--github writes the verdict of a step: give --wait, too")
	}
	s, err := f.ask(ctx, image, progress)
	if f.github {
		// A step that could not find out has outputs, too.
		err = errors.Join(err, writeGitHub(orFailed(s, image, err)))
	}
	if err != nil {
		return err
	}
	if !f.wait {
		return f.print(out, s)
	}
	return errors.Join(f.print(out, s), statusOf(s))
}

// ask submits the image and, if that is wanted, waits for the end.
func (f *submitFlags) ask(ctx context.Context, image string, progress io.Writer) (api.Submission, error) {
	c, err := f.client()
	if err != nil {
		return api.Submission{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	s, err := c.Submit(ctx, image, f.key, 0)
	if err != nil {
		return s, explainDenied(err, "submit: true")
	}
	fmt.Fprintf(progress, "submitted %s as %s\n", s.Ref, s.ID)
	if !f.wait {
		return s, nil
	}
	started, said, submitted := time.Now(), "", s
	s, err = c.Wait(ctx, s.ID, func(s api.Submission) {
		fmt.Fprintf(progress, "  %6.1fs  %s%s\n", time.Since(started).Seconds(), s.State,
			trouble(s, &said))
	})
	if ctx.Err() != nil {
		err = fmt.Errorf("%w\n%s", err, goesOn(submitted))
	}
	return s, err
}

// goesOn tells those who stop waiting that the service does not stop working.
func goesOn(s api.Submission) string {
	return fmt.Sprintf("the service goes on with it: pratique why %s says how far it has come, pratique cancel %s stops it", s.Ref, s.ID)
}

// orFailed is the submission, or a failed one about the image where there was an error.
func orFailed(s api.Submission, image string, err error) api.Submission {
	if err == nil {
		return s
	}
	s.Ref, s.State, s.Outcome = image, pratique.StateFailed, ""
	s.Failure = &pratique.Failed{Stage: "submit", Kind: pratique.KindOf(err), Message: err.Error(),
		Final: true}
	return s
}

// trouble says what an attempt failed of, while there will be another. What was said last is not
// repeated.
func trouble(s api.Submission, said *string) string {
	if s.Failure == nil || s.Failure.Final || s.Done {
		return ""
	}
	reason := display.Line(s.Failure.Message)
	if reason == *said {
		reason = "the same again"
	} else {
		*said = reason
	}
	return fmt.Sprintf(", trying again after attempt %d in stage %s: %s", s.Failure.Attempts,
		s.Failure.Stage, reason)
}

func (f *submitFlags) print(out io.Writer, s api.Submission) error {
	if f.json {
		return verb.PrintJSON(out, s)
	}
	if !s.Done {
		_, err := fmt.Fprintln(out, s.ID)
		return err
	}
	_, err := io.WriteString(out, describe.Submission(s))
	return err
}

// statusOf is the exit status that a finished submission asks for.
func statusOf(s api.Submission) error {
	switch {
	case s.State == pratique.StateFailed || s.State == pratique.StateIgnored:
		return &verb.Error{Status: verb.Unknown}
	case describe.NotInGit(s.State):
		return &verb.Error{Status: verb.Denied}
	case s.Outcome == pratique.Allow:
		return nil
	case s.Outcome == pratique.Deny:
		return &verb.Error{Status: verb.Denied}
	default:
		return &verb.Error{Status: verb.Unknown}
	}
}

// explainDenied says what to do about a token that is missing, not known or not enough, and about a
// service that is not there. need is what the token should have; what else it lacks, the service
// has said.
func explainDenied(err error, need string) error {
	if need != "" {
		need = ", which needs " + need
	}
	var network *net.OpError
	switch {
	case errors.As(err, &network) && network.Op == "dial":
		return fmt.Errorf("%w\nis the service running there? --server or PRATIQUE_URL names another address", err)
	case pratique.KindOf(err) != pratique.Denied:
		return err
	case !errors.Is(err, client.ErrUnauthorized):
		return fmt.Errorf("%w\nset PRATIQUE_TOKEN to a token of api.tokens that may do this%s", err, need)
	case os.Getenv("PRATIQUE_TOKEN") == "":
		return fmt.Errorf("%w\nPRATIQUE_TOKEN is not set: set it to a token of api.tokens that may do this%s", err, need)
	}
	return fmt.Errorf("%w\nthe service does not know the token in PRATIQUE_TOKEN", err)
}
