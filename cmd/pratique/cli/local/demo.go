package local

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/pratique-dev/pratique/cmd/pratique/cli/verb"
	"github.com/pratique-dev/pratique/internal/demo"
)

// NewDemo is the verb demo.
func NewDemo() *cobra.Command {
	var keep, asJSON bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the whole line on this machine, with nothing to set up",
		Long: `Starts, in a temporary directory and on free loopback ports, an OCI registry that sends notifications, a Git
server with a config repository, and the service. Pushes a clean and a vulnerable image, shows how far each one
gets, then the commit with its trailers, the denial with its reasons, and the commands to check both by hand.

Needs the git binary. Nothing outside this machine is contacted, and everything is removed at the end.

Exit status 0 only if what should have been committed was, and what should have been denied was.`,
		Example: `  pratique demo
  pratique demo --keep     # leave everything running until Ctrl-C
  pratique demo --json     # a summary for programs`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			binary, err := os.Executable()
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			options := demo.Options{Binary: binary, Progress: out}
			if asJSON {
				options.Progress = cmd.ErrOrStderr()
			}
			printSummary := func(s demo.Summary) error { return writeSummary(out, s, asJSON) }
			if keep {
				options.Ready = func(s demo.Summary) {
					// A reader of the summary gets it now, not at the end.
					_ = printSummary(s) // a closed output is noticed when the demo ends
					fmt.Fprintf(options.Progress,
						"\nKept running: service %s, registry %s, config repository %s, files in %s\nCtrl-C ends it.\n",
						s.BaseURL, s.Registry, s.ConfigRepository, s.Dir)
					<-cmd.Context().Done()
				}
			}
			s, err := demo.Run(cmd.Context(), options)
			if err != nil {
				return err
			}
			if !keep {
				if err := printSummary(s); err != nil {
					return err
				}
			}
			if !s.OK {
				return &verb.Error{Status: verb.Denied,
					Cause: errors.New("the outcome is not as it should be, see above")}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&keep, "keep", false,
		"leave everything running until Ctrl-C, and print the addresses")
	cmd.Flags().BoolVar(&asJSON, "json", false,
		"print a summary for programs; progress goes to standard error")
	return cmd
}

func writeSummary(out io.Writer, s demo.Summary, asJSON bool) error {
	if !asJSON {
		return nil
	}
	return verb.PrintJSON(out, s)
}
