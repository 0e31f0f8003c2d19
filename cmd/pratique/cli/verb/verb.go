// Package verb has what verbs share: exit statuses, groups, and how values and progress are printed.
package verb

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pratique-dev/pratique/internal/display"
)

// Exit statuses that scripts may rely on; see pratique submit --help.
const (
	Denied  = 1
	Unknown = 2
)

// Error ends the program with a status of its own. Without a cause nothing more is printed.
type Error struct {
	Status int
	Cause  error
}

func (e *Error) Error() string {
	if e.Cause == nil {
		return fmt.Sprintf("exit status %d", e.Status)
	}
	return e.Cause.Error()
}

func (e *Error) Unwrap() error { return e.Cause }

// Report prints what went wrong and returns the exit status: 2 means "could not find out"
// everywhere.
func Report(err error) int {
	if err == nil {
		return 0
	}
	var exit *Error
	if errors.As(err, &exit) {
		if exit.Cause != nil {
			printError(exit.Cause)
		}
		return exit.Status
	}
	printError(err)
	return Unknown
}

// printError prints an error, which may repeat what an image or a server said.
func printError(err error) { fmt.Fprintln(display.Text(os.Stderr), "pratique: "+err.Error()) }

// PrintJSON prints what programs read.
func PrintJSON(out io.Writer, v any) error {
	encoder := json.NewEncoder(display.JSON(out))
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// OneArg wants exactly one argument, and says what it is.
func OneArg(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("give one argument, %s; see %s --help", what, cmd.CommandPath())
		}
		return nil
	}
}

// NewGroup is a verb that only has verbs below it. Without this a misspelt one would print the help
// and end with 0, which a pipeline takes for success.
func NewGroup(use, short string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: Known,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
}

// Known refuses what is left of a command line when no verb below has taken it.
func Known(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	meant := ""
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		meant = " (did you mean " + strings.Join(near, " or ") + "?)"
	}
	return fmt.Errorf("unknown command %q for %q%s; see %s --help", args[0], cmd.CommandPath(), meant,
		cmd.CommandPath())
}
