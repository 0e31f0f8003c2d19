package local

import (
	"github.com/spf13/cobra"

	"github.com/pratique-dev/pratique/cmd/pratique/cli/verb"
	"github.com/pratique-dev/pratique/deploy/policy"
)

// NewPolicy is the verbs about policies.
func NewPolicy() *cobra.Command {
	group := verb.NewGroup("policy", "Test a policy")
	group.AddCommand(&cobra.Command{
		Use:   "test DIR",
		Short: "Run the Rego tests of a policy directory",
		Long: `Compiles every .rego file of the directory as pratique serve would, and runs the rules of its *_test.rego
files whose names start with test_. Exit status 0 if all pass, 1 if one fails, 2 if they could not be run.`,
		Example: "  pratique policy test ./policy",
		Args:    verb.OneArg("DIR: the directory with the .rego files"),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, failed, err := policy.Test(cmd.Context(), args[0], cmd.OutOrStdout())
			if err != nil {
				return err
			}
			if failed > 0 {
				return &verb.Error{Status: verb.Denied}
			}
			return nil
		},
	})
	return group
}
