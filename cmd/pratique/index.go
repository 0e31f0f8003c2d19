package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/index"
	"github.com/pratique-dev/pratique/internal/config"
	"github.com/pratique-dev/pratique/scanner/inventory"
	"github.com/spf13/cobra"
)

func newIndex() *cobra.Command {
	group := newGroup("index", "Check or rebuild what is derived from the ledger")
	var file string
	group.PersistentFlags().StringVarP(&file, "config", "c", "", "configuration file, for dataDir")
	dataDir := func() (string, error) {
		var conf config.Config
		if file != "" {
			var err error
			if conf, err = config.Load(file); err != nil {
				return "", err
			}
		}
		return withDefaults(conf).DataDir, nil
	}
	group.AddCommand(
		&cobra.Command{
			Use:     "check",
			Short:   "Check the index for contradictions",
			Long:    "Reads the whole index while the service is stopped. Exit status 0 if it is sound, 1 if not.",
			Example: "  pratique index check --config /etc/pratique/pratique.yaml",
			Args:    cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				dir, err := dataDir()
				if err != nil {
					return err
				}
				file := filepath.Join(dir, "index.db")
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
			Short: "Forget the index and the inventory; the next start makes both again from the ledger",
			Long: `The index, which answers queries, and the inventory, which knows what a new vulnerability database affects, hold
nothing of their own: everything comes from facts in the ledger. This removes both while the service is stopped; pratique
serve replays the ledger into new ones, and looks at all known images with the database in use.`,
			Example: "  pratique index rebuild --config /etc/pratique/pratique.yaml",
			Args:    cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				dir, err := dataDir()
				if err != nil {
					return err
				}
				file, known := filepath.Join(dir, "index.db"), filepath.Join(dir, "inventory.db")
				if err := errors.Join(removeIndex(file), removeInventory(known)); err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s is removed\n%s is removed\nStart the service to make them again.\n", file, known)
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

// removeInventory removes the file unless a running service has it open.
func removeInventory(file string) error {
	if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	e, err := inventory.Open(file, inventory.Config{})
	if err == nil {
		err = e.Close()
	}
	if err != nil {
		return err
	}
	return os.Remove(file)
}
