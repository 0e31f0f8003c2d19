package remote

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/attest/api/client"
	"github.com/pratique-dev/pratique/cmd/pratique/cli/describe"
	"github.com/pratique-dev/pratique/cmd/pratique/cli/verb"
)

// placesOf asks what Git holds now; nil if the service does not look, or is older than the question.
func placesOf(ctx context.Context, c *client.Client, image api.Image) (*api.ImagePlaces, error) {
	git, err := c.Places(ctx, image)
	switch {
	case pratique.KindOf(err) == pratique.NotFound:
		return nil, nil
	case err != nil:
		return nil, err
	}
	return &git, nil
}

// NewWhy is the verb why.
func NewWhy() *cobra.Command {
	var server serverFlags
	var asJSON, all bool
	cmd := &cobra.Command{
		Use:   "why IMAGE",
		Short: "Say what was decided about an image, and why",
		Long: `Prints what the service knows about an image: verdict and reasons, findings, the database they were found
with, what is attested in the registry, where the digest was committed, what Git holds there now, and every fact with
time and author.

IMAGE is a digest, registry/path@digest or registry/path:tag. A token, where one is needed to read, is taken from
the environment variable PRATIQUE_TOKEN.`,
		Example: `  pratique why sha256:…
  pratique why registry.example.com/team/app:1.1 --server https://pratique.example.com`,
		Args: verb.OneArg("IMAGE: a digest, registry/path@digest or registry/path:tag"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := server.client()
			if err != nil {
				return err
			}
			image, err := c.Image(cmd.Context(), args[0])
			if err != nil {
				return explainDenied(err, "")
			}
			if asJSON {
				return verb.PrintJSON(cmd.OutOrStdout(), image)
			}
			git, unseen := placesOf(cmd.Context(), c, image) // what is known is told all the same
			_, err = io.WriteString(cmd.OutOrStdout(), describe.Image(image, git, all))
			return errors.Join(err, unseen)
		},
	}
	server.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the API's answer")
	cmd.Flags().BoolVar(&all, "all", false,
		fmt.Sprintf("print every reason and note, not the first %d", describe.MostReasons))
	return cmd
}
