package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/pratique-dev/pratique"
	"github.com/spf13/cobra"
)

func newWhy() *cobra.Command {
	var server serverFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "why IMAGE",
		Short: "Say what was decided about an image, and why",
		Long: `Prints what the service knows about an image: verdict and reasons, findings, the database they were found
with, what is attested in the registry, where the digest was committed, and every fact with time and author.

IMAGE is a digest, registry/path@digest or registry/path:tag. A token, where one is needed to read, is taken from
the environment variable PRATIQUE_TOKEN.`,
		Example: `  pratique why sha256:…
  pratique why registry.example.com/team/app:1.1 --server https://pratique.example.com`,
		Args: oneArg("IMAGE: a digest, registry/path@digest or registry/path:tag"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := server.client()
			if err != nil {
				return err
			}
			image, err := c.Image(cmd.Context(), args[0])
			if pratique.KindOf(err) == pratique.Denied {
				return fmt.Errorf("%w\nset PRATIQUE_TOKEN to a token of api.tokens", err)
			}
			if err != nil {
				return err
			}
			if asJSON {
				encoder := json.NewEncoder(cmd.OutOrStdout())
				encoder.SetIndent("", "  ")
				return encoder.Encode(image)
			}
			_, err = io.WriteString(cmd.OutOrStdout(), describeImage(image))
			return err
		},
	}
	server.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the API's answer")
	return cmd
}
