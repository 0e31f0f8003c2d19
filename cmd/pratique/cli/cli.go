// Package cli puts the verbs together to one command. It is importable, so that tests can run it in
// a process of their own.
package cli

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/pratique-dev/pratique/cmd/pratique/child"
	"github.com/pratique-dev/pratique/cmd/pratique/cli/db"
	"github.com/pratique-dev/pratique/cmd/pratique/cli/local"
	"github.com/pratique-dev/pratique/cmd/pratique/cli/remote"
	"github.com/pratique-dev/pratique/cmd/pratique/cli/scan"
	"github.com/pratique-dev/pratique/cmd/pratique/cli/verb"
	"github.com/pratique-dev/pratique/cmd/pratique/settings"
	"github.com/pratique-dev/pratique/internal/confine"
	"github.com/pratique-dev/pratique/internal/display"
)

// Main runs the command line of this process, and ends it.
func Main() {
	// where it cannot be done, children that parse images see to it themselves
	_ = confine.SealDescriptors()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	err := New().ExecuteContext(ctx)
	stop()
	os.Exit(verb.Report(err))
}

// New is the command with all its verbs.
func New() *cobra.Command {
	root := &cobra.Command{
		Use:   "pratique",
		Short: "Let only inspected images into the GitOps config repository",
		Args:  verb.Known,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		Long: `Pratique inspects every image that is pushed to a registry, writes signed SBOMs, findings and a verdict
beside it, and commits the digest to the GitOps config repository only if the policy allows it.

Start here:
  pratique demo                        the whole line on this machine, nothing to set up
  pratique config sample > FILE        a configuration with every field explained
  pratique serve --config FILE         the service
  pratique submit IMAGE --wait         ask for a verdict from a pipeline
  pratique why DIGEST                  what was decided, and why
  pratique scan IMAGE                  inspect one image here, without a server
  pratique jobs                        what waits, runs or failed; cancel and requeue it`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       settings.Version(),
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())
	})
	// Whatever a verb prints may come from an image, a registry or a repository.
	root.SetOut(display.Text(os.Stdout))
	root.SetErr(display.Text(os.Stderr))
	root.AddCommand(
		newServe(), remote.NewSubmit(), remote.NewWhy(), local.NewDemo(), scan.New(),
		remote.NewJobs(), remote.NewCancel(), remote.NewRequeue(), local.NewWebhook(),
		remote.NewReconcile(),
		local.NewConfig(), local.NewKey(), local.NewPolicy(), local.NewProjections(), db.New(),
		child.New(),
	)
	return root
}
