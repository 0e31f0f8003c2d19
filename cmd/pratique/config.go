package main

import (
	"fmt"

	"github.com/pratique-dev/pratique/internal/config"
	"github.com/spf13/cobra"
)

func newConfig() *cobra.Command {
	group := &cobra.Command{Use: "config", Short: "Check a configuration, or print a sample"}
	group.AddCommand(
		&cobra.Command{
			Use:   "check FILE",
			Short: "Check a configuration without starting anything",
			Long: `Reads the file as pratique serve would, resolves every secret, and names each problem with file, line
and key. Exit status 0 if the service would start with it, 2 otherwise.`,
			Example: "  pratique config check /etc/pratique/pratique.yaml",
			Args:    cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				if _, err := config.Load(args[0]); err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s is fine\n", args[0])
				return nil
			},
		},
		&cobra.Command{
			Use:     "sample",
			Short:   "Print a configuration with every field explained",
			Example: "  pratique config sample > pratique.yaml",
			Args:    cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				_, err := cmd.OutOrStdout().Write(config.Sample)
				return err
			},
		},
	)
	return group
}
