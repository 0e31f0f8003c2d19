package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/index"
	"github.com/pratique-dev/pratique/internal/config"
	"github.com/spf13/cobra"
)

func newIndex() *cobra.Command {
	group := newGroup("index", "Check or rebuild the index that answers queries")
	var file string
	group.PersistentFlags().StringVarP(&file, "config", "c", "", "configuration file, for dataDir")
	path := func() (string, error) {
		var conf config.Config
		if file != "" {
			var err error
			if conf, err = config.Load(file); err != nil {
				return "", err
			}
		}
		return filepath.Join(withDefaults(conf).DataDir, "index.db"), nil
	}
	group.AddCommand(
		&cobra.Command{
			Use:     "check",
			Short:   "Check the index for contradictions",
			Long:    "Reads the whole index while the service is stopped. Exit status 0 if it is sound, 1 if not.",
			Example: "  pratique index check --config /etc/pratique/pratique.yaml",
			Args:    cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				file, err := path()
				if err != nil {
					return err
				}
				stats, problems, err := index.Check(file)
				if err != nil {
					return err
				}
				out := cmd.OutOrStdout()
				for _, p := range problems {
					fmt.Fprintln(out, p)
				}
				fmt.Fprintf(out, "%d images, %d events, ledger position %d, %d facts set aside, %d bytes: %d problems\n",
					stats.Images, stats.Events, stats.Position, stats.Rejected, stats.Bytes, len(problems))
				if len(problems) > 0 {
					return &exitError{status: exitDenied}
				}
				return nil
			},
		},
		&cobra.Command{
			Use:   "rebuild",
			Short: "Forget the index; the next start makes it anew from the ledger",
			Long: `The index holds nothing of its own: every answer comes from a fact in the ledger. This removes it while
the service is stopped; pratique serve replays the ledger into a new one.`,
			Example: "  pratique index rebuild --config /etc/pratique/pratique.yaml",
			Args:    cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				file, err := path()
				if err != nil {
					return err
				}
				if err := removeIndex(file); err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s is removed; start the service to make it anew\n", file)
				return nil
			},
		},
	)
	return group
}

// removeIndex removes the file unless a running service has it open, which would go on writing to nowhere.
func removeIndex(file string) error {
	ix, err := index.Open(file)
	if err == nil {
		err = ix.Close()
	}
	if err != nil && pratique.KindOf(err) != pratique.Corrupt { // damaged or of another version is what rebuild is for
		return err
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
