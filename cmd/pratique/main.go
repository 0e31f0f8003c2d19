// Command pratique is the whole service and its tools in one binary: pratique serve runs every role,
// pratique submit and pratique why are for developers, pratique demo shows the line at work.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/pratique-dev/pratique/internal/confine"
	"github.com/pratique-dev/pratique/internal/display"
)

// Exit statuses that scripts may rely on; see pratique submit --help.
const (
	exitDenied  = 1
	exitUnknown = 2
)

// exitError ends the program with a status of its own. Without a cause nothing more is printed.
type exitError struct {
	status int
	cause  error
}

func (e *exitError) Error() string {
	if e.cause == nil {
		return fmt.Sprintf("exit status %d", e.status)
	}
	return e.cause.Error()
}

func (e *exitError) Unwrap() error { return e.cause }

func main() {
	_ = confine.SealDescriptors() // where it cannot be done, children that parse images see to it themselves
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	err := newCommand().ExecuteContext(ctx)
	stop()
	os.Exit(report(err))
}

// report prints what went wrong and returns the exit status: 2 means "could not find out" everywhere.
func report(err error) int {
	if err == nil {
		return 0
	}
	var exit *exitError
	if errors.As(err, &exit) {
		if exit.cause != nil {
			printError(exit.cause)
		}
		return exit.status
	}
	printError(err)
	return exitUnknown
}

// printError prints an error, which may repeat what an image or a server said.
func printError(err error) { fmt.Fprintln(display.Text(os.Stderr), "pratique: "+err.Error()) }

// printJSON prints what programs read.
func printJSON(out io.Writer, v any) error {
	encoder := json.NewEncoder(display.JSON(out))
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// oneArg wants exactly one argument, and says what it is.
func oneArg(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("give one argument, %s; see %s --help", what, cmd.CommandPath())
		}
		return nil
	}
}

// newGroup is a verb that only has verbs below it. Without this a misspelt one would print the help and end with
// 0, which a pipeline takes for success.
func newGroup(use, short string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return fmt.Errorf("unknown command %q for %q; see %s --help", args[0], cmd.CommandPath(), cmd.CommandPath())
		},
	}
}

func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "pratique",
		Short: "Let only inspected images into the GitOps config repository",
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
		Version:       version(),
	}
	// Whatever a verb prints may come from an image, a registry or a repository.
	root.SetOut(display.Text(os.Stdout))
	root.SetErr(display.Text(os.Stderr))
	root.AddCommand(
		newServe(), newSubmit(), newWhy(), newDemo(), newScan(), newJobs(), newCancel(), newRequeue(), newWebhook(), newReconcile(),
		newConfig(), newKey(), newPolicy(), newProjections(), newDB(), newInspectChild(),
	)
	return root
}
