package main

import (
	"github.com/pratique-dev/pratique/deploy/policy"
	"github.com/spf13/cobra"
)

func newPolicy() *cobra.Command {
	group := newGroup("policy", "Test a policy")
	group.AddCommand(&cobra.Command{
		Use:   "test DIR",
		Short: "Run the Rego tests of a policy directory",
		Long: `Compiles every .rego file of the directory as pratique serve would, and runs the rules of its *_test.rego
files whose names start with test_. Exit status 0 if all pass, 1 if one fails, 2 if they could not be run.`,
		Example: "  pratique policy test ./policy",
		Args:    oneArg("DIR: the directory with the .rego files"),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, failed, err := policy.Test(cmd.Context(), args[0], cmd.OutOrStdout())
			if err != nil {
				return err
			}
			if failed > 0 {
				return &exitError{status: exitDenied}
			}
			return nil
		},
	})
	return group
}
