package local

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/pratique-dev/pratique/cmd/pratique/cli/verb"
	"github.com/pratique-dev/pratique/cmd/pratique/keyfile"
)

// NewKey is the verbs about keys.
func NewKey() *cobra.Command {
	group := verb.NewGroup("key", "Make a key pair for signing")
	var prefix string
	generate := &cobra.Command{
		Use:   "generate",
		Short: "Write a cosign-compatible key pair",
		Long: `Writes PREFIX.key, an encrypted private key, and PREFIX.pub, the public key that verifiers need. The pair
is in cosign's format: cosign can use the private key, and cosign verify --key takes the public one. The
configuration names both: signing.key and signing.publicKeys.

The passphrase is read from the environment variable COSIGN_PASSWORD. Existing files are never overwritten.`,
		Example: `  COSIGN_PASSWORD=$(openssl rand -base64 24) pratique key generate --output /etc/pratique/cosign`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			passphrase := os.Getenv("COSIGN_PASSWORD")
			if passphrase == "" {
				return errors.New("set COSIGN_PASSWORD to the passphrase that shall protect the key")
			}
			if err := keyfile.WritePair(prefix, []byte(passphrase)); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(),
				"private key %[1]s.key (keep it secret), public key %[1]s.pub (give it to verifiers)\n", prefix)
			return nil
		},
	}
	generate.Flags().StringVarP(&prefix, "output", "o", "cosign",
		"path and name of the pair, without .key and .pub")
	group.AddCommand(generate)
	return group
}
