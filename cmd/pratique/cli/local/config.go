// Package local has the verbs that work on files of this machine and need no service:
// configurations, keys, policies, projections, recorded webhooks, and the demo.
package local

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pratique-dev/pratique/cmd/pratique/cli/verb"
	"github.com/pratique-dev/pratique/cmd/pratique/settings"
	"github.com/pratique-dev/pratique/internal/config"
	"github.com/pratique-dev/pratique/internal/outbound"
)

// NewConfig is the verbs about configurations.
func NewConfig() *cobra.Command {
	group := verb.NewGroup("config", "Check a configuration, or print a sample")
	group.AddCommand(
		&cobra.Command{
			Use:   "check FILE",
			Short: "Check a configuration without starting anything",
			Long: `Reads the file as pratique serve would, resolves every secret, and names each problem with file, line
and key. Then loads keys, policy and patterns as the service would; nobody is contacted and nothing is written.
What is allowed and probably not meant, such as a target without a path, or a directory that is not here, is a warning.
Exit status 0 if all is well or there are only warnings, 2 otherwise.`,
			Example: "  pratique config check /etc/pratique/pratique.yaml",
			Args:    verb.OneArg("FILE: the configuration"),
			RunE: func(cmd *cobra.Command, args []string) error {
				c, err := config.Load(args[0])
				if err != nil {
					return err
				}
				if err := settings.Check(cmd.Context(), c); err != nil {
					return fmt.Errorf("configuration: %w", err)
				}
				for _, w := range c.Warnings() {
					fmt.Fprintf(cmd.ErrOrStderr(), "warning: %v\n", w)
				}
				for _, direct := range settings.WithoutProxy(c, outbound.ProxyVariable()) {
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
