package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/pratique-dev/pratique/signer/key"
	"github.com/spf13/cobra"
)

func newKey() *cobra.Command {
	group := newGroup("key", "Make a key pair for signing")
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
			if err := writeKeyPair(prefix, []byte(passphrase)); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "private key %[1]s.key (keep it secret), public key %[1]s.pub (give it to verifiers)\n", prefix)
			return nil
		},
	}
	generate.Flags().StringVarP(&prefix, "output", "o", "cosign", "path and name of the pair, without .key and .pub")
	group.AddCommand(generate)
	return group
}

// writeKeyPair makes prefix.key and prefix.pub; it fails if one of them exists.
func writeKeyPair(prefix string, passphrase []byte) error {
	for _, path := range []string{prefix + ".key", prefix + ".pub"} {
		if _, err := os.Lstat(path); err == nil {
			return fmt.Errorf("%s is there already, and nothing was written: name another pair with --output, or move this one away", path)
		}
	}
	private, public, err := key.Generate(passphrase)
	if err != nil {
		return err
	}
	for _, file := range []struct {
		path    string
		content []byte
		mode    fs.FileMode
	}{{prefix + ".pub", public, 0o644}, {prefix + ".key", private, 0o600}} {
		if err := writeNew(file.path, file.content, file.mode); err != nil {
			return err
		}
	}
	return nil
}

// writeNew creates the file and makes it durable; it fails if it exists.
func writeNew(path string, content []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}
