package main

import (
	"fmt"

	"github.com/pratique-dev/pratique/internal/config"
	"github.com/pratique-dev/pratique/internal/outbound"
	"github.com/spf13/cobra"
)

func newConfig() *cobra.Command {
	group := newGroup("config", "Check a configuration, or print a sample")
	group.AddCommand(
		&cobra.Command{
			Use:   "check FILE",
			Short: "Check a configuration without starting anything",
			Long: `Reads the file as pratique serve would, resolves every secret, and names each problem with file, line
and key. Then loads keys, policy and patterns as the service would; nobody is contacted and nothing is written.
What is allowed and probably not meant, such as a target without a path, or a directory that is not here, is a warning.
Exit status 0 if all is well or there are only warnings, 2 otherwise.`,
			Example: "  pratique config check /etc/pratique/pratique.yaml",
			Args:    oneArg("FILE: the configuration"),
			RunE: func(cmd *cobra.Command, args []string) error {
				c, err := config.Load(args[0])
				if err != nil {
					return err
				}
				if err := checkParts(cmd.Context(), c); err != nil {
					return fmt.Errorf("configuration: %w", err)
				}
				for _, w := range c.Warnings() {
					fmt.Fprintf(cmd.ErrOrStderr(), "warning: %v\n", w)
				}
				for _, direct := range withoutProxy(c, outbound.ProxyVariable()) {
					fmt.Fprintf(cmd.ErrOrStderr(), "warning: %s\n", direct)
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
